# Made from kernels/source/scalar/gamma.py by `python -m ppl.kernels.source`: change that file instead.
"""The gamma function's logarithm and its derivatives for positive arguments (float32).

Small arguments are shifted up by the recurrence, large ones use Stirling's series, both with coefficients from
`ppl.kernels.scalar.fit`."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f32.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO
from ppl.kernels.generated.f32.scalar.coefficients import LGAMMA
from ppl.kernels.generated.f32.scalar.exponential import _log_positive
from ppl.kernels.scalar.polynomials import horner2, horner3, horner8

f32 = np.float32

# The Bernoulli numbers B(2), B(4), ..., B(16)
BERNOULLI = tuple(map(f32, (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)))

RECURRENCE = f32(6.0)  # `polygamma` of order n goes up to this plus n

HALF_LOG_TWO_PI = f32(0.9189385332046728)
# y times the remainder of Stirling's formula, in y**-2 for y > 5/2
STIRLING = tuple(map(f32, (0.0833333312, -0.00277731241, 0.000777899925, -0.000413521867)))
# (log(y) - digamma(y) - 1/(2y)) y**2 in y**-2 for y > 4
DIGAMMA = tuple(map(f32, (0.0833333074, -0.00832560616, 0.00362290369)))
# (trigamma(y) - 1/y - 1/(2 y**2)) y**3 in y**-2 for y > 4
TRIGAMMA = tuple(map(f32, (0.166665529, -0.0332188692, 0.0204473759)))


@inline
def _outside(x, at_zero, at_infinity):
    """The value where `x` is not positive and finite."""
    return at_infinity if x == INF else (at_zero if x == ZERO else NAN)


@inline
def lgamma(x):
    """log(gamma(x)) for x > 0{, error 4e-7 relative to max(1, \\|y\\|) | }; infinite at 0, NaN below."""
    inside = x > ZERO and x < INF
    a = x if inside else ONE
    small = a < f32(2.5)
    zero_up = a < HALF
    one_up = a < f32(1.5)
    # Small: 2 + t is a, a + 1 or a + 2, and log gamma(a) = log gamma(2 + t) - log(divisor).
    divisor = a * (a + ONE) if zero_up else (a if one_up else ONE)
    t = a if zero_up else (a - ONE if one_up else a - TWO)
    t = t if small else ZERO
    y = ONE if small else a
    inverse = ONE / y
    log_value = _log_positive(divisor if small else a)
    low = t * horner8(t, *LGAMMA) - log_value
    series = inverse * horner3(inverse * inverse, *STIRLING)
    high = (y - HALF) * (log_value - ONE) + ((HALF_LOG_TWO_PI - HALF) + series)
    return (low if small else high) if inside else _outside(x, INF, INF)


@inline
def digamma(x):
    """Derivative of `lgamma` for x > 0, error 7e-7 relative to max(1, \\|y\\|); -inf at 0, NaN below."""
    inside = x > ZERO and x < INF
    a = x if inside else ONE
    small = a < f32(4.0)
    b = a if small else ONE
    # 1/b + 1/(b+1) + 1/(b+2) + 1/(b+3) as one quotient
    u, v = b * (b + f32(3.0)), (b + ONE) * (b + TWO)
    shift = (TWO * b + f32(3.0)) * (u + v) / (u * v)
    y = a + f32(4.0) if small else a
    inverse = ONE / y
    w = inverse * inverse
    value = _log_positive(y) - HALF * inverse - w * horner2(w, *DIGAMMA)
    value = value - shift if small else value
    return value if inside else _outside(x, -INF, INF)


@inline
def trigamma(x):
    """Second derivative of `lgamma` for x > 0, relative error 5e-7; infinite at 0, NaN below."""
    inside = x > ZERO and x < INF
    a = x if inside else ONE
    small = a < f32(4.0)
    b = a if small else ONE
    r0, r1, r2, r3 = ONE / b, ONE / (b + ONE), ONE / (b + TWO), ONE / (b + f32(3.0))
    shift = r0 * r0 + (r1 * r1 + (r2 * r2 + r3 * r3))
    y = a + f32(4.0) if small else a
    inverse = ONE / y
    w = inverse * inverse
    value = inverse + HALF * w + w * inverse * horner2(w, *TRIGAMMA)
    value = value + shift if small else value
    return value if inside else _outside(x, INF, ZERO)


@inline
def polygamma(n, x):
    """The derivative of order `n` of `digamma` for x > 0; relative error 6e-6 for 2 <= n <= 10.

    Orders 0 and 1 are `digamma` and `trigamma`; beyond, a loop over the recurrence, which does not vectorise.
    """
    if n == 0:
        return digamma(x)
    if n == 1:
        return trigamma(x)
    inside = x > ZERO and x < INF
    y = x if inside else ONE
    order = f32(n)
    factorial = ONE
    for i in range(2, n + 1):
        factorial *= f32(i)
    total = ZERO
    while y < RECURRENCE + order:
        term = factorial / y
        for _ in range(n):
            term /= y
        total += term
        y += ONE
    term = factorial / y
    for _ in range(n):
        term /= y
    total += term * (y / order + HALF)
    term *= (order + ONE) * HALF / y
    for k in range(8):
        total += f32(BERNOULLI[k]) * term
        i = f32(2 * k + 2)
        term *= (order + i) * (order + i + ONE) / ((i + ONE) * (i + TWO)) / (y * y)
    total = total if n % 2 == 1 else -total
    return total if inside else _outside(x, INF if n % 2 == 1 else -INF, ZERO)
