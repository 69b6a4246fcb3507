"""log I0 less its argument, its slope and its curvature (`real`): the normalizer of the von Mises distribution.

Up to {12 | 20} the power series of I0 and I1, whose terms are all positive; from there on the asymptotic series, in
which what cancels between I0 and I1 is left out (DLMF 10.25, 10.40).
"""

import math

from ppl.kernels.config import inline
from ppl.kernels.scalar import bessel_series as series
from ppl.kernels.scalar.polynomials import horner3, horner6, horner9, horner10
from ppl.kernels.source.precision import SINGLE, real
from ppl.kernels.source.scalar.basic import HALF, NAN, ONE, ZERO, minimum
from ppl.kernels.source.scalar.exponential import log

FAR = real(12.0 if SINGLE else 20.0)
TWO_PI = real(2 * math.pi)
I0_A = tuple(map(real, series.I0[:10]))
I0_B = tuple(map(real, series.I0[10:20]))
I1_A = tuple(map(real, series.I1[:10]))
I1_B = tuple(map(real, series.I1[10:20]))
LOG_A = tuple(map(real, series.LOG_I0E[:10]))
GAP_A = tuple(map(real, series.GAP[:10]))
SLOPE_A = tuple(map(real, series.GAP_SLOPE[:10]))
if not SINGLE:
    I0_C = tuple(map(real, series.I0[20:30]))
    I0_D = tuple(map(real, series.I0[30:37]))
    I1_C = tuple(map(real, series.I1[20:30]))
    I1_D = tuple(map(real, series.I1[30:37]))
    LOG_B = tuple(map(real, series.LOG_I0E[10:20]))
    LOG_C = tuple(map(real, series.LOG_I0E[20:24]))
    GAP_B = tuple(map(real, series.GAP[10:20]))
    GAP_C = tuple(map(real, series.GAP[20:24]))
    SLOPE_B = tuple(map(real, series.GAP_SLOPE[10:20]))
    SLOPE_C = tuple(map(real, series.GAP_SLOPE[20:24]))


@inline
def _i0(q):
    """I0 in q = x**2 / 4."""
    if SINGLE:
        return horner10(q, *I0_A, horner9(q, *I0_B))
    else:
        return horner10(q, *I0_A, horner10(q, *I0_B, horner10(q, *I0_C, horner6(q, *I0_D))))


@inline
def _ratio(q):
    """2 I1(x) / (x I0(x)) in q = x**2 / 4."""
    if SINGLE:
        return horner10(q, *I1_A, horner9(q, *I1_B)) / _i0(q)
    else:
        return horner10(q, *I1_A, horner10(q, *I1_B, horner10(q, *I1_C, horner6(q, *I1_D)))) / _i0(q)


@inline
def _far(x):
    """1 / x where the asymptotic series applies; a harmless number elsewhere, infinity included."""
    return ONE / x if x > FAR else ONE / FAR


@inline
def log_i0e(x):
    """log(I0(x) exp(-x)); error {5e-7 | 1e-15} of max(1, |y|); NaN below zero."""
    near, w = minimum(x, FAR), _far(x)
    low = log(_i0(near * near * real(0.25))) - near
    if SINGLE:
        high = w * horner9(w, *LOG_A) - HALF * log(TWO_PI * x)
    else:
        high = w * horner10(w, *LOG_A, horner10(w, *LOG_B, horner3(w, *LOG_C))) - HALF * log(TWO_PI * x)
    y = high if x > FAR else low
    return NAN if x < ZERO else y


@inline
def log_i0e_slope(x):
    """I1(x) / I0(x) - 1, the derivative of `log_i0e`; relative error {1e-5 | 1e-13}; NaN below zero."""
    near, w = minimum(x, FAR), _far(x)
    low = HALF * near * _ratio(near * near * real(0.25)) - ONE
    if SINGLE:
        y = -w * horner9(w, *GAP_A) if x > FAR else low
    else:
        y = -w * horner10(w, *GAP_A, horner10(w, *GAP_B, horner3(w, *GAP_C))) if x > FAR else low
    return NAN if x < ZERO else y


@inline
def log_i0e_curvature(x):
    """The derivative of I1 / I0, that of `log_i0e_slope`; relative error {2e-4 | 1e-12}; NaN below zero."""
    near, w = minimum(x, FAR), _far(x)
    ratio = _ratio(near * near * real(0.25))
    mean = HALF * near * ratio
    low = ONE - HALF * ratio - mean * mean
    if SINGLE:
        y = w * w * horner9(w, *SLOPE_A) if x > FAR else low
    else:
        y = w * w * horner10(w, *SLOPE_A, horner10(w, *SLOPE_B, horner3(w, *SLOPE_C))) if x > FAR else low
    return NAN if x < ZERO else y
