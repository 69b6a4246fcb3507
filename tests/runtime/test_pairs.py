"""Rows of little work are cut in two: threads that are awake take a half each, a call by itself takes both."""

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl.runtime.executable import EmittedProgram

RNG = np.random.default_rng(0)

X = RNG.normal(size=(1201, 13)).astype(np.float32)

Y = np.arange(len(X)) % 5


@ppl.model
def counts(x, y):
    w = ppl.param("w", np.linspace(-0.2, 0.2, 13))
    with ppl.plate("data", x, y) as (x, y):
        ppl.sample("y", ppl.Poisson(np.exp(x @ w)), obs=y)


@pytest.fixture(scope="module")
def program():
    return ppl.compile(ppl.likelihood(counts), data=(X, Y))


@pytest.fixture
def shared(monkeypatch):
    """How many threads the calls of this test were offered."""
    found = []

    def threads(self, slabs, threads):
        found.append(min(slabs, 2))
        return found[-1]

    monkeypatch.setattr(EmittedProgram, "_threads", threads)
    return found


def slabs_of(program, rows):
    executable = program.prepare().executable("gradient")
    return executable._slabs(executable._sizes({"data": rows}, 1, 1))


def test_a_call_by_itself_wakes_nobody(program, shared):
    assert slabs_of(program, len(X)) == 2
    program.value_and_grad(program.init(0), X, Y)
    assert shared == []


@pytest.mark.parametrize(("steps", "block"), [(40, 0), (40, 3)])
def test_long_blocks_of_steps_share_their_rows(program, shared, steps, block):
    ppl.fit(program, X, Y, steps=1, optimizer=ppl.optim.Adam(1e-2), progress=False)  # which compiles for two threads
    shared.clear()

    def callback(*_):
        return False

    callback.every = block
    ppl.fit(program, X, Y, steps=steps, optimizer=ppl.optim.Adam(1e-2), progress=False,
            callback=callback if block else None)  # fmt: skip
    assert bool(shared) == (not block)


def test_values_and_gradients_are_those_of_scipy_at_odd_numbers_of_rows(program):
    state = program.init(0)
    w = state.params["w"].astype(np.float64)
    for rows in (1, 15, 255, 767, 768, 1001, len(X)):
        x, y = X[:rows].astype(np.float64), Y[:rows]
        rate = np.exp(x @ w)
        loss, grads = program.value_and_grad(state, X[:rows], Y[:rows])
        np.testing.assert_allclose(loss, -stats.poisson.logpmf(y, rate).sum(), rtol=2e-6)
        np.testing.assert_allclose(grads["w"], x.T @ (rate - y), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("batch", [None, 1000])
def test_training_has_the_bits_of_single_calls(program, batch):
    adam = ppl.optim.Adam(1e-2)
    start = program.init(0)
    fit = ppl.fit(program, X, Y, steps=20, batch_size=batch, optimizer=adam, state=start, progress=False)
    seen, last = [], start
    ppl.fit(program, X, Y, steps=20, batch_size=batch, optimizer=adam, state=start, progress=False,
            callback=lambda _, state, metrics: seen.append(metrics["loss"]))  # fmt: skip
    assert seen == fit.history["loss"].tolist()
    if batch is None:
        for _ in range(20):
            last, _ = program.update(last, X, Y, optimizer=adam)
        assert last._flat.tobytes() == fit.state._flat.tobytes()


def test_data_that_change_in_place_between_calls_are_read_again(program):
    x, y = X.copy(), Y.copy()
    state, adam = program.init(0), ppl.optim.Adam(1e-2)
    before = ppl.fit(program, x, y, steps=20, optimizer=adam, state=state, progress=False)
    y[:] = (Y + 3) % 7
    changed = ppl.fit(program, x, y, steps=20, optimizer=adam, state=state, progress=False)
    fresh = ppl.fit(program, x.copy(), y.copy(), steps=20, optimizer=adam, state=state, progress=False)
    assert changed.history["loss"].tolist() == fresh.history["loss"].tolist() != before.history["loss"].tolist()
