"""The table behind the tests of the incomplete gamma and beta functions: arguments, exact values, error bounds.

Exact values are sums of positive terms in 50 digits (power and hypergeometric series). Bounds are on the error relative
to the value, and for derivatives relative to the largest derivative of the table where it is near a zero crossing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

SHAPES = (1e-3, 0.05, 0.4, 1.0, 2.5, 11.0, 29.0, 80.0, 400.0)


@dataclass(frozen=True)
class Grid:
    """One function, its arguments (columns), its exact value and bounds on the relative error."""

    name: str
    arguments: Callable[[], np.ndarray]
    exact: Callable[..., Any]
    f32: float
    f64: float
    extra: tuple[int, ...] = ()
    least: float = 1e-30
    floor: float = 0.0

    @property
    def label(self) -> str:
        """The name with its orders."""
        return self.name + (str(self.extra) if self.extra else "")


def lower_gamma(a: Any, x: Any) -> Any:
    """P(a, x)."""
    term = total = 1 / a
    n = 0
    while term > total * mp.mpf(10) ** -45:
        n += 1
        term *= x / (a + n)
        total += term
    return mp.exp(a * mp.log(x) - x - mp.loggamma(a)) * total


def lower_beta(a: Any, b: Any, x: Any) -> Any:
    """I_x(a, b)."""
    if x * (a + b) > a:
        return 1 - lower_beta(b, a, 1 - x)
    term = total = mp.mpf(1)
    n = 0
    while term > total * mp.mpf(10) ** -45:
        term *= (a + b + n) / (a + 1 + n) * x
        total += term
        n += 1
    log_beta = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return mp.exp(a * mp.log(x) + b * mp.log1p(-x) - log_beta) / a * total


def student(df: Any, t: Any) -> Any:
    """P(T <= t)."""
    tail = lower_beta(df / 2, mp.mpf(1) / 2, df / (df + t * t)) / 2 if t else mp.mpf(1) / 2
    return tail if t <= 0 else 1 - tail


def angle(k: Any, x: Any) -> Any:
    """P(-pi < X <= x)."""
    width = 1 / mp.sqrt(1 + k)
    ends = [x - 14 * width, x - 5 * width, x - 2 * width, x] if x <= 0 else None
    if ends is None:
        return 1 - angle(k, -x)
    inside = [-mp.pi, *[e for e in ends if e > -mp.pi]]
    return mp.quad(lambda s: mp.exp(k * (mp.cos(s) - 1)), inside) / (2 * mp.pi * mp.besseli(0, k) * mp.exp(-k))


def _gamma_grid() -> np.ndarray:
    rows = [(a, x) for a in SHAPES for z in (-4.0, -1.5, 0.0, 0.7, 3.0, 6.0) for x in [a + z * a**0.5] if x > 0]
    return np.array(rows + [(a, x) for a in SHAPES[:5] for x in (1e-8, 0.01, 0.6, 1.0, 1.3, 4.0, 20.0)])


def _beta_grid() -> np.ndarray:
    rows = []
    for a in SHAPES[1:]:
        for b in SHAPES[1:]:
            mean = a / (a + b)
            spread = (mean * (1 - mean) / (a + b + 1)) ** 0.5
            rows += [(a, b, x) for z in (-3.0, -0.8, 0.1, 2.0) for x in [mean + z * spread] if 0.01 < x < 0.99]
    return np.array(rows)


def _few(rows: Callable[[], np.ndarray], step: int) -> Callable[[], np.ndarray]:
    """Every `step`-th row."""
    return lambda: rows()[::step]


def _levels() -> np.ndarray:
    return np.array([(a, p) for a in (0.4, 1.0, 11.0, 80.0) for p in (1e-12, 1e-3, 0.3, 0.9)])


def _beta_levels() -> np.ndarray:
    return np.array([(a, b, p) for a in (0.4, 2.5, 29.0) for b in (0.4, 2.5, 29.0) for p in (1e-9, 0.2, 0.97)])


def _student_grid() -> np.ndarray:
    return np.array([(df, t) for df in (0.3, 4.5, 60.0) for t in (-30.0, -6.0, -1.5, -1e-3, 0.4)])


def _angle_grid() -> np.ndarray:
    return np.array([(k, x) for k in (1e-3, 0.7, 60.0) for x in (-3.1, -0.6, -0.01, 0.5)])


def _moved(f: Callable[..., Any], orders: tuple[int, ...]) -> Callable[..., Any]:
    """The derivative of f in its leading arguments by differences in 50 digits."""
    return lambda *x: mp.diff(lambda *theta: f(*theta, x[-1]), x[:-1], orders)


def inverse_gamma(a: Any, p: Any) -> Any:
    """x with P(a, x) = p."""
    return _bisected(lambda r: lower_gamma(a, r), p)


def inverse_beta(a: Any, b: Any, p: Any) -> Any:
    """x with I_x(a, b) = p."""
    odds = _bisected(lambda r: lower_beta(a, b, r / (1 + r)), p)
    return odds / (1 + odds)


def _bisected(f: Callable[[Any], Any], p: Any) -> Any:
    """The positive r with f(r) = p, f increasing, by bisection of log r."""
    low, high = mp.mpf(-80), mp.mpf(20) if f(mp.exp(6)) < p else mp.mpf(6)
    for _ in range(66):
        middle = (low + high) / 2
        low, high = (middle, high) if f(mp.exp(middle)) < p else (low, middle)
    return mp.exp((low + high) / 2)


GRIDS = [
    Grid("gammainc", _gamma_grid, lower_gamma, 8e-6, 3e-14),
    Grid("gammaincc", _gamma_grid, lambda a, x: 1 - lower_gamma(a, x), 8e-6, 3e-14),
    Grid("gammainc_slope", _few(_gamma_grid, 4), _moved(lower_gamma, (1,)), 4e-5, 2e-9, floor=1e-6),
    Grid("gammainc_bend", _few(_gamma_grid, 4), _moved(lower_gamma, (2,)), 3e-5, 2e-9, floor=1e-3),
    Grid("gammaincinv", _levels, inverse_gamma, 5e-6, 2e-14),
    Grid("betainc", _few(_beta_grid, 3), lower_beta, 2e-5, 5e-14),
    *(
        Grid("betainc_slope", _few(_beta_grid, 11), _moved(lower_beta, order), 2e-4, 5e-13, order, floor=1e-3)
        for order in ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
    ),
    Grid("betaincinv", _beta_levels, inverse_beta, 2e-5, 2e-14),
    Grid("student_cdf", _student_grid, student, 3e-6, 2e-14),
    Grid("student_slope", _student_grid, _moved(student, (1,)), 2e-3, 2e-12, (1,), floor=1e-5),
    Grid("student_slope", _student_grid, _moved(student, (2,)), 2e-4, 2e-13, (2,), floor=1e-5),
    Grid("vonmises_cdf", _angle_grid, angle, 1e-6, 2e-13),
    Grid("vonmises_cdf_slope", _angle_grid, _moved(angle, (1,)), 1e-5, 2e-12, (1,), floor=1e-6),
    Grid("vonmises_cdf_slope", _angle_grid, _moved(angle, (2,)), 1e-5, 1e-11, (2,), floor=1e-5),
]
INVERSES = (
    *("gammainccinv", "student_icdf", "vonmises_icdf", "poisson_icdf", "poisson_isf"),
    *("negative_binomial_icdf", "negative_binomial_isf"),
)
"""Functions without exact values here: they are inverted again, or compared with SciPy."""
