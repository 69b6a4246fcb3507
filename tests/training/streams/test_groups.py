"""Batches that have been read ahead and are taken in one call of compiled code: the same bits as one by one."""

import functools
import itertools
import threading
import time

import numpy as np
import pytest

import ppl
from ppl.errors import FitError
from ppl.training.optim import SGD, Adam
from ppl.training.prefetcher import Prefetcher
from ppl.training.trainers import Trainer

fit = functools.partial(ppl.fit, progress=False)

ROWS = np.random.default_rng(3).normal(size=(640, 3))

MANY = 20_000
"""Parameters that threads update together."""


@ppl.model
def noisy(x, shift):
    loc = ppl.param("loc", np.zeros(3))
    with ppl.plate("rows", x) as x:
        z = ppl.sample("z", ppl.Normal(loc, 1.0))
        ppl.cost("c", ((z - x) ** 2).sum(-1) + (shift * loc).sum())


@ppl.model
def wide(x):
    w = ppl.param("w", np.zeros((3, MANY // 3)))
    with ppl.plate("rows", x) as x:
        z = ppl.sample("z", ppl.Bernoulli(logits=x @ w))
        ppl.cost("c", ((z - 0.3) ** 2).sum(-1))


@ppl.model
def tabled(i, x):
    table = ppl.param("table", np.zeros((50, 3)))
    with ppl.plate("rows", i, x) as (i, x):
        z = ppl.sample("z", ppl.Normal(table[i], 0.5))
        ppl.cost("c", ((z - x) ** 2).sum(-1))


@ppl.model
def plain(t):
    loc = ppl.param("loc", np.zeros(3))
    z = ppl.sample("z", ppl.Normal(loc, 1.0))
    ppl.cost("c", ((z - t) ** 2).sum())


@functools.cache
def compiled(model):
    return ppl.compile(model, dtype="float64")


@pytest.fixture
def calls(monkeypatch):
    """The number of steps of every call of a training loop; a reader that reads ahead is waited for."""
    ready, run, found = Prefetcher.ready, Trainer.run, []

    def full(self):
        while self._thread.is_alive() and self._room._value:
            time.sleep(1e-4)
        return ready(self)

    def counted(self, live, steps, rates, hypers):
        found.append(len(rates))
        return run(self, live, steps, rates, hypers)

    monkeypatch.setattr(Prefetcher, "ready", full)
    monkeypatch.setattr(Trainer, "run", counted)
    return found


def _parts(sizes, *columns):
    ends = np.cumsum([0, *sizes])
    return [tuple(c[a:b] for c in columns) for a, b in itertools.pairwise(ends)]


def _same(one, other):
    assert one.state.step == other.state.step
    for name, value in one.state.params.items():
        np.testing.assert_array_equal(value, other.state.params[name])
    for name in one.history:
        np.testing.assert_array_equal(one.history[name], other.history[name])


SHIFT = np.array([0.1, 0.2, -0.3])

INDEX = np.random.default_rng(1).integers(50, size=640)

CASES = {
    "rows": (noisy, [(x, SHIFT) for (x,) in _parts([40] * 16, ROWS)]),
    "other lengths between": (noisy, [(x, SHIFT) for (x,) in _parts([40] * 5 + [24, 56] + [40] * 9, ROWS)]),
    "other values that are not rows": (noisy, [(x, k * SHIFT) for k, (x,) in enumerate(_parts([40] * 16, ROWS))]),
    "parameters of threads": (wide, _parts([40] * 16, ROWS)),
    "tables": (tabled, _parts([40] * 16, INDEX, ROWS)),
    "no rows": (plain, [(x,) for x in ROWS[:16]]),
}


@pytest.mark.parametrize("case", CASES)
def test_batches_taken_together_give_the_same_bits(case, calls):
    model, batches = CASES[case]
    program = compiled(model)
    for optimizer in (SGD(0.01), Adam(0.01)):
        alone = fit(program, batches=batches, steps=38, optimizer=optimizer)
        assert set(calls) <= {0, 1}
        calls.clear()
        together = fit(program, batches=batches, steps=38, optimizer=optimizer, prefetch=6)
        assert max(calls) >= 4, calls
        _same(together, alone)
        calls.clear()


def test_rows_of_a_mapped_file_are_those_in_memory(tmp_path, calls):
    np.save(tmp_path / "x.npy", ROWS)
    program, mapped = compiled(noisy), np.load(tmp_path / "x.npy", mmap_mode="r")
    memory = fit(program, ROWS, SHIFT, batch_size=50, steps=40, optimizer=Adam(0.01))
    calls.clear()
    found = fit(program, mapped, SHIFT, batch_size=50, steps=40, optimizer=Adam(0.01), prefetch=5)
    assert max(calls) >= 3
    _same(found, memory)


def test_someone_who_looks_sees_every_step_that_he_asked_for(tmp_path, calls):
    model, batches = CASES["rows"]
    program, seen, path = compiled(model), [], tmp_path / "run.npz"

    def look(step, state, metrics):
        seen.append((step, state.params["loc"].copy(), metrics["loss"]))

    look.every = 3
    checks = []
    options = {"batches": batches, "optimizer": Adam(0.01), "prefetch": 6}
    found = fit(program, steps=38, callback=look, validation=lambda s: checks.append(s.step) or 0.0, **options)
    assert [s for s, *_ in seen] == [*range(3, 38, 3)]
    assert checks == [16, 32, 38]
    assert max(calls) == 3
    for step, loc, loss in seen:
        alone = fit(program, steps=step, **options | {"prefetch": None})
        np.testing.assert_array_equal(loc, alone.state.params["loc"])
        assert loss == alone.history["loss"][-1]
    fit(program, steps=21, checkpoint=(path, 5), **options)
    _same(fit(program, steps=38, checkpoint=(path, 5), **options), found)


def test_a_step_that_is_not_finite_ends_training_where_it_stands(calls):
    model, batches = CASES["rows"]
    bad = [*batches]
    bad[9] = (batches[9][0] * 1e200, SHIFT)
    program = compiled(model)
    fit(program, batches=batches, steps=16, optimizer=SGD(0.01), prefetch=6)
    with pytest.raises(FitError, match="training stopped at step 9") as raised:
        fit(program, batches=bad, steps=38, optimizer=SGD(0.01), prefetch=6)
    alone = fit(program, batches=batches, steps=9, optimizer=SGD(0.01))
    np.testing.assert_array_equal(raised.value.state.params["loc"], alone.state.params["loc"])
    assert len(raised.value.fit.history["loss"]) == 9


def test_two_fits_of_a_program_at_the_same_time_do_not_share_memory():
    model, batches = CASES["tables"]
    program, found = compiled(model), {}
    options = {"batches": batches, "steps": 400, "optimizer": SGD(0.01)}
    alone = {seed: fit(program, seed=seed, **options) for seed in (0, 1)}
    threads = [threading.Thread(target=lambda s=s: found.update({s: fit(program, seed=s, **options)})) for s in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed in (0, 1):
        _same(found[seed], alone[seed])
