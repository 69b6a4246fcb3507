# Made from kernels/source/scalar/quantiles.py by `python -m ppl.kernels.source`: change that file instead.
"""Inverses of the incomplete gamma and beta functions, and quantiles of counts (float64).

The logarithm of a tail is concave in log x (gamma) and in the log-odds of x (beta), so that Newton's iteration on it
finds the root from wherever it starts. It is run on the tail that is at most one half, which keeps both tails exact."""

import numpy as np

from ppl.kernels.decorators import scalar_call
from ppl.kernels.generated.f64.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs, floor, maximum, minimum, sqrt
from ppl.kernels.generated.f64.scalar.exponential import exp, log
from ppl.kernels.generated.f64.scalar.gamma import lgamma
from ppl.kernels.generated.f64.scalar.incomplete import beta_mass, gamma_mass, incomplete_beta, incomplete_gamma
from ppl.kernels.generated.f64.scalar.normal import ndtri

f64 = np.float64

ROUNDS = 60

BISECTIONS = 200

ENOUGH = f64(1e-9)  # a step from which convergence, being quadratic, is complete

NOISE = f64(0.05)  # below it, steps that grow are rounding errors

UNDERFLOW = f64(-690.0)

HUGE = f64(1e300)

NINTH = f64(1 / 9)


@scalar_call
def _gamma_start(a, p, upper):
    """A first guess of the logarithm of the quantile: of Wilson & Hilferty 1931, or from x**a / gamma(a + 1) >= P."""
    low = (log(ONE - p if upper else p) + lgamma(a + ONE)) / a
    if a < ONE:
        if upper:
            far = -log(p) - lgamma(a)
            return maximum(low, log(far) if far > ONE else low)
        return low
    z = -ndtri(p) if upper else ndtri(p)
    root = ONE - NINTH / a + z / (f64(3.0) * sqrt(a))
    return maximum(low, log(a) + f64(3.0) * log(root)) if root > ZERO else low


@scalar_call
def gamma_quantile(a, p, upper):
    """x with P(a, x) = p, or Q(a, x) = p where `upper`, for 0 < p <= 1/2."""
    start = _gamma_start(a, p, upper)
    x = exp(start)
    if start < UNDERFLOW:
        return x
    last, near, edge = INF, ZERO, ZERO
    for _ in range(ROUNDS):
        tail = incomplete_gamma(a, x, upper)
        mass = gamma_mass(a, x)
        alive = tail > ZERO and mass > ZERO
        if alive:
            step = log(tail / p) * tail / mass
            step = minimum(step, TWO) if upper else -step
            if edge > ZERO:  # no further than half way to where the tail vanished
                room = HALF * log(edge / x)
                step = minimum(step, room) if upper else maximum(step, room)
            near = x
        else:
            edge = x
            step = (-HALF if upper else HALF) if near == ZERO else HALF * log(near / x)
        x *= exp(step)
        size = abs(step)
        if (alive and (size < ENOUGH or (size < NOISE and size >= last))) or not (x > ZERO and x < INF):
            break
        last = size if alive else INF
    return x


@scalar_call
def gammaincinv(a, p):
    """x with P(a, x) = p: the quantile function of a standard gamma variable. NaN unless a > 0 and 0 <= p <= 1."""
    if not (a > ZERO and a < INF and p >= ZERO and p <= ONE):
        return NAN
    if p == ZERO or p == ONE:
        return ZERO if p == ZERO else INF
    return gamma_quantile(a, ONE - p, True) if p > HALF else gamma_quantile(a, p, False)


@scalar_call
def gammainccinv(a, q):
    """x with Q(a, x) = q."""
    if not (a > ZERO and a < INF and q >= ZERO and q <= ONE):
        return NAN
    if q == ZERO or q == ONE:
        return ZERO if q == ONE else INF
    return gamma_quantile(a, ONE - q, False) if q > HALF else gamma_quantile(a, q, True)


@scalar_call
def beta_start(a, b, p):
    """log x of the leading term x**a / (a B(a, b)) of I_x(a, b); for b < 1 it is above the root."""
    return (log(p) + lgamma(a + ONE) + lgamma(b) - lgamma(a + b)) / a


@scalar_call
def beta_odds(a, b, p):
    """x / (1 - x) with I_x(a, b) = p, for 0 < p <= 1/2."""
    odds = a / b
    if b < ONE:
        start = exp(beta_start(a, b, p))
        odds = minimum(odds, start / (ONE - start)) if start < ONE else odds
    step, last = ZERO, INF
    for _ in range(ROUNDS):
        y = ONE / (ONE + odds)
        x = odds * y
        tail = incomplete_beta(a, b, x, y, False)
        mass = beta_mass(a, b, x, y)
        if tail > ZERO and mass > ZERO:
            step = -log(tail / p) * tail / mass
        else:
            step = HALF * (abs(step) if step != ZERO else ONE)  # fell off to the left
        odds *= exp(step)
        size = abs(step)
        if size < ENOUGH or (size < NOISE and size >= last) or not (odds > ZERO and odds < HUGE):
            break
        last = size
    return odds


@scalar_call
def betaincinv(a, b, p):
    """x with I_x(a, b) = p: the quantile function of a beta variable. NaN unless a, b > 0 and 0 <= p <= 1."""
    if not (a > ZERO and b > ZERO and a < INF and b < INF and p >= ZERO and p <= ONE):
        return NAN
    if p == ZERO or p == ONE:
        return p
    if p > HALF:
        return ONE / (ONE + beta_odds(b, a, ONE - p))
    odds = beta_odds(a, b, p)
    return odds / (ONE + odds) if odds < HUGE else ONE


@scalar_call
def _poisson_reached(rate, k, p, upper):
    """Whether P(X <= k) >= p, or P(X > k) <= p where `upper`; not before 0."""
    if k < ZERO:
        return False
    tail = incomplete_gamma(k + ONE, rate, not upper)
    return tail <= p if upper else tail >= p


@scalar_call
def poisson_quantile(rate, p, upper):
    """The least k with P(X <= k) >= p, or with P(X > k) <= p where `upper`, for 0 < p < 1.

    From the guess of Cornish & Fisher by steps that double, then by bisection.
    """
    z = -ndtri(p) if upper else ndtri(p)
    high = floor(maximum(rate + sqrt(rate) * z + (z * z - ONE) / f64(6.0), ZERO))
    low, step = high - ONE, ONE
    for _ in range(BISECTIONS):
        if _poisson_reached(rate, high, p, upper):
            break
        low = high
        high += step
        step *= TWO
    step = ONE
    for _ in range(BISECTIONS):
        if not _poisson_reached(rate, low, p, upper):
            break
        high = low
        low = maximum(low - step, -ONE)
        step *= TWO
    for _ in range(BISECTIONS):
        middle = floor(HALF * (low + high))
        if middle <= low or middle >= high:
            break
        if _poisson_reached(rate, middle, p, upper):
            high = middle
        else:
            low = middle
    return high


@scalar_call
def poisson_icdf(rate, p):
    """The least count k with P(X <= k) >= p; infinite at p = 1."""
    if not (rate > ZERO and rate < INF and p >= ZERO and p <= ONE):
        return NAN
    if p == ZERO or p == ONE:
        return ZERO if p == ZERO else INF
    return poisson_quantile(rate, ONE - p, True) if p > HALF else poisson_quantile(rate, p, False)


@scalar_call
def poisson_isf(rate, q):
    """The least count k with P(X > k) <= q; infinite at q = 0."""
    if not (rate > ZERO and rate < INF and q >= ZERO and q <= ONE):
        return NAN
    if q == ZERO or q == ONE:
        return ZERO if q == ONE else INF
    return poisson_quantile(rate, ONE - q, False) if q > HALF else poisson_quantile(rate, q, True)


@scalar_call
def negative_binomial_quantile(r, odds, p, upper):
    """The least k with P(X <= k) >= p, or with P(X > k) <= p where `upper`, for 0 < p <= 1/2 and odds > 0."""
    fails = ONE / (ONE + odds)
    wins = odds * fails
    mean = r * odds
    step = sqrt(mean * (ONE + odds)) + ONE
    low, high = -ONE, floor(mean)
    for _ in range(BISECTIONS):
        tail = incomplete_beta(r, high + ONE, fails, wins, upper)  # P(X <= k), or P(X > k) where `upper`
        if (tail <= p if upper else tail >= p) or high >= HUGE:
            break
        low = high
        high = floor(high + step)
        step *= TWO
    for _ in range(BISECTIONS):
        middle = floor(HALF * (low + high))
        if middle <= low or middle >= high:
            break
        tail = incomplete_beta(r, middle + ONE, fails, wins, upper)
        if tail <= p if upper else tail >= p:
            high = middle
        else:
            low = middle
    return high


@scalar_call
def negative_binomial_icdf(r, odds, p):
    """The least k with P(X <= k) >= p, of successes at `odds` before r failures; infinite at p = 1."""
    if not (r > ZERO and r < INF and odds >= ZERO and odds < INF and p >= ZERO and p <= ONE):
        return NAN
    if p == ZERO or odds == ZERO:
        return ZERO
    if p == ONE:
        return INF
    if p > HALF:
        return negative_binomial_quantile(r, odds, ONE - p, True)
    return negative_binomial_quantile(r, odds, p, False)


@scalar_call
def negative_binomial_isf(r, odds, q):
    """The least k with P(X > k) <= q; infinite at q = 0."""
    if not (r > ZERO and r < INF and odds >= ZERO and odds < INF and q >= ZERO and q <= ONE):
        return NAN
    if q == ONE or odds == ZERO:
        return ZERO
    if q == ZERO:
        return INF
    if q > HALF:
        return negative_binomial_quantile(r, odds, ONE - q, False)
    return negative_binomial_quantile(r, odds, q, True)
