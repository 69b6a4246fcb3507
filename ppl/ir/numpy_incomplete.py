"""Distribution functions in NumPy: SciPy's values, and derivatives by quadrature, the oracle of the kernels.

A derivative of a distribution function in a parameter is the integral of that of the density over the tail on whose
side the value lies, by double exponential rules in a coordinate in which the density is smooth and has no singularity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from ppl.ir.node import Node
from ppl.ir.numpy_angles import log_i0e

if TYPE_CHECKING:
    from ppl.ir.interpret import Env

Array = np.ndarray
NODES = np.arange(-4.0, 4.6, 0.05)
FAR_NODES = np.arange(-6.0, 6.3, 0.05)
ANGLE_NODES, ANGLE_WEIGHTS = np.polynomial.legendre.leggauss(80)
DEPTH = 40.0
PI_REST = 1.2246467991473532e-16  # pi less its float64


def _one_sided(weight: Callable[[Array], Array], width: Array) -> Array:
    """The integral of weight(s) over s > 0, where it decays exponentially on the scale `width`."""
    total = np.zeros_like(width)
    with np.errstate(all="ignore"):
        for t in NODES:
            s = width * np.exp(t - np.exp(-t))
            total += np.nan_to_num(weight(s), nan=0.0, posinf=0.0, neginf=0.0) * s * (1 + np.exp(-t))
    return total * (NODES[1] - NODES[0])


def gammainc(a: Array, x: Array, order: int) -> Array:
    """P(a, x) or its derivatives in a, by quadrature in log t."""
    if order == 0:
        return special.gammainc(a, x)
    a, x = a.astype(np.float64), x.astype(np.float64)
    lower = x < np.maximum(a, 1.0)
    sign = np.where(lower, -1.0, 1.0)
    psi, bend = special.digamma(a), special.polygamma(1, a)
    width = np.where(lower, 1 / (np.maximum(a - x, 0) + np.sqrt(a)), 1 / (np.maximum(x - a, 0) + np.sqrt(x)))
    width = np.where(lower & (a < 1), 1 / a, width)
    with np.errstate(all="ignore"):
        y = np.log(x)
        mass = np.exp(a * y - x - special.gammaln(a))

    def weight(s: Array) -> Array:
        lean = y + sign * s - psi
        return (lean if order == 1 else lean * lean - bend) * np.exp(sign * a * s - x * np.expm1(sign * s))

    return np.where((x > 0) & (x < np.inf), -sign * mass * _one_sided(weight, width), 0.0)


def betainc(a: Array, b: Array, x: Array, order: tuple[int, int]) -> Array:
    """I_x(a, b) or its derivatives in a and b, by quadrature in the log-odds."""
    if order == (0, 0):
        return special.betainc(a, b, x)
    a, b, x = (v.astype(np.float64) for v in (a, b, x))
    lower = x * (a + b) < a
    sign = np.where(lower, -1.0, 1.0)
    psi, bend = special.digamma(a + b), special.polygamma(1, a + b)
    with np.errstate(all="ignore"):
        y = special.logit(x)
        mass = np.exp(a * np.log(x) + b * np.log1p(-x) - special.betaln(a, b))
    push = np.maximum(sign * ((a + b) * x - a), 0.0)
    width = 1 / (push + np.minimum(np.where(lower, a, b), np.sqrt((a + b) * x * (1 - x)) + 1e-300))

    def weight(s: Array) -> Array:
        z = y + sign * s
        log_t, log_u = special.log_expit(z), special.log_expit(-z)
        fall = a * (log_t - special.log_expit(y)) + b * (log_u - special.log_expit(-y))
        in_a, in_b = log_t + psi - special.digamma(a), log_u + psi - special.digamma(b)
        if order == (1, 1):
            lean = in_a * in_b + bend
        else:
            own, slope = (a, in_a) if order[0] else (b, in_b)
            lean = slope if sum(order) == 1 else slope * slope + bend - special.polygamma(1, own)
        return lean * np.exp(fall)

    return np.where((x > 0) & (x < 1), -sign * mass * _one_sided(weight, width), 0.0)


def student_cdf(df: Array, t: Array, order: int) -> Array:
    """P(T <= t) or its derivatives in the degrees of freedom, by quadrature of the tail, which is algebraic."""
    if order == 0:
        return special.stdtr(df, t)
    df, t = df.astype(np.float64), t.astype(np.float64)
    half, size, total = df / 2, np.abs(t), np.zeros_like(t)
    gap = special.digamma(half + 0.5) - special.digamma(half)
    curve = (special.polygamma(1, half + 0.5) - special.polygamma(1, half)) / 4
    norm = special.gammaln(half + 0.5) - special.gammaln(half) - 0.5 * np.log(np.pi * df)
    for s in FAR_NODES:
        with np.errstate(all="ignore"):
            w = np.maximum(size, 1.0) * np.exp(0.5 * np.pi * np.sinh(s))
            square = (size + w) ** 2
            below, tail = df * (df + square), np.log1p(square / df)
            ratio = (df + 1) * square / below
            slope = 0.5 * (gap - 1 / df - tail + ratio)
            turn = 1 / df**2 + 2 * square / below - ratio * (2 * df + square) / below
            lean = slope if order == 1 else slope**2 + curve + 0.5 * turn
            value = lean * np.exp(norm - (half + 0.5) * tail) * w * 0.5 * np.pi * np.cosh(s)
        total += np.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)
    return -np.sign(t) * total * (FAR_NODES[1] - FAR_NODES[0])


def vonmises_cdf(concentration: Array, x: Array, order: int) -> Array:
    """P(-pi < X <= x) or its derivatives in the concentration, by Gauss quadrature towards 0 or towards pi."""
    a, k = np.abs(x.astype(np.float64)), concentration.astype(np.float64)
    gap, spread = -log_i0e(k, 1), log_i0e(k, 2)
    with np.errstate(all="ignore"):
        far = np.minimum(np.sin(a / 2) ** 2 + DEPTH / (2 * k), 1.0)
    reach = np.where(far < 1, 2 * np.arcsin(np.sqrt(far)) - a, np.maximum(np.pi - a + PI_REST, 0.0))
    near = 2 * np.sin(a / 2) ** 2 <= gap
    length, total = np.where(near, -a, reach), np.zeros_like(a)
    density = np.exp(-2 * k * np.sin(a / 2) ** 2 - log_i0e(k, 0)) / (2 * np.pi)
    for t, w in zip((ANGLE_NODES + 1) / 2, ANGLE_WEIGHTS / 2, strict=True):
        lean = gap - 2 * np.sin((a + length * t) / 2) ** 2
        weight = 1.0 if order == 0 else lean if order == 1 else lean**2 - spread
        total += w * weight * np.exp(-2 * k * np.sin(a + length * t / 2) * np.sin(length * t / 2))
    tail = total * length * density + np.where(near & (order == 0), 0.5, 0.0)
    below = 1 - tail if order == 0 else -tail
    return np.where(x > 0, below, tail)


def vonmises_icdf(concentration: Array, p: Array) -> Array:
    """The inverse of `vonmises_cdf` by bisection."""
    tail, zero = np.minimum(p, 1 - p).astype(np.float64), np.zeros(np.shape(p))
    low, high = np.full_like(zero, -np.pi), zero.copy()
    for _ in range(80):
        middle = 0.5 * (low + high)
        above = vonmises_cdf(concentration, middle, 0) > tail
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    angle = np.where(tail == 0, -np.pi, np.where(tail == 0.5, 0.0, 0.5 * (low + high)))
    return np.where((p >= 0) & (p <= 1), np.where(p > 0.5, -angle, angle), np.nan)


def poisson_icdf(rate: Array, p: Array) -> Array:
    """The least k with Q(k + 1, rate) >= p, by bisection."""
    rate, p = np.broadcast_arrays(rate.astype(np.float64), np.asarray(p, np.float64))
    low, high = np.full(rate.shape, -1.0), np.ceil(rate + 40 * np.sqrt(rate) + 800)
    for _ in range(80):
        middle = np.floor(0.5 * (low + high))
        enough = special.gammaincc(middle + 1, rate) >= p
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    found = np.where(p == 1, np.inf, np.where(p == 0, 0.0, high))
    return np.where((p >= 0) & (p <= 1), found, np.nan)


def negative_binomial_icdf(total: Array, odds: Array, p: Array) -> Array:
    """The least k with I_q(total, k + 1) >= p, q = 1 / (1 + odds), by bisection between Cantelli's bounds."""
    total, odds, p = (np.asarray(x, np.float64) for x in np.broadcast_arrays(total, odds, p))
    fails, wins, mean = 1 / (1 + odds), odds / (1 + odds), total * odds
    upper, far, spread = p > 0.5, np.sqrt(p / (1 - p)), np.sqrt(mean * (1 + odds))
    low, high = np.maximum(np.floor(mean - spread / far) - 1, -1.0), np.floor(mean + spread * far) + 1
    for _ in range(200):
        middle = np.floor(0.5 * (low + high))
        open_ = (middle > low) & (middle < high)
        tail = np.where(upper, special.betainc(middle + 1, total, wins), special.betainc(total, middle + 1, fails))
        enough = np.where(upper, tail <= 1 - p, tail >= p)
        low, high = np.where(open_ & ~enough, middle, low), np.where(open_ & enough, middle, high)
        if not open_.any():
            break
    found = np.where((p == 0) | (odds == 0), 0.0, np.where(p == 1, np.inf, high))
    valid = (p >= 0) & (p <= 1) & (total > 0) & (total < np.inf) & (odds >= 0) & (odds < np.inf)
    return np.where(valid, found, np.nan)


def _ordered(function: Callable[..., Array]) -> Callable[[Env, Node, Sequence[Array]], Any]:
    """A function of its arguments and the order of a node's derivative, as an entry of the interpreter's table."""
    return lambda env, node, args: function(*args, node.attrs["order"])


INCOMPLETE: dict[str, Callable[[Env, Node, Sequence[Array]], Any]] = {
    "gammainc": _ordered(gammainc),
    "gammaincc": lambda env, node, args: special.gammaincc(*args),
    "gammaincinv": lambda env, node, args: special.gammaincinv(*args),
    "gammainccinv": lambda env, node, args: special.gammainccinv(*args),
    "betainc": _ordered(betainc),
    "betaincinv": lambda env, node, args: special.betaincinv(*args),
    "student_cdf": _ordered(student_cdf),
    "student_icdf": lambda env, node, args: np.where(args[1] == 0, -np.inf, special.stdtrit(*args)),
    "vonmises_cdf": _ordered(vonmises_cdf),
    "vonmises_icdf": lambda env, node, args: vonmises_icdf(*args),
    "poisson_icdf": lambda env, node, args: poisson_icdf(*args),
    "negative_binomial_icdf": lambda env, node, args: negative_binomial_icdf(*args),
}
