"""Modes, variances and quantile functions of every registered distribution that has them."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_laws import CASES, IDS, LAWS, build, leaf, symbolic, value_of, values_of

from ppl.distributions import REGISTRY, Beta, Kumaraswamy, MultivariateNormal, Normal
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

each_case = pytest.mark.parametrize(("name", "case"), CASES, ids=IDS)

LEVELS = np.array([1e-12, 1e-5, 0.1, 0.25, 0.5, 0.8, 0.999, 1 - 1e-9])


def has(dist, hook):
    """Whether `dist` has a formula behind `hook`."""
    try:
        getattr(dist, hook)(*(ops.const(0.5),) * (hook != "node_mode"))
    except ModelError:
        return False
    return True


def test_distributions_with_a_cdf_have_quantiles():
    units = [build(name, law.cases[0]) for name, law in LAWS.items()]
    assert all(has(d, "node_icdf") for d in units if has(d, "node_cdf"))


@each_case
def test_icdf(name, case):
    dist = build(name, case)
    if not has(dist, "node_icdf"):
        with pytest.raises(ModelError, match="no icdf"):
            dist.icdf(0.5)
        return
    x = dist.icdf(LEVELS)
    reference = LAWS[name].reference(**case)
    if hasattr(reference, "ppf") and not dist.discrete:  # a count is pinned by the cdf, below
        np.testing.assert_allclose(x, reference.ppf(LEVELS), rtol=1e-8, atol=1e-12)
    assert np.isnan(dist.icdf(np.array([-0.1, 1.5, np.nan]))).all()
    if dist.discrete:
        assert (dist.cdf(x) >= LEVELS * (1 - 1e-12)).all() and (dist.cdf(x - 1) < LEVELS).all()
        return
    rounding = 4 * np.spacing(np.maximum(np.abs(x), abs(case.get("loc", 0.0))))  # what x - loc can tell apart
    assert (dist.cdf(x - rounding) <= LEVELS * (1 + 1e-9)).all() and (
        dist.cdf(x + rounding) >= LEVELS * (1 - 1e-9)
    ).all()
    quartiles = dist.icdf(LEVELS[2:6])
    np.testing.assert_allclose(dist.icdf(dist.cdf(quartiles)), quartiles, rtol=1e-9, atol=1e-12)
    assert not np.isnan(dist.icdf(np.array([0.0, 1.0]))).any()
    low, high = dist.icdf(np.array([0.0, 1.0]))
    assert low <= x.min() and x.max() <= high


@each_case
def test_derivative_of_the_quantile(name, case):
    """d icdf / dp is 1 over the density there."""
    dist, p = build(name, case), leaf("p")
    if not has(dist, "node_icdf") or dist.discrete or name == "Delta":
        return
    node = dist.node_icdf(ops.sigmoid(p))
    assert not any(n.op == "const" and np.isnan(n.attrs["value"].value).any() for n in topological([node]))
    x, slope = values_of([node, *gradient(node, [p])], p=np.array(0.7))
    u = 1 / (1 + np.exp(-0.7))
    assert slope == pytest.approx(u * (1 - u) / np.exp(dist.log_prob(x)), rel=1e-8)


@each_case
def test_mode(name, case):
    """No value has a larger density: neither near the mode, nor among the values of the law or draws."""
    dist = build(name, case)
    if not has(dist, "node_mode"):
        with pytest.raises(ModelError, match="no mode"):
            _ = dist.mode
        return
    mode = np.asarray(dist.mode, float)
    assert mode.shape == dist.event_shape
    if np.isnan(mode).any():
        assert name in ("Beta", "Dirichlet", "Kumaraswamy", "LKJCholesky")
        return
    others = np.asarray(LAWS[name].values, float)
    top = dist.log_prob(mode)
    at_an_end = not np.isfinite(top)
    peak = dist.log_prob(mode + np.where(mode > 0.5, -1e-9, 1e-9)) if at_an_end else top
    others = others[np.abs(others - mode).reshape(len(others), -1).max(-1) > 1e-6]
    assert (dist.log_prob(others) <= peak + 1e-9 * max(1.0, abs(peak))).all()
    if dist.unit_rank == 0 and not dist.discrete:
        near = dist.log_prob(mode + np.array([-1e-3, 1e-3]) * max(1e-6, abs(float(mode))))
        assert (near <= peak + 1e-9).all()


@each_case
def test_variance(name, case):
    dist = build(name, case)
    try:
        covariance = value_of(dist.unit_covariance())
    except ModelError:
        if name == "Categorical":  # its classes are numbers, but no estimator takes moments of them
            k = np.arange(dist.count)
            p = np.exp(dist.log_prob(k))
            assert dist.variance == pytest.approx(p @ k**2 - (p @ k) ** 2, rel=1e-12)
            return
        with pytest.raises(ModelError, match="no covariance"):
            _ = dist.variance
        return
    wanted = np.diagonal(covariance, axis1=-2, axis2=-1) if dist.unit_rank else covariance
    np.testing.assert_allclose(dist.variance, wanted, rtol=1e-12)
    assert np.shape(dist.variance) == dist.event_shape


@each_case
def test_quantiles_in_single_precision(name, case):
    """The float32 quantile function is as accurate as its argument allows, out to 1e-7 and 1 - 2^-24."""
    dist = build(name, case)
    if not has(dist, "node_icdf") or dist.discrete:
        return
    levels = np.array([1e-7, 1e-3, 0.2, 0.5, 0.9, 1 - 2.0**-10, 1 - 2.0**-24], np.float32).astype(float)
    single = [evaluate([dist.node_icdf(ops.const(u))], Env(dtype=np.float32))[0] for u in levels]
    assert {s.dtype for s in single} == {np.dtype(np.float32)}
    exact = dist.icdf(levels)
    scale = dist.icdf(0.75) - dist.icdf(0.25)
    np.testing.assert_allclose(single, exact, rtol=2e-5, atol=1e-6 * scale)


def test_modes_at_the_ends_of_the_unit_interval():
    nan = np.nan
    for kind in (Beta, Kumaraswamy):
        modes = kind(np.array([2.0, 0.5, 2.0, 0.5, 1.0, 1.0, 1.0]), np.array([2.0, 2.0, 0.5, 0.5, 1.0, 3.0, 0.5])).mode
        np.testing.assert_array_equal(np.isnan(modes), [False] * 3 + [True, True] + [False] * 2)
        np.testing.assert_array_equal(modes[1:], [0.0, 1.0, nan, nan, 0.0, 1.0])
    assert Beta(2.0, 2.0).mode == 0.5 and Kumaraswamy(2.0, 2.0).mode == pytest.approx(3**-0.5)


def test_quantiles_are_symbolic_inside_a_model():
    dist, leaves, at = symbolic(Normal(0.3, 2.0))
    assert value_of(dist.icdf(0.975).__ppl_node__, **at) == pytest.approx(0.3 + 2 * 1.959963984540054)
    assert value_of(dist.mode.__ppl_node__, **at) == 0.3
    assert value_of(dist.variance.__ppl_node__, **at) == 4.0
    assert leaves


def test_variance_of_vectors():
    law = MultivariateNormal(np.zeros(2), [[2.0, 0.3], [0.3, 0.5]])
    np.testing.assert_allclose(law.variance, [2.0, 0.5])
    assert REGISTRY["Uniform"](0.0, 6.0).variance == 3.0


QUANTILES = {
    *("Bernoulli", "BetaBinomial", "Binomial", "Categorical", "DiscreteUniform", "Geometric", "NegativeBinomial"),
    *("Poisson", "ZeroInflatedPoisson"),
}


def test_discrete_distributions_with_quantiles_and_modes():
    units = [d for d in (build(name, law.cases[0]) for name, law in LAWS.items()) if d.discrete]
    assert {type(d).__name__ for d in units if has(d, "node_icdf")} == QUANTILES
    assert {type(d).__name__ for d in units if not has(d, "node_mode")} == {"Multinomial"}


@each_case
def test_quantiles_of_discrete_distributions(name, case):
    dist = build(name, case)
    if name not in QUANTILES:
        return
    levels = np.array([1e-5, 0.013, 0.11, 0.37, 0.61, 0.83, 0.991, 1 - 1e-5])
    k = dist.icdf(levels)
    reference = LAWS[name].reference(**case)
    np.testing.assert_array_equal(k, reference.ppf(levels))
    np.testing.assert_array_equal(dist.icdf(dist.cdf(k)), k)  # no rounding moves the end of a step
    low, high = dist.icdf(np.array([0.0, 1.0]))
    assert low <= k.min() and k.max() <= high
    single = [evaluate([dist.node_icdf(ops.const(u))], Env(dtype=np.float32))[0] for u in (0.11, 0.61)]
    np.testing.assert_allclose(single, dist.icdf(np.array([0.11, 0.61])), rtol=1e-5)


@each_case
def test_mode_of_discrete_distributions(name, case):
    """The mode is a value that can be drawn, of the dtype of draws, and of the largest mass of all."""
    dist = build(name, case)
    if not dist.discrete or not has(dist, "node_mode"):
        return
    mode, reference = dist.mode, LAWS[name].reference(**case)
    assert np.asarray(mode).dtype.kind == {"int": "i", "float": "f"}[dist.dtype]
    values = dist.support_table() if dist.unit_support() is not None else np.arange(max(0, mode - 500), mode + 500)
    log_mass = getattr(reference, "logpmf", None) or reference.logpdf
    with np.errstate(divide="ignore"):
        top, others = log_mass(np.asarray(mode)), log_mass(values)
    assert top >= np.max(others) - 1e-9 * max(1.0, abs(top))


def test_quantiles_at_the_ends_and_of_units_that_differ():
    np.testing.assert_array_equal(REGISTRY["Geometric"](np.array([1.0, 0.5])).icdf(np.array([1.0, 1.0])), [0.0, np.inf])
    np.testing.assert_array_equal(REGISTRY["Categorical"]([0.0, 0.5, 0.5, 0.0]).icdf(np.array([0.0, 1.0])), [1.0, 2.0])
    units = REGISTRY["Binomial"](np.array([3, 40]), 0.5)
    np.testing.assert_array_equal(units.icdf(np.array([[0.4, 0.4], [1.0, 1.0]])), [[1.0, 19.0], [3.0, 40.0]])
    np.testing.assert_array_equal(units.mode, [2, 20])
    with pytest.raises(ModelError, match="need a table"):
        REGISTRY["Binomial"](10**5, 0.5).icdf(0.5)


def test_modes_of_ties_and_ends():
    assert REGISTRY["NegativeBinomial"](1.0, 0.9).mode == 0 and REGISTRY["Binomial"](7, 1.0).mode == 7
    np.testing.assert_array_equal(REGISTRY["PlackettLuce"]([0.2, 0.5, 0.3]).mode, [1, 2, 0])
    gated = REGISTRY["ZeroInflatedPoisson"]
    assert gated(0.9, 4.0).mode == 0 and gated(0.0, 4.5).mode == 4 and gated(0.999, 4.5).mode == 0
