# Made from kernels/source/scalar/incomplete.py by `python -m ppl.kernels.source`: change that file instead.
"""The regularized incomplete gamma and beta functions, and their derivatives in the parameters (float32)."""

import math

import numpy as np

from ppl.kernels.decorators import scalar_call
from ppl.kernels.generated.f32.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs, minimum, sqrt
from ppl.kernels.generated.f32.scalar.exponential import exp, expm1, log, log1p
from ppl.kernels.generated.f32.scalar.gamma import digamma, lgamma, trigamma
from ppl.kernels.generated.f32.scalar.gamma_samplers import COLUMNS, ROWS, SLOPE, loggamma_slope
from ppl.kernels.generated.f32.scalar.normal import erfc
from ppl.kernels.scalar import series
from ppl.kernels.scalar.polynomials import horner4

f32 = np.float32

LOG_SQRT_TWO_PI = f32(0.5 * math.log(2 * math.pi))

INV_SQRT_TWO_PI = f32(1 / math.sqrt(2 * math.pi))

SQRT_HALF = f32(math.sqrt(0.5))

EPSILON = f32(1e-9)

LARGE = f32(30.0)  # from this shape on, and for |x / a - 1| below NEAR, Temme's expansion

NEAR = f32(0.4)

TEMME_ROWS, TEMME_COLUMNS = (3, 8)

TEMME = tuple(map(f32, series.TEMME))

LGAMMA = tuple(map(f32, series.LGAMMA[:12]))

TERMS = len(LGAMMA)

DEVIANCE = tuple(f32(1 / (2 * n + 1)) for n in range(1, 12))

CLOSE = f32(3e-7)

STIRLING_FROM = f32(2.5)

# lgamma's remainder after Stirling's formula, in 1 / a**2, times a
STIRLING = tuple(map(f32, (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)))


@scalar_call
def stirling_rest(a):
    """lgamma(a) - (a - 1/2) log(a) + a - log(2 pi) / 2."""
    if a >= STIRLING_FROM:
        w = ONE / (a * a)
        return (horner4(w, *STIRLING) - w * w * w * w * w * f32(691 / 360360)) / a
    return lgamma(a) - (a - HALF) * log(a) + a - LOG_SQRT_TWO_PI


@scalar_call
def deviance(shift, ratio):
    """shift - log(ratio) without cancellation, ratio = 1 + shift; never negative."""
    if abs(shift) > NEAR:
        return shift - log(ratio)
    r = shift / (TWO + shift)
    w = r * r
    total, power = ZERO, w
    for n in range(len(DEVIANCE)):
        total += DEVIANCE[n] * power
        power *= w
        if power < EPSILON:
            break
    return r * (shift - TWO * total)


@scalar_call
def gamma_mass(a, x):
    """x**a exp(-x) / gamma(a), for positive and finite a and x."""
    return sqrt(a) * INV_SQRT_TWO_PI * exp(-a * deviance((x - a) / a, x / a) - stirling_rest(a))


@scalar_call
def _gamma_by_series(a, x):
    """P / gamma_mass, for x up to about a + 1."""
    term = total = ONE / a
    n = a
    for _ in range(4000):
        n += ONE
        term *= x / n
        total += term
        if term < EPSILON * total:
            break
    return total


@scalar_call
def _gamma_fraction(a, x):
    """Q / gamma_mass, for x above a + 1: Lentz's way through the continued fraction."""
    b = x + ONE - a
    d = ONE / b
    c, value = INF, d
    for i in range(1, 4000):
        weight = f32(i) * (a - f32(i))
        b += TWO
        d = ONE / (b + weight * d)
        c = b + weight / c
        value *= c * d
        if abs(c * d - ONE) < CLOSE:
            break
    return value


@scalar_call
def _temme(a, x, side):
    """P (side -1) or Q (side 1) for large a and x near it."""
    shift = (x - a) / a
    half = deviance(shift, x / a)
    eta = sqrt(TWO * half)
    eta = -eta if shift < ZERO else eta
    step, inverse = log1p(shift), ONE / a
    total = ZERO
    for row in range(TEMME_ROWS - 1, -1, -1):
        value = ZERO
        for n in range(TEMME_COLUMNS - 1, -1, -1):
            value = value * step + TEMME[row * series.TEMME_COLUMNS + n]
        total = total * inverse + value
    rest = exp(-a * half) * INV_SQRT_TWO_PI * total / sqrt(a)
    return HALF * erfc(side * eta * sqrt(a) * SQRT_HALF) + side * rest


@scalar_call
def _upper_near_zero(a, x):
    """Q for a up to 1/2 and x up to about 1, where P is nearly 1 and x**a too."""
    value = LGAMMA[TERMS - 1]
    for n in range(TERMS - 2, -1, -1):
        value = value * a + LGAMMA[n]
    power = a * log(x) - (a * value - log1p(a))  # log(x**a / gamma(1 + a))
    term, total = -x, -x / (a + ONE)
    for n in range(2, 60):
        term *= -x / f32(n)
        total += term / (a + f32(n))
        if abs(term) < EPSILON:
            break
    return -expm1(power) - exp(power) * a * total


@scalar_call
def incomplete_gamma(a, x, upper):
    """Q where `upper`, else P, for positive and finite a and x."""
    if a >= LARGE and abs(x - a) <= NEAR * a:
        return _temme(a, x, ONE if upper else -ONE)
    if x > a + ONE or (x > f32(1.1) and a < ONE):
        q = gamma_mass(a, x) * _gamma_fraction(a, x)
        return q if upper else ONE - q
    if upper and a <= HALF:
        return _upper_near_zero(a, x)
    p = minimum(gamma_mass(a, x) * _gamma_by_series(a, x), ONE)
    return ONE - p if upper else p


@scalar_call
def gammainc(a, x):
    """P(a, x), the cdf of a standard gamma variable: the integral of t**(a - 1) exp(-t) / gamma(a) from 0 to x.

    NaN unless a is positive and finite and x not negative.
    """
    if not (a > ZERO and a < INF and x >= ZERO):
        return NAN
    if x == ZERO or x == INF:
        return ZERO if x == ZERO else ONE
    return incomplete_gamma(a, x, False)


@scalar_call
def gammaincc(a, x):
    """Q(a, x) = 1 - P(a, x), accurate also where it is small."""
    if not (a > ZERO and a < INF and x >= ZERO):
        return NAN
    if x == ZERO or x == INF:
        return ONE if x == ZERO else ZERO
    return incomplete_gamma(a, x, True)


@scalar_call
def _bend_series(y, a, slope):
    """`loggamma_bend` from the power series, twice differentiated."""
    x = exp(y)
    term, harmonic, squares, total, moved, bent = ONE, ZERO, ZERO, ONE, ZERO, ZERO
    for n in range(1, 4000):
        step = ONE / (a + f32(n))
        term *= x * step
        harmonic += step
        squares += step * step
        total += term
        moved += term * harmonic
        bent += term * (harmonic * harmonic + squares)
        if term * (ONE + harmonic * harmonic + squares) < EPSILON * total:
            break
    return (-slope - moved * (digamma(a + ONE) - y) + total * trigamma(a + ONE) - bent) / a


@scalar_call
def _bend_fraction(y, a):
    """`loggamma_bend` from the continued fraction, evaluated backwards with its first two derivatives."""
    x = exp(y)
    last = int(minimum(f32(16.0) + f32(40.0) / x, f32(400.0)))
    value, first, second = x + f32(2 * last + 1) - a, -ONE, ZERO
    for k in range(last, 0, -1):
        weight = f32(k) * (a - f32(k)) / value
        slope = (f32(k) - weight * first) / value
        second = -(TWO * slope * first + weight * second) / value
        first = -ONE + slope
        value = x + f32(2 * k - 1) - a + weight
    ratio = first / value
    gap = y - digamma(a)
    return (-trigamma(a) - gap * ratio - second / value + TWO * ratio * ratio) / value


@scalar_call
def _bend_expansion(y, a):
    """`loggamma_bend` from Temme's expansion."""
    ratio = y - log(a)
    inverse = ONE / a
    total = ZERO
    for row in range(ROWS - 1, -1, -1):
        value, slope = ZERO, ZERO
        for n in range(COLUMNS - 1, -1, -1):
            slope = slope * ratio + value
            value = value * ratio + SLOPE[row * COLUMNS + n]
        total = total * inverse - (f32(row + 1) * value + slope)
    return total * inverse * inverse


@scalar_call
def loggamma_bend(y, concentration):
    """The derivative of `loggamma_slope` in the concentration at a fixed y."""
    a = concentration
    if a >= f32(12.0) and -ONE <= y - log(a) <= ONE:
        return _bend_expansion(y, a)
    if exp(y) <= (a + ONE if a > ONE else TWO):
        return _bend_series(y, a, loggamma_slope(y, a))
    return _bend_fraction(y, a)


@scalar_call
def gammainc_slope(a, x):
    """The derivative of P(a, x) in a."""
    if not (a > ZERO and a < INF and x >= ZERO):
        return NAN
    if x == ZERO or x == INF:
        return ZERO
    mass = gamma_mass(a, x)
    return -mass * loggamma_slope(log(x), a) if mass > ZERO else ZERO


@scalar_call
def gammainc_bend(a, x):
    """The second derivative of P(a, x) in a."""
    if not (a > ZERO and a < INF and x >= ZERO):
        return NAN
    if x == ZERO or x == INF:
        return ZERO
    mass, y = gamma_mass(a, x), log(x)
    if not mass > ZERO:
        return ZERO
    return -mass * (loggamma_bend(y, a) + loggamma_slope(y, a) * (y - digamma(a)))


LENTZ_TINY = f32(1e-30)

LENTZ_STEPS = 20000

SLOW = f32(1e-3)  # for x or 1 - x below it the fraction takes many terms on one side of the mean


@scalar_call
def beta_mass(a, b, x, y):
    """x**a y**b / B(a, b), y = 1 - x, for positive arguments."""
    total = a + b
    shift = x * b - a * y
    fall = a * deviance(shift / a, x * (total / a)) + b * deviance(-shift / b, y * (total / b))
    rest = stirling_rest(total) - stirling_rest(a) - stirling_rest(b)
    return sqrt(a) * sqrt(b / total) * INV_SQRT_TWO_PI * exp(rest - fall)


@scalar_call
def _beta_fraction(a, b, x, y):
    """beta_mass / I_x(a, b), for x below the mean or so: Lentz's way through the continued fraction."""
    gap = a * y - b * x
    value = a * (gap + ONE) / (a + ONE)
    value = value if abs(value) > LENTZ_TINY else LENTZ_TINY
    c, d = value, ZERO
    for m in range(1, LENTZ_STEPS):
        k = f32(m)
        odd = a + TWO * k - ONE
        step = k * (b - k) * x / odd
        top = (a + k - ONE) * (a + b + k - ONE) * x / odd * step
        bottom = k + step + (a + k) * (gap + ONE + k * (ONE + y)) / (odd + TWO)
        d = bottom + top * d
        c = bottom + top / c
        d = ONE / (d if abs(d) > LENTZ_TINY else LENTZ_TINY)
        c = c if abs(c) > LENTZ_TINY else LENTZ_TINY
        value *= c * d
        if abs(c * d - ONE) < CLOSE:
            break
    return value


@scalar_call
def incomplete_beta(a, b, x, y, upper):
    """I_x(a, b), or 1 less it where `upper`, for positive a, b, x and y = 1 - x."""
    left = x * b < a * y
    if x < SLOW or y < SLOW:
        left = x * (a + b + TWO) < a + ONE
    if left:
        tail = beta_mass(a, b, x, y) / _beta_fraction(a, b, x, y)
    else:
        tail = beta_mass(a, b, x, y) / _beta_fraction(b, a, y, x)
    tail = tail if tail < ONE else ONE
    return tail if left != upper else ONE - tail


@scalar_call
def betainc(a, b, x):
    """I_x(a, b), the cdf of a beta variable: the integral of t**(a - 1) (1 - t)**(b - 1) / B(a, b) from 0 to x.

    NaN unless a and b are positive and 0 <= x <= 1.
    """
    if not (a > ZERO and b > ZERO and x >= ZERO and x <= ONE):
        return NAN
    if x == ZERO or x == ONE:
        return x
    return incomplete_beta(a, b, x, ONE - x, False)


@scalar_call
def _hypergeometric_slope(a, b, x, da, db):
    """The derivative of F(a + b, 1; a + 1; x) of order `da` in a and `db` in b; da + db is 0, 1 or 2."""
    total = ONE if da + db == 0 else ZERO
    term, in_a, in_b, in_aa, in_bb = ONE, ZERO, ZERO, ZERO, ZERO
    for n in range(LENTZ_STEPS):
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


@scalar_call
def tail_slope(a, b, x, y, da, db):
    """The derivative of I_x(a, b) of order `da` in a and `db` in b (together 1 or 2), for x not far above the mean."""
    mass = beta_mass(a, b, x, y) / a
    if not mass > ZERO:
        return ZERO
    both = digamma(a + b)
    log_a, log_b = log(x) - digamma(a + ONE) + both, log(y) - digamma(b) + both
    whole = _hypergeometric_slope(a, b, x, 0, 0)
    if da + db == 1:
        return mass * ((log_a if da else log_b) * whole + _hypergeometric_slope(a, b, x, da, db))
    bend, second = trigamma(a + b), _hypergeometric_slope(a, b, x, da, db)
    if da == 2:
        bend -= trigamma(a + ONE)
        return mass * ((log_a * log_a + bend) * whole + TWO * log_a * _hypergeometric_slope(a, b, x, 1, 0) + second)
    if db == 2:
        bend -= trigamma(b)
        return mass * ((log_b * log_b + bend) * whole + TWO * log_b * _hypergeometric_slope(a, b, x, 0, 1) + second)
    mixed = log_a * _hypergeometric_slope(a, b, x, 0, 1) + log_b * _hypergeometric_slope(a, b, x, 1, 0)
    return mass * ((log_a * log_b + bend) * whole + mixed + second)


@scalar_call
def beta_slope(a, b, x, y, da, db):
    """`tail_slope` on either side of the mean."""
    if x * (a + b) < a * (ONE + y):
        return tail_slope(a, b, x, y, da, db)
    return -tail_slope(b, a, y, x, db, da)


@scalar_call
def betainc_slope(a, b, x, da, db):
    """The derivative of I_x(a, b) of order `da` in a and `db` in b; together they are 1 or 2."""
    if not (a > ZERO and b > ZERO and x >= ZERO and x <= ONE):
        return NAN
    if x == ZERO or x == ONE:
        return ZERO
    return beta_slope(a, b, x, ONE - x, da, db)
