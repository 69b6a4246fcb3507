"""Implicit derivatives and rejection samplers: kernels against quadrature and against their NumPy oracle."""

from __future__ import annotations

import mpmath as mp
import numba
import numpy as np
import pytest
from distribution_laws import leaf, noise_of, value_of, values_of
from kernel_runs import COMPILED, SIZE, run
from scipy import special, stats

import ppl
import ppl.estimators
from ppl.distributions import Beta, Dirichlet, Gamma, StudentT
from ppl.errors import EstimatorError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.reference import numpy_samplers as oracle
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.kernels.generated.f32 import scalar
from ppl.kernels.generated.f64 import scalar as scalar_module

QUANTILES = (1e-6, 1e-3, 0.2, 0.5, 0.8, 0.999, 1 - 1e-6)

CONCENTRATIONS = (1e-3, 0.1, 0.7, 1.0, 3.0, 11.9, 12.0, 13.0, 50.0, 1e4, 1e6)

MODULES = {"float32": (scalar, np.float32, 2e-5), "float64": (scalar_module, np.float64, 1e-9)}


def log_quantiles():
    """(concentrations, logarithms of quantiles), where the quantile underflows by its leading term."""
    pairs = []
    for a in CONCENTRATIONS:
        for q in QUANTILES:
            x = stats.gamma.ppf(q, a)
            pairs.append((a, np.log(x) if x > 1e-300 else (np.log(q) + special.gammaln(a + 1)) / a))
    return np.array(pairs).T


def exact_slope(a, y):
    """-(dF/da) / (x p) in 50 digits, from the tail that is smaller."""
    with mp.workdps(50):
        a, y = mp.mpf(float(a)), mp.mpf(float(y))
        x, h = mp.exp(y), mp.mpf(10) ** -15
        if x < a + 1:
            tail = mp.diff(lambda s: mp.gammainc(s, 0, x, regularized=True), a, h=h)
        else:
            tail = -mp.diff(lambda s: mp.gammainc(s, x, mp.inf, regularized=True), a, h=h)
        return float(-tail / mp.exp(a * y - x - mp.loggamma(a)))


@pytest.mark.parametrize("precision", MODULES)
def test_gamma_slope_in_every_regime(precision):
    module, dtype, tolerance = MODULES[precision]
    a, y = (x.astype(dtype) for x in log_quantiles())
    wanted = [exact_slope(*pair) for pair in zip(a, y, strict=True)]
    np.testing.assert_allclose(run(module.loggamma_slope, y, a, dtype=dtype), wanted, rtol=tolerance)


def test_the_oracle_of_the_gamma_slope():
    a, y = log_quantiles()
    wanted = [exact_slope(*pair) for pair in zip(a, y, strict=True)]
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(oracle.loggamma_slope(y, a), wanted, rtol=1e-10)


@pytest.mark.parametrize("precision", MODULES)
@pytest.mark.parametrize("name", ["loggamma_draw"])
@pytest.mark.parametrize("parameter", [1e-3, 0.5, 1.0, 9.99, 10.0, 40.0, 1e5])
def test_draws_equal_the_oracle(name, parameter, precision):
    module, dtype, _ = MODULES[precision]
    function, column = getattr(module, name), np.arange(SIZE)
    parameters = np.full(SIZE, parameter, dtype)

    def draw(value, i):
        return function(value, np.uint64(0x9E3779B97F4A7C15), i, 3)

    compiled = numba.njit(draw) if COMPILED else draw
    got = run(compiled, parameters, column, dtype=dtype)
    keys = np.full(SIZE, np.uint64(0x9E3779B97F4A7C15)).view(np.int64)
    with np.errstate(all="ignore"):
        wanted = getattr(oracle, name)(parameters, keys, column, 3)
    flips = ~np.isclose(got, wanted, rtol=1e-4 if precision == "float32" else 1e-9, atol=1e-5)
    assert flips.sum() <= (2 if precision == "float32" else 0)  # an accept decision at rounding distance


def test_streams_and_columns_are_independent():
    n, key = 4000, np.full(4000, 12345, np.int64)
    with np.errstate(all="ignore"):
        draws = [oracle.loggamma_draw(np.full(n, 2.0), key, np.arange(n), stream) for stream in (0, 1)]
    assert abs(np.corrcoef(draws)[0, 1]) < 0.06
    assert abs(np.corrcoef(draws[0][:-1], draws[0][1:])[0, 1]) < 0.06


def test_tiny_concentrations_are_exact_on_the_log_scale():
    a, n = 1e-3, 20_000
    with np.errstate(all="ignore"):
        y = oracle.loggamma_draw(np.full(n, a, np.float32), np.full(n, 7), np.arange(n), 0).astype(float)
    assert np.isfinite(y).all() and y.min() < -1000
    low = y[y < -5]  # there F = exp(a y) / gamma(a + 1)
    assert stats.kstest(np.exp(a * (low + 5)), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("a", [0.3, 1.0, 4.0, 30.0])
def test_gamma_path_is_the_implicit_derivative(a):
    dist = Gamma(leaf("a"), leaf("r"))
    x = dist.draw(*noise_of(dist, 200))
    at = {"a": np.array(a), "r": np.array(1.7)}
    drawn = value_of(x, **at)
    h = 1e-5 * a
    law = [stats.gamma(c, scale=1 / 1.7) for c in (a - h, a, a + h)]
    wanted = -(law[2].cdf(drawn) - law[0].cdf(drawn)) / (2 * h) / law[1].pdf(drawn)
    got, rate = values_of(gradient(ops.sum_axes(x, x.type.axes), [leaf("a"), leaf("r")]), **at)
    np.testing.assert_allclose(got, wanted.sum(), rtol=1e-5)
    np.testing.assert_allclose(rate, -drawn.sum() / 1.7, rtol=1e-12)


def moments():
    """(distribution of leaves, parameter values, gradient of the mean of a function, that function)."""
    a, b, df = leaf("a", (3,)), leaf("b", ()), leaf("df", ())
    conc = np.array([0.6, 1.5, 3.0])
    total = conc.sum()
    first = np.array([total - 0.6, -0.6, -0.6]) / total**2
    yield "dirichlet", Dirichlet(a), {"a": conc}, "a", lambda x: ops.reduce_sum(ops.mul(x, [1.0, 0, 0])), first
    at = {"b": np.array(1.3)}
    yield "beta", Beta(b, 2.0), at, "b", lambda x: x, 2.0 / 3.3**2
    yield "student", StudentT(df, 0.0, 1.0), {"df": np.array(9.0)}, "df", lambda x: ops.mul(x, x), -2 / 49


@pytest.mark.parametrize("case", list(moments()), ids=lambda c: c[0])
def test_gradient_of_a_moment(case):
    _, dist, at, name, function, wanted = case
    n = 100_000
    f = function(dist.draw(*noise_of(dist, n)))
    weight = leaf(name, at[name].shape)
    per_draw = ops.expand(weight, f.type.axes)
    node = function(dist.with_params(tuple(
        ops.expand(p, f.type.axes) for p in dist.params.values())).draw(*noise_of(dist, n)))  # fmt: skip
    (g,) = evaluate(gradient(ops.sum_axes(node, node.type.axes), [per_draw]), Env(params=at, seed=3))
    error = g.std(0) / np.sqrt(n)
    assert np.all(np.abs(g.mean(0) - wanted) < 5 * error)
    assert np.all(error < 0.02 * np.abs(wanted).max())


def test_a_second_derivative_is_refused():
    dist = Gamma(leaf("a"), 1.0)
    x = dist.draw(*noise_of(dist, 3))
    (g,) = gradient(ops.sum_axes(x, x.type.axes), [leaf("a")])
    with pytest.raises(EstimatorError, match="second derivative"):
        gradient(g, [leaf("a")])


def test_names_and_reasons():
    @ppl.model
    def model():
        z = ppl.sample("z", Gamma(ppl.param("a", 1.0, constraint="positive")))
        k = ppl.sample("k", ppl.Poisson(z))
        ppl.cost("loss", 1.0 * k)

    plan = ppl.compile(model).explain()
    assert isinstance(plan["z"].estimator, ppl.estimators.Pathwise)
    assert "implicit derivative" in plan["z"].reason
    assert isinstance(plan["k"].estimator, ppl.estimators.ScoreFunction)
    with pytest.raises(EstimatorError, match="neither an implicit derivative nor a differentiable cdf"):
        ppl.compile(model, estimators={"k": ppl.estimators.Implicit()}).explain()
