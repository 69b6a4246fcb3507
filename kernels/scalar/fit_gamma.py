"""Where `gamma_series.SLOPE` and `incomplete_series.TEMME` come from: ``python -m ppl.kernels.scalar.fit_gamma``.

Temme's expansion of the incomplete gamma function (DLMF 8.12) in powers of l = log(x / a) instead of eta, with
mu = e**l - 1 and eta**2 / 2 = mu - l. There the coefficients obey c_k = (dc_(k-1)/dl + (-1)**k g_k) / mu, g_k those of
Stirling's series, and -(dF/da) / (x p) becomes a double power series in l and 1/a. Not imported by any kernel; needs
mpmath.
"""

from __future__ import annotations

from typing import Any

GUARD = 24
"""Powers carried beyond those wanted: each coefficient of the next order needs two more."""

Series = list[Any]


def _product(a: Series, b: Series) -> Series:
    return [sum(a[i] * b[n - i] for i in range(n + 1)) for n in range(min(len(a), len(b)))]


def _inverse(a: Series) -> Series:
    out = [1 / a[0]]
    for n in range(1, len(a)):
        out.append(-sum(a[i] * out[n - i] for i in range(1, n + 1)) / a[0])
    return out


def _root(a: Series) -> Series:
    out = [a[0] ** 0.5]
    for n in range(1, len(a)):
        out.append((a[n] - sum(out[i] * out[n - i] for i in range(1, n))) / (2 * out[0]))
    return out


def _derivative(a: Series) -> Series:
    return [(i + 1) * x for i, x in enumerate(a[1:])]


def stirling(count: int) -> Series:
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


def _parts(rows: int, size: int) -> tuple[Series, Series, list[Series]]:
    """mu / l, eta / l and c_0, c_1, ... in powers of l."""
    import mpmath as mp

    mu = [1 / mp.factorial(n + 1) for n in range(size)]
    eta = _root([2 / mp.factorial(n + 2) for n in range(size)])
    gaps = [x - y for x, y in zip(_inverse(mu), _inverse(eta), strict=True)]
    g, c = stirling(rows), [gaps[1:]]
    for k in range(1, rows):
        slope = _derivative(c[-1])
        slope[0] += (-1) ** k * g[k]  # cancels: c_k is regular at l = 0
        c.append(_product(slope[1:], _inverse(mu)))
    return mu, eta, c


def temme_expansion(rows: int, columns: int) -> list[Series]:
    """The coefficients of sqrt(2 pi a) exp(a eta^2 / 2) (Q - erfc(eta sqrt(a / 2)) / 2), rows powers of 1/a."""
    import mpmath as mp

    with mp.workdps(80):
        return [row[:columns] for row in _parts(rows, columns + GUARD)[2]]


def slope_expansion(rows: int, columns: int) -> list[Series]:
    """The coefficients of a * slope: rows are powers of 1/a, columns powers of l."""
    import mpmath as mp

    with mp.workdps(80):
        mu, eta, c = _parts(rows, columns + GUARD)
        g = stirling(rows)
        times = [[mp.mpf(0), *x] for x in c]  # l c_k
        first = _product(mu, _inverse(eta))
        terms = [[first[n] - (eta[n - 1] / 2 if n else 0) + times[0][n] for n in range(columns)]]
        for k in range(1, rows):
            half, d = k - mp.mpf(1) / 2, _derivative(c[k - 1])
            terms.append([times[k][n] - half * c[k - 1][n] - d[n] for n in range(columns)])
        return [[sum(g[j] * terms[k - j][n] for j in range(k + 1)) for n in range(columns)] for k in range(rows)]


def main() -> None:
    """Print both tables."""
    print("Temme")
    for row in temme_expansion(9, 15):
        print("    " + ", ".join(f"{float(x):.17g}" for x in row))
    print("slope")
    for row in slope_expansion(7, 18):
        print("    " + ", ".join("0.0" if abs(x) < 1e-40 else f"{float(x):.17g}" for x in row))


if __name__ == "__main__":
    main()
