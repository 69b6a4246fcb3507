"""`accumulate=k`: the sum of the gradients of k minibatches, weighed by their rows, and a step on their union."""

import functools

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, OptionError
from ppl.training.batches import epoch_permutation
from ppl.training.optim import SGD, AdaGrad, Adam
from tests.faults import runs
from tests.ranks.fake import checked, on_ranks
from tests.training.sweeps.builds import X, program

fit = functools.partial(ppl.fit, progress=False)


def _accumulated(groups, lr=0.1):
    """Descent by sums of the minibatches' gradients, each of which is a mean over its rows."""
    mu = np.zeros(2)
    for group in groups:
        rows = sum(len(part) for part in group)
        mu = mu - lr * sum(len(part) / rows * 2 * (mu - part).mean(0) for part in group)
    return mu


def test_gradients_of_minibatches_add_up():
    """Twelve rows in batches of 5, 5 and 2: two steps an epoch."""
    found = fit(program(), X, epochs=2, batch_size=5, accumulate=2, optimizer=SGD(0.1), seed=3)
    groups = []
    for epoch in range(2):
        rows = X[epoch_permutation(3, epoch, 12)]
        groups += [[rows[:5], rows[5:10]], [rows[10:]]]
    np.testing.assert_allclose(found.state.params["mu"], _accumulated(groups), rtol=1e-12)
    assert found.state.step == 4 and len(found.history["loss"]) == 4


def test_batches_of_a_stream_add_up():
    parts = [X[:5], X[5:6], X[6:9], X[9:]]
    found = fit(program(), batches=parts, epochs=2, accumulate=3, optimizer=SGD(0.1))
    np.testing.assert_allclose(found.state.params["mu"], _accumulated([parts[:3], parts[3:]] * 2), rtol=1e-12)


@pytest.mark.parametrize(
    "optimizer", [Adam(0.01), pytest.param({"*": Adam(0.01)}, marks=pytest.mark.slow)], ids=["in place", "step by step"]
)
def test_baselines_noise_and_scaling_are_those_of_the_union(optimizer):
    options = {"optimizer": optimizer, "epochs": 2, "total_rows": 600, "seed": 5}
    split = fit(runs.program(runs.mixed), batches=np.split(runs.X, 12), accumulate=4, **options)
    union = fit(runs.program(runs.mixed), batches=np.split(runs.X, 3), **options)
    assert split.state._flat.tobytes() == union.state._flat.tobytes()
    assert split.state._aux.tobytes() == union.state._aux.tobytes()


def test_gradients_of_the_parts_are_those_of_the_program():
    """One step from the program's own gradients of two minibatches, at the same noise by rows of the data set."""
    compiled, rows = runs.program(runs.mixed), epoch_permutation(5, 0, 60)
    state = compiled.init(5, runs.X)
    found = fit(compiled, runs.X, steps=1, batch_size=10, accumulate=2, optimizer=SGD(0.1), state=state)
    total = {name: np.zeros(np.shape(value)) for name, value in state.params.items()}
    for part in (rows[:10], rows[10:20]):
        _, grads = compiled.value_and_grad(state, runs.X[part], rows=part, total_rows=60)
        total = {name: total[name] + grads[name] / 2 for name in total}
    for name, value in state.params.items():
        np.testing.assert_allclose(found.state.params[name], value - 0.1 * total[name] / 60, rtol=1e-10, atol=1e-14)


@pytest.mark.slow
def test_ranks_add_up_minibatches_of_all_of_them():
    options = {"steps": 4, "batch_size": 10, "accumulate": 2, "optimizer": Adam(0.01), "seed": 5}
    alone = fit(runs.program(runs.mixed), runs.X, **options)
    program_ = runs.program(runs.mixed)
    found = checked(on_ranks(2, lambda c: fit(program_.on(c, replicated=True), runs.X, **options)))
    for one in found:
        np.testing.assert_allclose(one.state._flat, alone.state._flat, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(one.history["loss"], alone.history["loss"], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [AdaGrad(0.05), SGD(0.05)], ids=lambda o: type(o).__name__)
def test_tables_are_moved_once_a_step(optimizer):
    """The rows of tables that several minibatches name."""
    options = {"epochs": 2, "seed": 5}
    data = runs.pairs()
    split = fit(runs.program(runs.factors), *data, batch_size=50, accumulate=3, optimizer=optimizer, **options)
    whole = fit(runs.program(runs.factors), *data, batch_size=50, accumulate=3, optimizer={"*": optimizer}, **options)
    np.testing.assert_allclose(split.state._flat, whole.state._flat, rtol=1e-10, atol=1e-13)


def test_a_run_goes_on_in_the_middle_of_a_pass(tmp_path):
    parts, path = np.split(runs.X, 12), tmp_path / "run.npz"
    options = {"batches": parts, "accumulate": 5, "epochs": 3, "optimizer": Adam(0.01), "seed": 5}
    whole = fit(runs.program(runs.mixed), **options)
    assert whole.state.step == 9
    fit(runs.program(runs.mixed), checkpoint=path, callback=lambda step, *_: step == 5, **options)
    resumed = fit(runs.program(runs.mixed), checkpoint=path, **options)
    assert resumed.state._flat.tobytes() == whole.state._flat.tobytes()
    assert resumed.history["loss"].tobytes() == whole.history["loss"].tobytes()


@ppl.model
def weighted(x, w):
    """Rows, and an argument that is passed whole."""
    with ppl.plate("data", x) as x:
        ppl.cost("square", np.sum(w * (ppl.param("mu", np.zeros(2)) - x) ** 2))


def test_what_cannot_be_added_up_is_refused():
    with pytest.raises(OptionError, match="batch_size= or batches="):
        fit(program(), X, steps=2, accumulate=2, optimizer=SGD(0.1))
    compiled, w = ppl.compile(weighted), np.ones(2)
    with pytest.raises(DataError, match="argument 'w', which is not cut into rows, is not the same"):
        fit(compiled, batches=[(X[:2], w), (X[2:4], 2 * w)], steps=1, accumulate=2, optimizer=SGD(0.1))
    with pytest.raises(DataError, match="rows of 'x' have the shapes"):
        fit(compiled, batches=[(X[:2], w), (X[2:4, :1], w)], steps=1, accumulate=2, optimizer=SGD(0.1))
