"""Gradients of tables on a device: additions sorted by the row they go to, and summed row by row.

A radix sort puts equal rows side by side, and keeps the order of the data among them: sums have the same bits on
every run. Addition e of a term adds ``coefs[e] * rows[e // repeat]``; see `ppl.compiler.lower`."""

import numba
import numpy as np

from ppl.kernels.cuda.compat import THREADS, block, cuda, device, kernel, thread
from ppl.kernels.cuda.training_steps import NUMBERS, RULES, STOPPED, TAKEN

BITS = 4

DIGITS = 1 << BITS

CHUNK = 8
"""Numbers in a row that a thread sorts."""

TILE = CHUNK * THREADS
"""Numbers that a block sorts."""

COUNTS = DIGITS * THREADS

START, ROWS, COEFS, REPEAT, TERM = 0, 1, 2, 3, 4
"""What `terms` says of each: its first addition, where its rows and its coefs (or -1) begin in `out`, additions to a
row; and how many numbers that are."""


def passes(length):
    """Passes of a sort of numbers below `length`."""
    return max(1, -(-(length - 1).bit_length() // BITS))


def tiles(count):
    """Blocks, threads and shared memory of a pass over `count` numbers."""
    return max(1, -(-count // TILE)), THREADS, 0


def beside(count, width):
    """The same with one block for each of `count` entries of `width` numbers."""
    return max(1, count), min(THREADS, 1 << max(0, width - 1).bit_length()), 0


@kernel
def name_rows(keys, order, targets, at, start, count, length):
    """Write the rows that `count` additions go to, and their numbers from `start` on."""
    e = block() * THREADS + thread()
    if e < count:
        keys[start + e] = min(max(targets[at + e], 0), length - 1)
        order[start + e] = start + e


@device
def _count_own_digits(found, keys, count, shift):
    """Count the digits of the calling thread's numbers in its column of `found`."""
    me = thread()
    for digit in range(DIGITS):
        found[digit * THREADS + me] = 0
    first = block() * TILE + me * CHUNK
    for i in range(first, min(first + CHUNK, count)):
        digit = (keys[i] >> shift) & (DIGITS - 1)
        found[digit * THREADS + me] += 1


@kernel
def count_digits(counts, keys, count, shift):
    """Count how often each digit is found in the numbers of a block."""
    found = cuda.shared.array(COUNTS, numba.int32)
    _count_own_digits(found, keys, count, shift)
    cuda.syncthreads()
    for digit in range(thread(), DIGITS, THREADS):
        total = 0
        for i in range(THREADS):
            total += found[digit * THREADS + i]
        counts[digit * cuda.gridDim.x + block()] = total


@kernel
def begin_digits(counts, size):
    """Replace counts by the sums of all before them; by one block."""
    sums = cuda.shared.array(THREADS, numba.int32)
    me, each = thread(), -(-size // THREADS)
    first, last = min(me * each, size), min((me + 1) * each, size)
    total = 0
    for i in range(first, last):
        total += counts[i]
    sums[me] = total
    cuda.syncthreads()
    before = 0
    for i in range(me):
        before += sums[i]
    for i in range(first, last):
        here = counts[i]
        counts[i] = before
        before += here


@kernel
def move_digits(to_keys, to_order, keys, order, counts, count, shift):
    """Bring numbers to the places of their digits, those of equal digits in their order."""
    found = cuda.shared.array(COUNTS, numba.int32)
    _count_own_digits(found, keys, count, shift)
    cuda.syncthreads()
    for digit in range(thread(), DIGITS, THREADS):
        before = counts[digit * cuda.gridDim.x + block()]
        for i in range(THREADS):
            here = found[digit * THREADS + i]
            found[digit * THREADS + i] = before
            before += here
    cuda.syncthreads()
    me = thread()
    first = block() * TILE + me * CHUNK
    for i in range(first, min(first + CHUNK, count)):
        digit = (keys[i] >> shift) & (DIGITS - 1)
        at = found[digit * THREADS + me]
        found[digit * THREADS + me] = at + 1
        to_keys[at] = keys[i]
        to_order[at] = order[i]


@device
def _begins_row(keys, p):
    """Whether the additions to a row begin at place `p`."""
    return p == 0 or keys[p - 1] != keys[p]


@device
def _one_addition(out, terms, many, width, e, j):
    """Number `j` of what addition `e` adds."""
    t = 0
    while t + 1 < many and e >= terms[(t + 1) * TERM + START]:
        t += 1
    at, coefs = t * TERM, terms[t * TERM + COEFS]
    e -= terms[at + START]
    value = out[terms[at + ROWS] + e // terms[at + REPEAT] * width + j]
    return out[coefs + e] * value if coefs >= 0 else value


@device
def _row_sum(out, terms, many, width, keys, order, count, p, j):
    """Number `j` of the sum of all additions to the row whose additions begin at place `p`."""
    total = _one_addition(out, terms, many, width, order[p], j)
    q = p + 1
    while q < count and keys[q] == keys[p]:
        total += _one_addition(out, terms, many, width, order[q], j)
        q += 1
    return total


@kernel
def add_rows(grad, offset, out, terms, many, width, keys, order, count):
    """Write the gradient of the rows that are named, one block each."""
    p = block()
    if p < count and _begins_row(keys, p):
        for j in range(thread(), width, cuda.blockDim.x):
            grad[offset + keys[p] * width + j] = _row_sum(out, terms, many, width, keys, order, count, p, j)


@kernel
def clear_rows(grad, offset, size):
    """Zeros for the gradient of a table."""
    i = block() * THREADS + thread()
    if i < size:
        grad[offset + i] = 0


@kernel
def examine_peak(w, at, limit, control):
    """Stop where additions may add up to something too large; by one thread."""
    if not abs(w[at]) < limit[0]:
        control[STOPPED] = 1


def _row_update(rule):
    @kernel
    def update_rows(params, first, second, offset, out, terms, many, width, keys, order, count, numbers, control):
        p = block()
        if p < count and _begins_row(keys, p) and control[STOPPED] == 0:
            for j in range(thread(), width, cuda.blockDim.x):
                g = _row_sum(out, terms, many, width, keys, order, count, p, j)
                i = offset + np.int64(keys[p]) * width + j
                rule(i, params, first, second, g, numbers, control[TAKEN] * NUMBERS)

    return update_rows


UPDATES = {name: _row_update(RULES[name]) for name in ("SGD", "AdaGrad", "LazyAdam")}
"""Kernels that step on the rows that are named, for the rules for which a gradient of zero is no step."""
