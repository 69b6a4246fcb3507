"""Slabs of rows: where they begin, and adding up what they have added up."""

from ppl.kernels.config import jit
from ppl.kernels.symbols import shared

ADD = "void({}[::1],int64,int64,int64,int64)"


@jit
def slab_start(rows, slab, slabs):
    """The first row of a slab: even shares, moved by up to a twentieth to where a block of 256 uniforms begins."""
    even = rows * slab // slabs
    block = (even + 128) // 256 * 256
    return block if abs(block - even) * slabs * 20 <= rows and slab < slabs else even


@jit
def share_start(size, part, parts):
    """The first of `size` things that belongs to a part: even shares, in multiples of four."""
    return size if part == parts else size * part // parts // 4 * 4


@shared(ADD.format("float32"), ADD.format("float64"))
def add_slabs(array, start, size, stride, slabs):
    """Add the accumulators of slabs 1, 2, ... to those of slab 0, in this order."""
    total = array[start : start + size]
    for s in range(1, slabs):
        more = array[start + s * stride : start + s * stride + size]
        for j in range(size):
            total[j] += more[j]


@jit
def max_slabs(array, start, size, stride, slabs):
    """Maximum over slabs, into slab 0."""
    for s in range(1, slabs):
        for j in range(size):
            array[start + j] = max(array[start + j], array[start + s * stride + j])


@jit
def merge_slabs(out, at, array, start, size, stride, slabs, part, parts):
    """Write the sum over slabs of one accumulator to ``out[at:]``: the share of `part` of its entries."""
    lo, hi = share_start(size, part, parts), share_start(size, part + 1, parts)
    target = out[at + lo : at + hi]
    first = array[start + lo : start + hi]
    if slabs == 1:
        for j in range(hi - lo):  # a slice assignment would bring in the text of its error message
            target[j] = first[j]
        return
    second = array[start + stride + lo : start + stride + hi]
    for j in range(hi - lo):
        target[j] = first[j] + second[j]
    for s in range(2, slabs):
        more = array[start + s * stride + lo : start + s * stride + hi]
        for j in range(hi - lo):
            target[j] += more[j]
