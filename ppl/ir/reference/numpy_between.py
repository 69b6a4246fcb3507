"""The normal law between two ends, in NumPy: the oracle of `between` in `ppl.kernels.scalar`, in float64.

M(z) = exp(z^2 / 2) ndtr(-z) sqrt(2 pi) is Mills' ratio, 1 / M the hazard h.
"""

from __future__ import annotations

import math

import numpy as np

from ppl.lazy import special

Array = np.ndarray
NARROW, ROUNDS = 1e-2, 8


def log1mexp(x: Array) -> Array:
    """log(1 - exp(x)) for x <= 0."""
    x = np.asarray(x)
    near = x > -math.log(2)
    return np.where(near, np.log(-np.expm1(np.where(near, x, -1.0))), np.log1p(-np.exp(np.where(near, -1.0, x))))


def mills(z: Array) -> Array:
    """M(z), z >= 0."""
    return special.erfcx(z / math.sqrt(2)) * math.sqrt(math.pi / 2)


def gained(z: Array, t: Array) -> Array:
    """The hazard's integral from z to z + t, z >= 0: the logarithm of ndtr(-z) / ndtr(-z - t).

    Where it is short it is the Taylor series, by h' = h (h - z); elsewhere t (2 z + t) / 2 + log M(z) - log M(z + t).
    """
    near = t * (z + 1) < NARROW
    s = np.where(near, t, 0.0)
    h = 1 / mills(z)
    a = 2 * h - z
    h1 = h * (h - z)
    h2 = h1 * a - h
    h3 = h2 * a + 2 * h1 * (h1 - 1)
    h4 = h3 * a + h2 * (6 * h1 - 3)
    series = s * (h + s / 2 * (h1 + s / 3 * (h2 + s / 4 * (h3 + s / 5 * h4))))
    return np.where(near, series, t * (z + t / 2) - np.log(h * mills(z + t)))


def log_mass_between(a: Array, b: Array) -> Array:
    """log of the integral of exp((e^2 - s^2) / 2) over a < s < b, e the point of [a, b] nearest to 0."""
    kind, (a, b) = np.result_type(a, b), (np.asarray(x, np.float64) for x in (a, b))
    flip = b <= 0
    a, b = np.where(flip, -b, a), np.where(flip, -a, b)
    z = np.where(a >= 0, a, 0.0)
    outer = np.log(mills(z)) + log1mexp(-gained(z, np.where(a >= 0, b - z, 1.0)))
    around = np.log((special.erf(b / math.sqrt(2)) - special.erf(a / math.sqrt(2))) * math.sqrt(math.pi / 2))
    return np.asarray(np.where(a >= 0, outer, around)).astype(kind)


def quantile_between(p: Array, a: Array, b: Array) -> Array:
    """z - e, z the quantile at `p` of a standard normal truncated to [a, b], e the point of [a, b] nearest to 0."""
    kind, (p, a, b) = np.result_type(p, a, b), (np.asarray(x, np.float64) for x in (p, a, b))
    flip = b <= 0
    low = np.where(flip, -b, a)
    outside = low >= 0
    z, width = np.where(outside, low, 0.0), np.where(outside, b - a, 1.0)
    outer = _excess(np.where(flip, 1 - p, p), np.where(flip, p, 1 - p), z, width)
    halves = special.erf(a / math.sqrt(2)) / 2, special.erf(b / math.sqrt(2)) / 2
    q = halves[0] + p * (halves[1] - halves[0])
    tail = np.where(
        q < 0, special.ndtr(a) + p * (halves[1] - halves[0]), special.ndtr(-b) + (1 - p) * (halves[1] - halves[0])
    )
    centre = math.sqrt(2) * special.erfinv(2 * np.clip(q, -0.4, 0.4))
    around = np.where(np.abs(q) < 0.4, centre, -np.sign(q) * special.ndtri(tail))
    around = np.clip(around, a, b)
    return np.asarray(np.where(outside, np.where(flip, -outer, outer), around)).astype(kind)


def _excess(p: Array, rest: Array, z: Array, width: Array) -> Array:
    """t such that the fraction `p` = 1 - `rest` of the mass of [z, z + width] lies below z + t, by Newton's method.

    The hazard is increasing and convex, so the start is at or above the root, and all steps go down.
    """
    total = gained(z, width)
    below = p * -np.expm1(-total)
    wanted = np.where(below < 0.5, -np.log1p(-np.minimum(below, 0.5)), -np.log(rest + p * np.exp(-total)))
    h = 1 / mills(z)
    start = np.minimum(wanted, 1e300)
    t = np.where(wanted < np.inf, 2 * start / (h + np.sqrt(h * h + 2 * h * (h - z) * start)), width)
    for _ in range(ROUNDS):
        t = np.minimum(t, width)
        t = np.where(np.isfinite(t), np.maximum(t - (gained(z, t) - wanted) * mills(z + t), 0.0), t)
    return np.minimum(t, width)
