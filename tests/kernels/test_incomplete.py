"""Incomplete gamma and beta functions: values, derivatives and inverses against 50 digits, edges, round trips."""

from __future__ import annotations

import functools
from pathlib import Path

import mpmath as mp
import numba
import numpy as np
import pytest
from incomplete_cases import GRIDS, Grid
from scalar_cases import CASES, MODULES
from scipy import special, stats

from ppl.kernels.decorators import LOOP_FASTMATH
from ppl.kernels.scalar import series
from ppl.kernels.scalar.fit import temme_expansion

each_module = pytest.mark.parametrize("module", MODULES)

INF, NAN = np.inf, np.nan


@functools.cache
def runner(module: str, name: str, extra: tuple[int, ...] = ()):
    """A compiled loop over argument columns."""
    fn, count = getattr(MODULES[module][0], name), len(extra)
    one, two = (*extra, 0, 0)[:2]

    def run(out, x):
        for i in range(x.shape[1]):
            if x.shape[0] == 2:
                out[i] = call2(x[0, i], x[1, i])
            else:
                out[i] = call3(x[0, i], x[1, i], x[2, i])

    if count == 0:
        call2 = numba.njit(lambda a, b: fn(a, b)) if name not in THREE else numba.njit(lambda a, b: a)
        call3 = numba.njit(lambda a, b, c: fn(a, b, c)) if name in THREE else numba.njit(lambda a, b, c: a)
    elif count == 1:
        call2, call3 = numba.njit(lambda a, b: fn(a, b, one)), numba.njit(lambda a, b, c: a)
    else:
        call2, call3 = numba.njit(lambda a, b: a), numba.njit(lambda a, b, c: fn(a, b, c, one, two))
    return numba.njit(error_model="numpy", fastmath=set(LOOP_FASTMATH))(run)


THREE = {"betainc", "betaincinv", "negative_binomial_icdf", "negative_binomial_isf"}


def apply(module: str, name: str, columns: np.ndarray, extra: tuple[int, ...] = ()) -> np.ndarray:
    """The function's values on argument columns."""
    x = np.ascontiguousarray(columns, MODULES[module][1])
    out = np.empty(x.shape[1], x.dtype)
    runner(module, name, extra)(out, x)
    return out


@functools.cache
def truth(index: int, module: str, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Arguments as the module's type holds them, and exact values there."""
    grid: Grid = GRIDS[index]
    rows = grid.arguments()[::every].astype(MODULES[module][1]).astype(np.float64)
    with mp.workdps(45):
        exact = np.array([float(grid.exact(*map(mp.mpf, row))) for row in rows])
    return rows, exact


def error(index: int, module: str, every: int = 1) -> float:
    """Largest relative error of one grid; below `floor` times the largest value, relative to that."""
    grid = GRIDS[index]
    rows, exact = truth(index, module, every)
    found = apply(module, grid.name, rows.T, grid.extra).astype(np.float64)
    counted = np.abs(exact) > grid.least
    size = np.maximum(np.abs(exact), grid.floor * np.abs(exact).max())
    return float((np.abs(found - exact) / size)[counted].max())


@each_module
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("index", range(len(GRIDS)), ids=[g.label for g in GRIDS])
def test_accuracy(index, module, every):
    assert error(index, module, every) <= getattr(GRIDS[index], module)


def test_temmes_coefficients():
    rows = temme_expansion(9, series.TEMME_COLUMNS)
    flat = [float(v) for row in rows for v in row]
    np.testing.assert_allclose(series.TEMME, flat, rtol=1e-15)
    with mp.workdps(40):
        slopes = [mp.psi(k, 2) / mp.factorial(k + 1) for k in range(len(series.LGAMMA))]
    np.testing.assert_allclose(series.LGAMMA, [float(c) for c in slopes], rtol=1e-14)


EDGES = {
    "gammainc": {(2.0, 0.0): 0, (2.0, INF): 1, (-1.0, 1.0): NAN, (1.0, -1.0): NAN, (NAN, 1.0): NAN, (1.0, NAN): NAN},
    "gammaincc": {(2.0, 0.0): 1, (2.0, INF): 0, (0.0, 1.0): NAN, (1.0, NAN): NAN},
    "gammaincinv": {(2.0, 0.0): 0, (2.0, 1.0): INF, (2.0, -0.1): NAN, (2.0, 1.1): NAN, (1e-3, 1e-30): 0},
    "gammainccinv": {(2.0, 0.0): INF, (2.0, 1.0): 0, (2.0, NAN): NAN},
    "betainc": {(2.0, 3.0, 0.0): 0, (2.0, 3.0, 1.0): 1, (2.0, 3.0, 1.5): NAN, (0.0, 3.0, 0.5): NAN},
    "betaincinv": {(2.0, 3.0, 0.0): 0, (2.0, 3.0, 1.0): 1, (2.0, 3.0, -1.0): NAN, (1e-3, 1e-3, 0.1): 0},
    "student_cdf": {(2.0, -INF): 0, (2.0, INF): 1, (2.0, 0.0): 0.5, (0.0, 1.0): NAN, (2.0, NAN): NAN},
    "student_icdf": {(2.0, 0.0): -INF, (2.0, 1.0): INF, (2.0, 0.5): 0, (2.0, 2.0): NAN},
    "vonmises_cdf": {(2.0, 0.0): 0.5, (2.0, 4.0): NAN, (-1.0, 0.0): NAN},
    "vonmises_icdf": {(2.0, 0.0): -np.pi, (2.0, 1.0): np.pi, (2.0, 0.5): 0, (2.0, -0.5): NAN},
    "poisson_isf": {(3.0, 0.0): INF, (3.0, 1.0): 0, (3.0, -1.0): NAN, (1e-8, 1e-3): 0},
    "negative_binomial_isf": {(3.0, 0.5, 0.0): INF, (3.0, 0.5, 1.0): 0, (3.0, 0.0, 0.1): 0, (3.0, 0.5, 1.1): NAN},
    "poisson_icdf": {(3.0, 0.0): 0, (3.0, 1.0): INF, (3.0, 2.0): NAN, (1e-8, 0.5): 0},
    "negative_binomial_icdf": {
        (3.0, 0.5, 0.0): 0,
        (3.0, 0.5, 1.0): INF,
        (3.0, 0.0, 0.9): 0,
        (3.0, 0.5, -0.1): NAN,
        (0.0, 0.5, 0.5): NAN,
        (3.0, -0.5, 0.5): NAN,
    },
}


@each_module
@pytest.mark.parametrize("name", EDGES)
def test_edges(name, module):
    found = apply(module, name, np.array(list(EDGES[name])).T)
    np.testing.assert_allclose(found, list(EDGES[name].values()), rtol=1e-6, atol=1e-30)


@each_module
def test_poisson_quantiles(module):
    rng = np.random.default_rng(3)
    rate = np.exp(rng.uniform(np.log(1e-8), np.log(1e6 if module == "f64" else 1e3), 3000))
    p = np.where(rng.random(3000) < 0.5, rng.random(3000), np.exp(-rng.uniform(0, 50, 3000)))
    x = np.stack([rate, p]).astype(MODULES[module][1])
    wanted = np.maximum(stats.poisson.ppf(x[1].astype(float), x[0].astype(float)), 0)
    found = apply(module, "poisson_icdf", x)
    if module == "f64":
        np.testing.assert_array_equal(found, wanted)
    else:
        assert np.mean(found != wanted) < 2e-3 and np.abs(found - wanted).max() <= 1


@each_module
def test_negative_binomial_quantiles(module):
    """Counts by their definition: at k the tail has passed the probability, at k - 1 it has not."""
    rng, double = np.random.default_rng(5), module == "f64"
    n = 3000
    total, odds = np.exp(rng.uniform(np.log(1e-2), np.log(1e4), n)), np.exp(rng.uniform(-6.0, 3.0, n))
    p = np.where(rng.random(n) < 0.5, rng.random(n), 1 - np.exp(-rng.uniform(0, 12, n)))
    x = np.stack([total, odds, p]).astype(MODULES[module][1])
    found = apply(module, "negative_binomial_icdf", x).astype(float)
    total, odds, p = x.astype(float)
    below, upto = (1 - special.betainc(k, total, odds / (1 + odds)) for k in (np.maximum(found, 1e-9), found + 1))
    slack = 1e-12 if double else 2e-5
    assert (upto >= p - slack).all() and ((below < p + slack) | (found == 0)).all()
    exact = stats.nbinom.ppf(p, total, 1 / (1 + odds))
    assert np.mean(found != exact) < (1e-3 if double else 0.02)


@each_module
def test_upper_quantiles_of_counts(module):
    """Far out: at k the mass above has fallen to the probability, at k - 1 it has not."""
    rng, slack = np.random.default_rng(7), 1e-9 if module == "f64" else 1e-4
    n = 2000
    q = np.exp(-rng.uniform(0, 500 if module == "f64" else 80, n))
    rate, total, odds = (np.exp(rng.uniform(*ends, n)) for ends in ((-8, 8), (-3, 5), (-6, 2)))
    cases = {
        "poisson_isf": ((rate, q), lambda k, m: special.gammainc(k + 1, m)),
        "negative_binomial_isf": ((total, odds, q), lambda k, r, o: special.betainc(k + 1, r, o / (1 + o))),
    }
    for name, (columns, above) in cases.items():
        x = np.stack(columns).astype(MODULES[module][1])
        k = apply(module, name, x).astype(float)
        *theta, level = x.astype(float)
        assert (above(k, *theta) <= level * (1 + slack)).all()
        assert ((above(np.maximum(k - 1, 0), *theta) >= level * (1 - slack)) | (k == 0)).all()


@each_module
@pytest.mark.parametrize(
    ("cdf", "icdf"), [("student_cdf", "student_icdf"), ("vonmises_cdf", "vonmises_icdf"), ("gammaincc", "gammainccinv")]
)
def test_round_trips(cdf, icdf, module):
    eps = np.finfo(MODULES[module][1]).eps
    theta, p = (v.ravel() for v in np.meshgrid([0.3, 1.0, 7.0, 90.0], [1e-9, 1e-4, 0.2, 0.4, 0.5]))
    x = apply(module, icdf, np.stack([theta, p]))
    back = apply(module, cdf, np.stack([theta.astype(x.dtype), x]))
    atol = 8 * eps if cdf == "vonmises_cdf" else 0.0  # near -pi, where angles are that far apart
    np.testing.assert_allclose(back, p, rtol=600 * eps, atol=atol)


def test_far_tails_of_heavy_laws_do_not_underflow_early():
    near, far = apply("f64", "student_cdf", np.array([[0.1, 0.1], [-1e100, -1e200]]))
    assert far == pytest.approx(near * 1e-10, rel=1e-12)
    wanted = stats.t.ppf(float(np.float32(1e-18)), 0.5)
    assert apply("f32", "student_icdf", np.array([[0.5], [1e-18]]))[0] == pytest.approx(wanted, rel=1e-4)


def test_single_precision_has_no_double():
    for name, extra, count in (
        ("gammainc", (), 2),
        ("gammainc_bend", (), 2),
        ("gammaincinv", (), 2),
        ("betainc", (), 3),
        ("betaincinv", (), 3),
        ("student_slope", (2,), 2),
        ("vonmises_icdf", (), 2),
    ):
        apply("f32", name, np.full((count, 1), 0.5), extra)
        assert all("double" not in text for text in runner("f32", name, extra).inspect_llvm().values()), name


def test_the_page_of_errors_lists_every_case_with_its_bounds():
    """docs/numerics.md is made by `python -m benchmarks.numerics`."""
    text = (Path(__file__).parents[2] / "docs" / "numerics.md").read_text()
    rows = {tuple(c.strip(" `") for c in line.split("|")[1:-1]) for line in text.splitlines() if line.startswith("| `")}
    listed = {(row[0], row[-3], row[-1]) for row in rows}
    assert listed == {
        *((g.label, f"{g.f32:.2g}", f"{g.f64:.2g}") for g in GRIDS),
        *((c.name, f"{c.f32:.3g}", f"{c.f64:.3g}") for c in CASES),
    }
    for row in rows:
        assert float(row[-4]) <= float(row[-3]) and float(row[-2]) <= float(row[-1]), row


@pytest.mark.parametrize("upper", [False, True], ids=["lower", "upper"])
@pytest.mark.parametrize("a", [1.5, 20.0, 200.0, 2000.0])
@each_module
def test_gamma_quantiles_of_the_least_probabilities(module, a, upper):
    """Newton's iteration may step to where the tail is 0 in floats, and has to come back."""
    kernels, dtype = MODULES[module][:2]
    single = np.dtype(dtype).itemsize == 4
    name, exact = ("gammainccinv", special.gammainccinv) if upper else ("gammaincinv", special.gammaincinv)
    for exponent in range(2, 38 if single else 306):
        p = np.dtype(dtype).type(10.0**-exponent)
        found = getattr(kernels, name)(type(p)(a), p)
        assert found == pytest.approx(exact(a, float(p)), rel=2e-5 if single else 1e-10), exponent
