"""The distribution function of Student's t, how it moves with the degrees of freedom, and its inverse (`real`)."""

import math

from ppl.kernels.decorators import scalar_call
from ppl.kernels.source.precision import SINGLE, real
from ppl.kernels.source.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs, sqrt
from ppl.kernels.source.scalar.exponential import exp, log
from ppl.kernels.source.scalar.gamma import digamma, lgamma
from ppl.kernels.source.scalar.incomplete import beta_mass, beta_slope, incomplete_beta
from ppl.kernels.source.scalar.quantiles import UNDERFLOW, beta_odds, beta_start

FAR = real(1e17 if SINGLE else 1e140)  # from here on the square may overflow

LOG_ROOT_PI = real(0.5 * math.log(math.pi))

QUARTER = real(0.25)


@scalar_call
def _tail(df, t):
    """P(T > |t|): half of I_x(df / 2, 1 / 2) at x = df / (df + t**2)."""
    a, size = HALF * df, abs(t)
    if size > FAR:
        return HALF * exp(a * (log(df) - TWO * log(size)) + lgamma(a + HALF) - lgamma(a + ONE) - LOG_ROOT_PI)
    total = df + t * t
    return HALF * incomplete_beta(a, HALF, df / total, t * t / total, False) if t != ZERO else HALF


@scalar_call
def student_cdf(df, t):
    """P(T <= t) of Student's t variable with `df` degrees of freedom, accurate in the left tail."""
    if not (df > ZERO and df < INF and t == t):
        return NAN
    if t == INF or t == -INF:
        return ONE if t > ZERO else ZERO
    tail = _tail(df, t)
    return ONE - tail if t > ZERO else tail


@scalar_call
def student_slope(df, t, order):
    """The derivative of `student_cdf` in `df`, of order 1 or 2; 0 where the square of t overflows."""
    if not (df > ZERO and df < INF and t == t):
        return NAN
    if t == ZERO or abs(t) > FAR:
        return ZERO
    a, total = HALF * df, df + t * t
    x, y = df / total, t * t / total
    moved = beta_mass(a, HALF, x, y) / df  # density of x times dx / d df
    if order == 1:
        slope = HALF * (HALF * beta_slope(a, HALF, x, y, 1, 0) + moved)
    else:
        log_slope = log(x) - digamma(a) + digamma(a + HALF)
        bend = ((a - ONE) * y / x + HALF) / total - TWO / total
        slope = HALF * (QUARTER * beta_slope(a, HALF, x, y, 2, 0) + moved * (log_slope + bend))
    return -slope if t > ZERO else slope


@scalar_call
def student_icdf(df, p):
    """The quantile function of Student's t; infinite at 0 and 1."""
    if not (df > ZERO and df < INF and p >= ZERO and p <= ONE):
        return NAN
    if p == ZERO or p == ONE:
        return -INF if p == ZERO else INF
    tail = ONE - p if p > HALF else p
    if tail > QUARTER:
        size = sqrt(df * beta_odds(HALF, HALF * df, ONE - TWO * tail)) if tail < HALF else ZERO
    else:
        start = beta_start(HALF * df, HALF, TWO * tail)
        if start < UNDERFLOW:
            size = exp(HALF * (log(df) - start))
        else:
            size = sqrt(df / beta_odds(HALF * df, HALF, TWO * tail))
    return size if p > HALF else -size
