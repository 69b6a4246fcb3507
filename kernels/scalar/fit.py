"""Fit and print the coefficient tables: ``python -m ppl.kernels.scalar.fit``.

Polynomials of the float32 functions are minimax fits by the Remez exchange on a grid of Chebyshev points; quotients
are weighted linearised least squares whose weights are moved towards the largest errors (Lawson). `series.SLOPE` and
`series.TEMME` come from Temme's expansion of the incomplete gamma function (DLMF 8.12) in powers of l = log(x / a)
instead of eta, with mu = e**l - 1 and eta**2 / 2 = mu - l. There the coefficients obey c_k = (dc_(k-1)/dl + (-1)**k
g_k) / mu, g_k those of Stirling's series, and -(dF/da) / (x p) becomes a double power series in l and 1/a.

No kernel imports this module; it needs mpmath."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Function = Callable[[Any], Any]


class Problem(NamedTuple):
    """Approximate `target` on (low, high) by a polynomial, minimising ``max |weight * error|``."""

    target: Function
    low: float
    high: float
    degree: int
    weight: Function


def polynomial_problems() -> dict[str, Problem]:
    """The polynomial tables, by module and name."""
    import mpmath as mp

    one = mp.mpf(1)
    root = mp.sqrt
    stirling = mp.log(2 * mp.pi) / 2

    def exp_rest(r: Any) -> Any:
        return (mp.exp(r) - 1 - r) / r**2 if abs(r) > 1e-9 else one / 2 + r / 6

    def log_rest(f: Any) -> Any:
        return (mp.log1p(f) - f + f * f / 2) / f**3 if abs(f) > 1e-9 else one / 3

    def log_share(f: Any) -> Any:
        return mp.log1p(f) / f if abs(f) > 1e-9 else one

    def lgamma_slope(t: Any) -> Any:
        return mp.loggamma(2 + t) / t if abs(t) > 1e-9 else mp.digamma(2)

    def stirling_rest(w: Any) -> Any:
        y = 1 / root(w)
        return (mp.loggamma(y) - (y - one / 2) * mp.log(y) + y - stirling) * y

    def digamma_rest(w: Any) -> Any:
        y = 1 / root(w)
        return (mp.log(y) - mp.digamma(y) - 1 / (2 * y)) / w

    def trigamma_rest(w: Any) -> Any:
        y = 1 / root(w)
        return (mp.psi(1, y) - 1 / y - w / 2) * y**3

    def mills(t: Any) -> Any:
        if t > 0.9:
            s = 7 * (1 / (1 - t)) - 3.5 if t < 1 else mp.inf
            if s > 60:
                tail = 1 - s**-2 + 3 * s**-4 - 15 * s**-6
                return (1 + 3.5 / s) * tail / root(2 * mp.pi)
        z = 3.5 * (1 + t) / (1 - t)
        return mp.exp(z * z / 2) * mp.erfc(z / root(2)) / 2 * (z + 3.5)

    quarter = (float(mp.pi) / 4 + 1e-3) ** 2
    tiny = 1e-10
    return {
        "exponential.EXP": Problem(exp_rest, -0.347, 0.347, 4, lambda r: abs(r) + 1e-3),
        "exponential.LOG": Problem(log_rest, 0.5**0.5 - 1, 2**0.5 - 1, 8, lambda f: f * f + 1e-4),
        "exponential.SHORT": Problem(log_share, 0.5**0.5 - 1, 2**0.5 - 1, 8, abs),
        "exponential.ATANH": Problem(lambda v: 2 * mp.atanh(root(v)) / root(v), tiny, 1 / 9, 5, lambda v: 1),
        "trigonometric.SIN": Problem(lambda v: (mp.sin(root(v)) / root(v) - 1) / v, tiny, quarter, 2, abs),
        "trigonometric.COS": Problem(lambda v: (mp.cos(root(v)) - 1 + v / 2) / v**2, 1e-6, quarter, 2, lambda v: v * v),
        "trigonometric.ATAN": Problem(lambda v: (mp.atan(root(v)) / root(v) - 1) / v, tiny, 1, 8, abs),
        "normal.ERF": Problem(lambda v: mp.erf(root(v)) / root(v), tiny, 1, 6, lambda v: 1),
        "normal.MILLS": Problem(mills, -1, 1, 10, lambda t: 1 / mills(t)),
        "gamma.LGAMMA": Problem(lgamma_slope, -0.5, 0.5, 8, lambda t: 1),
        "gamma.STIRLING": Problem(stirling_rest, 1e-9, 1 / 2.5**2, 3, lambda w: 1),
        "gamma.DIGAMMA": Problem(digamma_rest, 1e-9, 1 / 16, 2, lambda w: 1),
        "gamma.TRIGAMMA": Problem(trigamma_rest, 1e-9, 1 / 16, 2, abs),
    }


def fit_polynomial(problem: Problem, points: int = 300, rounds: int = 50) -> tuple[np.ndarray, float]:
    """Return the coefficients, lowest first, and the largest weighted error."""
    import mpmath as mp

    target, low, high, degree, weight = problem
    x = -np.cos(np.pi * np.arange(points) / (points - 1))
    with mp.workdps(40):
        grid = [mp.mpf(float(v)) for v in (high - low) / 2 * x + (high + low) / 2]
        y = np.array([float(target(v)) for v in grid])
        w = np.array([float(weight(v)) for v in grid])
    w = np.maximum(w, 1e-6 * w.max())
    basis = np.polynomial.chebyshev.chebvander(x, degree)
    chosen = np.round(np.linspace(0, points - 1, degree + 2)).astype(int)
    best, largest = np.zeros(degree + 1), np.inf
    for _ in range(rounds):
        alternating = ((-1.0) ** np.arange(degree + 2) / w[chosen])[:, None]
        solution = np.linalg.solve(np.hstack([basis[chosen], alternating]), y[chosen])[:-1]
        error = (basis @ solution - y) * w
        if np.abs(error).max() < largest:
            best, largest = solution, float(np.abs(error).max())
        extrema = _extrema(error, degree + 2)
        if len(extrema) < degree + 2 or np.array_equal(extrema, chosen):
            break
        chosen = extrema
    series = np.polynomial.chebyshev.Chebyshev(best, domain=[low, high])
    return series.convert(kind=np.polynomial.Polynomial).coef, largest


def _extrema(error: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` positions of alternating local extrema, the smallest dropped from the ends."""
    cuts = np.flatnonzero(np.sign(error[1:]) != np.sign(error[:-1])) + 1
    runs = np.split(np.arange(len(error)), cuts)
    found = [int(run[np.argmax(np.abs(error[run]))]) for run in runs]
    while len(found) > count:
        found.pop(0 if abs(error[found[0]]) < abs(error[found[-1]]) else -1)
    return np.array(found)


def fit_rational_function(
    x: np.ndarray, y: np.ndarray, top: int, bottom: int, rounds: int = 200
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit ``P(x) / Q(x)`` with Q(0) = 1 to `y` in relative error; return both tables and the error."""
    scale = x.max()
    high = np.vander(x / scale, top + 1, increasing=True)
    low = np.vander(x / scale, bottom + 1, increasing=True)[:, 1:]
    weight, denominator = np.ones(len(x)), np.ones(len(x))
    best, largest = np.zeros(top + bottom + 1), np.inf
    for i in range(rounds):
        s = np.sqrt(weight) / (y * denominator)
        matrix = np.hstack([high, -y[:, None] * low]) * s[:, None]
        norms = np.linalg.norm(matrix, axis=0)
        solution = np.linalg.lstsq(matrix / norms, y * s, rcond=None)[0] / norms
        denominator = 1 + low @ solution[top + 1 :]
        error = np.abs(high @ solution[: top + 1] / denominator / y - 1)
        if denominator.min() > 0 and error.max() < largest:
            best, largest = solution, float(error.max())
        denominator = np.abs(denominator) + 1e-9
        if i > 10:
            weight = weight * (error / error.max() + 1e-3)
            weight = weight / weight.sum()
    powers = scale ** -np.arange(max(top, bottom) + 1.0)
    return best[: top + 1] * powers[: top + 1], np.r_[1, best[top + 1 :] * powers[1 : bottom + 1]], largest


def normal_quantile_tables(points: int = 300) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """The quotients of `normal.ndtri`: centre and tail."""
    import scipy.special as special

    unit = (1 - np.cos(np.pi * np.arange(points) / (points - 1))) / 2
    q = np.maximum(0.425 * np.sqrt(unit), 1e-6)
    r = 1.6 + unit * (9.36 - 1.6)
    return {
        "normal.CENTRE": fit_rational_function(0.425**2 - q * q, -special.ndtri(0.5 - q) / q, 3, 3),
        "normal.TAIL": fit_rational_function(r - 1.6, -special.ndtri_exp(-r * r), 4, 3),
    }


def main() -> None:
    """Print the tables of polynomials and quotients, each with its error."""
    for name, problem in polynomial_problems().items():
        coefficients, error = fit_polynomial(problem)
        print(f"{name}: error {error:.2g}\n    " + ", ".join(f"{c:.9g}" for c in coefficients))
    for name, (top, bottom, error) in normal_quantile_tables().items():
        print(f"{name}: error {error:.2g}")
        for table in (top, bottom):
            print("    " + ", ".join(f"{c:.9g}" for c in table))


GUARD = 24
"""Powers carried beyond those wanted: each coefficient of the next order needs two more."""

Series = list[Any]


def _series_product(a: Series, b: Series) -> Series:
    return [sum(a[i] * b[n - i] for i in range(n + 1)) for n in range(min(len(a), len(b)))]


def _series_inverse(a: Series) -> Series:
    out = [1 / a[0]]
    for n in range(1, len(a)):
        out.append(-sum(a[i] * out[n - i] for i in range(1, n + 1)) / a[0])
    return out


def _series_root(a: Series) -> Series:
    out = [a[0] ** 0.5]
    for n in range(1, len(a)):
        out.append((a[n] - sum(out[i] * out[n - i] for i in range(1, n))) / (2 * out[0]))
    return out


def _series_derivative(a: Series) -> Series:
    return [(i + 1) * x for i, x in enumerate(a[1:])]


def stirling_series(count: int) -> Series:
    """g_0, g_1, ...: gamma(a) = sqrt(2 pi / a) (a / e)**a (g_0 + g_1 / a + ...)."""
    import mpmath as mp

    logs = [mp.mpf(0)] * (count + 1)
    for n in range(1, count // 2 + 2):
        if 2 * n - 1 <= count:
            logs[2 * n - 1] = mp.bernoulli(2 * n) / (2 * n * (2 * n - 1))
    out = [mp.mpf(1)]
    for n in range(1, count + 1):
        out.append(sum(i * logs[i] * out[n - i] for i in range(1, n + 1)) / n)
    return out


def _temme_parts(rows: int, size: int) -> tuple[Series, Series, list[Series]]:
    """mu / l, eta / l and c_0, c_1, ... in powers of l."""
    import mpmath as mp

    mu = [1 / mp.factorial(n + 1) for n in range(size)]
    eta = _series_root([2 / mp.factorial(n + 2) for n in range(size)])
    gaps = [x - y for x, y in zip(_series_inverse(mu), _series_inverse(eta), strict=True)]
    g, c = stirling_series(rows), [gaps[1:]]
    for k in range(1, rows):
        slope = _series_derivative(c[-1])
        slope[0] += (-1) ** k * g[k]  # cancels: c_k is regular at l = 0
        c.append(_series_product(slope[1:], _series_inverse(mu)))
    return mu, eta, c


def temme_expansion(rows: int, columns: int) -> list[Series]:
    """The coefficients of sqrt(2 pi a) exp(a eta^2 / 2) (Q - erfc(eta sqrt(a / 2)) / 2), rows powers of 1/a."""
    import mpmath as mp

    with mp.workdps(80):
        return [row[:columns] for row in _temme_parts(rows, columns + GUARD)[2]]


def slope_expansion(rows: int, columns: int) -> list[Series]:
    """The coefficients of a * slope: rows are powers of 1/a, columns powers of l."""
    import mpmath as mp

    with mp.workdps(80):
        mu, eta, c = _temme_parts(rows, columns + GUARD)
        g = stirling_series(rows)
        times = [[mp.mpf(0), *x] for x in c]  # l c_k
        first = _series_product(mu, _series_inverse(eta))
        terms = [[first[n] - (eta[n - 1] / 2 if n else 0) + times[0][n] for n in range(columns)]]
        for k in range(1, rows):
            half, d = k - mp.mpf(1) / 2, _series_derivative(c[k - 1])
            terms.append([times[k][n] - half * c[k - 1][n] - d[n] for n in range(columns)])
        return [[sum(g[j] * terms[k - j][n] for j in range(k + 1)) for n in range(columns)] for k in range(rows)]


def print_gamma_tables() -> None:
    """Print the tables of the incomplete gamma function and of gamma draws."""
    print("Temme")
    for row in temme_expansion(9, 15):
        print("    " + ", ".join(f"{float(x):.17g}" for x in row))
    print("slope")
    for row in slope_expansion(7, 18):
        print("    " + ", ".join("0.0" if abs(x) < 1e-40 else f"{float(x):.17g}" for x in row))


if __name__ == "__main__":
    main()
    print_gamma_tables()
