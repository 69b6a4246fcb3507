"""Slabs: how many parts the rows of a call are cut into, from the program and its sizes, never from the number of
threads.

A slab adds up its rows in an accumulator of its own, and the accumulators are added up in the order of slabs. So
results have the same bits on any number of threads, each of which takes a run of slabs. More slabs serve more threads;
fewer make longer products, and leave less to clear and to add up. `estimate_operations` says how much work a call
has."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.lower.lowering import MATRIX_KERNELS, matrix_size
from ppl.compiler.lower.products import multiplication_count
from ppl.compiler.lower.sizes import Poly, entry_count
from ppl.compiler.lower.target import Sharing
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.ir.node import Node


def least_slab_rows(sharing: Sharing, products: bool, loops: bool, noise: bool) -> int:
    """Rows of a slab at least, of a program whose rows are multiplied by matrices, or run through loops over time.

    Loops that draw noise want more rows than others.
    """
    if loops and noise:
        return sharing.loop_rows
    return sharing.product_rows if products else sharing.quiet_loop_rows if loops else sharing.plain_rows


def slab_count(sharing: Sharing, rows: int, operations: int, accumulated: int, least: int) -> int:
    """Slabs of a call: a power of two. Two need less work than more do: see `taken_alone`.

    Parameters
    ----------
    sharing : what the target says
    rows : rows of the longest region
    operations : rough number of operations of the call
    accumulated : entries of the accumulators of one slab
    least : rows of a slab at least
    """
    parts = operations // sharing.operations
    if operations - 2 * sharing.sums * accumulated >= sharing.pair:
        parts = max(parts, 2)
    most = min(sharing.most, rows // least, parts)
    most = min(most, operations // (sharing.sums * accumulated) if accumulated else most)
    return power_of_two_below(most)


def fits_one_thread(sharing: Sharing, operations: int) -> bool:
    """Whether one thread takes both slabs of a call that follows no other one: so little work wakes nobody."""
    return operations < 2 * sharing.operations


def partitioned_product_parts(sharing: Sharing, rows: int) -> int:
    """Parts of an owned product with so many rows in its result, a power of two."""
    return power_of_two_below(max(2, min(sharing.most, rows // sharing.part_rows)))


def power_of_two_below(most: int) -> int:
    """The largest power of two that is at most `most`, and at least 1."""
    return 1 << max(0, most.bit_length() - 1) if most > 0 else 1


def longest_slab(rows: int, slabs: int) -> int:
    """Rows of the longest slab."""
    if slabs == 1 or slabs >= rows:
        return -(-rows // slabs)
    from ppl.kernels.cpu.threads.slabs import slab_start

    start = getattr(slab_start, "py_func", slab_start)
    return max(start(rows, s + 1, slabs) - start(rows, s, slabs) for s in range(slabs))


SLABS = "slab_count"
"""The number of slabs as emitted code finds it in the header of a workspace."""


def estimate_operations(stages: Sequence[Stage]) -> Poly:
    """Rough number of operations of what threads share."""
    total = Poly()
    for stage in stages:
        if stage.row is not None:
            total = total + _operations_of_stage(stage)
    return total


def _operations_of_stage(stage: Stage) -> Poly:
    total = Poly()
    for step in (*stage.steps, *stage.partitioned):
        for op in getattr(step, "ops", ()):
            size = Poly.of(4)
            for dim in op.domain:
                size = size * dim.size
            total = total + size
        if isinstance(step, Opaque):
            turn = Poly() if step.body is None else _operations_of_stage(step.body)
            total = total + _operations_of_opaque(step.node) + turn * step.node.attrs.get("length", 0)
    return total


def _operations_of_opaque(node: Node) -> Poly:
    made = entry_count(node.type) * (matrix_size(node) if node.op in MATRIX_KERNELS else 1)
    return (multiplication_count(node) if node.op == "gemm" else made) * 4
