"""Supports that another random node moves: the score function against exact enumeration with NumPy and SciPy."""

import numpy as np
import pytest
from scipy import special, stats

import ppl
from ppl import Bernoulli, Binomial, Categorical, DiscreteUniform, Normal, Poisson, Uniform
from ppl.errors import EstimatorError
from ppl.estimators import Enumerate, Pathwise, ScoreFunction
from tests.helpers.laws import Graph, Sampler, arrays, assert_matches

A, T = 0.4, -0.3
MOST = 60
"""The largest count of the truncated sums; P(n > MOST) is below 1e-60."""


def cost(n, x):
    return x**2 + 0.3 * n * x - 0.5 * np.cos(x)


def slopes(laws):
    """Central differences, in a and t, of the mean of the cost under n, x ~ laws(a, t), a table over n and x."""
    n, x = np.meshgrid(np.arange(MOST), np.arange(MOST), indexing="ij")

    def mean(a, t):
        return float(np.sum(laws(a, t, n, x) * cost(n, x)))

    h = 1e-4
    return arrays(
        a=(mean(A + h, T) - mean(A - h, T)) / (2 * h),
        t=(mean(A, T + h) - mean(A, T - h)) / (2 * h),
    )


def poisson_binomial(a, t, n, x):
    return stats.poisson.pmf(n, np.exp(a)) * stats.binom.pmf(x, n, special.expit(t))


def classes_binomial(a, t, n, x):
    shares = special.softmax(np.array([0.0, a, -a]))
    return np.where(n < 3, shares[np.minimum(n, 2)], 0.0) * stats.binom.pmf(x, n + 1, special.expit(t))


def poisson_uniform(a, t, n, x):
    return stats.poisson.pmf(n, np.exp(a + t)) * np.where(x <= n, 1 / (n + 1), 0.0)


MODELS = {
    "poisson": (lambda a, t: Poisson(np.exp(a)), lambda n, t: Binomial(n, ppl.sigmoid(t)), poisson_binomial),
    "poisson, logits": (lambda a, t: Poisson(np.exp(a)), lambda n, t: Binomial(n, logits=t), poisson_binomial),
    "classes": (lambda a, t: Categorical(logits=np.stack([0.0 * a, a, -a])),
                lambda n, t: Binomial(n + 1, ppl.sigmoid(t)), classes_binomial),
    "uniform count": (lambda a, t: Poisson(np.exp(a + t)), lambda n, t: DiscreteUniform(0, n), poisson_uniform),
}  # fmt: skip


def model_of(label):
    first, second, _ = MODELS[label]

    @ppl.model
    def model():
        a, t = ppl.param("a", A), ppl.param("t", T)
        n = ppl.sample("n", first(a, t))
        x = ppl.sample("x", second(n, t))
        ppl.cost("c", cost(n, x))

    return model


def assert_right(label, estimators):
    sampler = Sampler(Graph(model_of(label), arrays(a=A, t=T)), estimators)
    assert_matches(sampler, (None, slopes(MODELS[label][2])), repeats=200_000)


@pytest.mark.parametrize("label", MODELS)
def test_the_automatic_choice_is_right(label):
    assert_right(label, "auto")


@pytest.mark.parametrize("above", [ScoreFunction(), Enumerate()], ids=["score", "enumerated"])
def test_named_estimators_of_the_node_above_are_right(above):
    assert_right("classes", {"n": above, "x": ScoreFunction("moving_average")})


def refused(above, below):
    @ppl.model
    def model():
        z = ppl.sample("z", above(ppl.param("t", 0.3)))
        ppl.cost("c", ppl.sample("x", below(z)) ** 2)

    with pytest.raises(EstimatorError) as caught:
        ppl.compile(model, estimators={"x": ScoreFunction()}).explain()
    return str(caught.value)


def test_a_support_that_moves_along_a_path_is_refused_with_the_node_that_moves_it():
    told = refused(lambda t: Normal(t, 1.0), lambda z: Uniform(0.0, np.exp(z)))
    assert "the support moves with high, which follows the random node 'z'" in told
    assert "'z'" in refused(lambda t: Bernoulli(logits=t), lambda z: Uniform(0.0, 1.0 + z))


@pytest.mark.parametrize("count", [lambda t: np.exp(t), lambda t: np.floor(np.exp(t))], ids=["whole", "rounded"])
def test_a_support_that_a_parameter_moves_is_refused(count):
    @ppl.model
    def model():
        ppl.cost("c", np.cos(ppl.sample("x", Binomial(count(ppl.param("t", 1.0)), 0.4))))

    with pytest.raises(EstimatorError, match="the support moves with the learnable total_count"):
        ppl.compile(model).explain()


def test_a_path_may_move_the_support_of_a_path():
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("t", 0.3), 1.0))
        ppl.cost("c", ppl.sample("x", Uniform(0.0, np.exp(z))) ** 2)

    plan = ppl.compile(model).explain()
    assert plan["z"].estimator == plan["x"].estimator == Pathwise()
