"""Poles: an op is smooth only where its argument cannot reach one, and what cannot is still accepted."""

import numpy as np
import pytest
from scipy import special

import ppl
from ppl import Beta, Dirichlet, Exponential, Gamma, HalfNormal, LogNormal, Normal, Uniform, VonMises
from ppl.estimators import BonnetPrice, Implicit, Pathwise
from ppl.estimators.base import check_support
from ppl.graph.stochastic import StochasticGraph
from ppl.ir.op_facts import JUMP, KINK, SMOOTH
from ppl.objectives.base import as_objective


def graph_of(cost, dist) -> StochasticGraph:
    """The graph of one random node 'z' under `cost(z)`."""

    @ppl.model
    def model():
        z = ppl.sample("z", dist(ppl.param("mu", 0.3)))
        ppl.cost("loss", cost(z))

    return StochasticGraph(as_objective(model).trace({}))


def vector(size):
    return lambda mu: Normal(mu + np.zeros(size), 1.0)


NORMAL = lambda mu: Normal(mu, 0.8)  # noqa: E731
PAIR = vector(2)
POSITIVE = lambda mu: Gamma(2.0, np.exp(mu))  # noqa: E731
EXPONENTIAL = lambda mu: Exponential(np.exp(mu))  # noqa: E731
HALF = lambda mu: HalfNormal(np.exp(mu))  # noqa: E731
SHARE = lambda mu: Beta(2.0, np.exp(mu))  # noqa: E731
SIMPLEX = lambda mu: Dirichlet(np.exp(mu + np.zeros(3)))  # noqa: E731

REACHED = {
    "sign by division": (NORMAL, lambda z: z / np.abs(z)),
    "sign by a root": (NORMAL, lambda z: z / np.sqrt(z**2)),
    "sign by a power": (NORMAL, lambda z: z * (z**2) ** -0.5),
    "reciprocal": (NORMAL, lambda z: np.tanh(1 / z)),
    "np.reciprocal": (NORMAL, lambda z: np.tanh(np.reciprocal(z))),
    "power -1": (NORMAL, lambda z: np.tanh(z**-1)),
    "one of several powers": (NORMAL, lambda z: np.tanh(np.sum(z ** np.array([-1.0, 2.0])))),
    "power -3": (NORMAL, lambda z: np.tanh(z**-3.0)),
    "difference": (PAIR, lambda z: np.tanh(1 / (z[0] - z[1]))),
    "shifted": (POSITIVE, lambda z: np.tanh(1 / (z - 1))),
    "tangent": (NORMAL, lambda z: np.tanh(np.tan(z))),
    "tangent beyond pi / 2": (lambda mu: Uniform(np.exp(mu) * 0.0, 2.0), lambda z: np.tanh(np.tan(z))),
    "tangent of an angle": (lambda mu: VonMises(mu, 1.0), np.tan),
    "angle of a plane": (PAIR, lambda z: np.arctan(z[1] / z[0])),
    "logarithm of the size": (NORMAL, lambda z: np.log(np.abs(z))),
    "logarithm of a square": (NORMAL, lambda z: np.tanh(np.log(z * z))),
    "log1p": (lambda mu: Normal(mu, 1.0), lambda z: np.log1p(np.sin(z))),
    "log of a sum of squares": (PAIR, lambda z: np.log(z @ z)),
    "digamma": (NORMAL, lambda z: np.tanh(special.digamma(z))),
    "log gamma": (NORMAL, lambda z: special.gammaln(z)),
    "remainder": (NORMAL, lambda z: z % 1.0),
    "normalised with signs": (PAIR, lambda z: (z / np.sum(z))[0]),
    "branch of a closed seam": (NORMAL, lambda z: np.where(z < 1.0, 1 / z, 1.0)),
    "seen through views": (PAIR, lambda z: np.tanh(1 / np.stack([z[1], z[0]]).reshape(2, 1))[0, 0]),
    "into a density": (NORMAL, lambda z: np.exp(Normal(0.0, z**2).log_prob(0.5))),
}  # fmt: skip

OPEN = {
    "logarithm of a positive": (POSITIVE, np.log),
    "reciprocal of a positive": (POSITIVE, lambda z: 1 / z),
    "root of a positive": (POSITIVE, np.sqrt),
    "logarithm of an exponential": (EXPONENTIAL, np.log),
    "reciprocal of a half-normal": (HALF, lambda z: np.log(z) + 1 / (1 + z)),
    "log-odds of a share": (SHARE, lambda z: np.log(z) - np.log1p(-z) + z / (1 - z)),
    "digamma of a positive": (POSITIVE, special.digamma),
    "log gamma of a positive": (POSITIVE, special.gammaln),
    "exp + 1": (NORMAL, lambda z: 1 / (np.exp(z) + 1)),
    "softplus": (NORMAL, lambda z: z / ppl.softplus(z)),
    "sigmoid": (NORMAL, lambda z: np.log(ppl.sigmoid(z)) / ppl.sigmoid(z)),
    "1 - sigmoid": (NORMAL, lambda z: np.log(1 - ppl.sigmoid(z))),
    "1 - tanh squared": (NORMAL, lambda z: np.log(1 - np.tanh(z) ** 2)),
    "square + eps": (NORMAL, lambda z: z / (z**2 + 1e-3)),
    "1 + z z": (NORMAL, lambda z: 1 / (1 + z * z)),
    "1 + fourth power": (NORMAL, lambda z: 1 / (1 + z * z * z * z)),
    "sum of squares + eps": (PAIR, lambda z: z[0] / np.sqrt(z @ z + 1e-3)),
    "sum of squared entries": (PAIR, lambda z: np.log(1 + np.sum(z**2))),
    "cosh": (NORMAL, lambda z: np.log(np.cosh(z))),
    "mean of positives": (lambda mu: LogNormal(mu + np.zeros(3), 1.0), lambda z: z[0] / np.mean(z)),
    "shares of positives": (lambda mu: Gamma(np.ones(3), np.exp(mu)), lambda z: np.log(z / np.sum(z))[1]),
    "ratio of a simplex": (SIMPLEX, lambda z: z[0] / (z[1] + z[2])),
    "softmax": (PAIR, lambda z: np.log(ppl.softmax(z))[0]),
    "own softmax": (PAIR, lambda z: (np.exp(z) / np.sum(np.exp(z)))[0]),
    "logsumexp": (PAIR, ppl.logsumexp),
    "own logsumexp": (PAIR, lambda z: np.log(np.sum(np.exp(z)))),
    "cumulated": (PAIR, lambda z: np.log(np.cumsum(np.exp(z)))[1]),
    "bounded tangent": (NORMAL, lambda z: np.tan(1.5 * np.tanh(z))),
    "cosine near its crest": (NORMAL, lambda z: np.log(np.cos(np.tanh(z))) + 1 / np.sin(1.0 + ppl.sigmoid(z))),
    "bounded inverse sine": (NORMAL, lambda z: np.arcsin(np.tanh(z))),
    "narrow uniform": (lambda mu: Uniform(np.exp(mu) * 0.0 + 1.0, 2.0), lambda z: z),
    "whole powers": (NORMAL, lambda z: np.sum(z ** np.arange(4.0))),
    "fractional powers of a positive": (POSITIVE, lambda z: np.sum(z ** np.array([-1.0, 0.5]))),
    "positive power of the base": (POSITIVE, lambda z: z**-1.5),
    "density with a positive scale": (NORMAL, lambda z: Normal(z, np.exp(z)).log_prob(0.5)),
    "gamma density": (NORMAL, lambda z: Gamma(np.exp(z), ppl.softplus(z)).log_prob(0.5)),
    "parameter below": (NORMAL, lambda z: z / ppl.param("t", 1.0) + np.log(ppl.hyper("h", 1.0) ** 2)),
    "stopped pole": (NORMAL, lambda z: z / np.abs(ppl.stop_gradient(z))),
}

KINKS = {
    "root of a square": (NORMAL, lambda z: np.sqrt(z**2)),
    "root of the size": (NORMAL, lambda z: np.sqrt(np.abs(z))),
    "norm": (PAIR, np.linalg.norm),
    "fractional power": (NORMAL, lambda z: (z**2) ** 0.75),
}


@pytest.mark.parametrize("label", REACHED)
def test_a_pole_that_a_path_may_reach_is_a_jump(label):
    dist, cost = REACHED[label]
    node = graph_of(cost, dist)["z"]
    assert node.path_order()[0] == JUMP
    assert not check_support(Pathwise(), node).ok
    assert not check_support(Implicit(), node).ok


@pytest.mark.parametrize("label", OPEN)
def test_a_pole_that_no_path_reaches_is_no_matter(label):
    dist, cost = OPEN[label]
    node = graph_of(cost, dist)["z"]
    assert node.path_order() == (SMOOTH, "")


@pytest.mark.parametrize("label", KINKS)
def test_a_root_at_zero_is_a_kink(label):
    dist, cost = KINKS[label]
    node = graph_of(cost, dist)["z"]
    assert node.path_order()[0] == KINK
    assert check_support(Pathwise(), node).ok and not check_support(BonnetPrice(), node).ok
