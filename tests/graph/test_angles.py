"""Paths from angles that wrap at pi: smooth only where what they enter has period 2 pi, a jump everywhere else."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal, Uniform, VonMises
from ppl.compiler.surrogate.variants import build_gradient
from ppl.errors import EstimatorError, ModelError
from ppl.estimators import Implicit, Pathwise, Rebar, ScoreFunction
from ppl.estimators.base import check_support
from ppl.graph.stochastic import StochasticGraph
from ppl.ir.op_facts import JUMP, KINK, SMOOTH
from ppl.ir.reference.interpret import evaluate
from ppl.objectives.base import as_objective
from tests.helpers.law_graphs import LAWS
from tests.helpers.laws import make_env


def graph_of(cost) -> StochasticGraph:
    """The graph of two angles 'x' under `cost(x)`."""

    @ppl.model
    def model():
        ppl.cost("loss", cost(ppl.sample("x", VonMises(ppl.param("loc", np.zeros(2)), 2.0))))

    return StochasticGraph(as_objective(model).trace({}))


ORDERS = [
    ("cosine", lambda x: np.cos(x[0] - 0.5), SMOOTH),
    ("whole multiple", lambda x: np.sin(3 * x[0] - 2 * x[1] + 0.1), SMOOTH),
    ("tangent", lambda x: np.tan(-x[0]), JUMP),
    ("bounded tangent", lambda x: np.tan(0.4 * np.sin(x[0])), SMOOTH),
    ("sum", lambda x: np.cos(np.sum(x)), SMOOTH),
    ("stack", lambda x: np.sum(np.cos(np.stack([x[1], 2 * x[0], 0.3]))), SMOOTH),
    ("selection", lambda x: np.cos(np.where(ppl.hyper("h", 1.0) > 0.0, x[0], -x[1])), SMOOTH),
    ("density", lambda x: VonMises(1.0, np.array([3.0, 4.0])).log_prob(x), SMOOTH),
    ("kink after", lambda x: np.abs(np.sin(x[0])), KINK),
    ("behind stop_gradient", lambda x: np.cos(x[0]) * ppl.stop_gradient(x[1]), SMOOTH),
    ("itself", lambda x: x[0], JUMP),
    ("square", lambda x: x[0] ** 2, JUMP),
    ("half", lambda x: np.cos(0.5 * x[0]), JUMP),
    ("learned multiple", lambda x: np.cos(ppl.param("w", 1.0) * x[0]), JUMP),
    ("one of two paths", lambda x: np.cos(x[0]) + 0.1 * x[0], JUMP),
    ("product", lambda x: np.cos(x[0] * x[1]), JUMP),
    ("kink before", lambda x: np.cos(np.abs(x[0])), JUMP),
    ("comparison", lambda x: 1.0 * (np.cos(x[0]) > 0.0), JUMP),
    ("density on the line", lambda x: Normal(np.zeros(2), 1.0).log_prob(x), JUMP),
]


@pytest.mark.parametrize(("cost", "order"), [o[1:] for o in ORDERS], ids=[o[0] for o in ORDERS])
def test_only_periodic_paths_are_smooth(cost, order):
    node = graph_of(cost)["x"]
    assert node.path_order()[0] == order
    assert check_support(Pathwise(), node).ok == check_support(Implicit(), node).ok == (order > JUMP)
    assert check_support(ScoreFunction(), node).ok == (node.tangled is None)


@pytest.mark.parametrize(
    ("child", "order"),
    [
        (lambda x: VonMises(2 * x + 0.3, 1.0), SMOOTH),
        (lambda x: VonMises(0.3, 1.5 + np.sin(x)), SMOOTH),
        (lambda x: Normal(np.sin(x), 1.0), SMOOTH),
        (lambda x: VonMises(0.5 * x, 1.0), JUMP),
        (lambda x: VonMises(0.3, np.exp(x)), JUMP),
        (lambda x: Normal(x, 1.0), JUMP),
    ],
)
def test_the_loc_of_another_angle_is_periodic(child, order):
    @ppl.model
    def model():
        x = ppl.sample("x", VonMises(ppl.param("loc", 0.0), 2.0))
        ppl.cost("loss", np.cos(ppl.sample("y", child(x))))

    assert StochasticGraph(as_objective(model).trace({}))["x"].path_order()[0] == order


def test_relaxed_bits_need_a_periodic_cost_too():
    def supported(cost):
        @ppl.model
        def model():
            b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))
            ppl.cost("loss", cost(ppl.sample("x", VonMises(2.0 * b, 1.0))))

        return check_support(Rebar(), StochasticGraph(as_objective(model).trace({}))["b"])

    assert supported(np.cos).ok
    assert not supported(np.square).ok


def test_the_reason_names_the_angle():
    with pytest.raises(EstimatorError, match=r"cost 'loss', which is not visibly periodic in an angle .* \(op mul\)"):
        LAWS["von_mises_cut"]().compile(Pathwise())


def test_a_path_through_the_cut_would_be_wrong():
    """Why the plan refuses it: away from the cut the path is right, and what it misses is the jump at pi."""
    graph = LAWS["von_mises_cut"]()
    compiled = graph.compile().prepare()
    variant = build_gradient(compiled.graph, {"x": Pathwise()}, repeats=True)

    n = 200_000
    (found,) = evaluate([variant.grads["loc"]], make_env(compiled, graph, variant, seed=1, sizes={"repeats": n}))
    exact = graph.exact()[1]["loc"]
    k, loc = np.exp(graph.params["concentration"]), graph.params["loc"]
    jump = np.exp(k * np.cos(np.pi - loc)) / (2 * np.pi * np.i0(k)) * (-2 * np.pi)  # density at pi, f(-pi) - f(pi)
    assert abs(found.mean() - (exact - jump)) <= 5 * found.std() / np.sqrt(n)
    assert abs(jump) > abs(exact) / 2


def test_a_guide_on_the_line_does_not_fit_an_angle():
    def bound(guide_dist):
        @ppl.model
        def generative():
            z = ppl.sample("z", VonMises(0.0, 1.0))
            ppl.sample("x", Normal(np.cos(z), 1.0), obs=0.5)

        @ppl.model
        def guide():
            ppl.sample("z", guide_dist())

        return ppl.compile(ppl.elbo(generative, guide))

    bound(lambda: VonMises(ppl.param("m", 0.0), 2.0)).explain()
    bound(lambda: Uniform(-np.pi, np.pi)).explain()
    with pytest.raises(ModelError, match=r"guide node 'z' .* is a Normal, whose samples can leave \(-pi, pi\]"):
        bound(lambda: Normal(ppl.param("m", 0.0), 2.0)).explain()
