"""Slabs of rows: how many a call has, where they begin, how long tiles are, and adding up their sums.

A workspace is laid out with the same numbers as `ppl.compiler.schedule` computes for calls from Python; a test
compares them."""

from ppl.kernels.decorators import inline, jit, shared

ADD_SIGNATURE = "void({}[::1],int64,int64,int64,int64)"


@jit
def slab_start(rows, slab, slabs):
    """The first row of a slab: even shares, moved by up to a twentieth to where a block of 256 uniforms begins."""
    even = rows * slab // slabs
    block = (even + 128) // 256 * 256
    return block if abs(block - even) * slabs * 20 <= rows and slab < slabs else even


@jit
def partition_start(size, part, parts):
    """The first of `size` things that belongs to a part: even shares, in multiples of four."""
    return size if part == parts else size * part // parts // 4 * 4


@shared(ADD_SIGNATURE.format("float32"), ADD_SIGNATURE.format("float64"))
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
    lo, hi = partition_start(size, part, parts), partition_start(size, part + 1, parts)
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


@inline
def slab_count(rows, operations, accumulated, least, most, per_slab, pair, per_sum):
    """Slabs of a call, a power of two: see `ppl.compiler.schedule.slabs.slab_count`."""
    parts = operations // per_slab
    if operations - 2 * per_sum * accumulated >= pair:
        parts = max(parts, 2)
    if rows < 2 * least or parts < 2:
        return 1
    bound = min(most, min(rows // least, parts))
    if accumulated > 0:
        bound = min(bound, operations // (per_sum * accumulated))
    count = 1
    while 2 * count <= bound:
        count *= 2
    return count


@inline
def longest_slab(rows, slabs):
    """Rows of the longest slab."""
    if slabs == 1:
        return rows
    if slabs >= rows:
        return 1
    longest, start = 0, 0
    for slab in range(1, slabs + 1):
        stop = slab_start(rows, slab, slabs)
        longest, start = max(longest, stop - start), stop
    return longest


@inline
def tile_rows(rows, row_bytes, streamed, longest, product_tile, stream_tile, block):
    """Rows of a tile of a slab of `rows`; `streamed` are bytes a row that should stay in caches, 0 with products.

    `block` is 0, or what a tile is a multiple of.
    """
    most = min(longest, product_tile // max(1, row_bytes))
    if streamed > 0:
        most = min(most, stream_tile // streamed)
    most = max(1, most)
    length = max(1, rows)
    if rows > most:
        tiles = (rows + most - 1) // most
        length = (rows + tiles - 1) // tiles
    if block > 0 and length > block // 2:
        length = (length + block - 1) // block * block
    return length


@inline
def chunk_rows(rows, slab_rows, tile):
    """Rows of a chunk, behind which owned products run."""
    chunks = (max(1, slab_rows) + tile - 1) // tile
    return max(1, (rows + chunks - 1) // chunks)
