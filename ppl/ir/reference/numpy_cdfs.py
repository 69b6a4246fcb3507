"""Distribution functions and truncated normals in NumPy: the oracle of the kernels.

Distribution functions are SciPy's values, and derivatives by quadrature: a derivative in a parameter is the
integral of that of the density over the tail on whose side the value lies, by double exponential rules in a coordinate
in which the density is smooth and has no singularity. The normal law between two ends is computed in float64;
M(z) = exp(z^2 / 2) ndtr(-z) sqrt(2 pi) is Mills' ratio, 1 / M the hazard h."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.ir.node import Node
from ppl.ir.reference.numpy_samplers import gauss_legendre, log_i0e
from ppl.lazy import special

if TYPE_CHECKING:
    from ppl.ir.reference.environment import Env

Array = np.ndarray

SERIES_BELOW, NEWTON_ROUNDS = 1e-2, 8


def log1mexp(x: Array) -> Array:
    """log(1 - exp(x)) for x <= 0."""
    x = np.asarray(x)
    near = x > -math.log(2)
    return np.where(near, np.log(-np.expm1(np.where(near, x, -1.0))), np.log1p(-np.exp(np.where(near, -1.0, x))))


def mills_ratio(z: Array) -> Array:
    """M(z), z >= 0."""
    return special.erfcx(z / math.sqrt(2)) * math.sqrt(math.pi / 2)


def hazard_integral(z: Array, t: Array) -> Array:
    """The hazard's integral from z to z + t, z >= 0: the logarithm of ndtr(-z) / ndtr(-z - t).

    Where it is short it is the Taylor series, by h' = h (h - z); elsewhere t (2 z + t) / 2 + log M(z) - log M(z + t).
    """
    near = t * (z + 1) < SERIES_BELOW
    s = np.where(near, t, 0.0)
    h = 1 / mills_ratio(z)
    a = 2 * h - z
    h1 = h * (h - z)
    h2 = h1 * a - h
    h3 = h2 * a + 2 * h1 * (h1 - 1)
    h4 = h3 * a + h2 * (6 * h1 - 3)
    series = s * (h + s / 2 * (h1 + s / 3 * (h2 + s / 4 * (h3 + s / 5 * h4))))
    return np.where(near, series, t * (z + t / 2) - np.log(h * mills_ratio(z + t)))


def log_mass_between(a: Array, b: Array) -> Array:
    """log of the integral of exp((e^2 - s^2) / 2) over a < s < b, e the point of [a, b] nearest to 0."""
    kind, (a, b) = np.result_type(a, b), (np.asarray(x, np.float64) for x in (a, b))
    flip = b <= 0
    a, b = np.where(flip, -b, a), np.where(flip, -a, b)
    z = np.where(a >= 0, a, 0.0)
    outer = np.log(mills_ratio(z)) + log1mexp(-hazard_integral(z, np.where(a >= 0, b - z, 1.0)))
    around = np.log((special.erf(b / math.sqrt(2)) - special.erf(a / math.sqrt(2))) * math.sqrt(math.pi / 2))
    return np.asarray(np.where(a >= 0, outer, around)).astype(kind)


def quantile_between(p: Array, a: Array, b: Array) -> Array:
    """z - e, z the quantile at `p` of a standard normal truncated to [a, b], e the point of [a, b] nearest to 0."""
    kind, (p, a, b) = np.result_type(p, a, b), (np.asarray(x, np.float64) for x in (p, a, b))
    flip = b <= 0
    low = np.where(flip, -b, a)
    outside = low >= 0
    z, width = np.where(outside, low, 0.0), np.where(outside, b - a, 1.0)
    outer = _truncated_excess(np.where(flip, 1 - p, p), np.where(flip, p, 1 - p), z, width)
    halves = special.erf(a / math.sqrt(2)) / 2, special.erf(b / math.sqrt(2)) / 2
    q = halves[0] + p * (halves[1] - halves[0])
    tail = np.where(
        q < 0, special.ndtr(a) + p * (halves[1] - halves[0]), special.ndtr(-b) + (1 - p) * (halves[1] - halves[0])
    )
    centre = math.sqrt(2) * special.erfinv(2 * np.clip(q, -0.4, 0.4))
    around = np.where(np.abs(q) < 0.4, centre, -np.sign(q) * special.ndtri(tail))
    around = np.clip(around, a, b)
    return np.asarray(np.where(outside, np.where(flip, -outer, outer), around)).astype(kind)


def _truncated_excess(p: Array, rest: Array, z: Array, width: Array) -> Array:
    """t such that the fraction `p` = 1 - `rest` of the mass of [z, z + width] lies below z + t, by Newton's method.

    The hazard is increasing and convex, so the start is at or above the root, and all steps go down.
    """
    total = hazard_integral(z, width)
    below = p * -np.expm1(-total)
    wanted = np.where(below < 0.5, -np.log1p(-np.minimum(below, 0.5)), -np.log(rest + p * np.exp(-total)))
    h = 1 / mills_ratio(z)
    start = np.minimum(wanted, 1e300)
    t = np.where(wanted < np.inf, 2 * start / (h + np.sqrt(h * h + 2 * h * (h - z) * start)), width)
    for _ in range(NEWTON_ROUNDS):
        t = np.minimum(t, width)
        t = np.where(np.isfinite(t), np.maximum(t - (hazard_integral(z, t) - wanted) * mills_ratio(z + t), 0.0), t)
    return np.minimum(t, width)


TAIL_NODES = np.arange(-4.0, 4.6, 0.05)

ALGEBRAIC_TAIL_NODES = np.arange(-6.0, 6.3, 0.05)

DEPTH = 40.0

PI_REST = 1.2246467991473532e-16  # pi less its float64


def _tail_integral(weight: Callable[[Array], Array], width: Array) -> Array:
    """The integral of weight(s) over s > 0, where it decays exponentially on the scale `width`."""
    total = np.zeros_like(width)
    with np.errstate(all="ignore"):
        for t in TAIL_NODES:
            s = width * np.exp(t - np.exp(-t))
            total += np.nan_to_num(weight(s), nan=0.0, posinf=0.0, neginf=0.0) * s * (1 + np.exp(-t))
    return total * (TAIL_NODES[1] - TAIL_NODES[0])


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

    return np.where((x > 0) & (x < np.inf), -sign * mass * _tail_integral(weight, width), 0.0)


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

    return np.where((x > 0) & (x < 1), -sign * mass * _tail_integral(weight, width), 0.0)


def student_cdf(df: Array, t: Array, order: int) -> Array:
    """P(T <= t) or its derivatives in the degrees of freedom, by quadrature of the tail, which is algebraic."""
    if order == 0:
        return special.stdtr(df, t)
    df, t = df.astype(np.float64), t.astype(np.float64)
    half, size, total = df / 2, np.abs(t), np.zeros_like(t)
    gap = special.digamma(half + 0.5) - special.digamma(half)
    curve = (special.polygamma(1, half + 0.5) - special.polygamma(1, half)) / 4
    norm = special.gammaln(half + 0.5) - special.gammaln(half) - 0.5 * np.log(np.pi * df)
    for s in ALGEBRAIC_TAIL_NODES:
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
    return -np.sign(t) * total * (ALGEBRAIC_TAIL_NODES[1] - ALGEBRAIC_TAIL_NODES[0])


def student_icdf(df: Array, p: Array) -> Array:
    """The inverse of `student_cdf`; in the tails, where SciPy's fails, from the inverse incomplete beta function."""
    tail = np.minimum(p, 1 - p)
    with np.errstate(all="ignore"):
        half = df / 2
        share = special.betaincinv(half, 0.5, 2 * tail)
        leading = (np.log(2 * tail) + np.log(half) + special.betaln(half, 0.5)) / half  # log of a share that underflows
        far = np.sqrt(df) * np.where(leading < -600, np.exp(-leading / 2), np.sqrt((1 - share) / share))
        near = special.stdtrit(df, p)
    return np.where((p >= 0) & (tail < 1e-3), np.where(p < 0.5, -far, far), near)


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
    for t, w in gauss_legendre(80):
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


def _least_count(reached: Callable[[Array], Array], start: Array) -> Array:
    """The least k >= 0 at which a condition that stays true holds: by steps that double, then by bisection."""
    low, high, step = np.full(start.shape, -1.0), start.copy(), np.sqrt(start) + 1
    for _ in range(200):
        short = ~reached(high)
        if not short.any():
            break
        low, high, step = np.where(short, high, low), np.where(short, np.floor(high + step), high), 2 * step
    for _ in range(200):
        middle = np.floor(0.5 * (low + high))
        open_ = (middle > low) & (middle < high)
        if not open_.any():
            break
        enough = reached(middle)
        low, high = np.where(open_ & ~enough, middle, low), np.where(open_ & enough, middle, high)
    return high


def _poisson_quantile(rate: Array, p: Array, upper: bool) -> Array:
    """The least k with P(X <= k) >= p, or with P(X > k) <= p where `upper`."""
    rate, p = np.broadcast_arrays(rate.astype(np.float64), np.asarray(p, np.float64))
    never, always = (p == 0, p == 1) if upper else (p == 1, p == 0)
    inner = np.where(never | always | ~((p > 0) & (p < 1)), 0.5, p)
    if upper:
        found = _least_count(lambda k: special.gammainc(k + 1, rate) <= inner, np.ceil(rate))
    else:
        found = _least_count(lambda k: special.gammaincc(k + 1, rate) >= inner, np.ceil(rate))
    return np.where((p >= 0) & (p <= 1), np.where(never, np.inf, np.where(always, 0.0, found)), np.nan)


def _negative_binomial_quantile(total: Array, odds: Array, p: Array, upper: bool) -> Array:
    """The least k with P(X <= k) >= p, or with P(X > k) <= p where `upper`."""
    total, odds, p = (np.asarray(x, np.float64) for x in np.broadcast_arrays(total, odds, p))
    never, always = (p == 0, p == 1) if upper else (p == 1, p == 0)
    valid = (p >= 0) & (p <= 1) & (total > 0) & (total < np.inf) & (odds >= 0) & (odds < np.inf)
    r, s = np.where(valid, total, 1.0), np.where(valid, odds, 1.0)
    inner = np.where(never | always | ~valid, 0.5, p)
    fails, wins = 1 / (1 + s), s / (1 + s)

    def reached(k: Array) -> Array:
        below, above = special.betainc(r, k + 1, fails), special.betainc(k + 1, r, wins)
        direct = above <= inner if upper else below >= inner
        return np.where(inner > 0.5, below >= 1 - inner if upper else above <= 1 - inner, direct)

    found = _least_count(reached, np.ceil(r * s))
    found = np.where(always | (odds == 0), 0.0, np.where(never, np.inf, found))
    return np.where(valid, found, np.nan)


def _cdf_rule(function: Callable[..., Array]) -> Callable[[Env, Node, Sequence[Array]], Any]:
    """A function of its arguments and the order of a node's derivative, as an entry of the interpreter's table."""
    return lambda env, node, args: function(*args, node.attrs["order"])


CDFS: dict[str, Callable[[Env, Node, Sequence[Array]], Any]] = {
    "gammainc": _cdf_rule(gammainc),
    "gammaincc": lambda env, node, args: special.gammaincc(*args),
    "gammaincinv": lambda env, node, args: special.gammaincinv(*args),
    "gammainccinv": lambda env, node, args: special.gammainccinv(*args),
    "betainc": _cdf_rule(betainc),
    "betaincinv": lambda env, node, args: special.betaincinv(*args),
    "student_cdf": _cdf_rule(student_cdf),
    "student_icdf": lambda env, node, args: student_icdf(*args),
    "vonmises_cdf": _cdf_rule(vonmises_cdf),
    "vonmises_icdf": lambda env, node, args: vonmises_icdf(*args),
    "poisson_icdf": lambda env, node, args: _poisson_quantile(args[0], args[1], False),
    "poisson_isf": lambda env, node, args: _poisson_quantile(args[0], args[1], True),
    "negative_binomial_icdf": lambda env, node, args: _negative_binomial_quantile(args[0], args[1], args[2], False),
    "negative_binomial_isf": lambda env, node, args: _negative_binomial_quantile(args[0], args[1], args[2], True),
}
