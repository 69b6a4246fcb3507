"""How many slabs the rows of a call are cut into: a function of the program and its sizes, never of the threads.

A slab adds up its rows in an accumulator of its own, and the accumulators are added up in the order of slabs. So
results have the same bits on any number of threads, each of which takes a run of slabs. More slabs serve more threads;
fewer make longer products, and leave less to clear and to add up.
"""

from __future__ import annotations

MOST = 64
"""Slabs at most."""

OPERATIONS = 200_000
"""Operations of a slab at least: below, a second thread gains less than it costs to wake it."""

SUMS = 32
"""A call takes at least this many operations for each entry of all accumulators, which are cleared and added up."""

PRODUCT_ROWS = 48
"""Rows of a slab at least where rows are multiplied by matrices, which shorter products read again too often: a VAE
784-400-20 on 100 rows took 1.04 times as long in slabs of 25 rows as in slabs of 50, and 1.8 times in slabs of 12."""

LOOP_ROWS = 400
"""The same where a loop runs over time: its innermost loops run over rows, and noise is drawn in blocks of 256 rows."""

PLAIN_ROWS = 8
"""The same of other programs."""

RESULT_ROWS = 192
"""Rows of a result at least that a part of an owned product takes (see `ppl.compiler.schedule.owned`)."""


def least_rows(products: bool, loops: bool) -> int:
    """Rows of a slab at least, of a program whose rows are multiplied by matrices or run through loops over time."""
    return LOOP_ROWS if loops else PRODUCT_ROWS if products else PLAIN_ROWS


def slab_count(rows: int, operations: int, accumulated: int, least: int) -> int:
    """Slabs of a call, a power of two.

    Parameters
    ----------
    rows : rows of the longest region
    operations : rough number of operations of the call
    accumulated : entries of the accumulators of one slab
    least : rows of a slab at least
    """
    most = min(MOST, rows // least, operations // OPERATIONS)
    most = min(most, operations // (SUMS * accumulated) if accumulated else most)
    return power_of_two(most)


def product_parts(rows: int) -> int:
    """Parts of an owned product with so many rows in its result, a power of two."""
    return power_of_two(max(2, min(MOST, rows // RESULT_ROWS)))


def power_of_two(most: int) -> int:
    """The largest power of two that is at most `most`, and at least 1."""
    return 1 << max(0, most.bit_length() - 1) if most > 0 else 1
