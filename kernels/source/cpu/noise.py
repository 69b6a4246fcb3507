"""Filling arrays of `real`s with uniforms, bit for bit those of `ppl.kernels.scalar.noise`.

Full blocks are written by a loop over the 64 lanes with one contiguous output stream per {word | pair of words}, which
vectorises. The first and the last block, where they are cut by the range, are made whole in a small buffer
and copied in part.
"""

from ppl.kernels.config import inline, jit
from ppl.kernels.cpu.memory.stack import stacked
from ppl.kernels.cpu.memory.vectors import prefer_full_width
from ppl.kernels.cpu.memory.views import part
from ppl.kernels.cpu.memory.views import tail as tail_of
from ppl.kernels.scalar.noise import block_words, open_uniform_f32, open_uniform_f64, uniform_f64
from ppl.kernels.source.precision import SINGLE, real, u64
from ppl.kernels.symbols import shared

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
    whole = stacked(BLOCK, real)
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
