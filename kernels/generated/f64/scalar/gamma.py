# Made from kernels/source/scalar/gamma.py by `python -m ppl.kernels.source`: change that file instead.
"""The gamma function's logarithm and its derivatives for positive arguments (float64).

Small arguments are shifted up by the recurrence, large ones use Stirling's series; `lgamma` is the platform's."""

import math

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f64.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO
from ppl.kernels.generated.f64.scalar.exponential import _log_positive
from ppl.kernels.scalar.polynomials import horner7

f64 = np.float64

# The Bernoulli numbers B(2), B(4), ..., B(16)
BERNOULLI = tuple(map(f64, (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)))

RECURRENCE = f64(12.0)  # `polygamma` of order n goes up to this plus n

# The asymptotic series of digamma in y**-2: B(2n) / (2n), n = 1, ..., 8
DIGAMMA = tuple(map(f64, (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160)))


@inline
def _outside(x, at_zero, at_infinity):
    """The value where `x` is not positive and finite."""
    return at_infinity if x == INF else (at_zero if x == ZERO else NAN)


@inline
def lgamma(x):
    """log(gamma(x)) for x > 0{, error 4e-7 relative to max(1, \\|y\\|) | }; infinite at 0, NaN below."""
    inside = x > ZERO and x < INF
    a = x if inside else ONE
    y = f64(math.lgamma(a))
    return y if inside else _outside(x, INF, INF)


@inline
def digamma(x):
    """Derivative of `lgamma` for x > 0, error 2e-15 relative to max(1, \\|y\\|); -inf at 0, NaN below."""
    inside = x > ZERO and x < INF
    a = x if inside else ONE
    y, shift = a, ZERO
    while y < f64(10.0):
        shift += ONE / y
        y += ONE
    inverse = ONE / y
    w = inverse * inverse
    value = _log_positive(y) - HALF * inverse - w * horner7(w, *DIGAMMA) - shift
    return value if inside else _outside(x, -INF, INF)


@inline
def trigamma(x):
    """Second derivative of `lgamma` for x > 0, relative error 2e-15; infinite at 0, NaN below."""
    inside = x > ZERO and x < INF
    a = x if inside else ONE
    y, shift = a, ZERO
    while y < f64(10.0):
        shift += ONE / (y * y)
        y += ONE
    inverse = ONE / y
    w = inverse * inverse
    value = inverse + HALF * w + w * inverse * horner7(w, *BERNOULLI) + shift
    return value if inside else _outside(x, INF, ZERO)


@inline
def polygamma(n, x):
    """The derivative of order `n` of `digamma` for x > 0; relative error 1e-14 for 2 <= n <= 10.

    Orders 0 and 1 are `digamma` and `trigamma`; beyond, a loop over the recurrence, which does not vectorise.
    """
    if n == 0:
        return digamma(x)
    if n == 1:
        return trigamma(x)
    inside = x > ZERO and x < INF
    y = x if inside else ONE
    order = f64(n)
    factorial = ONE
    for i in range(2, n + 1):
        factorial *= f64(i)
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
        total += f64(BERNOULLI[k]) * term
        i = f64(2 * k + 2)
        term *= (order + i) * (order + i + ONE) / ((i + ONE) * (i + TWO)) / (y * y)
    total = total if n % 2 == 1 else -total
    return total if inside else _outside(x, INF if n % 2 == 1 else -INF, ZERO)
