"""Von Mises angles: kernels against quadrature and their NumPy oracle, draws at the ends of the range."""

from __future__ import annotations

import mpmath as mp
import numba
import numpy as np
import pytest
from distribution_laws import leaf, noise_of, value_of, values_of
from kernel_runs import COMPILED, SIZE, run
from scipy import stats

import ppl
import ppl.estimators
from ppl.distributions import VonMises
from ppl.errors import EstimatorError, ModelError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.reference import numpy_samplers as oracle
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, Kind
from ppl.kernels.generated.f32 import scalar
from ppl.kernels.generated.f64 import scalar as scalar_module

TAILS = (1e-6, 1e-3, 0.05, 0.3, 0.45, 0.4999)

CONCENTRATIONS = (1e-3, 0.1, 0.7, 1.0, 3.0, 11.9, 12.1, 19.9, 20.1, 50.0, 1e3, 1e4, 1e6)

MODULES = {"float32": (scalar, np.float32, 3e-6), "float64": (scalar_module, np.float64, 1e-11)}

KEY = np.uint64(0x9E3779B97F4A7C15)


def quantiles(dtype):
    """(positive angles, concentrations, slopes at those angles)."""
    pairs = np.array([(-stats.vonmises.ppf(q, k), k) for k in CONCENTRATIONS for q in TAILS], dtype)
    return (*pairs.T, [exact_slope(x, k) for x, k in pairs])


def exact_slope(x, k):
    """-(dF / dk) / p for x > 0, the integral of (cos s - A) exp(k (cos s - cos x)) from x to pi."""
    with mp.workdps(30):
        x, k = mp.mpf(float(x)), mp.mpf(float(k))
        mean, width = mp.besseli(1, k) / mp.besseli(0, k), 1 / mp.sqrt(k)
        edges = [x, *(x + width * t for t in (0.5, 2, 4, 7, 12) if x + width * t < 3), mp.pi]

        def integrand(s):
            return (mp.cos(s) - mean) * mp.exp(k * (mp.cos(s) - mp.cos(x)))

        return float(mp.quad(integrand, edges))


@pytest.mark.parametrize("precision", MODULES)
def test_slope_in_every_regime(precision):
    module, dtype, tolerance = MODULES[precision]
    x, k, wanted = quantiles(dtype)
    slope = run(module.vonmises_slope, x, k, dtype=dtype)
    np.testing.assert_allclose(slope, wanted, rtol=tolerance)
    np.testing.assert_array_equal(run(module.vonmises_slope, -x, k, dtype=dtype), -slope)


def test_the_oracle_of_the_slope():
    x, k, wanted = quantiles(np.float64)
    np.testing.assert_allclose(oracle.vonmises_slope(x, k), wanted, rtol=1e-11)


@pytest.mark.parametrize("precision", MODULES)
@pytest.mark.parametrize("concentration", [1e-12, 1e-3, 0.5, 2.0, 40.0, 1e6])
def test_draws_equal_the_oracle(concentration, precision):
    module, dtype, _ = MODULES[precision]
    parameters, column = np.full(SIZE, concentration, dtype), np.arange(SIZE)

    def draw(value, i):
        return module.vonmises_draw(value, KEY, i, 3)

    got = run(numba.njit(draw) if COMPILED else draw, parameters, column, dtype=dtype)
    wanted = oracle.vonmises_draw(parameters, np.full(SIZE, KEY).view(np.int64), column, 3)
    turn = np.abs(np.angle(np.exp(1j * (got.astype(float) - wanted))))
    flips = turn > (1e-4 if precision == "float32" else 1e-9) * np.maximum(np.abs(wanted), wanted.std())
    assert flips.sum() <= (2 if precision == "float32" else 0)  # an accept decision at rounding distance


@pytest.mark.parametrize("concentration", [1e-12, 1e-3, 1.0, 30.0, 1e6])
def test_single_precision_draws_have_the_law(concentration):
    n = 20_000
    k = np.full(n, concentration, np.float32)
    x = oracle.vonmises_draw(k, np.full(n, 7), np.arange(n), 0).astype(float)
    assert x.min() > -3.15 and x.max() < 3.15
    law = stats.vonmises(concentration) if concentration > 1e-6 else stats.uniform(-np.pi, 2 * np.pi)
    assert stats.kstest(x, law.cdf).pvalue > 1e-3
    assert len(np.unique(x)) > 0.99 * n


@pytest.mark.parametrize("k", [1e-3, 0.4, 3.0, 40.0])
def test_path_is_the_implicit_derivative(k):
    dist = VonMises(leaf("m"), leaf("k"))
    x = dist.draw(*noise_of(dist, 200))
    at = {"m": np.array(3.1), "k": np.array(k)}
    drawn = value_of(x, **at)
    assert drawn.min() > -np.pi and drawn.max() <= np.pi and drawn.min() < 0
    centred = np.angle(np.exp(1j * (drawn - 3.1)))
    h = 1e-4 * k  # scipy's cdf is an approximation from concentration 50 on
    law = [stats.vonmises(c) for c in (k - h, k, k + h)]
    wanted = -(law[2].cdf(centred) - law[0].cdf(centred)) / (2 * h) / law[1].pdf(centred)
    loc, got = values_of(gradient(ops.sum_axes(ops.mul(x, x), x.type.axes), [leaf("m"), leaf("k")]), **at)
    np.testing.assert_allclose(got, (2 * drawn * wanted).sum(), rtol=1e-5)
    np.testing.assert_allclose(loc, 2 * drawn.sum(), rtol=1e-12)


def test_mean_and_variance_are_those_of_the_circle():
    dist = VonMises(np.array([7.0, -3.0]), np.array([1e-3, 1e6]))
    np.testing.assert_allclose(dist.mean, [7.0 - 2 * np.pi, -3.0])
    np.testing.assert_allclose(dist.circular_variance, [1 - 5e-4, 5e-7], rtol=1e-6)
    with pytest.raises(ModelError, match="concentration"):
        VonMises(0.0, 0.0)


def test_float32_densities_at_large_concentrations():
    """The interpreter in float32 agrees with float64 where 1 - cos(x - loc) would cancel."""
    dist = VonMises(leaf("m"), leaf("k"))
    value = ops.distribute(ops.const(np.array([0.0, 1e-3, -2e-3, 4e-3])), Axis("rows", Kind.PLATE, 4))
    at = {"m": np.float32(0), "k": np.float32(1e6)}
    (found,) = evaluate([dist.unit_log_prob(value)], Env(params=at, dtype=np.float32))
    wanted = stats.vonmises(1e6).logpdf([0.0, 1e-3, -2e-3, 4e-3])
    np.testing.assert_allclose(found, wanted, rtol=2e-6)


def test_a_second_derivative_is_refused_in_the_concentration_alone():
    dist = VonMises(leaf("m"), leaf("k"))
    x = dist.draw(*noise_of(dist, 3))
    cost = ops.sum_axes(ops.sin(x), x.type.axes)
    k, m = (gradient(cost, [leaf(name)])[0] for name in "km")
    with pytest.raises(EstimatorError, match="von Mises variable has no second derivative"):
        gradient(k, [leaf("k")])
    at = {"m": np.array(0.3), "k": np.array(2.0)}
    np.testing.assert_allclose(value_of(gradient(m, [leaf("m")])[0], **at), -value_of(cost, **at))


def test_the_plan_takes_the_path_only_where_the_cost_is_periodic():
    def plan(cost):
        @ppl.model
        def model():
            x = ppl.sample("x", VonMises(ppl.param("loc", 0.0), 2.0))
            ppl.cost("loss", cost(x))

        return ppl.compile(model).explain()["x"]

    for cost in (np.cos, lambda x: np.abs(np.sin(3 * x - 0.4)), lambda x: np.tan(np.sin(-x)) ** 2):
        assert isinstance(plan(cost).estimator, ppl.estimators.Pathwise)
    for cost in (lambda x: x, np.square, lambda x: np.cos(0.5 * x), lambda x: np.sin(x) + 0.1 * x, np.tanh):
        assert isinstance(plan(cost).estimator, ppl.estimators.ScoreFunction)
