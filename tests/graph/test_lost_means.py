"""Parameters times poles of noise: refused where the derivative along a draw has no mean, accepted where it has one."""

import numpy as np
import pytest
from scipy import integrate, special, stats

import ppl
from ppl import Bernoulli, Gamma, Normal
from ppl.errors import EstimatorError
from ppl.estimators import Pathwise, Rebar, ScoreFunction
from tests.helpers.laws import Graph, Sampler, arrays, assert_matches


def compiled(cost, dist=None, **options):
    """What the compiler says of a parameter 't' under `cost(t, z)`, z without parameters."""

    @ppl.model
    def model():
        t = ppl.param("t", 0.7)
        z = ppl.sample("z", Normal(0.0, 1.0) if dist is None else dist())
        ppl.cost("loss", cost(t, z))

    return ppl.compile(model, **options).explain()


LOST = {
    "quotient": lambda t, z: np.cos(t / z),
    "reciprocal": lambda t, z: np.sin(t * (1 / z)),
    "shifted": lambda t, z: np.cos(t / (z - 1)),
    "power": lambda t, z: np.cos(t * z**-1.0),
    "power of a square": lambda t, z: np.cos(t * (z**2) ** -1.0),
    "size": lambda t, z: np.cos(t / np.abs(z)),
    "tangent": lambda t, z: np.cos(t * np.tan(z)),
    "digamma": lambda t, z: np.cos(t * special.digamma(z)),
    "divided by the parameter": lambda t, z: np.cos((1 / z) / t),
    "one branch": lambda t, z: np.where(z > 0.0, np.cos(t / z), 0.0),
    "inside a branch": lambda t, z: np.cos(np.where(z < 1.0, t / z, t)),
    "entry by entry": lambda t, z: np.cos(np.sum(t / np.stack([z, z + 1.0]))),
    "product of vectors": lambda t, z: np.cos(np.stack([t, t]) @ (1 / np.stack([z, z + 1.0]))),
    "square of a sum": lambda t, z: np.cos((1 / z + t) ** 2),
    "into a bit": lambda t, z: ppl.sample("b", Bernoulli(probs=0.5 + 0.4 * np.cos(t / z))),
    "other noise above": lambda t, z: np.cos(t * ppl.sample("w", Normal(0.0, 1.0)) / z),
}

KEPT = {
    "sign": lambda t, z: t * z / np.abs(z),
    "bounded again": lambda t, z: t * np.tanh(1 / z),
    "added": lambda t, z: np.cos(1 / z + t),
    "logarithm": lambda t, z: np.cos(t * np.log(np.abs(z))),
    "noise over a parameter": lambda t, z: np.cos(z / t),
    "positive": lambda t, z: np.cos(t / np.exp(z)),
    "bounded below": lambda t, z: t / np.maximum(z, 0.1),
    "guard around": lambda t, z: np.where(np.abs(z) > 0.1, np.cos(t / z), 0.0),
    "one-sided guard": lambda t, z: np.where(z > 0.1, t / z, 0.0),
    "guard with two conditions": lambda t, z: np.where((z > 0.1) & (z < 2.0), t / z, 0.0),
    "guard the other way": lambda t, z: np.where(np.abs(z) < 0.1, 0.0, t / z),
    "guard inside": lambda t, z: t / np.where(np.abs(z) > 0.1, z, 0.1),
    "stopped": lambda t, z: np.cos(ppl.stop_gradient(t) / z) + t**2,
}


@pytest.mark.parametrize("label", LOST)
def test_a_parameter_times_a_pole_of_noise_is_refused(label):
    with pytest.raises(EstimatorError, match=r"parameter 't' is multiplied by .* node 'z' takes past a pole .*no mean"):
        compiled(LOST[label])


@pytest.mark.parametrize("label", KEPT)
def test_a_parameter_beside_a_pole_is_kept(label):
    compiled(KEPT[label])


def test_poles_with_a_mean_are_kept():
    compiled(lambda t, z: t / np.sqrt(np.sum(z**2)), lambda: Normal(np.zeros(3), 1.0))
    compiled(lambda t, z: np.cos(t / z), lambda: Gamma(2.0, 1.0))


def test_a_guard_counts_only_where_it_holds():
    with pytest.raises(EstimatorError, match="takes past a pole"):
        compiled(lambda t, z: np.where(np.abs(z) > 0.1, t / z, 0.0) + np.cos(t / z))


def two_nodes(cost, estimators):
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.3), 0.8))
        w = ppl.sample("w", Normal(0.0, 1.0))
        ppl.cost("loss", cost(z, w))

    return ppl.compile(model, estimators=estimators).explain()["z"]


def test_a_path_times_a_pole_of_other_noise_is_no_path():
    choice = two_nodes(lambda z, w: np.cos(z / w), "auto")
    assert isinstance(choice.estimator, ScoreFunction)
    with pytest.raises(EstimatorError, match="times a pole of 'w'"):
        two_nodes(lambda z, w: np.cos(z / w), {"z": Pathwise()})
    assert two_nodes(lambda z, w: np.cos(z / np.exp(w)), "auto").estimator == Pathwise()


def test_a_relaxation_times_a_pole_of_other_noise_is_refused():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.3)))
        w = ppl.sample("w", Normal(0.0, 1.0))
        ppl.cost("loss", np.cos(b / w))

    with pytest.raises(EstimatorError, match="times a pole of 'w'"):
        ppl.compile(model, estimators={"b": Rebar()}).explain()


def test_the_message_says_what_helps_and_it_does():
    """cos(t / z) as cos(1 / y), y ~ N(0, 1 / t): its slope is -2 int sin(t u) / u phi(1 / u) du over u = 1 / z > 0."""
    with pytest.raises(EstimatorError, match=r"Normal\(0, 1 / t\)"):
        compiled(LOST["quotient"])

    @ppl.model
    def model():
        y = ppl.sample("y", Normal(0.0, 1 / ppl.param("t", 0.7)))
        ppl.cost("loss", np.cos(1 / y))

    slope = -2 * integrate.quad(lambda u: stats.norm.pdf(1 / u) / u if u else 0.0, 0, np.inf, weight="sin", wvar=0.7)[0]
    sampler = Sampler(Graph(model, arrays(t=0.7)), "auto")
    assert type(sampler.compiled.plan["y"].estimator) is ScoreFunction
    assert_matches(sampler, (None, arrays(t=slope)), repeats=100_000)
