"""Poles of relaxed values, of children's parameters and beside parameters; gradients across poles by quadrature."""

import itertools

import numpy as np
import pytest
from scipy import integrate, stats

import ppl
from ppl import Bernoulli, MultivariateNormal, Normal
from ppl.errors import EstimatorError
from ppl.estimators import Pathwise, Rebar, Relax, Relaxed, StraightThrough
from ppl.estimators.base import check_support
from ppl.graph.stochastic import StochasticGraph
from ppl.ir.op_facts import JUMP, KINK, SMOOTH
from ppl.objectives.base import as_objective
from tests.helpers.laws import Graph, Sampler, arrays, assert_matches

# --- relaxed values, children, lost paths -------------------------------------------------------


def relaxed_node(cost):
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.3)))
        ppl.cost("loss", cost(b))

    return StochasticGraph(as_objective(model).trace({}))["b"]


@pytest.mark.parametrize("estimator", [Rebar(), Relaxed(), StraightThrough()], ids=lambda e: e.label)
def test_a_pole_between_the_values_of_a_bit_stops_its_relaxation(estimator):
    node = relaxed_node(lambda b: np.tanh(0.3 / (b - 0.45)))
    assert not check_support(estimator, node).ok
    assert "a pole at 0" in check_support(estimator, node).reason
    assert check_support(estimator, relaxed_node(lambda b: np.tanh(0.3 / (b + 0.45)))).ok
    assert check_support(estimator, relaxed_node(lambda b: b / (b * b - 1.2))).ok


def test_relax_takes_its_network_alone_where_the_relaxed_cost_has_a_pole():
    node = relaxed_node(lambda b: np.tanh(0.3 / (b - 0.45)))
    assert check_support(Relax(), node).ok and Relax().side_count(node) == 0


def test_a_hard_bit_in_a_denominator_is_no_relaxed_one():
    """z^2 + b is 0 at z = b = 0 where b is a sample, and positive where it is relaxed."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.3)))
        z = ppl.sample("z", Normal(ppl.param("mu", 0.2), 1.0))
        ppl.cost("loss", np.tanh(z / (z**2 + b)))

    graph = StochasticGraph(as_objective(model).trace({}))
    assert graph["z"].path_order()[0] == JUMP
    assert graph["b"].soft_order()[0] == SMOOTH


def test_a_pole_on_the_way_into_a_childs_parameters_counts():
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.3), 0.8))
        b = ppl.sample("b", Bernoulli(probs=ppl.sigmoid(1 / z)))
        ppl.cost("loss", b)

    order, where = StochasticGraph(as_objective(model).trace({}))["z"].path_order()
    assert order == JUMP and "the parameters of 'b' (op div: a pole at 0)" in where


def test_what_a_distribution_requires_of_its_scale_holds_but_an_end_that_is_touched_stays():
    def order(scale):
        @ppl.model
        def model(x):
            z = ppl.sample("z", Normal(ppl.param("mu", np.zeros(2)), 1.0))
            ppl.sample("x", Normal(0.0, scale(z)), obs=x)

        return StochasticGraph(ppl.likelihood(model).trace({"x": np.zeros(())}))["z"].path_order()[0]

    assert order(lambda z: np.exp(z[0]) - 0.3 * z[1]) == SMOOTH
    assert order(lambda z: 0.1 + z[0] ** 2) == SMOOTH
    assert order(lambda z: z[0] ** 2) == JUMP


@pytest.mark.parametrize(
    ("scale", "order"), [(np.abs, JUMP), (np.square, JUMP), (np.exp, SMOOTH), (lambda z: 0.1 + np.abs(z), KINK)]
)
def test_a_childs_scale_that_touches_0_is_a_pole_of_its_score(scale, order):
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.3), 0.8))
        y = ppl.sample("y", Normal(0.0, scale(z)))
        ppl.cost("loss", np.cos(y))

    found, where = StochasticGraph(as_objective(model).trace({}))["z"].path_order()
    assert found == order and ("may touch an end that 'y' excludes" in where) == (order == JUMP)


def test_a_covariance_of_positive_scales_is_no_pole():
    @ppl.model
    def model(x):
        z = ppl.sample("z", Normal(ppl.param("mu", np.zeros(2)), 1.0))
        tril = np.stack([np.stack([np.exp(z[0]), 0.0 * z[0]]), np.stack([0.3 * z[1], ppl.softplus(z[1])])])
        ppl.sample("x", MultivariateNormal(np.zeros(2), scale_tril=tril), obs=x)

    assert StochasticGraph(ppl.likelihood(model).trace({"x": np.zeros(2)}))["z"].path_order()[0] == SMOOTH


LOST = {
    "sign by division": lambda t, z: (z + t) / np.abs(z + t),
    "bounded pole": lambda t, z: np.tanh(1 / (z * t)),
    "behind a pole": lambda t, z: np.where(1 / t + z > 0.5, 1.0, 0.0),
    "tangent": lambda t, z: np.tanh(np.tan(t + z)),
}
KEPT = {
    "each on its own": lambda t, z: np.tanh(z**2 / t),
    "positive sum": lambda t, z: 1 / (np.exp(t) + z**2),
    "root": lambda t, z: np.sqrt((t + z) ** 2),
}


def lost(cost):
    @ppl.model
    def model():
        t, z = ppl.param("t", 0.3), ppl.sample("z", Normal(0.0, 1.0))
        ppl.cost("loss", cost(t, z))

    return ppl.compile(model).explain()


@pytest.mark.parametrize("label", LOST)
def test_a_parameter_that_meets_noise_at_a_pole_is_refused(label):
    with pytest.raises(EstimatorError, match="'t' directly and on the random node 'z'"):
        lost(LOST[label])


@pytest.mark.parametrize("label", KEPT)
def test_a_parameter_beside_a_pole_is_kept(label):
    lost(KEPT[label])


def test_a_black_box_behind_a_pole_is_still_found():
    def double(x):
        return 2.0 * x

    @ppl.model
    def model():
        t = ppl.param("t", 0.7)
        ppl.cost("loss", 1.0 / ppl.external(double, t))

    with pytest.raises(EstimatorError, match="has no gradient="):
        ppl.compile(model).explain()


# --- numbers ------------------------------------------------------------------------------------

EXACT = {
    "sign": (lambda z: z / np.abs(z), (0.0,)),
    "bounded reciprocal": (lambda z: np.tanh(1 / z), (0.0,)),
    "bounded tangent": (lambda z: np.tanh(np.tan(z)), tuple(np.pi * (np.arange(-2, 3) + 0.5))),
    "shifted power": (lambda z: np.tanh((z - 0.2) ** -3.0), (0.2,)),
}


def slope_by_quadrature(cost, poles, mu, sigma):
    """d/dmu of the mean of the cost under Normal(mu, sigma): the mean of cost times score, between the poles."""
    ends = [mu - 10 * sigma, *(p for p in poles if abs(p - mu) < 10 * sigma), mu + 10 * sigma]

    def integrand(z):
        return float(cost(z)) * stats.norm.pdf(z, mu, sigma) * (z - mu) / sigma**2

    parts = [integrate.quad(integrand, a, b, limit=400)[0] for a, b in itertools.pairwise(ends)]
    return float(np.sum(parts))


@pytest.mark.parametrize("label", EXACT)
def test_the_automatic_choice_is_right_across_a_pole(label):
    cost, poles = EXACT[label]

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.3), 0.8))
        ppl.cost("loss", cost(z))

    sampler = Sampler(Graph(model, arrays(mu=0.3)), "auto")
    assert type(sampler.compiled.plan["z"].estimator).__name__ == "ScoreFunction"
    assert_matches(sampler, (None, arrays(mu=slope_by_quadrature(cost, poles, 0.3, 0.8))), repeats=100_000)


def test_the_automatic_choice_is_right_for_an_angle_of_the_plane():
    """arctan(z1 / z0) jumps by pi along z0 = 0: the mean of cost times score, over each side of it."""
    loc = np.array([0.3, 0.6])

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", loc), 1.0))
        ppl.cost("loss", np.arctan(z[1] / z[0]))

    x, w = np.polynomial.legendre.leggauss(400)
    first = np.concatenate([4.5 * x - 4.5, 4.5 * x + 4.5])
    second, across = np.meshgrid(np.concatenate([4.5 * x - 4.5, 4.5 * x + 4.5]), first)
    weight = np.outer(np.tile(w, 2), np.tile(w, 2)) * 4.5**2
    density = stats.norm.pdf(across, loc[0]) * stats.norm.pdf(second, loc[1])
    angle = np.arctan(second / across) * density * weight
    exact = np.array([np.sum(angle * (across - loc[0])), np.sum(angle * (second - loc[1]))])
    assert_matches(Sampler(Graph(model, arrays(mu=loc)), "auto"), (None, arrays(mu=exact)), repeats=200_000)


@pytest.mark.parametrize("tiny", [1e-8, 1e-12])
def test_a_divisor_that_a_tiny_number_keeps_from_0_is_a_pole(tiny):
    def order(cost):
        @ppl.model
        def model():
            z = ppl.sample("z", Normal(ppl.param("mu", 0.3), 0.8))
            ppl.cost("loss", cost(z))

        return StochasticGraph(as_objective(model).trace({}))["z"].path_order()[0]

    assert order(lambda z: z / (np.abs(z) + tiny)) == JUMP
    assert order(lambda z: np.maximum(z, 0.0) / np.maximum(np.abs(z), tiny)) == JUMP
    assert order(lambda z: z / (tiny + np.sqrt(z * z))) == JUMP
    assert order(lambda z: z / np.sqrt(z * z + 1e-12)) == JUMP
    assert order(lambda z: z / (np.exp(z) + tiny)) == SMOOTH
    assert order(lambda z: z / (z * z + 0.01)) == SMOOTH
    assert order(lambda z: z / np.sqrt(z * z + 1e-5)) == SMOOTH


def test_a_pole_that_the_author_knows_to_be_out_of_reach_is_ruled_out_by_a_bound():
    """Probabilities of ordered grades are differences: that they are positive is known to the author alone."""

    def node(bound):
        @ppl.model
        def model():
            z = ppl.sample("z", Normal(ppl.param("at", 0.0), 1.0))
            low, high = 1 / (1 + np.exp(z)), 1 / (1 + np.exp(z - 1.0))
            ppl.cost("loss", -np.log(np.maximum(high - low, 1e-12) if bound else high - low))

        return StochasticGraph(as_objective(model).trace({}))["z"]

    refused = check_support(Pathwise(), node(bound=False))
    assert not refused.ok and "np.maximum(x, 1e-12)" in refused.reason
    assert check_support(Pathwise(), node(bound=True)).ok
