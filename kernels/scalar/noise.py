"""The counters of noise: which random bits belong to which entry of which random node.

Uniforms are a pure function of (entry, key, time, step, purpose) and nothing else, so that they do not
depend on threads, devices, tiles or the batch split. `ppl.ir.reference.noise` is the same function in NumPy, written
independently.

=========  ========================================================================================
counter 0  low 32 bits of ``block * 64 + lane``
counter 1  its next 16 bits; above them 16 bits of ``purpose`` (what for, and the rejection attempt)
counter 2  ``time``: the iteration of the innermost loop over time
counter 3  ``step``: the training step
key        `mix` of the seed and the hash of the node's name
float32    ``block = e // 256``, ``lane = e % 64``, word ``(e % 256) // 64``
float64    ``block = e // 128``, ``lane = e % 64``, words 2p and 2p + 1 of ``p = (e % 128) // 64``
=========  ========================================================================================"""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.scalar.philox import philox4x32

f32, f64 = np.float32, np.float64

i32, u32, u64 = np.int32, np.uint32, np.uint64


@inline
def _multiply(a, b):
    """a * b modulo 2**64, by halves that do not overflow."""
    low, half = u64(0xFFFFFFFF), u64(32)
    a0, a1, b0, b1 = a & low, a >> half, b & low, b >> half
    p = a0 * b0
    high = (p >> half) + ((a1 * b0) & low) + ((a0 * b1) & low)
    return ((high & low) << half) | (p & low)


@inline
def _finalise(z):
    """The finaliser of splitmix64: a bijection of 64-bit words that avalanches."""
    z = _multiply(z ^ (z >> u64(30)), u64(0xBF58476D1CE4E5B9))
    z = _multiply(z ^ (z >> u64(27)), u64(0x94D049BB133111EB))
    return z ^ (z >> u64(31))


@inline
def mix(seed, name_hash):
    """Return the 64-bit key of the node whose name has hash `name_hash` (uint64) under `seed` (uint64).

    For either argument fixed it is a bijection of the other.
    """
    return _finalise(_finalise(u64(seed) ^ u64(0x9E3779B97F4A7C15)) ^ u64(name_hash))


@inline
def open_uniform_f32(word):
    """23 bits of a random word as a float32 strictly inside (0, 1): (k + 1/2) / 2**23."""
    return u32((word >> u32(9)) | u32(0x3F800000)).view(f32) - f32(1.0 - 2.0**-24)


@inline
def fine_uniform_f32(high, low):
    """46 bits of two random words as a float32 in (0, 1], in steps of 2**-46 near 0: for probabilities below 2**-24."""
    return (f32(i32(high >> u32(9))) + open_uniform_f32(low)) * f32(2.0**-23)


@inline
def open_uniform_f64(high, low):
    """52 bits of two random words as a float64 strictly inside (0, 1): (k + 1/2) / 2**52."""
    top = i32(high >> u32(6))
    bottom = i32(((high & u32(63)) << u32(20)) | (low >> u32(12)))
    return (f64(top) * f64(2.0**26) + (f64(bottom) + f64(0.5))) * f64(2.0**-52)


@inline
def counter_high(block, purpose):
    """Counter word 1: bits 32 to 47 of ``block * 64`` and the purpose."""
    return u32(u32((u64(block) >> u64(26)) & u64(0xFFFF)) | u32(u32(purpose) << u32(16)))


@inline
def counter_low(block, lane):
    """Counter word 0: the low 32 bits of ``block * 64 + lane``."""
    return u32(u32((u64(block) << u64(6)) & u64(0xFFFFFFFF)) | u32(lane))


@inline
def key_words(key):
    """The low and the high half of a 64-bit key."""
    return u32(u64(key) & u64(0xFFFFFFFF)), u32(u64(key) >> u64(32))


@inline
def block_words(block, lane, key, time, step, purpose):
    """The four random words of one lane of one block."""
    k0, k1 = key_words(key)
    return philox4x32(counter_low(block, lane), counter_high(block, purpose), u32(time), u32(step), k0, k1)


@inline
def attempt_words(key, column, stream, attempt):
    """The four random words of one attempt of a rejection sampler, whose `key` is that of a row and particle.

    Counter 0 is the event's `column`; the purpose bits of counter 1 hold ``stream * 64 + attempt``.
    """
    k0, k1 = key_words(key)
    purpose = u32(u32(u32(stream) * u32(64) + u32(attempt)) << u32(16))
    return philox4x32(u32(column), purpose, u32(0), u32(0), k0, k1)


@inline
def uniform_f32(entry, key, time, step, purpose):
    """Return the float32 uniform of one global entry.

    Parameters
    ----------
    entry : int64
        Global index, ``(row * particles + particle) * columns + column``.
    key : uint64
        From `mix`.
    time, step : int
        Taken modulo 2**32.
    purpose : int
        Below 2**16.
    """
    e = u64(entry)
    w0, w1, w2, w3 = block_words(e >> u64(8), e & u64(63), key, time, step, purpose)
    word = (e >> u64(6)) & u64(3)
    even = w2 if word >= u64(2) else w0
    odd = w3 if word >= u64(2) else w1
    return open_uniform_f32(odd if word & u64(1) else even)


@inline
def uniform_f64(entry, key, time, step, purpose):
    """Return the float64 uniform of one global entry; arguments as for `uniform_f32`."""
    e = u64(entry)
    w0, w1, w2, w3 = block_words(e >> u64(7), e & u64(63), key, time, step, purpose)
    second = (e >> u64(6)) & u64(1)
    return open_uniform_f64(w2 if second else w0, w3 if second else w1)
