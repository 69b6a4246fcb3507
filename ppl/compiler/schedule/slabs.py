"""How many slabs the rows of a call are cut into: a function of the program and its sizes, never of the threads.

A slab adds up its rows in an accumulator of its own, and the accumulators are added up in the order of slabs. So
results have the same bits on any number of threads, each of which takes a run of slabs. More slabs serve more threads;
fewer make longer products, and leave less to clear and to add up.
"""

from __future__ import annotations

from ppl.compiler.lower.target import Sharing


def least_rows(sharing: Sharing, products: bool, loops: bool, noise: bool) -> int:
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
    return power_of_two(most)


def taken_alone(sharing: Sharing, operations: int) -> bool:
    """Whether one thread takes both slabs of a call that follows no other one: so little work wakes nobody."""
    return operations < 2 * sharing.operations


def product_parts(sharing: Sharing, rows: int) -> int:
    """Parts of an owned product with so many rows in its result, a power of two."""
    return power_of_two(max(2, min(sharing.most, rows // sharing.part_rows)))


def power_of_two(most: int) -> int:
    """The largest power of two that is at most `most`, and at least 1."""
    return 1 << max(0, most.bit_length() - 1) if most > 0 else 1
