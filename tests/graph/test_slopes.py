"""Functions so steep that draws cannot tell them from jumps: found by constant slopes, ordinary ones left alone."""

import numpy as np
import pytest
from scipy import special, stats

import ppl
import ppl.estimators
from ppl import Bernoulli, Exponential, Normal, Uniform
from ppl.errors import EstimatorError
from ppl.estimators import Pathwise, Rebar, Relaxed
from ppl.graph.ranges import STEEPEST
from tests.helpers.laws import Graph, Sampler, arrays, assert_matches

STEEP = {
    "tanh": lambda z: np.tanh(1e12 * z),
    "tanh of a quotient": lambda z: np.tanh(z / 1e-12),
    "in two steps": lambda z: np.tanh(1e6 * (1e6 * z - 0.1)),
    "clip": lambda z: np.clip(z * 1e12, 0, 1),
    "minimum and maximum": lambda z: np.maximum(0.0, np.minimum(1.0, 2e8 * z + 0.5)),
    "clip by conditions": lambda z: np.where(1e9 * z < 0, 0.0, np.where(1e9 * z > 1, 1.0, 1e9 * z)),
    "sigmoid": lambda z: ppl.sigmoid(1e9 * z),
    "logistic written out": lambda z: 1 / (1 + np.exp(-1e9 * z)),
    "arctan": lambda z: np.arctan(1e9 * z),
    "erf": lambda z: special.erf(z / 1e-9),
    "normal cdf": lambda z: Normal(0.0, 1e-9).cdf(z),
    "softsign": lambda z: 1e12 * z / (1 + np.abs(1e12 * z)),
    "by a root": lambda z: 1e12 * z / np.sqrt(1 + (1e12 * z) ** 2),
    "softmax": lambda z: ppl.softmax(np.stack([z * 1e9, 0.0 * z]))[0],
    "product with a matrix": lambda z: np.tanh(np.array([[1e9, 1.0]]) @ np.stack([z, z]))[0],
    "one entry of several": lambda z: np.sum(np.tanh(z * np.array([1.0, 1e9]))),
    "kept from 0": lambda z: z / (np.abs(z) + 1e-6),
    "square kept from 0": lambda z: z / np.sqrt(z**2 + 1e-9),
    "of a square": lambda z: np.tanh(1e9 * (z**2 - 1)),
    "smoothed step": lambda z: (lambda u: u * u * (3 - 2 * u))(np.clip(1e9 * z, 0, 1)),
    "logits of a bit": lambda z: ppl.sample("b", Bernoulli(logits=1e9 * z)),
    "probability of a bit": lambda z: ppl.sample("b", Bernoulli(probs=ppl.sigmoid(1e9 * z))),
}  # fmt: skip

GENTLE = {
    "tanh 50": lambda z: np.tanh(50 * z),
    "temperature 0.01": lambda z: ppl.sigmoid((z - 0.2) / 0.01),
    "temperature 0.001": lambda z: ppl.sigmoid(z / 0.001),
    "kept from 0": lambda z: z / (np.abs(z) + 0.01),
    "square kept from 0": lambda z: z / (z**2 + 1e-4),
    "scaled back": lambda z: np.tanh(1e-12 * (1e12 * z)),
    "large result": lambda z: 1e12 * ppl.sigmoid(z),
    "softplus": lambda z: ppl.softplus(1e9 * z),
    "size": lambda z: np.abs(1e9 * z),
    "rectifier": lambda z: np.maximum(1e9 * z, 0),
    "log of a sum of exponentials": lambda z: ppl.logsumexp(np.stack([z * 1e9, 0.0 * z])),
    "square": lambda z: (1e9 * z - 1) ** 2,
    "narrow density": lambda z: Normal(0.0, 1e-6).log_prob(z),
    "density of a sure bit": lambda z: Bernoulli(logits=1e9 * z).log_prob(1.0),
    "flat tail": lambda z: np.exp(-(z**2 + 40)),
    "clipped probability": lambda z: np.log(np.clip(ppl.sigmoid(z), 1e-6, 1 - 1e-6)),
    "logits of a bit": lambda z: ppl.sample("b", Bernoulli(logits=10 * z)),
}  # fmt: skip

SPREAD = {
    "small": (lambda mu: Normal(mu, 1e-9), lambda z: np.tanh(z / 1e-9), Pathwise),
    "small, bounded": (lambda mu: Normal(mu, 1e-9 * ppl.sigmoid(mu)), lambda z: np.tanh(z / 1e-9), Pathwise),
    "small by a rate": (lambda mu: Exponential(1e9 + np.exp(mu)), lambda z: np.tanh(z / 1e-9), Pathwise),
    "wide": (lambda mu: Normal(mu, 1e8), np.tanh, ppl.estimators.ScoreFunction),
    "wide without variance": (lambda mu: ppl.Cauchy(mu, 1e8), np.tanh, ppl.estimators.ScoreFunction),
    "wide window": (lambda mu: ppl.TruncatedNormal(mu, 1e6, -1e6, 1e6), np.tanh, ppl.estimators.ScoreFunction),
}  # fmt: skip


def normal(mu):
    return Normal(mu, 0.8)


def explained(cost, dist=normal, **options):
    """What the compiler says of a node 'z' under `cost(z)`."""

    @ppl.model
    def model():
        z = ppl.sample("z", dist(ppl.param("mu", 0.3)))
        ppl.cost("loss", cost(z))

    return ppl.compile(model, **options).explain()["z"]


@pytest.mark.parametrize("label", STEEP)
def test_a_slope_that_no_draw_sees_is_no_path(label):
    choice = explained(STEEP[label])
    assert type(choice.estimator).__name__ == "ScoreFunction"
    why = dict(choice.rejected)["Pathwise()"]
    assert "jump on the way to" in why
    with pytest.raises(EstimatorError, match="jump on the way to"):
        explained(STEEP[label], estimators={"z": Pathwise()})


def test_the_explanation_says_how_rare_a_slope_is():
    why = dict(explained(STEEP["sigmoid"]).rejected)["Pathwise()"]
    assert "op sigmoid: as steep as a jump: about one draw in 8e+08 lies where it has a slope" in why


@pytest.mark.parametrize("label", GENTLE)
def test_ordinary_slopes_keep_their_path(label):
    assert explained(GENTLE[label]).estimator == Pathwise()


@pytest.mark.parametrize("label", SPREAD)
def test_slopes_are_measured_in_the_spread_of_the_node(label):
    dist, cost, expected = SPREAD[label]
    assert type(explained(cost, dist).estimator) is expected


def test_the_threshold_is_where_it_is_said_to_be():
    unit = lambda mu: Normal(mu, 1.0)  # noqa: E731
    assert explained(lambda z: np.tanh(0.9 * STEEPEST * z), unit).estimator == Pathwise()
    assert explained(lambda z: np.tanh(1.1 * STEEPEST * z), unit).estimator != Pathwise()


@pytest.mark.parametrize("cost", [STEEP["tanh"], STEEP["clip"], STEEP["logits of a bit"]], ids=["tanh", "clip", "bit"])
def test_a_parameter_beside_noise_under_a_steep_slope_is_refused(cost):
    @ppl.model
    def model():
        z = ppl.sample("z", Uniform(-1.0, 1.0))
        ppl.cost("loss", cost(z + ppl.param("t", 0.3)))

    with pytest.raises(EstimatorError, match="'t' directly and on the random node 'z'"):
        ppl.compile(model).explain()


def test_a_steep_slope_of_a_parameter_alone_is_kept():
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.3), 1.0))
        ppl.cost("loss", z**2 * np.tanh(1e12 * ppl.param("t", 0.3)))

    assert ppl.compile(model).explain()["z"].estimator == Pathwise()


@pytest.mark.parametrize("estimator", [Rebar(), Relaxed()], ids=["rebar", "relaxed"])
def test_a_steep_slope_stops_relaxations(estimator):
    def model(slope):
        @ppl.model
        def bit():
            b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.3)))
            ppl.cost("loss", np.tanh(slope * (b - 0.45)))

        return bit

    ppl.compile(model(10.0), estimators={"b": estimator}).explain()
    with pytest.raises(EstimatorError, match="as steep as a jump"):
        ppl.compile(model(1e12), estimators={"b": estimator}).explain()


RAMPS = {"tanh": 2.0, "clip": 1.0, "sigmoid": 1.0, "softsign": 2.0, "softmax": 1.0, "logits of a bit": 1.0}


@pytest.mark.parametrize("label", RAMPS)
def test_the_automatic_choice_is_right_across_a_steep_slope(label):
    """The mean of a step of height h at 0 under Normal(mu, sigma) has slope h phi(mu / sigma) / sigma."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.3), 0.8))
        ppl.cost("loss", STEEP[label](z))

    exact = RAMPS[label] * stats.norm.pdf(0.3 / 0.8) / 0.8
    assert_matches(Sampler(Graph(model, arrays(mu=0.3)), "auto"), (None, arrays(mu=exact)), repeats=100_000)
