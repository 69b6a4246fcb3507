"""Tables read through gathers of rows: `fit` moves the rows that a batch names, and gets what whole gradients get."""

import numba
import numpy as np
import pytest

import ppl
import ppl.estimators
from ppl import Bernoulli, Normal
from ppl.errors import FitError
from ppl.models.alias import alias_table
from ppl.training.trainers import SparseTrainer, ThreadChooser, trainer_of
from ppl.tuning import SLOWER_AGAIN

N, D, ROWS = 700, 6, 400

RNG = np.random.default_rng(0)

LEFT = RNG.integers(0, 60, ROWS)

RIGHT = RNG.integers(30, 90, (ROWS, 3))

Y = RNG.normal(size=ROWS)


@ppl.model
def factors(left, right, y):
    """Two tables, one read twice, with a dense weight, a row bias and a scalar that changes from step to step."""
    u = ppl.param("u", ppl.init.normal(0.5), shape=(N, D))
    v = ppl.param("v", ppl.init.normal(0.5), shape=(N, 2, D // 2))
    bias = ppl.param("bias", 0.0, shape=(5000,))
    weight = ppl.param("weight", ppl.init.normal(0.5), shape=(D,))
    strength = ppl.hyper("strength", 1.0)
    with ppl.plate("data", left, right, y) as (left, right, y):
        mean = np.sum(np.reshape(v[left], (D,)) * weight * u[left]) + np.sum(np.tanh(u[right] @ weight)) + bias[left]
        ppl.cost("square", strength * (y - mean) ** 2)


@ppl.model
def random_effects(left, y):
    """Gradients through samples: a score function with a moving average and a path, over particles."""
    loc = ppl.param("loc", ppl.init.normal(0.5), shape=(5000,))
    odds = ppl.param("odds", ppl.init.normal(0.5), shape=(5000, 3))
    with ppl.plate("data", left, y) as (left, y):
        z = ppl.sample("z", Normal(loc[left], 0.5))
        b = ppl.sample("b", Bernoulli(logits=odds[left]))
        ppl.cost("square", (y - z - np.sum(b)) ** 2)


def compiled(model, data, dtype="float64", **options):
    return ppl.compile(model, data=data, dtype=dtype, **options)


def dense(optimizer):
    """The same optimizer in a form that `fit` does not know as sparse."""
    return {"*": optimizer}


OPTIMIZERS = [ppl.optim.SGD(ppl.optim.exponential(0.3, 0.9, 5)), ppl.optim.AdaGrad(0.1), ppl.optim.LazyAdam(0.02)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("size", [None, 128], ids=["all rows", "minibatches"])
def test_fit_is_that_of_whole_gradients_and_leaves_other_rows_alone(optimizer, size):
    data = (LEFT, RIGHT, Y)
    program = compiled(factors, data)
    assert {t.name for t in trainer_of(program.prepare(), True).tables} == {"u", "bias"} | (
        {"v"} if N * D >= 4096 else set()
    )
    options = {"steps": 7, "batch_size": size, "seed": 3, "hyper": {"strength": lambda t: 1.0 + 0.1 * t}}
    sparse = ppl.fit(program, *data, optimizer=optimizer, **options)
    whole = ppl.fit(program, *data, optimizer=dense(optimizer), **options)
    np.testing.assert_allclose(sparse.history["loss"], whole.history["loss"], rtol=1e-10)
    start = program.init(3)
    for name, touched in {"u": np.union1d(LEFT, RIGHT), "v": np.unique(LEFT), "bias": np.unique(LEFT)}.items():
        np.testing.assert_allclose(sparse.state.params[name], whole.state.params[name], rtol=1e-8, atol=1e-10)
        still = np.setdiff1d(np.arange(len(start.params[name])), touched)
        assert sparse.state.params[name][still].tobytes() == start.params[name][still].tobytes()
        assert (sparse.state.params[name][touched] != start.params[name][touched]).any()
    np.testing.assert_allclose(sparse.state.params["weight"], whole.state.params["weight"], rtol=1e-8)


def test_tables_read_in_other_ways_have_whole_gradients():
    @ppl.model
    def mixed(left):
        u = ppl.param("u", ppl.init.normal(0.5), shape=(N, D))
        v = ppl.param("v", ppl.init.normal(0.5), shape=(N, D))
        positive = ppl.param("positive", 1.0, shape=(5000,), constraint="positive")
        small = ppl.param("small", 0.0, shape=(90,))
        ppl.cost("penalty", 1e-3 * np.sum(v**2))
        with ppl.plate("data", left) as left:
            ppl.cost("product", u[left] @ v[left] + positive[left] + small[left] ** 2)

    program = compiled(mixed, (LEFT,))
    assert [t.name for t in trainer_of(program.prepare(), True).tables] == ["u"]
    options = {"steps": 3, "seed": 1}
    sparse, whole = (ppl.fit(program, LEFT, optimizer=o, **options) for o in (OPTIMIZERS[1], dense(OPTIMIZERS[1])))
    for name in ("u", "v", "positive", "small"):
        np.testing.assert_allclose(sparse.state.params[name], whole.state.params[name], rtol=1e-9, atol=1e-12)


def test_gradients_through_samples_particles_and_baselines():
    data = (LEFT, Y)
    chosen = {"z": ppl.estimators.Pathwise(), "b": ppl.estimators.ScoreFunction("moving_average")}
    program = compiled(random_effects, data, particles=2, estimators=chosen)
    assert {t.name for t in trainer_of(program.prepare(), True).tables} == {"loc", "odds"}
    sparse, whole = (
        ppl.fit(program, *data, optimizer=o, steps=5, batch_size=150, seed=2)
        for o in (OPTIMIZERS[0], dense(OPTIMIZERS[0]))
    )
    for name in ("loc", "odds"):
        np.testing.assert_allclose(sparse.state.params[name], whole.state.params[name], rtol=1e-9, atol=1e-12)
    assert set(sparse.state.aux) == set(whole.state.aux) != set()
    for name, value in sparse.state.aux.items():
        np.testing.assert_allclose(value, whole.state.aux[name], rtol=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_tables_have_the_same_bits_on_any_number_of_threads(optimizer, monkeypatch):
    rng = np.random.default_rng(1)
    data = rng.integers(0, 200, 20_000), rng.integers(0, N, (20_000, 3)), rng.normal(size=20_000)

    @ppl.model
    def tables_only(left, right, y):
        u = ppl.param("u", ppl.init.normal(0.5), shape=(N, D))
        v = ppl.param("v", ppl.init.normal(0.5), shape=(N, D))
        with ppl.plate("data", left, right, y) as (left, right, y):
            ppl.cost("square", (y - np.sum(u[right] @ v[left])) ** 2)

    program, most, found = compiled(tables_only, data, "float32"), numba.get_num_threads(), {}
    exe = trainer_of(program.prepare(), True).executable
    slabs = exe._slabs(exe._sizes({"data": 10_000}, 1, 1))
    try:
        for threads in sorted({1, most}):
            numba.set_num_threads(threads)
            assert exe._threads(slabs, None) == threads
            found[threads] = ppl.fit(program, *data, steps=6, batch_size=10_000, optimizer=optimizer, seed=0).state
    finally:
        numba.set_num_threads(most)
    assert found[1]._flat.tobytes() == found[most]._flat.tobytes()
    assert not np.array_equal(found[1]._flat, program.init(0)._flat)
    if most == 1:
        return
    whole = []
    for choice in (1, most):
        monkeypatch.setattr(ThreadChooser, "choose", lambda self, all_, choice=choice: choice)
        fit = ppl.fit(program, *data, steps=6, batch_size=10_000, optimizer=optimizer, seed=0)
        whole.append((fit.state._flat.tobytes(), fit.history["loss"].tolist()))
    assert whole[0] == whole[1] and numba.get_num_threads() == most


def test_the_faster_number_of_threads_is_taken_and_the_other_tried_again():
    pace, clock = ThreadChooser(), {2: 0.3, 1: 0.2}
    chosen = []
    for _ in range(3 * SLOWER_AGAIN):
        chosen.append(pace.choose(2))
        pace.seconds[chosen[-1]] = clock[chosen[-1]]
    assert chosen[:3] == [2, 1, 1] and chosen.count(2) == 1 + 3
    clock[2] = 0.1
    for _ in range(3 * SLOWER_AGAIN):
        chosen.append(pace.choose(2))
        pace.seconds[chosen[-1]] = clock[chosen[-1]]
    assert chosen[-2:] == [2, 1] and chosen[-SLOWER_AGAIN:].count(2) == SLOWER_AGAIN - 1


def test_states_that_a_callback_keeps_do_not_change_and_runs_resume_bit_for_bit(tmp_path):
    data = (LEFT, RIGHT, Y)
    program = compiled(factors, data, "float32")
    kept = []
    options = {"batch_size": 128, "optimizer": ppl.optim.AdaGrad(0.1), "seed": 5}
    whole = ppl.fit(program, *data, steps=9, **options)
    ppl.fit(program, *data, steps=9, callback=lambda t, state, m: kept.append((state, state._flat.copy())), **options)
    assert [s.step for s, _ in kept] == list(range(1, 10))
    for state, flat in kept:
        assert state._flat.tobytes() == flat.tobytes() and state.opt["t"] == state.step
    assert kept[-1][0]._flat.tobytes() == whole.state._flat.tobytes()
    path = tmp_path / "run.npz"
    ppl.fit(program, *data, steps=4, checkpoint=(path, 3), **options)
    resumed = ppl.fit(program, *data, steps=9, checkpoint=(path, 3), **options)
    assert resumed.state._flat.tobytes() == whole.state._flat.tobytes()
    assert resumed.state.opt["sum"].tobytes() == whole.state.opt["sum"].tobytes()
    np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])
    start = program.init(5)
    before = start._flat.copy()
    ppl.fit(program, *data, steps=2, state=start, **{k: v for k, v in options.items() if k != "seed"})
    assert start._flat.tobytes() == before.tobytes()


def test_validation_after_every_epoch_sees_the_state_of_then():
    data = (LEFT, RIGHT, Y)
    program = compiled(factors, data)
    found = ppl.fit(program, *data, epochs=3, batch_size=150, optimizer=OPTIMIZERS[1], seed=1, validation=data)
    assert found.history["validation_step"].tolist() == [3, 6, 9]
    again = ppl.fit(program, *data, epochs=1, batch_size=150, optimizer=OPTIMIZERS[1], seed=1)
    assert found.history["validation"][0] == program.value(again.state, *data) / ROWS


def test_a_run_that_diverges_ends_with_the_last_good_state():
    data = (LEFT, RIGHT, Y)
    program = compiled(factors, data, "float32")
    with pytest.raises(FitError, match="training stopped at step") as sparse:
        ppl.fit(program, *data, steps=500, optimizer=ppl.optim.SGD(40.0), seed=0)
    with pytest.raises(FitError) as whole:
        ppl.fit(program, *data, steps=500, optimizer=dense(ppl.optim.SGD(40.0)), seed=0)
    assert sparse.value.step == whole.value.step > 1
    assert np.isfinite(sparse.value.state._flat).all() and sparse.value.state.step == sparse.value.step
    assert len(sparse.value.fit.history["loss"]) == sparse.value.step
    bad, _ = program.update(sparse.value.state, *data, optimizer=ppl.optim.SGD(40.0), nonfinite="keep")
    assert not np.isfinite(bad._flat).all()


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [(ppl.optim.SGD(0.1), True), (ppl.optim.AdaGrad(0.1), True), (ppl.optim.Adam(0.1), False),
     (ppl.optim.Momentum(0.1), False), (ppl.optim.SGD(0.1, clip_norm=1.0), False)],
    ids=["SGD", "AdaGrad", "Adam", "Momentum", "clipped"],
)  # fmt: skip
def test_rules_that_move_rows_of_gradient_zero_stay_whole(optimizer, kind, monkeypatch):
    program, taken = compiled(factors, (LEFT, RIGHT, Y)), []
    monkeypatch.setattr(SparseTrainer, "run", lambda self, *a: taken.append(1) or 0)
    ppl.fit(program, LEFT, RIGHT, Y, steps=2, optimizer=optimizer)
    assert bool(taken) == kind


def test_batches_from_a_stream_are_steps_in_place_too():
    program = compiled(factors, (LEFT, RIGHT, Y))
    parts = [slice(0, 100), slice(100, 150), slice(150, 400)]
    batches = [(LEFT[p], RIGHT[p], Y[p]) for p in parts]
    sparse, whole = (
        ppl.fit(program, batches=batches, epochs=2, optimizer=o, seed=4) for o in (OPTIMIZERS[1], dense(OPTIMIZERS[1]))
    )
    assert sparse.state.step == 6
    for name in ("u", "v", "bias", "weight"):
        np.testing.assert_allclose(sparse.state.params[name], whole.state.params[name], rtol=1e-8, atol=1e-10)


WORDS = RNG.integers(0, 60, ROWS)


def tables(width, *names):
    """Parameters of this width, a table each."""
    return [ppl.param(name, ppl.init.normal(0.3), shape=(300, width)) for name in names]


def contrast(width, count):
    """Words against other ones: two products that share a factor, whose gradient is a sum of rows."""

    @ppl.model
    def model(left, right, others):
        u, v = tables(width, "u", "v")
        with ppl.plate("data", left, right, others) as (left, right, others):
            ppl.cost("near", ppl.softplus(-(u[right] @ v[left])))
            ppl.cost("far", np.sum(ppl.softplus(u[others] @ v[left])))

    return model, (LEFT, WORDS, RNG.integers(0, 60, (ROWS, count)))


def single_rows():
    """Both factors of a product are single rows; beside them a table that is no factor, a number and a setting."""

    @ppl.model
    def model(left, right, y):
        u, v = tables(40, "u", "v")
        bias, base = ppl.param("bias", 0.0, shape=(5000,)), ppl.param("base", 0.1)
        strength = ppl.hyper("strength", 0.7)
        with ppl.plate("data", left, right, y) as (left, right, y):
            ppl.cost("square", strength * (y - u[left] @ v[right] - bias[left] - base) ** 2)

    return model, (LEFT, WORDS, Y)


def one_table():
    """A table whose rows are multiplied by others of its own, a row by itself among them."""

    @ppl.model
    def model(left, right, y):
        (u,) = tables(33, "u")
        with ppl.plate("data", left, right, y) as (left, right, y):
            ppl.cost("square", (y - u[left] @ u[right]) ** 2)

    return model, (LEFT, np.where(RNG.random(ROWS) < 0.3, LEFT, WORDS), Y)


def random_words():
    """Rows that the step draws, and rows that are computed, most of which are the last one."""

    @ppl.model
    def model(left, y):
        noise = alias_table(1.0 / np.arange(1, 51))
        u, v = tables(64, "u", "v")
        with ppl.plate("data", left, y) as (left, y):
            ppl.cost("far", y**2 * np.sum(ppl.softplus(u[noise.sample("noise", 3)] @ v[left])))
            ppl.cost("end", (u[np.minimum(9 * left, 299)] @ v[left]) ** 2)

    return model, (LEFT, Y)


PRODUCTS = {"row and others": contrast(100, 5), "many rows": contrast(32, 11), "single rows": single_rows(),
            "one table": one_table(), "drawn": random_words()}  # fmt: skip


@pytest.mark.parametrize("case", PRODUCTS.values(), ids=PRODUCTS.keys())
@pytest.mark.parametrize("size", [None, 128], ids=["all rows", "minibatches"])
def test_fit_of_products_of_rows_is_that_of_whole_gradients(case, size):
    model, data = case
    program = ppl.compile(model, data=data, dtype="float64")
    assert type(trainer_of(program.prepare(), True)) is SparseTrainer
    options = {"steps": 7, "batch_size": size, "seed": 3}
    sparse, whole = (ppl.fit(program, *data, optimizer=o, **options) for o in (OPTIMIZERS[0], dense(OPTIMIZERS[0])))
    np.testing.assert_allclose(sparse.history["loss"], whole.history["loss"], rtol=1e-11)
    start = program.init(3)
    for name, value in sparse.state.params.items():
        np.testing.assert_allclose(value, whole.state.params[name], rtol=1e-9, atol=1e-11)
        moved = np.asarray(whole.state.params[name]) != np.asarray(start.params[name])
        assert moved.any() and np.array_equal(np.asarray(value)[~moved], np.asarray(start.params[name])[~moved])
