"""How a workspace is laid out for the rows of a call: numbers of slabs and lengths of tiles, in compiled code.

The same numbers as `ppl.compiler.schedule` computes for calls from Python; a test compares them.
"""

from ppl.kernels.config import inline
from ppl.kernels.cpu.parallel.slabs import slab_start


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
