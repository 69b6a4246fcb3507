"""Draws by rejection in NumPy: the oracle of the samplers in `ppl.kernels.scalar`, on the same random words.

An attempt of a sampler reads the Philox block of counter (column, stream * 64 + attempt in the purpose bits, 0, 0)
under the key of its row and particle. Derivatives come from quadrature, independently of the kernels' expansions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.ir.node import Node
from ppl.ir.reference.noise import philox4x32
from ppl.lazy import special

if TYPE_CHECKING:
    from ppl.ir.reference.interpret import Env

Array = np.ndarray
ATTEMPTS, BOOST = 60, 63
NODES = np.arange(-4.0, 4.6, 0.07)


def attempt_words(key: Array, column: Array, stream: int, attempt: int) -> Array:
    """The four random words of one attempt, one of each per key."""
    key, column = np.broadcast_arrays(key.astype(np.uint64), column.astype(np.uint64))
    zero, purpose = np.zeros_like(key), np.full_like(key, (stream * 64 + attempt) << 16)
    halves = key & np.uint64(0xFFFFFFFF), key >> np.uint64(32)
    return philox4x32(np.stack([column, purpose, zero, zero]), halves)


def attempt_uniforms(key: Array, column: Array, stream: int, attempt: int, dtype: Any) -> tuple[Array, Array]:
    """The two open uniforms of one attempt, one of each per key."""
    w = attempt_words(key, column, stream, attempt)
    if np.dtype(dtype) == np.float32:
        one, two = ((x >> np.uint64(9)).astype(np.float32) for x in w[:2])
        return (one + np.float32(0.5)) * np.float32(2.0**-23), (two + np.float32(0.5)) * np.float32(2.0**-23)
    pairs = ((w[0] << np.uint64(32) | w[1]) >> np.uint64(12), (w[2] << np.uint64(32) | w[3]) >> np.uint64(12))
    one, two = ((x.astype(np.float64) + 0.5) * 2.0**-52 for x in pairs)
    return one, two


def attempt_third(key: Array, column: Array, stream: int, attempt: int) -> Array:
    """A third float32 uniform of one attempt."""
    key, column = np.broadcast_arrays(key.astype(np.uint64), column.astype(np.uint64))
    zero, purpose = np.zeros_like(key), np.full_like(key, (stream * 64 + attempt) << 16)
    w = philox4x32(np.stack([column, purpose, zero, zero]), (key & np.uint64(0xFFFFFFFF), key >> np.uint64(32)))
    return ((w[2] >> np.uint64(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)


def _log1p_rest(s: Array) -> Array:
    """log(1 + s) - s + s^2 / 2 - s^3 / 3."""
    total, power = np.zeros_like(s), -(s**4)
    for n in range(4, 26):
        total, power = total + power / s.dtype.type(n), power * -s
    direct = np.log1p(s) - s + s * s * (s.dtype.type(0.5) - s / s.dtype.type(3))
    return np.where(np.abs(s) <= 0.25, total, direct)


def loggamma_draw(concentration: Array, key: Array, column: Array, stream: int) -> Array:
    """Logarithms of standard gamma draws (Marsaglia & Tsang 2000, boosted below concentration 1).

    The uniform of the boost is the accepted attempt's third word in float32, and of an attempt of its own in float64.
    """
    a = np.asarray(concentration)
    kind = a.dtype.type
    d = np.where(a < 1, a + kind(1), a) - kind(1 / 3)
    c = kind(1 / 3) / np.sqrt(d)
    a, c, d, key, column = np.broadcast_arrays(a, c, d, key, column)
    s, boost, left = np.zeros_like(a), np.ones_like(a), np.ones(a.shape, bool)
    single = kind == np.float32
    for attempt in range(ATTEMPTS):
        u, v = attempt_uniforms(key[left], column[left], stream, attempt, kind)
        s[left] = proposed = c[left] * special.ndtri(u).astype(kind)
        if single:
            boost[left] = attempt_third(key[left], column[left], stream, attempt)
        left[left] = ~((proposed > -1) & (np.log(v) < kind(3) * d[left] * _log1p_rest(proposed)))
        if not left.any():
            break
    boost = boost if single else attempt_uniforms(key, column, stream, BOOST, kind)[0]
    return np.log(d) + kind(3) * np.log1p(s) + np.where(a < 1, np.log(boost) / a, kind(0))


def loggamma_slope(y: Array, concentration: Array) -> Array:
    """d log x / d concentration at a fixed quantile by double exponential quadrature of -(dF / da) / (x p).

    With t = x exp(-s) below x, and x exp(s) above, both tails are integrals over s > 0 of
    (s + |log x - digamma|) times a decaying exponential; the tail on whose side x lies has no cancellation.
    """
    y, a = y.astype(np.float64), concentration.astype(np.float64)
    x, lower = np.exp(y), np.exp(y) < np.maximum(a, 1.0)
    sign = np.where(lower, -1.0, 1.0)
    width = np.where(lower, 1 / (np.maximum(a - x, 0) + np.sqrt(a)), 1 / (np.maximum(x - a, 0) + np.sqrt(x)))
    width = np.where(lower & (a < 1), 1 / a, width)
    total, shift = np.zeros_like(y), y - special.digamma(a)
    for t in NODES:
        s = width * np.exp(t - np.exp(-t))
        decay = np.exp(sign * a * s - x * np.expm1(sign * s))
        total += np.nan_to_num((s + sign * shift) * decay) * s * (1 + np.exp(-t))
    return total * (NODES[1] - NODES[0])


def drawing(function: Callable[..., Array]) -> Callable[[Env, Node, Sequence[Array]], Any]:
    """A function of (parameter, key, column, stream) as an entry of the interpreter's table."""
    return lambda env, node, args: function(*args, node.attrs["stream"])


DRAWS: dict[str, Callable[[Env, Node, Sequence[Array]], Any]] = {
    "loggamma_draw": drawing(loggamma_draw),
    "loggamma_slope": lambda env, node, args: loggamma_slope(*args),
}
