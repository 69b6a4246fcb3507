"""Random numbers inside a user's `@njit` function: `ppl.random.uniform(key, i)`, `ppl.random.normal(key, i)`.

`key` is what `ppl.external(..., key=True)` hands over, `i` any non-negative integer: the result is a pure
function of both. Streams of one key are Philox4x32-10 counters, one a number, in float64. They are
independent of each other and of the noise of random nodes."""

import math

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.scalar.noise import key_words, open_uniform_f64
from ppl.kernels.scalar.philox import philox4x32

u32, u64 = np.uint32, np.uint64

UNIFORM, NORMAL = 1, 2


@inline
def _words(key, i, stream):  # type: ignore[no-untyped-def]
    """The four random words of number `i` of a stream."""
    k0, k1 = key_words(u64(key))
    low = u32(u64(i) & u64(0xFFFFFFFF))
    high = u32(u64(i) >> u64(32))
    return philox4x32(low, high, u32(0), u32(stream), k0, k1)


@inline
def uniform(key, i):  # type: ignore[no-untyped-def]
    """Return the i-th uniform of `key`, strictly inside (0, 1), as float64."""
    w0, w1, _, _ = _words(key, i, UNIFORM)
    return open_uniform_f64(w0, w1)


@inline
def normal(key, i):  # type: ignore[no-untyped-def]
    """Return the i-th standard normal of `key` (Box and Muller 1958), independent of its uniforms."""
    w0, w1, w2, w3 = _words(key, i, NORMAL)
    radius = math.sqrt(-2.0 * math.log(open_uniform_f64(w0, w1)))
    return radius * math.cos(2.0 * math.pi * open_uniform_f64(w2, w3))
