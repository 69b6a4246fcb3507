"""Parameters that meet noise at a jump outside a distribution: refused, since every sample would be flat in them."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import EstimatorError
from ppl.estimators import Pathwise, ScoreFunction
from tests.helpers.laws import Graph, arrays, assert_unbiased


def compiled(cost, **options):
    """A model with a parameter-free normal node, a parameter, and `cost(theta, z)`."""

    @ppl.model
    def model():
        theta = ppl.param("theta", 0.3)
        z = ppl.sample("z", Normal(0.0, 1.0))
        ppl.cost("loss", cost(theta, z) + ppl.param("other", 1.0) ** 2)

    program = ppl.compile(model, **options)
    program.explain()
    return program


LOST = {
    "comparison": lambda t, z: np.where(t + z > 0.5, 1.0, 0.0),
    "both sides": lambda t, z: np.where(z > t, 1.0, 0.0),
    "nested": lambda t, z: np.exp(-np.where(np.tanh(t * z) > 0.2, 1.0, 0.3)),
    "floor": lambda t, z: np.floor(t + z) ** 2,
    "sign": lambda t, z: np.sign(t - z),
    "discontinuous branches": lambda t, z: np.where(t + z > 0.0, t + z, 1.0),
}


@pytest.mark.parametrize("label", LOST)
def test_a_jump_between_parameter_and_noise_is_refused(label):
    with pytest.raises(EstimatorError, match=r"jumps .*'theta' directly and on the random node 'z'"):
        compiled(LOST[label])


def test_the_message_says_what_helps_and_it_does():
    with pytest.raises(EstimatorError, match="into the distribution of 'z'"):
        compiled(LOST["comparison"])

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("theta", 0.3), 1.0))
        ppl.cost("loss", np.where(z > 0.5, 1.0, 0.0))

    assert_unbiased(Graph(model, arrays(theta=0.3), points=20001), {"z": ScoreFunction()})


ALLOWED = {
    "stopped": lambda t, z: np.where(ppl.stop_gradient(t) + z > 0.5, 1.0, 0.0) + t**2,
    "parameter alone": lambda t, z: np.where(t > 0.5, z**2, 1.0),
    "noise alone": lambda t, z: np.where(z > 0.5, t**2, t),
    "relu": lambda t, z: np.maximum(t + z, 0.0),
    "leaky relu": lambda t, z: np.where(t + z > 0.0, t + z, 0.1 * (t + z)),
    "elu": lambda t, z: np.where(t + z > 0.0, t + z, np.expm1(t + z)),
    "logaddexp": lambda t, z: np.logaddexp(t, z),
    "hinge": lambda t, z: np.where(z > t, z - t, 0.0),
    "learned slope": lambda t, z: np.where(z > 0.0, z, t * z),
    "clip": lambda t, z: np.where(t + z < 1.0, t + z, 1.0),
    "hard step of the sign of noise": lambda t, z: np.where(z > 0.0, 1.0, -1.0) * t,
}


@pytest.mark.parametrize("label", ALLOWED)
def test_what_loses_nothing_is_allowed(label):
    program = compiled(ALLOWED[label])
    state = program.init(seed=0)
    program.step(state)


def test_discrete_noise_is_flat_in_the_mean_too():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=0.0))
        ppl.cost("loss", np.where(ppl.param("theta", 0.3) + b > 0.5, 1.0, 0.0) + ppl.param("c", 1.0) ** 2)

    ppl.compile(model).explain()


def test_the_parameters_of_a_later_node_are_looked_at_too():
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(0.0, 1.0))
        b = ppl.sample("b", Bernoulli(logits=np.where(z + ppl.param("theta", 0.3) > 0.0, 2.0, -2.0)))
        ppl.cost("loss", b * ppl.param("c", 1.0))

    with pytest.raises(EstimatorError, match="the parameters of 'b' jumps"):
        ppl.compile(model).explain()


@pytest.mark.parametrize(
    "cost",
    [
        lambda z: np.where(z > 0.0, z, 0.1 * z) ** 2,
        lambda z: np.where(z > 0.0, z, np.expm1(z)),
        lambda z: np.where(z >= 0.5, 2 * z - 0.5, z),
        lambda z: np.logaddexp(z, 0.3),
    ],
    ids=["leaky", "elu", "bend", "logaddexp"],
)
def test_a_where_without_a_gap_is_pathwise(cost):
    """np.where(z > 0, z, 0.1 z) has a kink and no jump."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.3), 1.0))
        ppl.cost("loss", cost(z))

    graph = Graph(model, arrays(mu=0.3), points=8001)
    assert graph.compile().explain()["z"].estimator == Pathwise()
    assert_unbiased(graph, {"z": Pathwise()})


def test_a_where_with_a_gap_is_not():
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.3), 1.0))
        ppl.cost("loss", np.where(z > 0.0, z, 0.1 * z + 0.2))

    assert isinstance(ppl.compile(model).explain()["z"].estimator, ScoreFunction)


def test_a_seam_is_no_seam_where_an_angle_wraps():
    """cos(where(x > 0, x, 0)) is continuous at 0, and jumps from cos(pi) to 1 where x wraps."""

    @ppl.model
    def model():
        x = ppl.sample("x", ppl.VonMises(ppl.param("mu", 0.3), 1.0))
        ppl.cost("loss", np.cos(np.where(x > 0.0, x, 0.0)))

    choice = ppl.compile(model).explain()["x"]
    assert isinstance(choice.estimator, ScoreFunction) and "jump" in dict(choice.rejected)["Pathwise()"]
