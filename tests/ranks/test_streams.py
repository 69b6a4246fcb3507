"""`batches=` and `history=` on ranks: what one process finds on the rows of all, up to the order of sums."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, OptionError, RankError
from tests.ranks.fake import FakeComm, checked, on_ranks
from tests.ranks.models import belief_net, global_and_local, pairs, pixels, skip_gram
from tests.ranks.test_equal import CLOSE, same

CUTS = ([0, 4, 9, 9], [9, 12, 12, 18], [18, 19, 22, 23])
"""Rows of three batches on three ranks: rank 0 has none in the last, rank 1 none in the second."""


def parts(x: np.ndarray, rank: int, ranks: int) -> list[np.ndarray]:
    """What a rank reads in a pass; two ranks are the first one, and the other two together."""
    cuts = CUTS if ranks == 3 else (CUTS[0], None)
    own = cuts[rank]
    if own is not None:
        return [x[a:b] for a, b in itertools.pairwise(own)]
    both = [parts(x, r, 3) for r in (1, 2)]
    return [np.concatenate(p) for p in zip(*both, strict=True)]


def whole(x: np.ndarray) -> list[np.ndarray]:
    """The batches of one process."""
    return [np.concatenate(p) for p in zip(*(parts(x, r, 3) for r in range(3)), strict=True)]


def shuffled(batches: list[np.ndarray]) -> Any:
    """A function that opens a pass, in another order each time."""

    def source(epoch: int, start: int, seed: int) -> Any:
        for i in np.random.default_rng([seed, epoch]).permutation(len(batches))[start:]:
            yield batches[i]

    return source


def compared(program: Any, x: np.ndarray, ranks: int, options: dict[str, Any], **more: Any) -> list[ppl.Fit]:
    """Fits of ranks, each compared with that of one process."""
    alone = ppl.fit(program, batches=shuffled(whole(x)), **options)

    def fit(comm: FakeComm) -> ppl.Fit:
        own = shuffled(parts(x, comm.Get_rank(), comm.Get_size()))
        return ppl.fit(program.on(comm), batches=own, **options, **more)

    fits = checked(on_ranks(ranks, fit))
    for found in fits:
        same(found, alone)
        assert np.array_equal(found.state._flat, fits[0].state._flat)
    return fits


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("more", [{}, {"total_rows": 100}], ids=["each batch", "total"])
def test_adapted_variables_and_noise(ranks: int, more: dict[str, Any]) -> None:
    x = pixels()
    options: dict[str, Any] = {"epochs": 3, "optimizer": ppl.optim.Adam(0.05), "seed": 3, **more}
    compared(belief_net("average"), x, ranks, {**options, "validation": x})


def test_what_stands_outside_of_the_rows_counts_once() -> None:
    options = {"steps": 7, "optimizer": ppl.optim.SGD(0.02), "seed": 1}
    compared(global_and_local(), pixels(), 2, options, prefetch=2)


def test_minibatches_that_are_added_up() -> None:
    """Rows are numbered batch by batch, as in one process."""
    program, x = global_and_local(), pixels()
    options: dict[str, Any] = {"steps": 3, "optimizer": ppl.optim.SGD(0.02), "seed": 1}
    joined = [np.concatenate([parts(x, r, 3)[i] for r in range(3)]) for i in range(3)]
    alone = ppl.fit(program, batches=joined, accumulate=2, **options)
    fits = on_ranks(3, lambda c: ppl.fit(program.on(c), batches=parts(x, c.Get_rank(), 3), accumulate=2, **options))
    for fit in checked(fits):
        same(fit, alone)


def test_tables_are_moved_by_the_rows_of_all() -> None:
    program, x = skip_gram(), pairs()
    options: dict[str, Any] = {"steps": 5, "optimizer": ppl.optim.AdaGrad(0.1), "seed": 2}
    alone = ppl.fit(program, batches=[x], **options)

    def fit(comm: FakeComm) -> ppl.Fit:
        return ppl.fit(program.on(comm), batches=[np.array_split(x, 2)[comm.Get_rank()]], **options)

    for found in checked(on_ranks(2, fit)):
        same(found, alone)


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_run_goes_on_at_its_place_on_another_number_of_ranks(stop: int, tmp_path: Path) -> None:
    program, x, path = belief_net("average"), pixels(), tmp_path / "run.npz"
    options: dict[str, Any] = {"epochs": 3, "optimizer": ppl.optim.Adam(0.05), "seed": 3}
    alone = ppl.fit(program, batches=shuffled(whole(x)), **options)

    def fit(comm: FakeComm, **more: Any) -> ppl.Fit:
        own = shuffled(parts(x, comm.Get_rank(), comm.Get_size()))
        return ppl.fit(program.on(comm), batches=own, checkpoint=path, **options, **more)

    checked(on_ranks(3, lambda c: fit(c, callback=lambda step, *_: step == stop)))
    for found in checked(on_ranks(2, fit)):
        same(found, alone)


def test_a_bounded_history_is_that_of_rank_0(tmp_path: Path) -> None:
    program, x = belief_net("average"), pixels()
    options: dict[str, Any] = {"epochs": 12, "optimizer": ppl.optim.Adam(0.05), "seed": 3, "validation": x}
    files = [tmp_path / name for name in ("alone.csv", "ranks.csv")]
    alone = ppl.fit(program, batches=whole(x), history=(files[0], 8), **options)
    fits = on_ranks(
        3, lambda c: ppl.fit(program.on(c), batches=parts(x, c.Get_rank(), 3), history=(files[1], 8), **options)
    )
    for fit in checked(fits):
        same(fit, alone)
        assert len(fit.history["step"]) <= 8
    one, two = (ppl.load_history(file) for file in files)
    assert one.keys() == two.keys() and len(two["step"]) == 36
    for key in one:
        np.testing.assert_allclose(two[key], one[key], **CLOSE)


def readers_that_go_wrong(rank: int) -> dict[str, Any]:
    x = pixels()

    def broken() -> Any:
        yield x[:4]
        if rank == 1:
            raise OSError("the disk is gone")
        yield x[4:8]

    return {
        "raises": (broken, OSError if rank == 1 else RankError, "the disk is gone"),
        "uneven": ([x[:4]] * (3 - rank), DataError, r"ranks \[1\] have no more batches"),
        "rows": ([x[:0]], DataError, "argument 'x' is empty|no rank has rows"),
    }


@pytest.mark.parametrize("case", ["raises", "uneven", "rows"])
def test_what_goes_wrong_in_a_reader_ends_all(case: str) -> None:
    program = global_and_local()

    def fit(comm: FakeComm) -> str:
        batches, kind, text = readers_that_go_wrong(comm.Get_rank())[case]
        with pytest.raises(kind, match=text):
            ppl.fit(program.on(comm), batches=batches, steps=9, optimizer=ppl.optim.SGD(0.01))
        return "told"

    assert checked(on_ranks(2, fit)) == ["told", "told"]


def test_a_stream_that_ends() -> None:
    program, x = global_and_local(), pixels()

    def fit(comm: FakeComm) -> int:
        return ppl.fit(
            program.on(comm), batches=iter([x[:4], x[4:9]]), steps=9, optimizer=ppl.optim.SGD(0.01)
        ).state.step

    with pytest.warns(UserWarning, match="ended after 2 steps"):
        assert checked(on_ranks(2, fit)) == [2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 3}, "batches= brings the data"),
        ({"replicated": True}, "leave out replicated="),
    ],
)
def test_options_that_contradict_streams(options: dict[str, Any], message: str) -> None:
    options = dict(options)
    replicated = options.pop("replicated", None)

    def fit(comm: FakeComm) -> None:
        program = global_and_local().on(comm, replicated)
        with pytest.raises(OptionError, match=message):
            ppl.fit(program, batches=[pixels()], steps=1, optimizer=ppl.optim.SGD(0.1), **options)

    checked(on_ranks(2, fit))
