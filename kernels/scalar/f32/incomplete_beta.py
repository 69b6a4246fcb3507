# Made from kernels/source/scalar/incomplete_beta.py by `python -m ppl.kernels.source`: change that file instead.
"""The regularized incomplete beta function I_x(a, b), and how it moves with a and b (float32).

The value is a continued fraction (DLMF 8.17.22), on that side of the mean where it converges. Derivatives are those of
the hypergeometric series (DLMF 8.17.8), all of whose terms are positive. What both share, x^a (1 - x)^b / B(a, b), is
written in deviances as by Loader (2000), so that nothing large cancels.
"""

import numpy as np

from ppl.kernels.config import called
from ppl.kernels.scalar.f32.basic import NAN, ONE, TWO, ZERO, abs, sqrt
from ppl.kernels.scalar.f32.exponential import exp, log
from ppl.kernels.scalar.f32.gamma import digamma, trigamma
from ppl.kernels.scalar.f32.incomplete_gamma import CLOSE, EPSILON, INV_SQRT_TWO_PI, deviance, stirling_rest

f32 = np.float32

TINY = f32(1e-30)
STEPS = 20000
SLOW = f32(1e-3)  # for x or 1 - x below it the fraction takes many terms on one side of the mean


@called
def beta_mass(a, b, x, y):
    """x**a y**b / B(a, b), y = 1 - x, for positive arguments."""
    total = a + b
    shift = x * b - a * y
    fall = a * deviance(shift / a, x * (total / a)) + b * deviance(-shift / b, y * (total / b))
    rest = stirling_rest(total) - stirling_rest(a) - stirling_rest(b)
    return sqrt(a) * sqrt(b / total) * INV_SQRT_TWO_PI * exp(rest - fall)


@called
def _fraction(a, b, x, y):
    """beta_mass / I_x(a, b), for x below the mean or so: Lentz's way through the continued fraction."""
    gap = a * y - b * x
    value = a * (gap + ONE) / (a + ONE)
    value = value if abs(value) > TINY else TINY
    c, d = value, ZERO
    for m in range(1, STEPS):
        k = f32(m)
        odd = a + TWO * k - ONE
        step = k * (b - k) * x / odd
        top = (a + k - ONE) * (a + b + k - ONE) * x / odd * step
        bottom = k + step + (a + k) * (gap + ONE + k * (ONE + y)) / (odd + TWO)
        d = bottom + top * d
        c = bottom + top / c
        d = ONE / (d if abs(d) > TINY else TINY)
        c = c if abs(c) > TINY else TINY
        value *= c * d
        if abs(c * d - ONE) < CLOSE:
            break
    return value


@called
def incomplete_beta(a, b, x, y, upper):
    """I_x(a, b), or 1 less it where `upper`, for positive a, b, x and y = 1 - x."""
    left = x * b < a * y
    if x < SLOW or y < SLOW:
        left = x * (a + b + TWO) < a + ONE
    if left:
        tail = beta_mass(a, b, x, y) / _fraction(a, b, x, y)
    else:
        tail = beta_mass(a, b, x, y) / _fraction(b, a, y, x)
    tail = tail if tail < ONE else ONE
    return tail if left != upper else ONE - tail


@called
def betainc(a, b, x):
    """I_x(a, b), the cdf of a beta variable: the integral of t**(a - 1) (1 - t)**(b - 1) / B(a, b) from 0 to x.

    NaN unless a and b are positive and 0 <= x <= 1.
    """
    if not (a > ZERO and b > ZERO and x >= ZERO and x <= ONE):
        return NAN
    if x == ZERO or x == ONE:
        return x
    return incomplete_beta(a, b, x, ONE - x, False)


@called
def _sum(a, b, x, da, db):
    """The derivative of F(a + b, 1; a + 1; x) of order `da` in a and `db` in b; da + db is 0, 1 or 2."""
    total = ONE if da + db == 0 else ZERO
    term, in_a, in_b, in_aa, in_bb = ONE, ZERO, ZERO, ZERO, ZERO
    for n in range(STEPS):
        top, bottom = a + b + f32(n), a + f32(n + 1)
        up, down = ONE / top, ONE / bottom
        term *= top * x * down
        in_a += up - down
        in_b += up
        in_aa += down * down - up * up
        in_bb -= up * up
        weight = ONE
        if da == 1 and db == 0:
            weight = in_a
        elif da == 0 and db == 1:
            weight = in_b
        elif da == 2:
            weight = in_a * in_a + in_aa
        elif db == 2:
            weight = in_b * in_b + in_bb
        elif da == 1:
            weight = in_a * in_b + in_bb
        total += term * weight
        if term * (ONE + in_b * in_b) < EPSILON * (ONE + abs(total)) and top * x < bottom:
            break
    return total


@called
def tail_slope(a, b, x, y, da, db):
    """The derivative of I_x(a, b) of order `da` in a and `db` in b (together 1 or 2), for x not far above the mean."""
    mass = beta_mass(a, b, x, y) / a
    if not mass > ZERO:
        return ZERO
    both = digamma(a + b)
    log_a, log_b = log(x) - digamma(a + ONE) + both, log(y) - digamma(b) + both
    whole = _sum(a, b, x, 0, 0)
    if da + db == 1:
        return mass * ((log_a if da else log_b) * whole + _sum(a, b, x, da, db))
    bend, second = trigamma(a + b), _sum(a, b, x, da, db)
    if da == 2:
        bend -= trigamma(a + ONE)
        return mass * ((log_a * log_a + bend) * whole + TWO * log_a * _sum(a, b, x, 1, 0) + second)
    if db == 2:
        bend -= trigamma(b)
        return mass * ((log_b * log_b + bend) * whole + TWO * log_b * _sum(a, b, x, 0, 1) + second)
    mixed = log_a * _sum(a, b, x, 0, 1) + log_b * _sum(a, b, x, 1, 0)
    return mass * ((log_a * log_b + bend) * whole + mixed + second)


@called
def beta_slope(a, b, x, y, da, db):
    """`tail_slope` on either side of the mean."""
    if x * (a + b) < a * (ONE + y):
        return tail_slope(a, b, x, y, da, db)
    return -tail_slope(b, a, y, x, db, da)


@called
def betainc_slope(a, b, x, da, db):
    """The derivative of I_x(a, b) of order `da` in a and `db` in b; together they are 1 or 2."""
    if not (a > ZERO and b > ZERO and x >= ZERO and x <= ONE):
        return NAN
    if x == ZERO or x == ONE:
        return ZERO
    return beta_slope(a, b, x, ONE - x, da, db)
