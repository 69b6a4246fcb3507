"""Distributions outside of models: densities that broadcast as SciPy's, and draws."""

import numpy as np
import pytest
from distribution_laws import CASES, IDS, LAWS, build
from scipy import stats

import ppl
from ppl.errors import ModelError, OptionError, ShapeError

each_case = pytest.mark.parametrize(("name", "case"), CASES, ids=IDS)


@each_case
def test_draws_have_shape_and_dtype_and_a_density(name, case):
    dist = build(name, case)
    x = dist.sample(3, (5, 2))
    assert x.shape == (5, 2, *dist.event_shape) and x.dtype == (np.int64 if dist.dtype == "int" else np.float64)
    total, each = dist.log_prob(x), dist.log_prob(x, summed=False)
    assert total.shape == (5, 2) and each.shape == (5, 2, *dist.batch_of_units)
    assert np.isfinite(total).all()
    rest = tuple(range(2, each.ndim))
    np.testing.assert_allclose(each.sum(rest), total, rtol=1e-10, atol=1e-12)


@each_case
def test_values_and_parameters_broadcast(name, case):
    """Three equal rows of the distribution beside a column of values: a table, with the numbers of one distribution."""
    dist = build(name, case)
    if dist.batch_of_units:
        return
    x = dist.sample(0, (4, 1))
    table = dist.expand((3,)).log_prob(x, summed=False)
    alone = dist.log_prob(x)
    assert table.shape == (4, 3)
    np.testing.assert_allclose(table, np.repeat(alone, 3, 1), rtol=1e-12)


SCIPY = {
    "Normal": (lambda a, b: (ppl.Normal(a, b), stats.norm(a, b))),
    "Gamma": (lambda a, b: (ppl.Gamma(b, b + 1), stats.gamma(b, scale=1 / (b + 1)))),
    "StudentT": (lambda a, b: (ppl.StudentT(b, a, 2.0), stats.t(b, a, 2.0))),
    "Poisson": (lambda a, b: (ppl.Poisson(b), stats.poisson(b))),
    "Beta": (lambda a, b: (ppl.Beta(b, b + 1), stats.beta(b, b + 1))),
}


@pytest.mark.parametrize("name", SCIPY)
@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (4, 1, 1), (5, 2, 3)])
def test_shapes_are_scipys(name, shape):
    ours, theirs = SCIPY[name](np.array([0.3, -0.2, 1.0]), np.array([[1.5], [0.7]]) + np.zeros(3))
    x = np.random.default_rng(0).uniform(0.1, 0.9, shape)
    x = np.floor(5 * x) if name == "Poisson" else x
    wanted = (theirs.logpmf if name == "Poisson" else theirs.logpdf)(x)
    found = ours.log_prob(x, summed=False)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-11)


def test_vectors_broadcast_less_their_own_axis():
    loc, cov = np.random.default_rng(0).normal(size=(2, 1, 3)), np.eye(3) + 0.3
    x = np.random.default_rng(1).normal(size=(5, 3))
    found = ppl.MultivariateNormal(loc, cov).log_prob(x, summed=False)
    wanted = np.stack([stats.multivariate_normal(m[0], cov).logpdf(x) for m in loc])
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    with pytest.raises(ShapeError, match=r"MultivariateNormal has event \(3,\), its value shape \(5, 4\)"):
        ppl.MultivariateNormal(loc[0, 0], cov).log_prob(np.zeros((5, 4)), summed=False)
    with pytest.raises(ShapeError, match=r"Normal has event \(2,\), its value shape \(3,\)"):
        ppl.Normal(np.zeros(2), 1.0).log_prob(np.zeros(3), summed=False)
    masked = ppl.Normal(np.zeros(2), 1.0).mask([True, False]).log_prob(np.zeros((3, 2)), summed=False)
    np.testing.assert_allclose(masked, stats.norm.logpdf(0.0) * np.array([[1.0, 0.0]] * 3))


def test_densities_of_units_in_a_model():
    @ppl.model
    def model(x):
        loc = ppl.param("loc", np.array([0.0, 1.0, 2.0]))
        with ppl.plate("data", x) as x:
            ppl.cost("c", (ppl.Normal(loc, 1.0).log_prob(x, summed=False) * np.array([1.0, 2.0, 3.0])).sum())

    x = np.random.default_rng(0).normal(size=4)
    program = ppl.compile(model, data=x, dtype="float64")
    wanted = (stats.norm(np.arange(3.0)).logpdf(x[:, None]) * [1.0, 2.0, 3.0]).sum()
    np.testing.assert_allclose(program.value(program.init(0), x), wanted, rtol=1e-12)


CONTINUOUS = [(n, c) for n, c in CASES if not build(n, c).discrete and not build(n, c).event_shape]


@pytest.mark.parametrize(("name", "case"), CONTINUOUS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CONTINUOUS)])
def test_draws_have_the_law(name, case):
    """Kolmogorov's test against SciPy's law: one in a million fails by chance."""
    dist, reference = build(name, case), LAWS[name].reference(**case)
    if not hasattr(reference, "cdf") or name == "Delta":
        return
    x = dist.sample(np.random.default_rng(7), 4000)
    assert stats.kstest(x, reference.cdf).pvalue > 1e-6


def test_seeds_and_generators():
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    law = ppl.Gamma(2.0, 3.0)
    np.testing.assert_array_equal(law.sample(rng, 3), law.sample(5, (3,)))
    assert not np.array_equal(law.sample(rng, 3), law.sample(again, 3))
    assert ppl.Normal(0.0, 1.0).sample(1).shape == () and ppl.Normal(0.0, 1.0).sample(1, (2, 0)).shape == (2, 0)
    assert ppl.Delta(np.ones(2)).sample(1, 3).tolist() == [[1, 1]] * 3
    for bad in (None, 1.5, "a", True):
        with pytest.raises(OptionError, match=r"rng must be a numpy\.random\.Generator or a seed"):
            law.sample(bad)
    with pytest.raises(ShapeError, match="sample: shape"):
        law.sample(1, (-1,))

    @ppl.model
    def model():
        ppl.cost("c", ppl.Normal(ppl.param("m", 0.0), 1.0).sample(0))

    with pytest.raises(ModelError, match=r"in a model, use ppl\.sample"):
        ppl.compile(model)
