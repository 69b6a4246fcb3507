"""The contract around the formulas: eager and symbolic use, leading axes, broadcasting, masks, checks."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_laws import CASES, IDS, LAWS, build, leaf, noise_of, symbolic, value_of
from scipy import stats

from ppl.distributions import (
    REGISTRY,
    Bernoulli,
    Beta,
    Categorical,
    Cauchy,
    Chi2,
    Dirichlet,
    Exponential,
    Gamma,
    GaussianRandomWalk,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    Kumaraswamy,
    LKJCholesky,
    LogNormal,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Pareto,
    Poisson,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    StudentT,
    TruncatedNormal,
    Uniform,
    Weibull,
)
from ppl.distributions.base import KEY
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.simplify import simplify
from ppl.ir.types import Axis, Kind
from ppl.lang.value import Value

each_case = pytest.mark.parametrize(("name", "case"), CASES, ids=IDS)

INF, NAN = np.inf, np.nan


@each_case
def test_symbolic_agrees_with_eager(name, case):
    dist = build(name, case)
    value = np.asarray(LAWS[name].values)[1]
    with_leaves, leaves, at = symbolic(dist)
    assert with_leaves.param_names == dist.param_names == tuple(leaves)
    shown = with_leaves.log_prob(value)
    assert isinstance(shown, Value)
    assert value_of(shown.__ppl_node__, **at) == pytest.approx(dist.log_prob(value), rel=1e-12)
    assert isinstance(dist.log_prob(value), float)
    if "mean" in LAWS[name].closed:
        np.testing.assert_allclose(value_of(with_leaves.mean.__ppl_node__, **at), dist.mean)


@each_case
def test_leading_axes_and_units(name, case):
    """A row of independent units: log_prob sums over them, leading axes of the value stay."""
    unit = build(name, case)
    dist = unit.expand((2,))
    values = np.asarray(LAWS[name].values)
    rows = np.stack([values, values[::-1]], 1)
    together = dist.log_prob(rows.reshape(1, *rows.shape))
    assert dist.event_shape == (2, *unit.event_shape) and dist.batch_of_units == (2,)
    assert together.shape == (1, len(values))
    apart = unit.log_prob(values)
    np.testing.assert_allclose(together[0], apart + apart[::-1], rtol=1e-12)
    masked = dist.mask(np.array([True, False]))
    np.testing.assert_allclose(masked.log_prob(rows), apart, rtol=1e-12)
    drawn = value_of(dist.draw(*noise_of(dist, 5)))
    assert drawn.shape == (5, *dist.event_shape) or not dist.uniforms()
    if "entropy" in LAWS[name].closed:
        assert dist.entropy() == pytest.approx(2 * unit.entropy())
        assert masked.entropy() == pytest.approx(unit.entropy())


@each_case
def test_types(name, case):
    """Whatever plates value and noise live in, results have those axes, the event shape and the dtype."""
    dist = build(name, case)
    drawn = dist.draw(*noise_of(dist, 4))
    assert (drawn.type.shape, drawn.type.dtype) == (dist.event_shape, dist.dtype)
    log_p = dist.node_log_prob(drawn)
    assert (log_p.type.axes, log_p.type.shape, log_p.type.dtype) == (drawn.type.axes, (), "float")
    assert dist.unit_log_prob(drawn).type.shape == dist.batch_of_units


def test_masked_nan_does_not_count():
    dist = Normal(np.zeros(3), 1.0).mask(np.array([True, False, True]))
    assert dist.log_prob(np.array([0.0, NAN, 0.0])) == pytest.approx(2 * stats.norm.logpdf(0))
    assert dist.mask(np.array([False, True, True])).log_prob(np.zeros(3)) == pytest.approx(stats.norm.logpdf(0))


def test_symbolic_mask_makes_the_result_symbolic():
    assert isinstance(Normal(0.0, 1.0).mask(ops.less(leaf("m"), 0.0)).log_prob(0.0), Value)


def test_parameters_broadcast_as_in_numpyro():
    dist = Normal(np.zeros((4, 1)), np.ones(3))
    assert dist.event_shape == (4, 3)
    assert Normal(np.zeros(16), 1.0).event_shape == (16,)
    rows = RelaxedOneHotCategorical(np.array([0.5, 1.0]), logits=np.zeros((2, 3)))
    assert rows.event_shape == (2, 3)
    one = RelaxedOneHotCategorical(0.5, logits=np.zeros(3))
    two = RelaxedOneHotCategorical(1.0, logits=np.zeros(3))
    x = np.array([0.2, 0.3, 0.5])
    assert rows.log_prob(np.stack([x, x])) == pytest.approx(one.log_prob(x) + two.log_prob(x))
    with pytest.raises(ShapeError, match=r"loc \(2,\), scale \(3,\)"):
        Normal(np.zeros(2), np.ones(3))
    with pytest.raises(ShapeError, match="last axis"):
        Categorical(0.5)


def test_support_tables_of_several_units():
    dist = Categorical(np.ones((2, 3)) / 3)
    assert dist.support_size() == 9 and dist.support_table().shape == (9, 2)
    assert len({tuple(row) for row in dist.support_table()}) == 9
    table = OneHotCategorical(np.ones((2, 3)) / 3).support_table()
    assert table.shape == (9, 2, 3) and (table.sum(-1) == 1).all()
    assert np.exp(Bernoulli([0.2, 0.7, 0.4]).log_prob(Bernoulli([0.5] * 3).support_table())).sum() == pytest.approx(1)
    assert Bernoulli(0.5).support_table().shape == (2,)
    assert Normal(0, 1).support_size() == INF
    assert Bernoulli(logits=np.zeros(1023)).support_size() == 2.0**1023
    assert Bernoulli(logits=np.zeros(5000)).support_size() == INF
    with pytest.raises(ModelError, match="finite support"):
        Normal(0, 1).support_table()


def test_a_value_must_fit_the_event():
    with pytest.raises(ShapeError, match=r"event \(2,\).*\(3,\)"):
        Normal(np.zeros(2), 1.0).node_log_prob(leaf("x", (3,)))
    for shape in ((3,), (5, 3)):
        with pytest.raises(ShapeError, match=r"event \(2,\).*\(3,\)"):
            Normal(np.zeros(2), 1.0).log_prob(np.zeros(shape))
    assert Normal(np.zeros(2), 1.0).log_prob(0.0) == pytest.approx(2 * stats.norm.logpdf(0))


def test_float_labels_and_minus_infinity_logits():
    dist = Categorical(logits=[0.0, -INF, 1.0])
    assert dist.log_prob(1) == dist.log_prob(7) == dist.log_prob(0.5) == -INF
    assert dist.log_prob(2.0) == pytest.approx(1 - np.logaddexp(0, 1))
    assert dist.entropy() == pytest.approx(Bernoulli(logits=1.0).entropy())
    hot = OneHotCategorical(logits=[0.0, -INF, 1.0])
    np.testing.assert_array_equal(hot.log_prob(np.eye(3)), dist.log_prob([0, 1, 2]))


def test_moving_supports_are_declared():
    assert {name: d.moving for name, d in REGISTRY.items() if d.moving} == {
        **{name: {"low", "high"} for name in ("Uniform", "DiscreteUniform")},
        **{name: {"total_count"} for name in ("Binomial", "BetaBinomial", "Multinomial")},
        "Delta": {"v"},
        "Pareto": {"scale"},
        "TruncatedNormal": {"low", "high"},
    }


@each_case
def test_float32_samples_and_densities_are_finite(name, case):
    """Also at the outermost uniforms, where sigmoids round to 1."""
    dist = build(name, case)
    if KEY in dist.uniforms():
        x = dist.draw(*noise_of(dist, 4000))
        log_p = dist.node_log_prob(x)
        for out in evaluate(simplify([x, log_p]), Env(dtype=np.float32)):
            assert np.isfinite(out).all()
        return
    ends = np.array([2.0**-24, 1 - 2.0**-24, 0.5])
    if not dist.uniforms():
        return
    size = max(int(np.prod(shape)) for shape in dist.uniforms())
    for index in np.ndindex(*(3,) * min(size, 3)):
        u = (np.resize(ends[list(index)], shape) if shape else ends[index[0]] for shape in dist.uniforms())
        x = dist.draw(*map(ops.const, u))
        for out in evaluate([x, dist.node_log_prob(x)], Env(dtype=np.float32)):
            assert np.isfinite(out).all(), (index, out)


BAD = [
    (lambda: Normal(0.0, -1.0), "Normal: scale must be positive and finite, got -1.0"),
    (lambda: Normal([0.0, NAN], 1.0), r"Normal: loc must be finite, got nan at index \(1,\)"),
    (lambda: LogNormal(0.0, 0), "LogNormal: scale"),
    (lambda: Exponential([1.0, INF]), r"Exponential: rate .* inf at index \(1,\)"),
    (lambda: Bernoulli(1.5), "Bernoulli: probs must be between 0 and 1, got 1.5"),
    (lambda: Bernoulli(logits=INF), "give probs=0 or probs=1"),
    (lambda: Bernoulli(), "exactly one of probs and logits"),
    (lambda: Bernoulli(0.5, logits=0.0), "exactly one of probs and logits"),
    (
        lambda: Categorical([[0.5, 0.5], [0.3, 0.8]]),
        r"Categorical: probs .* rows that sum to 1, got \[0.3 0.8\] at row \(1,\)",
    ),
    (lambda: Categorical([1.5, -0.5]), "Categorical: probs"),
    (lambda: Categorical(logits=[-INF, -INF]), "OneHot|Categorical: logits must be finite or -inf"),
    (lambda: OneHotCategorical(logits=[0.0, INF]), "OneHotCategorical: logits"),
    (lambda: Uniform([0.0, 2.0], 1.0), "Uniform: high must be greater than low, got low 2.0 and high 1.0"),
    (lambda: Uniform(0.0, NAN), "Uniform: high must be finite"),
    (lambda: TruncatedNormal(0.0, 1.0, 2.0, [3.0, 1.0]), "TruncatedNormal: high .* got low 2.0 and high 1.0"),
    (lambda: TruncatedNormal(0.0, 1.0, NAN), "TruncatedNormal: low must be a number, perhaps infinite, got nan"),
    (lambda: Chi2(-1.0), "Chi2: df must be positive"),
    (lambda: HalfNormal(0.0), "HalfNormal: scale"),
    (lambda: HalfCauchy([1.0, -1.0]), r"HalfCauchy: scale .* got -1.0 at index \(1,\)"),
    (lambda: InverseGamma(1.0, 0.0), "InverseGamma: scale"),
    (lambda: Kumaraswamy(1.0, NAN), "Kumaraswamy: concentration0"),
    (lambda: Pareto(1.0, -2.0), "Pareto: concentration"),
    (lambda: Weibull(0.0, 1.0), "Weibull: concentration"),
    (lambda: Cauchy(0.0, 0.0), "Cauchy: scale"),
    (lambda: RelaxedBernoulli(0.0, 0.5), "RelaxedBernoulli: temperature"),
    (lambda: RelaxedBernoulli(1.0, 1.0), "RelaxedBernoulli: probs must be strictly between 0 and 1"),
    (lambda: RelaxedOneHotCategorical(1.0, [1.0, 0.0]), "RelaxedOneHotCategorical: probs must be positive"),
    (lambda: Gamma(0.0, 1.0), "Gamma: concentration must be positive"),
    (lambda: Beta(1.0, [2.0, -1.0]), r"Beta: concentration0 .* got -1.0 at index \(1,\)"),
    (lambda: Dirichlet([1.0, INF]), "Dirichlet: concentration"),
    (lambda: StudentT(NAN), "StudentT: df"),
    (lambda: Poisson(-2.0), "Poisson: rate"),
    (lambda: MultivariateNormal(np.zeros(2)), "exactly one of covariance_matrix"),
    (lambda: MultivariateNormal(np.zeros(2), scale_diag=[1.0, 0.0]), r"scale_diag must be positive .* index \(1,\)"),
    (lambda: LowRankMultivariateNormal(0.0, np.ones((3, 1)), [1.0, 2.0, 0.0]), "LowRank.*: cov_diag must be positive"),
    (lambda: LKJCholesky(1), "LKJCholesky: dim must be a whole number of at least 2, got 1"),
    (lambda: LKJCholesky(3, 0.0), "LKJCholesky: concentration"),
    (lambda: GaussianRandomWalk(1.0, 2.5), "GaussianRandomWalk: steps must be a whole number of at least 1, got 2.5"),
    (lambda: GaussianRandomWalk(-1.0, 2), "GaussianRandomWalk: scale"),
    (lambda: MultivariateNormal(0.0, [[1.0, 2.0], [2.0, 1.0]]), "covariance_matrix must be symmetric and positive"),
    (lambda: MultivariateNormal(0.0, leaf("c", (2, 3))), "covariance_matrix needs two equal last axes"),
    (lambda: MultivariateNormal(0.0, scale_tril=[[1.0, 0.0], [0.0, 0.0]]), "a positive diagonal"),
    (lambda: Normal("a", 1.0), "Normal: loc must be a number"),
]


@pytest.mark.parametrize(("make_bad", "message"), BAD, ids=[m for _, m in BAD])
def test_constant_parameters_are_checked(make_bad, message):
    with pytest.raises(ModelError, match=message):
        make_bad()


def test_symbolic_parameters_are_not_checked():
    assert Normal(leaf("loc"), leaf("scale")).event_shape == ()
    axis = Axis("data", Kind.PLATE)
    row = ops.expand(leaf("p"), (axis,))
    assert Bernoulli(probs=row).axes == (axis,)
