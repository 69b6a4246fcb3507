"""The table behind the tests of the scalar functions: references, ranges and stated error bounds.

A bound is in units in the last place of the result ("ulp"), or relative to max(1, |y|) ("mixed", in machine
epsilons of the type) where the result crosses zero. f32 is compared with SciPy's double precision, f64 with
mpmath."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numba
import numpy as np
import scipy.special as sp

from ppl.kernels.decorators import LOOP_FASTMATH
from ppl.kernels.generated.f32 import scalar
from ppl.kernels.generated.f64 import scalar as scalar_module

MODULES = {"f32": (scalar, np.float32), "f64": (scalar_module, np.float64)}

INF, NAN = np.inf, np.nan


@dataclass(frozen=True)
class Case:
    """One function on one range; `logarithmic` spaces the points so."""

    name: str
    reference: Callable[[Any], Any]
    exact: Callable[[Any], Any]
    low: float
    high: float
    f32: float
    f64: float
    unit: str = "ulp"
    logarithmic: bool = False

    def points(self, dtype: Any, count: int) -> np.ndarray:
        """Arguments, the same in every run."""
        rng = np.random.default_rng(1)
        if self.logarithmic:
            x = np.exp(rng.uniform(np.log(self.low), np.log(self.high), count))
        else:
            x = rng.uniform(self.low, self.high, count)
        return x.astype(dtype)

    def error(self, value: np.ndarray, truth: np.ndarray) -> float:
        """Largest error in the case's unit."""
        with np.errstate(all="ignore"):
            rounded = np.abs(truth.astype(value.dtype))
        info = np.finfo(value.dtype)
        if self.unit == "ulp":
            size = np.spacing(np.maximum(rounded, info.tiny)).astype(np.longdouble)
        else:
            size = np.maximum(1, np.abs(truth)) * info.eps
        return float(np.max(np.abs(value.astype(np.longdouble) - truth) / size))


def _ndtr(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def _ndtri(p):
    x = mp.mpf(float(sp.ndtri(float(p))))
    for _ in range(3):
        x -= (_ndtr(x) - p) / (mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi))
    return x


def _expit(x):
    return 1 / (1 + mp.exp(-x))


def _log_ndtr(x):
    return mp.log1p(-_ndtr(-x)) if x > 0 else mp.log(_ndtr(x))


def _softplus(x):
    return mp.log1p(mp.exp(x))


def _log1mexp(x):
    return mp.log(-mp.expm1(x))


def _mean_cos(x):
    return mp.besseli(1, x) / mp.besseli(0, x)


def _curvature(x):
    return 1 - _mean_cos(x) / x - _mean_cos(x) ** 2


def _double_curvature(x):
    ratio = sp.i1e(x) / sp.i0e(x)
    return 1 - ratio / x - ratio**2


CASES = [
    Case("exp", np.exp, mp.exp, -86.9, 88.7, 1.2, 1.2),
    Case("exp", np.exp, mp.exp, -1, 1, 1.2, 1.2),
    Case("expm1", np.expm1, mp.expm1, -20, 88, 2, 2),
    Case("expm1", np.expm1, mp.expm1, -0.5, 0.5, 2, 2),
    Case("log", np.log, mp.log, 1e-37, 3e38, 1, 1, logarithmic=True),
    Case("log", np.log, mp.log, 0.5, 2, 1, 1),
    Case("log_above", np.log, mp.log, 1e-37, 3e38, 1, 1, logarithmic=True),
    Case("log1p", np.log1p, mp.log1p, -0.999, 2, 1.5, 1.5),
    Case("log1p", np.log1p, mp.log1p, 1e-10, 1e10, 1.5, 1.5, logarithmic=True),
    Case("log1mexp", lambda x: np.log(-np.expm1(x)), _log1mexp, -12, -1e-3, 3, 3),
    Case("sigmoid", sp.expit, _expit, -86, 86, 3, 3),
    Case("softplus", lambda x: np.logaddexp(0, x), _softplus, -80, 80, 4, 3),
    Case("log_uniform", np.log, mp.log, 1e-37, 1, 1, 1, logarithmic=True),
    Case("log_uniform", np.log, mp.log, 0.5, 1, 1, 1),
    Case("log_sigmoid", lambda x: -np.logaddexp(0, -x), lambda x: -_softplus(-x), -80, 80, 4, 3),
    Case("logit", sp.logit, lambda p: mp.log(p) - mp.log1p(-p), 1e-6, 1 - 1e-6, 2, 2, "mixed"),
    Case("tanh", np.tanh, mp.tanh, -12, 12, 3, 3),
    Case("tanh", np.tanh, mp.tanh, 1e-6, 0.3, 3, 3, logarithmic=True),
    Case("sin", np.sin, mp.sin, -8000, 8000, 1, 1, "mixed"),
    Case("sin", np.sin, mp.sin, -0.7, 0.7, 1, 1),
    Case("cos", np.cos, mp.cos, -8000, 8000, 1, 1, "mixed"),
    Case("tan", np.tan, mp.tan, -1.5, 1.5, 4, 2),
    Case("atan", np.arctan, mp.atan, -20, 20, 2, 1),
    Case("sqrt", np.sqrt, mp.sqrt, 0, 1e10, 0.51, 0.51),
    Case("erf", sp.erf, mp.erf, -5, 5, 3, 1.5),
    Case("erfc", sp.erfc, mp.erfc, -5, 9, 6, 5),
    Case("erfinv", sp.erfinv, mp.erfinv, -0.999, 0.999, 6, 8),
    Case("erfinv", sp.erfinv, mp.erfinv, 1e-30, 0.9, 6, 8, logarithmic=True),
    Case("ndtr", sp.ndtr, _ndtr, -3, 6, 6, 16),
    Case("ndtr", sp.ndtr, _ndtr, -13, -3, 6, 200),
    Case("log_ndtr", sp.log_ndtr, _log_ndtr, -1000, -3, 2, 3),
    Case("log_ndtr", sp.log_ndtr, _log_ndtr, -3, 12, 9, 200),
    Case("ndtri", sp.ndtri, _ndtri, 1e-3, 1 - 1e-3, 6, 8),
    Case("ndtri", sp.ndtri, _ndtri, 1e-37, 0.5, 6, 8, logarithmic=True),
    Case("lgamma", sp.gammaln, mp.loggamma, 0.1, 10, 3, 4, "mixed"),
    Case("lgamma", sp.gammaln, mp.loggamma, 1e-6, 1e6, 3, 4, "mixed", True),
    Case("digamma", sp.digamma, mp.digamma, 0.1, 10, 6, 8, "mixed"),
    Case("digamma", sp.digamma, mp.digamma, 1e-6, 1e6, 6, 8, "mixed", True),
    Case("trigamma", lambda x: sp.polygamma(1, x), lambda x: mp.psi(1, x), 1e-6, 1e6, 4, 6, logarithmic=True),
    Case(
        "log_i0e", lambda x: np.log(sp.i0e(x)), lambda x: mp.log(mp.besseli(0, x)) - x, 1e-4, 1e4, 3, 4, "mixed", True
    ),
    Case(
        "log_i0e_slope", lambda x: sp.i1e(x) / sp.i0e(x) - 1, lambda x: _mean_cos(x) - 1, 1e-4, 1e4, 3, 4, "mixed", True
    ),
    Case("log_i0e_slope", lambda x: sp.i1e(x) / sp.i0e(x) - 1, lambda x: _mean_cos(x) - 1, 20, 1e4, 8, 8),
    Case("log_i0e_curvature", _double_curvature, _curvature, 1e-3, 1e3, 5, 8, "mixed", True),
    Case("log_i0e_curvature", _double_curvature, _curvature, 25, 1e4, 30, 30),
    Case("floor", np.floor, mp.floor, -1e5, 1e5, 0, 0),
    Case("abs", np.abs, mp.fabs, -3, 3, 0, 0),
    Case("sign", np.sign, mp.sign, -3, 3, 0, 0),
    Case("square", np.square, lambda x: x * x, -3, 3, 0.51, 0.51),
    Case("reciprocal", np.reciprocal, lambda x: 1 / x, 0.1, 3, 0.51, 0.51),
]

EDGES = {
    "exp": {-INF: 0, INF: INF, NAN: NAN, 0: 1, -1000: 0, 1000: INF},
    "expm1": {-INF: -1, INF: INF, NAN: NAN, 0: 0, 1000: INF},
    "log_above": {1: 0, INF: INF},
    "log": {-INF: NAN, -1: NAN, 0: -INF, 1: 0, INF: INF, NAN: NAN},
    "log1p": {-INF: NAN, -2: NAN, -1: -INF, 0: 0, INF: INF, NAN: NAN},
    "log1mexp": {-INF: 0, 0: -INF, NAN: NAN},
    "sigmoid": {-INF: 0, INF: 1, NAN: NAN, 0: 0.5, -1000: 0, 1000: 1},
    "softplus": {-INF: 0, INF: INF, NAN: NAN, -1000: 0, 1000: 1000},
    "log_sigmoid": {-INF: -INF, INF: 0, NAN: NAN, -1000: -1000, 1000: 0},
    "logit": {0: -INF, 1: INF, 0.5: 0, NAN: NAN},
    "tanh": {-INF: -1, INF: 1, NAN: NAN, 0: 0, 1000: 1},
    "sin": {-INF: NAN, INF: NAN, NAN: NAN, 0: 0},
    "cos": {-INF: NAN, INF: NAN, NAN: NAN, 0: 1},
    "tan": {INF: NAN, NAN: NAN, 0: 0},
    "atan": {-INF: -np.pi / 2, INF: np.pi / 2, NAN: NAN, 0: 0},
    "sqrt": {-1: NAN, 0: 0, INF: INF, NAN: NAN, 4: 2},
    "erf": {-INF: -1, INF: 1, NAN: NAN, 0: 0, 30: 1},
    "erfc": {-INF: 2, INF: 0, NAN: NAN, 0: 1, 30: 0},
    "erfinv": {-1: -INF, 1: INF, 0: 0, 2: NAN, -1.5: NAN, NAN: NAN},
    "ndtr": {-INF: 0, INF: 1, NAN: NAN, 0: 0.5, 40: 1, -40: 0},
    "log_ndtr": {-INF: -INF, INF: 0, NAN: NAN, -1e6: -5e11},
    "ndtri": {0: -INF, 1: INF, 0.5: 0, -1: NAN, 2: NAN, NAN: NAN},
    "lgamma": {0: INF, INF: INF, NAN: NAN, 1: 0, 2: 0, -0.5: NAN},
    "digamma": {0: -INF, INF: INF, NAN: NAN},
    "trigamma": {0: INF, INF: 0, NAN: NAN},
    "log_i0e": {0: 0, -1: NAN, INF: -INF, NAN: NAN},
    "log_i0e_slope": {0: -1, -1: NAN, INF: 0, NAN: NAN},
    "log_i0e_curvature": {0: 0.5, -1: NAN, INF: 0, NAN: NAN},
    "floor": {-0.5: -1, 2.0: 2, -INF: -INF, INF: INF, NAN: NAN, 1e30: 1e30},
    "abs": {-INF: INF, NAN: NAN, -2: 2},
    "sign": {-INF: -1, 0: 0, INF: 1, NAN: NAN},
}


@functools.cache
def loop(module: str, name: str) -> Any:
    """A compiled ``run(out, x)`` applying one function in a loop; not cached, so that it can be inspected."""
    fn = getattr(MODULES[module][0], name)

    def run(out, x):
        for i in range(x.shape[0]):
            out[i] = fn(x[i])

    return numba.njit(error_model="numpy", fastmath=set(LOOP_FASTMATH))(run)


def apply(module: str, name: str, x: np.ndarray) -> np.ndarray:
    """The function's values on an array."""
    out = np.empty_like(x)
    loop(module, name)(out, x)
    return out
