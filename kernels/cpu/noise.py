"""Filling arrays with uniforms, bit for bit those of `ppl.kernels.scalar.noise`.

Full blocks are written by a loop over the 64 lanes with one contiguous output stream per word, which vectorises. The
first and the last block, where they are cut by the range, are made whole in a small buffer and copied in part.
"""

import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.scalar.noise import block_words, open_uniform_f32, open_uniform_f64

u64 = np.uint64
BLOCK_F32, BLOCK_F64 = 256, 128


@jit
def _block_f32(out, block, key, time, step, purpose):
    """Write the 256 uniforms of one block."""
    o0, o1, o2, o3 = out[:64], out[64:128], out[128:192], out[192:256]
    for lane in range(64):
        w0, w1, w2, w3 = block_words(block, lane, key, time, step, purpose)
        o0[lane] = open_uniform_f32(w0)
        o1[lane] = open_uniform_f32(w1)
        o2[lane] = open_uniform_f32(w2)
        o3[lane] = open_uniform_f32(w3)


@jit
def _block_f64(out, block, key, time, step, purpose):
    """Write the 128 uniforms of one block."""
    o0, o1 = out[:64], out[64:128]
    for lane in range(64):
        w0, w1, w2, w3 = block_words(block, lane, key, time, step, purpose)
        o0[lane] = open_uniform_f64(w0, w1)
        o1[lane] = open_uniform_f64(w2, w3)


@jit
def fill_uniform_f32(out, first, key, time, step, purpose):
    """Fill the contiguous float32 vector `out` with the uniforms of elements ``first``, ``first + 1``, ...

    Parameters
    ----------
    out : float32 array, one-dimensional and contiguous
    first : int64
        Global index of the first element, any alignment.
    key, time, step, purpose
        As for `ppl.kernels.scalar.noise.uniform_f32`.
    """
    done = 0
    while done < out.shape[0]:
        element = first + done
        offset = element % BLOCK_F32
        count = min(BLOCK_F32 - offset, out.shape[0] - done)
        if count == BLOCK_F32:
            _block_f32(out[done : done + BLOCK_F32], u64(element // BLOCK_F32), key, time, step, purpose)
        else:
            whole = np.empty(BLOCK_F32, np.float32)
            _block_f32(whole, u64(element // BLOCK_F32), key, time, step, purpose)
            out[done : done + count] = whole[offset : offset + count]
        done += count


@jit
def fill_uniform_f64(out, first, key, time, step, purpose):
    """Fill the contiguous float64 vector `out`; arguments as for `fill_uniform_f32`."""
    done = 0
    while done < out.shape[0]:
        element = first + done
        offset = element % BLOCK_F64
        count = min(BLOCK_F64 - offset, out.shape[0] - done)
        if count == BLOCK_F64:
            _block_f64(out[done : done + BLOCK_F64], u64(element // BLOCK_F64), key, time, step, purpose)
        else:
            whole = np.empty(BLOCK_F64, np.float64)
            _block_f64(whole, u64(element // BLOCK_F64), key, time, step, purpose)
            out[done : done + count] = whole[offset : offset + count]
        done += count
