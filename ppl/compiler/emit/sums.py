"""Emission of what adds up the accumulators of slabs: between stages, and at the end into the gradient vector.

The order of the slabs is always the same. `share` is what kernels are passed last: how many slabs there are, and which
part of the entries to add up, if not all.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import Assign, Do, Given, Name, Statement, assign, term
from ppl.compiler.emit.scalar import kernel, to_int
from ppl.compiler.emit.unit import SLABS, Unit
from ppl.compiler.lower.views import Poly
from ppl.compiler.schedule.fusion import Value
from ppl.compiler.schedule.memory import area_of
from ppl.compiler.schedule.stages import Stage
from ppl.tuning import MERGED_BY_ALL

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


def merged(unit: Unit, share: tuple[Given, ...]) -> list[Statement]:
    """The sums into the gradient."""
    found = copies(unit)
    return [Do(kernel("merge_slabs", "grad", at, "w", symbol, n, "stride_w", *share)) for at, symbol, n in found]


def combined(unit: Unit, stage: Stage, share: tuple[Given, ...]) -> list[Statement]:
    """The sums of a stage that later ones read."""
    direct = {v for s in unit.stages for _, v in s.copies}
    return added([value for value in stage.accumulators if value not in direct], share)


def added(values: Sequence[Value], share: tuple[Given, ...]) -> list[Statement]:
    """The sums of accumulators into those of the first slab."""
    done: list[Statement] = []
    for value in values:
        assert value.buffer is not None
        array, start = value.buffer.array, to_int(value.buffer.symbol)
        add = "max_slabs" if value.node.op == "amax" else "add_slabs"
        done.append(Do(kernel(add, array, start, value.extent(), f"stride_{area_of(array)}", *share)))
    return done


def written_aux(unit: Unit, j: str) -> Assign:
    """The new value of entry `j` of the auxiliary variables."""
    return assign(Name("aux").at(j), Name("w").at(term(unit.aux_at) + j))
