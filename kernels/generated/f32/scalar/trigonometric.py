# Made from kernels/source/scalar/trigonometric.py by `python -m ppl.kernels.source`: change that file instead.
"""Sine, cosine, tangent and arc tangent (float32): coefficients from `ppl.kernels.scalar.fit`."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f32.scalar.basic import HALF, NAN, ONE, ZERO, abs
from ppl.kernels.generated.f32.scalar.coefficients import ATAN
from ppl.kernels.generated.f32.scalar.exponential import ROUND
from ppl.kernels.scalar.polynomials import horner2, horner8

f32, i32 = np.float32, np.int32

TWO_OVER_PI = f32(0.6366197723675814)
HALF_PI = f32(1.5707963267948966)
# pi/2 in three parts: products of the first two with an integer below 2**13 are exact.
PI_A, PI_B, PI_C = f32(1.5703125), f32(4.837512969970703e-4), f32(7.549789948768648e-8)
# (sin(r) / r - 1) / r**2 and (cos(r) - 1 + r**2 / 2) / r**4 in r**2 on |r| < pi/4
SIN = tuple(map(f32, (-0.166666549, 0.0083321723, -0.00019516481)))
COS = tuple(map(f32, (0.0416666467, -0.00138873598, 2.44375349e-05)))


@inline
def _sin_cos(x):
    """Quadrant (an int32 whose low 2 bits count), and sine and cosine of the remainder; NaN beyond 6.5e6."""
    known = abs(x) < f32(6.5e6)
    rounded = x * TWO_OVER_PI + ROUND
    t = rounded - ROUND
    r = ((x - t * PI_A) - t * PI_B) - t * PI_C
    r = r if known else NAN
    z = r * r
    s = horner2(z, *SIN) * (z * r) + r
    c = (horner2(z, *COS) * (z * z) - HALF * z) + ONE
    return f32(rounded).view(i32), s, c


@inline
def sin(x):
    """Sine; absolute error 1.2e-7 for \\|x\\| < 8192, growing beyond; NaN above 6.5e6, where
    neighbouring numbers are half a radian apart."""
    k, s, c = _sin_cos(x)
    y = c if k & i32(1) else s
    return -y if k & i32(2) else y


@inline
def cos(x):
    """Cosine; errors as for `sin`."""
    k, s, c = _sin_cos(x)
    y = s if k & i32(1) else c
    return -y if i32(k + i32(1)) & i32(2) else y


@inline
def tan(x):
    """Tangent: the quotient of `sin` and `cos`; 4 ulp for \\|x\\| < 100."""
    k, s, c = _sin_cos(x)
    odd = k & i32(1)
    top = -c if odd else s
    bottom = s if odd else c
    return top / bottom


@inline
def atan(x):
    """Arc tangent; 3 ulp."""
    a = -x if x < ZERO else x
    inverted = a > ONE
    t = ONE / a if inverted else a
    z = t if t > f32(1e-10) else f32(1e-10)
    z = z * z
    y = t + t * z * horner8(z, *ATAN)
    y = HALF_PI - y if inverted else y
    return -y if x < ZERO else (x if x != x else y)
