"""Bessel functions and von Mises draws in NumPy: the oracle of `bessel` and `von_mises` in `ppl.kernels.scalar`.

Draws are the same algorithm on the same random words. Their derivative is a quadrature in float64 of many more points
than the kernels take, over a longer range.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.ir.node import Node
from ppl.ir.reference.numpy_draws import ATTEMPTS, attempt_uniforms, drawing
from ppl.lazy import special

if TYPE_CHECKING:
    from ppl.ir.reference.interpret import Env

Array = np.ndarray
FAR, TERMS = 30.0, 30
DEPTH = 40.0
PI_REST = 1.2246467991473532e-16  # pi less its float64


@functools.cache
def gauss_legendre(count: int) -> list[tuple[Any, Any]]:
    """Points in (0, 1) and weights of the rule of Gauss and Legendre; found when first needed, which takes a while."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return list(zip((nodes + 1) / 2, weights / 2, strict=True))


def _gap(x: Array, derivative: int) -> Array:
    """1 - I1(x) / I0(x) for large x, or the slope of the ratio; coefficients by the Riccati equation of the ratio."""
    r, total = [0.0, 0.5], np.zeros_like(x)
    for m in range(2, TERMS):
        r.append(((m - 2) * r[m - 1] + sum(r[i] * r[m - i] for i in range(1, m))) / 2)
    for m in range(TERMS - 1, 0, -1):
        total = total / x + r[m] * (m if derivative else 1)
    return total / x ** (1 + derivative)


def log_i0e(x: Array, n: int) -> Array:
    """The n-th derivative of log(I0(x) exp(-x)), x >= 0, n = 0, 1, 2."""
    x = x.astype(np.float64)
    if n == 0:
        return np.where(x < 0, np.nan, np.log(special.i0e(x)))
    near, far = np.minimum(x, FAR), np.maximum(x, FAR)
    ratio = special.i1e(near) / special.i0e(near)
    over = np.where(near > 0, ratio / np.where(near > 0, near, 1.0), 0.5)
    low, high = (ratio - 1, -_gap(far, 0)) if n == 1 else (1 - over - ratio**2, _gap(far, 1))
    return np.where(x < 0, np.nan, np.where(x > FAR, high, low))


def vonmises_draw(concentration: Array, key: Array, column: Array, stream: int) -> Array:
    """Von Mises angles around 0 (Best & Fisher 1979), written in tangents of half angles."""
    kind = concentration.dtype.type
    kappa = np.maximum(concentration, kind(1e-9))
    e = kind(0.5) / kappa
    excess = e + e * e / (kind(1) + np.sqrt(kind(1) + e * e))
    b = np.sqrt(excess / (kind(2) + excess))
    kappa, excess, b, key, column = np.broadcast_arrays(kappa, excess, b, key, column)
    t, left = np.zeros_like(kappa), np.ones(kappa.shape, bool)
    for attempt in range(ATTEMPTS):
        u, v = attempt_uniforms(key[left], column[left], stream, attempt, kind)
        proposed = b[left] * np.tan(kind(np.pi) * (u - kind(0.5)))
        t[left] = proposed
        c = kappa[left] * (excess[left] + kind(2) * proposed**2 / (kind(1) + proposed**2))
        left[left] = ~(np.log(v) <= np.log(c) + kind(1) - c)
        if not left.any():
            break
    return kind(2) * np.arctan(t)


def vonmises_slope(x: Array, concentration: Array) -> Array:
    """dx / d concentration at a fixed quantile, by Gauss quadrature of -(dF / d concentration) / p.

    With A the mean of cos, it is the integral of |cos s - A| exp(concentration (cos s - cos x)) from |x| to 0 where
    cos x >= A, else from |x| to pi or to where the exponent is less than -`DEPTH`.
    """
    a, k = np.abs(x.astype(np.float64)), concentration.astype(np.float64)
    gap = -log_i0e(k, 1)
    far = np.minimum(np.sin(a / 2) ** 2 + DEPTH / (2 * k), 1.0)
    reach = np.where(far < 1, 2 * np.arcsin(np.sqrt(far)) - a, np.maximum(np.pi - a + PI_REST, 0.0))
    length = np.where(2 * np.sin(a / 2) ** 2 <= gap, -a, reach)
    total = np.zeros_like(a)
    for t, w in gauss_legendre(48):
        fall = 2 * k * np.sin(a + length * t / 2) * np.sin(length * t / 2)
        total += w * np.abs(gap - 2 * np.sin((a + length * t) / 2) ** 2) * np.exp(-fall)
    return -np.sign(x) * np.abs(length) * total


ANGLES: dict[str, Callable[[Env, Node, Sequence[Array]], Any]] = {
    "log_i0e": lambda env, node, args: log_i0e(args[0], node.attrs["n"]),
    "vonmises_draw": drawing(vonmises_draw),
    "vonmises_slope": lambda env, node, args: vonmises_slope(*args),
}
