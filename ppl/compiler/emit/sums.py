"""Emission of what adds up the accumulators of slabs: between stages, and at the end into the gradient vector.

The order of the slabs is always the same. `share` is what kernels are passed last: how many slabs there are, and which
part of the entries to add up, if not all.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ppl.compiler.emit.code import Assign, Do, Given, Name, Statement, assign, term
from ppl.compiler.emit.scalar import kernel, to_int
from ppl.compiler.emit.unit import SLABS, Unit
from ppl.compiler.lower.views import Poly
from ppl.compiler.schedule.fusion import Value
from ppl.compiler.schedule.memory import area_of
from ppl.compiler.schedule.stages import Stage
from ppl.tuning import MANY_SUMS, MERGED_BY_ALL

ALL: tuple[Given, ...] = (SLABS,)
"""The share of sums between stages: all entries."""

ALONE: tuple[Given, ...] = (SLABS, 0, 1)
"""The share of one thread that adds up all gradients."""


def copies(unit: Unit) -> list[tuple[Poly, str, int]]:
    """(offset in grad, accumulator, size) of the gradients that are accumulators as they stand."""
    out = []
    for stage in unit.stages:
        for target, value in stage.copies:
            size = value.extent().constant
            assert value.buffer is not None and size is not None
            out.append((target.offset, value.buffer.symbol, size))
    return out


def is_shared(unit: Unit) -> bool:
    """Whether threads share the sums into the gradient."""
    return sum(n for _, _, n in copies(unit)) > MERGED_BY_ALL


def runs(unit: Unit, values: Sequence[Value]) -> Iterator[list[Value]]:
    """The values in pieces: those of a piece lie one behind the other in memory."""
    piece: list[Value] = []
    for value in values:
        if piece and not _follows(unit, value, piece[-1]):
            yield piece
            piece = []
        piece.append(value)
    if piece:
        yield piece


def _follows(unit: Unit, value: Value, before: Value) -> bool:
    assert value.buffer is not None and before.buffer is not None
    first, second = (unit.memory.symbols[buffer.symbol] for buffer in (before.buffer, value.buffer))
    alike = value.buffer.array == before.buffer.array and value.node.op == before.node.op
    return alike and second == first + before.extent()


def length(piece: Sequence[Value]) -> Poly:
    """Entries of a piece."""
    return sum((value.extent() for value in piece), Poly())


def copied(unit: Unit) -> set[str]:
    """Accumulators of single gradients that are added up as the others, and then copied: where they are many.

    Then few calls add up long pieces, instead of one for each.
    """
    found = {symbol for _, symbol, n in copies(unit) if n == 1}
    return found if len(found) > MANY_SUMS and not is_shared(unit) else set()


def merged(unit: Unit, share: tuple[Given, ...], ready: Container[str] = ()) -> list[Statement]:
    """The sums into the gradient, of which some are `ready`: `combined` has added them up."""
    done: list[Statement] = []
    for at, symbol, n in copies(unit):
        if symbol in ready:
            done.append(Assign(Name("grad").at(term(at)), Name("w").at(Name(symbol))))
        else:
            done.append(Do(kernel("merge_slabs", "grad", at, "w", symbol, n, "stride_w", *share)))
    return done


def combined(unit: Unit, stage: Stage, share: tuple[Given, ...], more: Container[str] = ()) -> list[Statement]:
    """The sums of a stage that later ones read, and those accumulators of gradients that are among `more`."""
    direct = {v for s in unit.stages for _, v in s.copies if v.buffer is None or v.buffer.symbol not in more}
    values = [value for value in stage.accumulators if value not in direct]
    return [_add(piece, share) for piece in runs(unit, values)]


def added(values: Sequence[Value], share: tuple[Given, ...]) -> list[Statement]:
    """The sums of accumulators into those of the first slab."""
    return [_add([value], share) for value in values]


def _add(piece: Sequence[Value], share: tuple[Given, ...]) -> Statement:
    buffer = piece[0].buffer
    assert buffer is not None
    add = "max_slabs" if piece[0].node.op == "amax" else "add_slabs"
    given = buffer.array, to_int(buffer.symbol), length(piece), f"stride_{area_of(buffer.array)}"
    return Do(kernel(add, *given, *share))


def written_aux(unit: Unit, j: str) -> Assign:
    """The new value of entry `j` of the auxiliary variables."""
    return assign(Name("aux").at(j), Name("w").at(term(unit.aux_at) + j))
