"""Fill arrays of `real`s, and the rows of a tile, with uniforms, bit for bit those of `ppl.kernels.scalar.noise`.

Full blocks are written by a loop over the 64 lanes with one contiguous output stream per {word | pair of words},
which vectorises. The first and the last block, where they are cut by the range, are made whole in a small buffer and
copied in part.

Rows of a batch carry global ids: either consecutive ones, from `first`, or those of an array `ids` (used if not
empty, from position `start`). Runs of consecutive ids are filled in one go."""

from ppl.kernels.cpu.memory import part, prefer_full_width, stack_array
from ppl.kernels.cpu.memory import tail as tail_of
from ppl.kernels.cpu.noise_keys import entry_numbers, run_length
from ppl.kernels.decorators import inline, jit, shared
from ppl.kernels.scalar.noise import block_words, open_uniform_f32, open_uniform_f64, uniform_f64
from ppl.kernels.source.precision import SINGLE, real, u64
from ppl.tuning import SCATTERED_UNIFORMS

BLOCK = 256 if SINGLE else 128

_FILL = "void({}[::1],int64,uint64,int64,int64,int64)"

_FILL_AT = "void({}[::1],uint64[::1],uint64,int64,int64,int64)"


@inline
def _block(out, start, block, key, time, step, purpose):
    """Write the uniforms of one block to ``out[start:]``; an unsigned `start` needs no check for < 0."""
    for lane in range(u64(64)):
        w0, w1, w2, w3 = block_words(block, lane, key, time, step, purpose)
        if SINGLE:
            out[start + lane] = open_uniform_f32(w0)
            out[start + lane + u64(64)] = open_uniform_f32(w1)
            out[start + lane + u64(128)] = open_uniform_f32(w2)
            out[start + lane + u64(192)] = open_uniform_f32(w3)
        else:
            out[start + lane] = open_uniform_f64(w0, w1)
            out[start + lane + u64(64)] = open_uniform_f64(w2, w3)


@jit
def _part(out, first, key, time, step, purpose):
    """Fill `out` from within one block."""
    whole = stack_array(BLOCK, real)
    _block(whole, u64(0), u64(first // BLOCK), key, time, step, purpose)
    used = whole[first % BLOCK :]
    for i in range(out.shape[0]):
        out[i] = used[i]


@shared(_FILL.format(real.__name__))
def fill_uniform_real(out, first, key, time, step, purpose):
    """Fill the contiguous vector `out` with the uniforms of entries ``first``, ``first + 1``, ...

    Parameters
    ----------
    out : `real` array, one-dimensional and contiguous
    first : int64
        Global index of the first entry, any alignment.
    key, time, step, purpose
        As for `ppl.kernels.scalar.noise.uniform_real`.
    """
    head = min(-first % BLOCK, out.shape[0])
    blocks = (out.shape[0] - head) // BLOCK
    tail = head + blocks * BLOCK
    if head > 0:
        _part(part(out, 0, head), first, key, time, step, purpose)
    block = u64((first + head) // BLOCK)
    for b in range(blocks):
        _block(out, u64(head + b * BLOCK), block + u64(b), key, time, step, purpose)
    if tail < out.shape[0]:
        _part(tail_of(out, tail), first + tail, key, time, step, purpose)


@shared(_FILL_AT.format(real.__name__))
def fill_at_real(out, entries, key, time, step, purpose):
    """Fill the vector `out` with the uniforms of the uint64 `entries`, one Philox call each."""
    prefer_full_width()
    for j in range(out.shape[0]):
        if SINGLE:
            entry = entries[j]
            w0, w1, w2, w3 = block_words(entry >> u64(8), entry & u64(63), key, time, step, purpose)
            low = w1 if (entry >> u64(6)) & u64(1) else w0
            high = w3 if (entry >> u64(6)) & u64(1) else w2
            out[j] = open_uniform_f32(high if (entry >> u64(7)) & u64(1) else low)
        else:
            out[j] = uniform_f64(entries[j], key, time, step, purpose)


UNIFORMS_TOGETHER = 4096 if SINGLE else 2048
"""Uniforms of several pieces that are drawn together: 16 KiB."""

SCATTERED_TOGETHER = 1024
"""Uniforms of scattered rows that are drawn together; more than `SCATTERED_UNIFORMS`, which one row may have."""

_FILL_ROWS = "void({}[::1],int64[::1],int64,int64,int64,int64,int64,uint64,int64,int64,int64)"


@shared(_FILL_ROWS.format(real.__name__))
def fill_rows_real(out, ids, start, first, n, base, per_row, key, time, step, purpose):
    """Uniforms of `n` rows of `per_row` entries each; row r has global number ``base + id(r)``."""
    if ids.shape[0] == 0:
        fill_uniform_real(part(out, 0, n * per_row), (base + first) * per_row, key, time, step, purpose)
        return
    numbers = stack_array(SCATTERED_TOGETHER, u64)
    i = 0
    while i < n:
        run = run_length(ids, start + i, start + n)
        first = i
        while i < n and run * per_row <= SCATTERED_UNIFORMS and (i + run - first) * per_row <= SCATTERED_TOGETHER:
            i += run
            run = run_length(ids, start + i, start + n) if i < n else 0
        if i > first:
            entry_numbers(numbers, ids, start + first, i - first, base, per_row)
            count = (i - first) * per_row
            fill_at_real(part(out, first * per_row, count), part(numbers, 0, count), key, time, step, purpose)
        else:
            entry = (base + ids[start + i]) * per_row
            fill_uniform_real(part(out, i * per_row, run * per_row), entry, key, time, step, purpose)
            i += run


@jit
def fill_windows_real(out, ids, start, first, n, base, pieces, size, total, offset, key, time, step, purpose):
    """Uniforms of a window of particles: of every piece of `total` entries, the `size` ones from `offset` on.

    A row has `pieces` pieces; piece p of row r begins at entry ``((base + id(r)) * pieces + p) * total``.
    """
    if size == total:
        fill_rows_real(out, ids, start, first, n, base, pieces * size, key, time, step, purpose)
        return
    for i in range(n):
        row = base + (first + i if ids.shape[0] == 0 else ids[start + i])
        for p in range(pieces):
            piece = part(out, (i * pieces + p) * size, size)
            fill_uniform_real(piece, (row * pieces + p) * total + offset, key, time, step, purpose)


@jit
def fill_columns_real(out, first, n, particles, size, total, offset, key, time, step, purpose):
    """Uniforms of `n` pieces of `size` entries, from piece `first` of `total` on, of each of several particles.

    Particle k of the window that begins at `offset` has its pieces at entry ``(offset + k) * total * size``; in
    `out` a piece has the particles one after another.
    """
    if particles == 1:
        fill_uniform_real(out[: n * size], (offset * total + first) * size, key, time, step, purpose)
        return
    whole = stack_array(UNIFORMS_TOGETHER, real)
    for k in range(particles):
        begin = ((offset + k) * total + first) * size
        if size > UNIFORMS_TOGETHER:
            for i in range(n):
                fill_uniform_real(
                    part(out, (i * particles + k) * size, size), begin + i * size, key, time, step, purpose
                )
            continue
        for start in range(0, n, UNIFORMS_TOGETHER // size):
            pieces = min(UNIFORMS_TOGETHER // size, n - start)
            fill_uniform_real(part(whole, 0, pieces * size), begin + start * size, key, time, step, purpose)
            for i in range(pieces):
                for j in range(size):
                    out[((start + i) * particles + k) * size + j] = whole[i * size + j]
