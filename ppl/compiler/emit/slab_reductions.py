"""Slab reductions: write what adds up the accumulators of slabs, between stages and at the end into the gradient
vector.

The order of the slabs is always the same. `share` is what kernels are passed last: how many slabs there are, and
which part of the entries to add up, if not all."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ppl.compiler.emit.code import Assign, Do, ExpressionLike, Name, Statement, as_expression, assign
from ppl.compiler.emit.scalar import kernel_call, to_int
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.lower.sizes import Poly
from ppl.compiler.schedule.memory import workspace_vector
from ppl.compiler.schedule.slabs import SLABS
from ppl.compiler.schedule.stages import Stage, Value
from ppl.tuning import MANY_SUMS, MERGED_BY_ALL

ALL_ENTRIES: tuple[ExpressionLike, ...] = (SLABS,)
"""The share of sums between stages: all entries."""

ONE_THREAD: tuple[ExpressionLike, ...] = (SLABS, 0, 1)
"""The share of one thread that adds up all gradients."""


def gradient_copies(unit: TranslationUnit) -> list[tuple[Poly, str, int]]:
    """(offset in grad, accumulator, size) of the gradients that are accumulators as they stand."""
    out = []
    for stage in unit.stages:
        for target, value in stage.copies:
            size = value.extent().constant
            assert value.buffer is not None and size is not None
            out.append((target.offset, value.buffer.symbol, size))
    return out


def threads_share_sums(unit: TranslationUnit) -> bool:
    """Whether threads share the sums into the gradient."""
    return sum(n for _, _, n in gradient_copies(unit)) > MERGED_BY_ALL


def adjacent_values(unit: TranslationUnit, values: Sequence[Value]) -> Iterator[list[Value]]:
    """The values in pieces: those of a piece lie one behind the other in memory."""
    piece: list[Value] = []
    for value in values:
        if piece and not _lies_behind(unit, value, piece[-1]):
            yield piece
            piece = []
        piece.append(value)
    if piece:
        yield piece


def _lies_behind(unit: TranslationUnit, value: Value, before: Value) -> bool:
    assert value.buffer is not None and before.buffer is not None
    first, second = (unit.memory.symbols[buffer.symbol] for buffer in (before.buffer, value.buffer))
    alike = value.buffer.array == before.buffer.array and value.node.op == before.node.op
    return alike and second == first + before.extent()


def total_extent(piece: Sequence[Value]) -> Poly:
    """Entries of a piece."""
    return sum((value.extent() for value in piece), Poly())


def accumulators_to_copy(unit: TranslationUnit) -> set[str]:
    """Accumulators of single gradients that are added up as the others, and then copied: where they are many.

    Then few calls add up long pieces, instead of one for each.
    """
    found = {symbol for _, symbol, n in gradient_copies(unit) if n == 1}
    return found if len(found) > MANY_SUMS and not threads_share_sums(unit) else set()


def merge_into_gradient(
    unit: TranslationUnit, share: tuple[ExpressionLike, ...], ready: Container[str] = ()
) -> list[Statement]:
    """The sums into the gradient, of which some are `ready`: `combined` has added them up."""
    done: list[Statement] = []
    for at, symbol, n in gradient_copies(unit):
        if symbol in ready:
            done.append(Assign(Name("grad").at(as_expression(at)), Name("w").at(Name(symbol))))
        else:
            done.append(Do(kernel_call("merge_slabs", "grad", at, "w", symbol, n, "stride_w", *share)))
    return done


def combine_stage_sums(
    unit: TranslationUnit, stage: Stage, share: tuple[ExpressionLike, ...], more: Container[str] = ()
) -> list[Statement]:
    """The sums of a stage that later ones read, and those accumulators of gradients that are among `more`."""
    direct = {v for s in unit.stages for _, v in s.copies if v.buffer is None or v.buffer.symbol not in more}
    values = [value for value in stage.accumulators if value not in direct]
    return [_add_slabs(piece, share) for piece in adjacent_values(unit, values)]


def add_into_first_slab(values: Sequence[Value], share: tuple[ExpressionLike, ...]) -> list[Statement]:
    """The sums of accumulators into those of the first slab."""
    return [_add_slabs([value], share) for value in values]


def _add_slabs(piece: Sequence[Value], share: tuple[ExpressionLike, ...]) -> Statement:
    buffer = piece[0].buffer
    assert buffer is not None
    add = "max_slabs" if piece[0].node.op == "amax" else "add_slabs"
    given = buffer.array, to_int(buffer.symbol), total_extent(piece), f"stride_{workspace_vector(buffer.array)}"
    return Do(kernel_call(add, *given, *share))


def write_aux(unit: TranslationUnit, j: str) -> Assign:
    """The new value of entry `j` of the auxiliary variables."""
    return assign(Name("aux").at(j), Name("w").at(as_expression(unit.aux_at) + j))
