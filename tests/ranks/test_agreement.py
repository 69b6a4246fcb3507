"""What goes wrong on one rank ends the run on all, at the same step, without anyone waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, FitError, OptionError, RankError
from tests.ranks.fake import FakeComm, checked, on_ranks
from tests.ranks.models import global_and_local, pixels

OPTIONS: dict[str, Any] = {"batch_size": 6, "optimizer": ppl.optim.SGD(0.05), "seed": 2}


@pytest.fixture(scope="module")
def program() -> Any:
    """Compiled once."""
    return global_and_local()


def halves(x: np.ndarray, comm: FakeComm) -> np.ndarray:
    """Rank 1 has the rest."""
    return x[:11] if comm.Get_rank() == 0 else x[11:]


def test_nan_on_one_rank(program: Any) -> None:
    """All end at the step before, with the message of the rank where it appeared."""
    x = pixels()
    x[13, 0] = 1e200  # its square overflows
    with pytest.raises(FitError) as raised:
        ppl.fit(program, x, steps=30, **OPTIONS)
    alone = raised.value
    errors = on_ranks(2, lambda c: ppl.fit(program.on(c), halves(x, c), steps=30, **OPTIONS))
    assert [type(e) for e in errors] == [FitError, FitError]
    assert str(errors[0]) == str(errors[1]) and "on rank 1" in str(errors[0])
    assert [getattr(e, "__ppl_quiet__", False) for e in errors] == [True, False]
    assert errors[0].step == errors[1].step == alone.step > 0
    assert np.array_equal(errors[0].state._flat, errors[1].state._flat)
    np.testing.assert_allclose(errors[0].state._flat, alone.state._flat, rtol=1e-9)


@pytest.mark.parametrize("where", ["data", "callback", "validation", "checkpoint", "schedule"])
def test_an_error_on_one_rank(program: Any, where: str, tmp_path: Path) -> None:
    """Users' functions, files and data fail on one rank: the others raise RankError."""
    x = pixels()
    corrupted = tmp_path / "corrupted.npz"
    corrupted.write_bytes(b"no checkpoint")

    def fails(*_: Any) -> float:
        raise ZeroDivisionError("the user's")

    def run(comm: FakeComm) -> Any:
        mine, more = halves(x, comm), dict(OPTIONS)
        if where == "data" and comm.Get_rank() == 1:
            mine = mine[:, :3]
        more |= {"callback": {"callback": fails}, "validation": {"validation": fails}}.get(where, {})
        more |= {"checkpoint": {"checkpoint": corrupted}}.get(where, {})
        if where == "schedule" and comm.Get_rank() == 0:
            more["optimizer"] = ppl.optim.SGD(lambda t: 0.1 if t < 3 else fails())
        return ppl.fit(program.on(comm), mine, steps=30, **more)

    errors = on_ranks(2, run)
    kinds = {"data": (RankError, DataError), "checkpoint": (DataError, RankError), "schedule": (FitError, RankError)}
    assert tuple(type(e) for e in errors) == kinds.get(where, (ZeroDivisionError, RankError))
    other = errors[0] if where == "data" else errors[1]
    assert other.rank == (1 if where == "data" else 0)


def test_interrupted_and_resumed(program: Any, tmp_path: Path) -> None:
    """Ctrl-C on rank 0 ends all; the run goes on with another number of ranks, and with one process."""
    x, path = pixels(), tmp_path / "run.npz"

    def stop(step: int, state: Any, metrics: Any) -> None:
        if step == 4:
            raise KeyboardInterrupt

    options = {**OPTIONS, "checkpoint": path, "validation": pixels(5)}
    first = checked(on_ranks(2, lambda c: ppl.fit(program.on(c), halves(x, c), steps=20, callback=stop, **options)))
    assert [f.state.step for f in first] == [4, 4]
    third = lambda c: x[23 * c.Get_rank() // 3 : 23 * (c.Get_rank() + 1) // 3]  # noqa: E731
    again = checked(on_ranks(3, lambda c: ppl.fit(program.on(c), third(c), steps=12, **options)))
    whole = ppl.fit(program, x, steps=12, **{**OPTIONS, "validation": pixels(5)})
    for fit in again:
        np.testing.assert_allclose(fit.state._flat, whole.state._flat, rtol=1e-9)
        for key in whole.history:
            np.testing.assert_allclose(fit.history[key], whole.history[key], rtol=1e-9)
    assert ppl.fit(program, x, steps=14, **options).state.step == 14


def test_a_callback_ends_all(program: Any) -> None:
    """What rank 0's callback answers counts for all, and it is called there alone."""
    x, calls = pixels(), []

    def run(comm: FakeComm) -> Any:
        def seen(step: int, state: Any, metrics: Any) -> bool:
            calls.append(comm.Get_rank())
            return step == 3

        return ppl.fit(program.on(comm), halves(x, comm), steps=20, callback=seen, **OPTIONS)

    assert [f.state.step for f in checked(on_ranks(2, run))] == [3, 3]
    assert calls == [0, 0, 0]


def test_contradictions_are_refused(program: Any) -> None:
    """Equal rows without a word, other options on other ranks, no rows at all, no communicator."""
    x = pixels()
    same = on_ranks(2, lambda c: ppl.fit(program.on(c), x, steps=2, **OPTIONS))
    assert all(isinstance(e, DataError) and "replicated=True" in str(e) for e in same)
    assert len({str(e) for e in same}) == 1
    other = on_ranks(2, lambda c: ppl.fit(program.on(c), halves(x, c), steps=2 + c.Get_rank(), **OPTIONS))
    assert all(isinstance(e, OptionError) and "steps=: 2, 3" in str(e) for e in other)
    empty = on_ranks(2, lambda c: ppl.fit(program.on(c), x[:0], steps=2, **OPTIONS))
    assert all(isinstance(e, DataError) and "no rows on any rank" in str(e) for e in empty)
    with pytest.raises(OptionError, match="communicator of mpi4py"):
        ppl.fit(program.on(3), x, steps=2, **OPTIONS)
    told = on_ranks(2, lambda c: program.on(c).value(program.init(c.Get_rank(), x), halves(x, c)))
    assert all(isinstance(e, DataError) and "different states" in str(e) for e in told)
