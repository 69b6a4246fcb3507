# Made from kernels/source/scalar/trigonometric.py by `python -m ppl.kernels.source`: change that file instead.
"""Sine, cosine, tangent and arc tangent (float64): the platform's own."""

import math

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f64.scalar.basic import NAN, ZERO

f64 = np.float64


@inline
def sin(x):
    """Sine; 1 ulp; NaN for infinite `x`."""
    finite = x - x == ZERO
    y = f64(math.sin(x if finite else ZERO))
    return y if finite else NAN


@inline
def cos(x):
    """Cosine; 1 ulp; NaN for infinite `x`."""
    finite = x - x == ZERO
    y = f64(math.cos(x if finite else ZERO))
    return y if finite else NAN


@inline
def tan(x):
    """Tangent; 1 ulp; NaN for infinite `x`."""
    finite = x - x == ZERO
    y = f64(math.tan(x if finite else ZERO))
    return y if finite else NAN


@inline
def atan(x):
    """Arc tangent; 1 ulp."""
    return f64(math.atan(x))
