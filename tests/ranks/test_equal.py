"""Threads that stand for ranks: what they find together is what one process finds, up to the order of sums."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, EstimatorError, OptionError
from ppl.estimators import ScoreFunction
from tests.ranks.fake import FakeComm, checked, on_ranks
from tests.ranks.models import ROWS, belief_net, global_and_local, over_time, pairs, pixels, skip_gram, without_rows

CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def part(x: np.ndarray, comm: FakeComm) -> np.ndarray:
    """Rows of unequal parts: rank 1 has none where there are three ranks."""
    cuts = {1: [0, 23], 2: [0, 9, 23], 3: [0, 9, 9, 23], 4: [0, 4, 11, 12, 23]}[comm.Get_size()]
    return x[cuts[comm.Get_rank()] : cuts[comm.Get_rank() + 1]]


def same(a: ppl.Fit, b: ppl.Fit) -> None:
    """Two runs agree."""
    assert a.history.keys() == b.history.keys()
    for key in b.history:
        np.testing.assert_allclose(a.history[key], b.history[key], **CLOSE)
    np.testing.assert_allclose(a.state._flat, b.state._flat, **CLOSE)
    np.testing.assert_allclose(a.state._aux, b.state._aux, **CLOSE)


@pytest.mark.parametrize("estimator", ["rebar", pytest.param("learned", marks=pytest.mark.slow)])
def test_belief_net(estimator: str) -> None:
    """Local rows, minibatches; adapted variables are functions of sums."""
    program, x = belief_net(estimator), pixels()
    options: dict[str, Any] = {"steps": 7, "batch_size": 10, "optimizer": ppl.optim.Adam(0.05), "seed": 3}
    alone = ppl.fit(program, x, validation=x, **options)
    fits = checked(on_ranks(3, lambda c: ppl.fit(program.on(c), part(x, c), validation=x, **options)))
    for fit in fits:
        same(fit, alone)
        assert np.array_equal(fit.state._flat, fits[0].state._flat)
    state = alone.state
    loss, grads, after = program.step(state, x)
    for got in checked(on_ranks(2, lambda c: program.on(c).step(state, part(x, c)))):
        np.testing.assert_allclose(got[0], loss, **CLOSE)
        for name, grad in grads.items():
            np.testing.assert_allclose(got[1][name], grad, **CLOSE)
        np.testing.assert_allclose(got[2]._aux, after._aux, **CLOSE)
    moved, last = program.update(state, x, optimizer=ppl.optim.Adam(0.05))
    for got, found in checked(
        on_ranks(3, lambda c: program.on(c).update(state, part(x, c), optimizer=ppl.optim.Adam(0.05)))
    ):
        np.testing.assert_allclose(found, last, **CLOSE)
        np.testing.assert_allclose(got._flat, moved._flat, **CLOSE)
        np.testing.assert_allclose(got._aux, moved._aux, **CLOSE)
    values = checked(on_ranks(2, lambda c: program.on(c, replicated=True).value(state, x, seed=5)))
    np.testing.assert_allclose(values, program.value(state, x, seed=5), **CLOSE)


def test_global_and_local_rows() -> None:
    """What lies outside the plate counts once, whole batches and replicated rows in equal parts."""
    program, x = global_and_local(), pixels()
    options: dict[str, Any] = {"steps": 4, "optimizer": ppl.optim.SGD(0.1), "seed": 1}
    for more in ({}, {"batch_size": 3, "accumulate": 2, "total_rows": 100}):
        alone = ppl.fit(program, x, **options, **more)
        for fit in checked(on_ranks(2, lambda c, m=more: ppl.fit(program.on(c), part(x, c), **options, **m))):
            same(fit, alone)
        for fit in checked(on_ranks(2, lambda c, m=more: ppl.fit(program.on(c, replicated=True), x, **options, **m))):
            same(fit, alone)


def test_memory_mapped_rows(tmp_path: Path) -> None:
    """One file for all ranks is cut into equal parts without a word."""
    program, x = global_and_local(), pixels()
    np.save(tmp_path / "rows.npy", x)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    options: dict[str, Any] = {"steps": 5, "batch_size": 7, "optimizer": ppl.optim.SGD(0.1), "seed": 1}
    alone = ppl.fit(program, x, **options)
    for fit in checked(on_ranks(2, lambda c: ppl.fit(program.on(c), mapped, **options))):
        same(fit, alone)
    single = ppl.compile(program.objective, dtype="float32")
    checked(on_ranks(2, lambda c: ppl.fit(single.on(c), mapped, **options)))

    def own(comm: FakeComm) -> None:
        with pytest.raises(DataError, match="pass replicated=False if the rows of each count"):
            ppl.fit(program.on(comm), mapped[comm.Get_rank() :: 2], **options)

    checked(on_ranks(2, own))


def test_particles_are_shared_out() -> None:
    """Five particles on two ranks, and on more ranks than particles."""
    program = without_rows()
    options: dict[str, Any] = {"steps": 6, "optimizer": ppl.optim.SGD(0.1), "seed": 1}
    alone = ppl.fit(program, **options)
    for size in (2, 7):
        for fit in checked(on_ranks(size, lambda c: ppl.fit(program.on(c), **options))):
            same(fit, alone)


def test_estimators_that_compare_particles_are_refused() -> None:
    """A rank does not see the particles of the others; rows keep all of theirs."""
    program = ppl.compile(without_rows().objective, particles=5, estimators=ScoreFunction("leave_one_out"))

    def refused(comm: FakeComm) -> None:
        with pytest.raises(EstimatorError, match="a sum over particles, but particles are combined"):
            ppl.fit(program.on(comm), steps=3, optimizer=ppl.optim.SGD(0.1))

    checked(on_ranks(2, refused))


def test_loops_over_time() -> None:
    """A scan inside a plate, with a baseline for every step."""
    program, x = over_time(), pixels()
    options: dict[str, Any] = {"steps": 4, "optimizer": ppl.optim.SGD(0.01), "seed": 1}
    alone = ppl.fit(program, x, **options)
    for fit in checked(on_ranks(2, lambda c: ppl.fit(program.on(c), part(x, c), **options))):
        same(fit, alone)
    assert len(x) == ROWS


@pytest.mark.parametrize("optimizer", [ppl.optim.SGD(0.5), ppl.optim.LazyAdam(0.05)], ids=["sgd", "lazy_adam"])
def test_tables(optimizer: Any) -> None:
    """Rows that several ranks touch, or one twice, move once; the other rows keep their bits."""
    program, x = skip_gram(), pairs()
    options: dict[str, Any] = {"steps": 9, "batch_size": 12, "optimizer": optimizer, "seed": 4}
    alone = ppl.fit(program, x, **options)
    seen: list[np.ndarray] = []

    def run(comm: FakeComm) -> Any:
        mine = x[: [0, 0, 25, 40][comm.Get_rank() + 1]][[0, 0, 25, 40][comm.Get_rank()] :]
        return ppl.fit(program.on(comm), mine, callback=lambda i, s, m: seen.append(s._flat), **options)

    for fit in checked(on_ranks(3, run)):
        same(fit, alone)
        for name, slot in alone.state.opt.items():
            np.testing.assert_allclose(fit.state.opt[name], slot, **CLOSE)
    assert len({x.tobytes() for x in seen}) == 9


def test_diagnosis() -> None:
    """The same repeats as in one process, with rows on ranks and without rows."""
    program, x = global_and_local(), pixels()
    for data, parts, p in (((x,), lambda c: (part(x, c),), program), ((), lambda c: (), without_rows())):
        state = p.init(0, *data)
        alone = p.diagnose(state, *data, repeats=50, timing=False, backend="interpreter")
        for got in checked(on_ranks(3, lambda c, p=p, s=state, of=parts: p.on(c).diagnose(
            s, *of(c), repeats=50, timing=False, backend="interpreter"))):  # fmt: skip
            assert got.loss == pytest.approx(alone.loss, rel=1e-9)
            for name, gradient in alone.parameters.items():
                np.testing.assert_allclose(got[name].mean, gradient.mean, **CLOSE)
                np.testing.assert_allclose(got[name].variance, gradient.variance, rtol=1e-7, atol=1e-9)


def test_what_is_no_sum_over_rows_is_refused() -> None:
    """A latent of all rows that is summed out: the logarithm of a sum of products over rows."""
    x = pixels()

    @ppl.model
    def model(x: Any) -> None:
        k = ppl.sample("k", ppl.Categorical(logits=ppl.param("a", np.zeros(3))))
        with ppl.plate("data", x) as x:
            ppl.sample("x", ppl.Normal(ppl.param("m", np.arange(3.0))[k], 1.0), obs=x.sum())

    program = ppl.compile(ppl.likelihood(model, marginalize=["k"]), dtype="float64")
    assert np.isfinite(program.value(program.init(0, x), x))
    errors = on_ranks(2, lambda c: ppl.fit(program.on(c), part(x, c), steps=1, optimizer=ppl.optim.SGD(0.1)))
    assert {type(e) for e in errors} == {EstimatorError}
    assert all("its loss is not a sum over rows of plate 'data'" in str(e) for e in errors)


def test_a_program_on_processes_is_the_program_otherwise() -> None:
    """Draws and explanations are local; one process is no other program; it cannot be pickled; old keywords say so."""
    program, x = global_and_local(), pixels()
    state = program.init(0, x)

    def run(comm: FakeComm) -> Any:
        shared = program.on(comm)
        with pytest.raises(TypeError, match="cannot be pickled: pickle the program itself"):
            pickle.dumps(shared)
        with pytest.raises(OptionError, match=r"ppl\.tune is for one process"):
            ppl.tune(shared, state, x)
        with pytest.raises(OptionError, match="leave out on"):
            shared.value(state, x, per_row=True)
        assert shared.prepare(x) is program.prepare(x)
        return shared.sample(state, x, seed=1), shared.on(comm).value(state, part(x, comm))

    sample, value = program.sample(state, x, seed=1), program.value(state, x)
    for drawn, found in checked(on_ranks(2, run)):
        assert found == pytest.approx(value, rel=1e-9)
        for name, wanted in sample.items():
            np.testing.assert_array_equal(drawn[name], wanted)
    assert checked(on_ranks(1, lambda c: program.on(c) is program)) == [True]
    for call in (program.value, program.value_and_grad, program.step, program.diagnose):
        with pytest.raises(TypeError, match=r"program\.on\(comm\)"):
            call(state, x, comm=None)
    with pytest.raises(TypeError, match=r"program\.on\(comm, replicated=...\)"):
        ppl.fit(program, x, steps=1, optimizer=ppl.optim.SGD(0.1), replicated=True)
