"""Tables that threads share by columns: what `fit` gets from them is what whole gradients give."""

import itertools

import numba
import numpy as np
import pytest

import ppl
from ppl.errors import FitError
from ppl.models.alias import alias_table
from ppl.training.trainers import ColumnTrainer, SparseTrainer, trainer_of

N, ROWS = 300, 500

RNG = np.random.default_rng(0)

LEFT, RIGHT = RNG.integers(0, 40, ROWS), RNG.integers(0, 60, ROWS)

Y = RNG.normal(size=ROWS)

SGD = ppl.optim.SGD(ppl.optim.exponential(0.2, 0.9, 5))


def tables(width, *names):
    return [ppl.param(name, ppl.init.normal(0.3), shape=(N, width)) for name in names]


def contrast(width, count):
    """Words against other ones: two products that share a factor, whose gradient is a sum of rows."""

    @ppl.model
    def model(left, right, others):
        u, v = tables(width, "u", "v")
        with ppl.plate("data", left, right, others) as (left, right, others):
            ppl.cost("near", ppl.softplus(-(u[right] @ v[left])))
            ppl.cost("far", np.sum(ppl.softplus(u[others] @ v[left])))

    return model, (LEFT, RIGHT, RNG.integers(0, 60, (ROWS, count)))


def factors():
    """Both factors of a product are single rows; beside them a table that is no factor, a number and a setting."""

    @ppl.model
    def model(left, right, y):
        u, v = tables(40, "u", "v")
        bias, base = ppl.param("bias", 0.0, shape=(5000,)), ppl.param("base", 0.1)
        strength = ppl.hyper("strength", 0.7)
        with ppl.plate("data", left, right, y) as (left, right, y):
            ppl.cost("square", strength * (y - u[left] @ v[right] - bias[left] - base) ** 2)

    return model, (LEFT, RIGHT, Y)


def one_table():
    """A table whose rows are multiplied by others of its own, a row by itself among them."""

    @ppl.model
    def model(left, right, y):
        (u,) = tables(33, "u")
        with ppl.plate("data", left, right, y) as (left, right, y):
            ppl.cost("square", (y - u[left] @ u[right]) ** 2)

    return model, (LEFT, np.where(RNG.random(ROWS) < 0.3, LEFT, RIGHT), Y)


def random_words():
    """Rows that the step draws, and rows that are computed, most of which are the last one."""

    @ppl.model
    def model(left, y):
        noise = alias_table(1.0 / np.arange(1, 51))
        u, v = tables(64, "u", "v")
        with ppl.plate("data", left, y) as (left, y):
            ppl.cost("far", y**2 * np.sum(ppl.softplus(u[noise.sample("noise", 3)] @ v[left])))
            ppl.cost("end", (u[np.minimum(9 * left, N - 1)] @ v[left]) ** 2)

    return model, (LEFT, Y)


CASES = {"parts of 50": contrast(100, 5), "three parts": contrast(130, 2), "many rows": contrast(32, 11),
         "single rows": factors(), "one table": one_table(), "drawn": random_words()}  # fmt: skip


def compiled(case, dtype="float64"):
    model, data = case
    return ppl.compile(model, data=data, dtype=dtype), data


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("size", [None, 128], ids=["all rows", "minibatches"])
def test_fit_is_that_of_whole_gradients(case, size):
    program, data = compiled(case)
    assert isinstance(trainer_of(program.prepare(), True, "SGD"), ColumnTrainer)
    options = {"steps": 7, "batch_size": size, "seed": 3}
    cut, whole = (ppl.fit(program, *data, optimizer=o, **options) for o in (SGD, {"*": SGD}))
    np.testing.assert_allclose(cut.history["loss"], whole.history["loss"], rtol=1e-11)
    start = program.init(3)
    for name, value in cut.state.params.items():
        np.testing.assert_allclose(value, whole.state.params[name], rtol=1e-9, atol=1e-11)
        moved = np.asarray(whole.state.params[name]) != np.asarray(start.params[name])
        assert moved.any() and np.array_equal(np.asarray(value)[~moved], np.asarray(start.params[name])[~moved])


def test_the_emitted_loop_takes_products_by_columns():
    program, _ = compiled(CASES["parts of 50"], "float32")
    source = trainer_of(program.prepare(), True, "SGD").executable.source
    assert "* 64" in source and "table_dot" not in source and source.count("_products, ") == 1
    assert isinstance(trainer_of(program.prepare(), True, "AdaGrad"), SparseTrainer)
    assert not isinstance(trainer_of(program.prepare(), True, "AdaGrad"), ColumnTrainer)


@pytest.mark.parametrize("read", ["row", "penalty", "product of sums"])
def test_tables_read_in_other_ways_are_shared_by_rows(read):
    @ppl.model
    def model(left, right):
        u, v = tables(32, "u", "v")
        if read == "penalty":
            ppl.cost("penalty", 1e-3 * np.sum(u**2))
        with ppl.plate("data", left, right) as (left, right):
            if read == "row":
                ppl.cost("size", np.sum(np.tanh(u[left])))
            if read == "product of sums":
                ppl.cost("sums", ((u[left] + u[right]) @ v[left]) ** 2)
            ppl.cost("product", (u[left] @ v[right]) ** 2)

    program = ppl.compile(model, data=(LEFT, RIGHT), dtype="float64")
    assert type(trainer_of(program.prepare(), True, "SGD")) is SparseTrainer
    cut, whole = (ppl.fit(program, LEFT, RIGHT, optimizer=o, steps=3, seed=1) for o in (SGD, {"*": SGD}))
    for name in ("u", "v"):
        np.testing.assert_allclose(cut.state.params[name], whole.state.params[name], rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread")
def test_tables_have_the_same_bits_on_any_number_of_threads():
    model, _ = contrast(100, 5)
    data = RNG.integers(0, N, 9000), RNG.integers(0, N, 9000), RNG.integers(0, N, (9000, 5))
    program, most, found = ppl.compile(model, data=data, dtype="float32"), numba.get_num_threads(), []
    exe = trainer_of(program.prepare(), True, "SGD").executable
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            assert exe._threads(exe._slabs(exe._sizes({"data": 3000}, 1, 1)), None) == threads
            found.append(ppl.fit(program, *data, steps=6, batch_size=3000, optimizer=SGD, seed=0).state._flat)
    finally:
        numba.set_num_threads(most)
    assert found[0].tobytes() == found[1].tobytes()
    assert not np.array_equal(found[0], program.init(0)._flat)


def test_states_that_are_looked_at_do_not_change_and_runs_resume_bit_for_bit(tmp_path):
    program, data = compiled(CASES["single rows"], "float32")
    options, kept = {"batch_size": 128, "optimizer": SGD, "seed": 5}, []
    whole = ppl.fit(program, *data, steps=9, **options)
    watched = ppl.fit(
        program, *data, steps=9, callback=lambda t, state, m: kept.append((state, state._flat.copy())), **options
    )
    assert watched.state._flat.tobytes() == whole.state._flat.tobytes() == kept[-1][0]._flat.tobytes()
    assert all(state._flat.tobytes() == flat.tobytes() for state, flat in kept)
    assert all((a[1] != b[1]).any() for a, b in itertools.pairwise(kept))
    path = tmp_path / "run.npz"
    ppl.fit(program, *data, steps=4, checkpoint=(path, 3), **options)
    resumed = ppl.fit(program, *data, steps=9, checkpoint=(path, 3), **options)
    assert resumed.state._flat.tobytes() == whole.state._flat.tobytes()
    np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])


@pytest.mark.parametrize("case", ["single rows", "parts of 50"])
def test_a_run_that_diverges_ends_with_the_last_good_state(case):
    program, data = compiled(CASES[case], "float32")
    rate = ppl.optim.SGD(1e4 if case == "single rows" else 1e12)
    with pytest.raises(FitError, match="training stopped at step") as cut:
        ppl.fit(program, *data, steps=500, optimizer=rate, seed=0)
    with pytest.raises(FitError) as whole:
        ppl.fit(program, *data, steps=500, optimizer={"*": rate}, seed=0)
    assert cut.value.step == whole.value.step >= 1
    assert np.isfinite(cut.value.state._flat).all() and cut.value.state.step == cut.value.step
    bad, _ = program.update(cut.value.state, *data, optimizer=rate, nonfinite="keep")
    assert not np.isfinite(bad._flat).all()


def test_batches_from_a_stream_keep_the_parts():
    program, data = compiled(CASES["one table"])
    batches = [tuple(d[p] for d in data) for p in (slice(0, 100), slice(100, 150), slice(150, 500))]
    cut, whole = (ppl.fit(program, batches=batches, epochs=2, optimizer=o, seed=4) for o in (SGD, {"*": SGD}))
    assert cut.state.step == 6
    np.testing.assert_allclose(cut.state.params["u"], whole.state.params["u"], rtol=1e-9, atol=1e-11)


def test_words_that_a_model_draws_have_the_probabilities_of_the_table():
    noise = alias_table(np.array([5.0, 1.0, 0.0, 3.0, 7.0, 0.5]))

    @ppl.model
    def counts(x):
        with ppl.plate("data", x):
            drawn = noise.sample("noise", 4)
            ppl.cost("first", np.mean(np.where(drawn < 1, 1.0, 0.0)))
            ppl.cost("squares", 100.0 * np.mean(drawn * drawn))

    n = 40_000
    program = ppl.compile(counts, data=(np.zeros(n),))
    total = program.value(program.init(0), np.zeros(n)) / n
    k = np.arange(6)
    values = (k < 1) + 100.0 * k * k
    mean = np.sum(noise.probs * values)
    error = np.sqrt(np.sum(noise.probs * (values - mean) ** 2) / (4 * n))
    assert abs(total - mean) < 5 * error and error < 0.01 * mean
