"""The law of every estimator on every node of every law graph: mean gradient equals the exact one, two-sided.

Unbiased estimators against the gradient of the expected loss; biased ones against the exact expectation of their own
formula. Within 5 standard errors at a fixed seed, with the standard error at most 1 % of the gradient's norm (2 % in
the fast tests of all graphs).
"""

from collections import Counter

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.compiler.surrogate.variants import build_gradient
from ppl.errors import EstimatorError
from ppl.estimators import (
    ARM,
    REGISTRY,
    DisARM,
    Enumerate,
    MeasureValued,
    Pathwise,
    Rebar,
    Relaxed,
    ScoreFunction,
    StraightThrough,
)  # fmt: skip
from ppl.estimators.base import check_support
from tests.helpers.choices import COSTLY, UNBIASED, admitted, nodes_of
from tests.helpers.law_graphs import LAWS
from tests.helpers.laws import Graph, Sampler, arrays, assert_matches, assert_unbiased

BIASED_LAWS = {"Relaxed": ("relaxed", "hard"), "StraightThrough": ("straight_through",)}
SMALL = ("toy", "one_hot", "normal", "mixture_rows", "elbo_normal_sampled", "iwae_bernoulli")
"""Quick graphs that have a node for every estimator between them."""
POWERS = pytest.mark.parametrize("power", [0.02, pytest.param(0.01, marks=pytest.mark.slow)])
PLAIN = {label: choice for label, choice in UNBIASED.items() if label not in COSTLY}


def _marks(i: int, name: str):
    """Small graphs are in the tiny tests; of the others two in three are run always, loops within loops never."""
    if name in SMALL:
        return [pytest.mark.tiny]
    return [pytest.mark.slow] if i % 3 == 2 or name == "loop_in_a_loop" else []


@POWERS
@pytest.mark.parametrize("name", [pytest.param(n, marks=_marks(i, n)) for i, n in enumerate(LAWS)])
def test_unbiased_estimators_match_the_exact_gradient(name, power, subtests):
    """Every estimator on every node that admits it, the other nodes at the automatic choice."""
    graph = LAWS[name]()
    for node, label, choice in admitted(graph, UNBIASED if power == 0.01 or name in SMALL else PLAIN):
        with subtests.test(node=node, estimator=label):
            assert_unbiased(graph, {node: choice.estimator}, aux=choice.values(node), power=power, **choice.options)


@POWERS
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if i % 3 else ()) for i, n in enumerate(LAWS)])
def test_one_estimator_on_all_layers_at_once(name, power, subtests):
    graph = LAWS[name]()
    nodes = nodes_of(graph)
    found = Counter(label for _, label, _ in admitted(graph, UNBIASED if power == 0.01 else PLAIN))
    for label in [k for k, count in found.items() if count == len(nodes) > 1]:
        with subtests.test(estimator=label):
            choice = UNBIASED[label]
            plan = dict.fromkeys(nodes, choice.estimator)
            assert_unbiased(graph, plan, aux=choice.values(*nodes), power=power, **choice.options)


def test_every_registered_estimator_has_a_law():
    graphs = {name: {type(c.estimator).__name__ for *_, c in admitted(build())} for name, build in LAWS.items()}
    wanted = {n for n, e in REGISTRY.items() if not e.biased}
    assert set().union(*graphs.values()) == wanted
    assert set().union(*(graphs[name] for name in SMALL)) == wanted
    assert set(BIASED_LAWS) == {n for n, e in REGISTRY.items() if e.biased}


@POWERS
@pytest.mark.parametrize("name", LAWS)
def test_the_automatic_plan_is_unbiased(name, power):
    assert_unbiased(LAWS[name](), "auto", power=power)


@POWERS
@pytest.mark.parametrize("name", LAWS)
def test_the_automatic_plan_without_copies_is_unbiased(name, power):
    assert_unbiased(LAWS[name](), "auto", power=power, max_copies=1, particles=2)


# --- biased estimators: the exact expectation of their own formula ------------------------------

RELAXED = [
    ("toy", "b", 20001), ("bernoulli_probs", "p", 20001), ("layer", "b", 81), ("rows", "b", 4001),
    ("one_hot", "x", 61), ("two_layers", "b1", 201), ("two_layers", "b2", 201), ("skip_and_tied", "b1", 4001),
    ("skip_and_tied", "b2", 4001), ("three_layers", "b2", 2001), ("binary_units_normal", "y/0", 401),
]  # fmt: skip
BINARY_UNITS = [f"binary_units_{noise}" for noise in ("logistic", "normal", "uniform")]


def _at(name: str, points: int) -> Graph:
    g = LAWS[name]()
    return Graph(g.objective, g.params, g.data, g.total_rows, g.particles, points, g.hyper)


def _others(graph: Graph, node: str):
    return {n: Enumerate() for n in nodes_of(graph) if n != node}


@pytest.mark.parametrize(("name", "node", "points"), RELAXED)
def test_relaxed_matches_the_gradient_of_the_relaxed_cost(name, node, points):
    graph = _at(name, points)
    node = "b" if node == "p" else node
    sampler = Sampler(graph, {node: Relaxed(temperature=0.7), **_others(graph, node)})
    assert_matches(sampler, graph.exact({node: ("relaxed", 0.7)}))


@pytest.mark.parametrize(("name", "node", "points"), [c for c in RELAXED if c[0] in ("toy", "two_layers", "rows")])
def test_hard_relaxed_matches_its_own_formula(name, node, points):
    graph = _at(name, 20001 if points > 4000 else 601)
    sampler = Sampler(graph, {node: Relaxed(temperature=0.7, hard=True), **_others(graph, node)})
    assert_matches(sampler, graph.exact({node: ("hard", 0.7)}))


def test_hard_relaxed_has_the_true_loss():
    graph = LAWS["toy"]()
    losses, _ = Sampler(graph, {"b": Relaxed(hard=True)})(100, seed=3)
    assert set(np.round(losses, 12)) == {0.09, 0.49}


STRAIGHT = [
    ("toy", "b"), ("layer", "b"), ("rows", "b"), ("one_hot", "x"), ("one_hot_pair", "x"), ("elbo_sbn", "h"),
    ("two_layers", "b1"), ("two_layers", "b2"), ("three_layers", "b2"), ("skip_and_tied", "b1"),
    ("skip_and_tied", "b2"), *((n, "y/0") for n in BINARY_UNITS),
]  # fmt: skip


@pytest.mark.parametrize(("name", "node"), STRAIGHT)
def test_straight_through_matches_enumeration_with_the_derivative_of_the_mean(name, node):
    graph = _at(name, 11)
    sampler = Sampler(graph, {node: StraightThrough(), **_others(graph, node)})
    assert_matches(sampler, graph.exact({node: ("straight_through",)}))


def test_straight_through_is_exact_where_the_cost_is_multilinear():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.zeros(3))))
        ppl.cost("loss", b[0] * b[1] - 0.5 * b[1] * b[2] + 0.3 * b[0])

    assert_unbiased(Graph(model, arrays(logits=[0.5, -0.4, 0.2])), {"b": StraightThrough()})


def test_biased_estimators_are_biased_where_it_matters():
    graph = _at("toy", 20001)
    exact = graph.exact()[1]["logit"]
    for surrogate in (("relaxed", 0.7), ("straight_through",)):
        assert abs(graph.exact({"b": surrogate})[1]["logit"] - exact) > 0.02 * abs(exact)


# --- nested and mixed layers --------------------------------------------------------------------

MIXED = {
    "rebar, pathwise, rebar": {"b": Rebar(), "z": Pathwise(), "c": Rebar()},
    "rebar, score, score": {"b": Rebar(), "z": ScoreFunction(), "c": ScoreFunction()},
    "score, pathwise, enumerate": {"b": ScoreFunction(), "z": Pathwise(), "c": Enumerate()},
    "enumerate, pathwise, rebar": {"b": Enumerate(), "z": Pathwise(), "c": Rebar()},
    "enumerate, score, rebar": {"b": Enumerate(), "z": ScoreFunction(), "c": Rebar()},
    "rebar, pathwise, enumerate": {"b": Rebar(), "z": Pathwise(), "c": Enumerate()},
    "rebar, score, enumerate": {"b": Rebar(), "z": ScoreFunction("moving_average"), "c": Enumerate()},
    "rebar, measure-valued, disarm": {"b": Rebar(), "z": MeasureValued(), "c": DisARM()},
    "disarm, pathwise, rebar": {"b": DisARM(), "z": Pathwise(), "c": Rebar()},
    "arm, measure-valued, enumerate": {"b": ARM(), "z": MeasureValued(), "c": Enumerate()},
    "measure-valued, score, arm": {"b": MeasureValued(), "z": ScoreFunction(), "c": ARM()},
}


@pytest.mark.parametrize("label", MIXED)
def test_bernoulli_above_normal_above_bernoulli(label):
    assert_unbiased(LAWS["normal_between"](), MIXED[label])


@pytest.mark.parametrize("middle", [Rebar(), ScoreFunction(), Enumerate()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("outer", [Pathwise(), ScoreFunction()], ids=lambda e: type(e).__name__)
def test_normal_above_bernoulli_above_normal(outer, middle):
    assert_unbiased(LAWS["bernoulli_between"](), {"z": outer, "b": middle, "y": outer})


def _copies(graph: Graph, estimators) -> dict[str, int]:
    compiled = graph.compile(estimators).prepare()
    return build_gradient(compiled.graph, compiled.plan.estimators).copies


def test_two_rebar_layers_make_five_copies():
    estimators = {"b1": Rebar(eta=0.7), "b2": Rebar(temperature=0.3)}
    assert _copies(LAWS["two_layers"](), estimators) == {"loss": 5}
    assert_unbiased(LAWS["two_layers"](), estimators, aux={"b1/eta": 0.7, "b2/eta": 1.3})


def test_three_rebar_layers_make_seven_copies_not_twenty_seven():
    graph = LAWS["three_layers"]()
    assert _copies(graph, Rebar()) == {"middle": 5, "loss": 7}
    assert graph.compile(Rebar()).explain().copies == 7
    assert_unbiased(graph, Rebar(), aux={"b1/eta": 0.6, "b2/eta": 0.9, "b3/eta": 1.2})


ENUMERATED = [{"b1": Rebar(), "b2": Enumerate()}, {"b1": Enumerate(), "b2": Rebar()},
              {"b1": ScoreFunction("leave_one_out"), "b2": Enumerate()}]  # fmt: skip


@pytest.mark.parametrize("plan", ENUMERATED, ids=["rebar-enumerate", "enumerate-rebar", "loo-enumerate"])
@pytest.mark.parametrize("name", ["two_layers", "skip_and_tied", "three_layers"])
def test_sampling_estimators_beside_enumeration(name, plan):
    assert_unbiased(LAWS[name](), plan, particles=2)


@pytest.mark.parametrize("plan", [{"b1": Rebar(), "b2": Enumerate(), "b3": ScoreFunction()},
                                  {"b1": Enumerate(), "b2": Rebar(), "b3": Enumerate()},
                                  {"b1": Rebar(), "b2": ScoreFunction(), "b3": Rebar()}])  # fmt: skip
def test_three_layers_with_three_estimators(plan):
    assert_unbiased(LAWS["three_layers"](), plan)


@pytest.mark.parametrize("particles", [2, 3])
@pytest.mark.parametrize("name", ["toy", "two_layers", "global_and_rows", "nested"])
def test_leave_one_out_with_several_particles(name, particles):
    graph = LAWS[name]()
    assert_unbiased(graph, {n: ScoreFunction("leave_one_out") for n in nodes_of(graph)}, particles=particles)


@pytest.mark.parametrize("name", ["two_layers", "rows", "global_bernoulli_and_rows"])
def test_rebar_averages_over_particles(name):
    graph = LAWS[name]()
    assert_unbiased(graph, {n: Rebar() for n, rn in nodes_of(graph).items() if rn.dist.discrete}, particles=3)


def test_temperature_from_a_run_time_scalar():
    graph = LAWS["toy"]()
    hot = Graph(graph.objective, graph.params, points=20001, hyper={"tau": 0.4})
    assert_unbiased(hot, {"b": Rebar(temperature=ppl.hyper("tau", 1.0))})
    relaxed = Sampler(hot, {"b": Relaxed(temperature=ppl.hyper("tau", 1.0))})
    assert_matches(relaxed, hot.exact({"b": ("relaxed", 0.4)}))


def test_a_large_baseline_shifts_no_mean():
    graph = LAWS["two_layers"]()
    estimators = {"b1": ScoreFunction("moving_average"), "b2": ScoreFunction("moving_average")}
    assert_unbiased(graph, estimators, aux={"b1/baseline": 2.0, "b2/baseline": -1.0})


# --- the rules by name --------------------------------------------------------------------------


def test_rule_4_downstream_units_are_relaxed_in_a_soft_branch():
    """Two Bernoulli layers with REBAR on the first: hard downstream units in its soft branches would be
    far off."""

    @ppl.model
    def model():
        b1 = ppl.sample("b1", Bernoulli(logits=ppl.param("a", 0.0)))
        b2 = ppl.sample("b2", Bernoulli(logits=4.0 * b1 - 2.0))
        ppl.cost("loss", (b2 - 0.1) ** 2)

    graph = Graph(model, arrays(a=0.2))
    exact = graph.exact()[1]["a"]
    assert exact > 0.1
    assert_unbiased(graph, {"b1": Rebar(temperature=0.3)})
    wrong = _rebar_with_hard_units(0.2, 0.3)
    assert abs(wrong - exact) > 0.15 * exact


def _rebar_with_hard_units(a: float, temperature: float) -> float:
    """What REBAR on b1 of the test above would give if b2 were drawn hard in the soft branches."""
    u, v, w = np.random.default_rng(0).uniform(size=(3, 400_000))
    p = 1 / (1 + np.exp(-a))
    b = (u > 1 - p).astype(float)
    given = np.where(b == 1, (1 - p) + v * p, v * (1 - p))
    soft = 1 / (1 + np.exp(-(a + np.log(given) - np.log1p(-given)) / temperature))

    def cost(x: np.ndarray) -> np.ndarray:
        return ((w > 1 / (1 + np.exp(4 * x - 2))) - 0.1) ** 2

    return float(np.mean((cost(b) - cost(soft)) * (b - p)))


def test_rule_2_side_branches_give_downstream_parameters_nothing():
    """E[(b - t)^2] in t is -2 (p - t) per sample on the primal: the relaxed copies must not add to it."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))
        ppl.cost("loss", (b - ppl.param("t", 0.0)) ** 2)

    graph = Graph(model, arrays(a=0.3, t=0.2))
    losses, grads = Sampler(graph, {"b": Rebar(temperature=0.3, eta=5.0, adapt_eta=False)})(200, seed=2)
    b = np.where(losses > 0.3, 1.0, 0.0)
    np.testing.assert_allclose(grads["t"], -2 * (b - 0.2), atol=1e-12)


def test_rule_2_weights_between_layers_get_gradient_from_the_trunk_only():
    """With the second layer's score known, dW of one sample is that of a plain score function on the
    primal."""
    graph = LAWS["three_layers"]()
    _, rebar = Sampler(graph, {"b1": Rebar(), "b2": ScoreFunction(), "b3": ScoreFunction()})(500, seed=4)
    _, score = Sampler(graph, {"b1": ScoreFunction(), "b2": ScoreFunction(), "b3": ScoreFunction()})(500, seed=4)
    for name in ("w2", "w3"):
        np.testing.assert_allclose(rebar[name], score[name], atol=1e-12)
    assert np.abs(rebar["a"] - score["a"]).max() > 0.01


def test_rule_1_advantages_use_downstream_costs_only():
    """The cost of b1 alone does not multiply the score of b2, sample by sample."""
    graph = LAWS["costs_upstream"]()
    losses, grads = Sampler(graph, ScoreFunction())(300, seed=5)
    p = graph.params
    found = 0
    for b1 in (0.0, 1.0):
        for b2 in (0.0, 1.0):
            first, second = 3 * (b1 - 0.2) ** 2, (b2 - 0.1) ** 2
            hit = np.isclose(losses, first + second + p["d"] ** 2)
            found += hit.sum()
            score1 = b1 - 1 / (1 + np.exp(-p["a"]))
            score2 = b2 - 1 / (1 + np.exp(-(b1 + p["c"])))
            np.testing.assert_allclose(grads["a"][hit], (first + second) * score1, atol=1e-12)
            np.testing.assert_allclose(grads["c"][hit], second * score2, atol=1e-12)
    assert found == 300


def test_rule_1_per_row_nodes_see_their_own_row_only():
    """The gradient of one row's unit does not change with the costs of other rows."""

    @ppl.model
    def model(x):
        w = ppl.param("w", np.zeros(2))
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=w @ x))
            ppl.cost("loss", (b - 0.3) ** 2 * np.sum(x))

    data = np.array([[1.0, 0.0], [0.0, 1.0]])
    params = arrays(w=[0.2, -0.3])
    _, plain = Sampler(Graph(model, params, (data,)), ScoreFunction())(100, seed=6)
    _, heavy = Sampler(Graph(model, params, (data * [[1.0], [7.0]],)), ScoreFunction())(100, seed=6)
    np.testing.assert_array_equal(plain["w"][:, 0], heavy["w"][:, 0])


def test_stop_gradient_cuts_the_downstream_cost_for_every_estimator():
    """A cost behind `ppl.stop_gradient` belongs to nobody's advantage, enumerated nodes included."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))
        ppl.cost("own", (b - 0.3) ** 2)
        ppl.cost("stopped", 5.0 * ppl.stop_gradient(b) * ppl.param("t", 1.0))

    p = 1 / (1 + np.exp(-0.3))
    exact = arrays(a=p * (1 - p) * 0.4, t=5 * p)
    for estimator in (ScoreFunction(), Rebar(), Enumerate(), DisARM(), ARM(), MeasureValued()):
        assert_matches(Sampler(Graph(model, arrays(a=0.3, t=0.6)), {"b": estimator}), (None, exact))


def test_saturated_units_have_finite_gradients():
    """Hard-sigmoid units with probability exactly 0 or 1 sample that value, and no NaN reaches a
    parameter."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            y = ppl.layers.chain(x, ppl.layers.BinaryUnits(2, "uniform"), name="y")
            ppl.cost("loss", (y[0] + 2.0 * y[1] - 0.7) ** 2)

    params = arrays(**{"y/0.weight": [[4.0, -4.0]], "y/0.bias": [0.0, 0.0]})
    graph = Graph(model, params, (np.array([[1.0], [-1.0], [0.05]]),))
    unbiased = (ScoreFunction(), Rebar(), Enumerate(), DisARM(), ARM(), MeasureValued())
    for estimator in (*unbiased, StraightThrough(), Relaxed()):
        losses, grads = Sampler(graph, {"y/0": estimator})(200, seed=1)
        assert np.all(np.isfinite(losses)), estimator.label
        assert all(np.all(np.isfinite(g)) for g in grads.values()), estimator.label


def test_uniform_with_learned_bounds_refuses_the_score():
    graph = LAWS["uniform"]()
    with pytest.raises(EstimatorError, match="support moves"):
        graph.compile(ScoreFunction())


def test_the_oracle_agrees_with_closed_forms():
    toy, jump = LAWS["toy"](), _at("jump", 20001)
    p = 1 / (1 + np.exp(-0.4))
    np.testing.assert_allclose(toy.exact()[1]["logit"], p * (1 - p) * 0.4, rtol=1e-8)
    np.testing.assert_allclose(_at("toy", 11).exact()[1]["logit"], p * (1 - p) * 0.4, rtol=1e-8)
    density = np.exp(-0.5 * 0.3**2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(LAWS["jump"]().exact()[1]["mu"], density, rtol=1e-8)
    np.testing.assert_allclose(jump.exact()[1]["mu"], density, rtol=1e-3)


def test_pathwise_through_the_jump_would_be_silently_zero():
    """Why the plan refuses it: the pathwise formula applied to the jump gives 0 instead of 0.38."""
    graph = LAWS["jump"]()
    compiled = graph.compile().prepare()
    assert not check_support(Pathwise(), compiled.graph["z"]).ok
    variant = build_gradient(compiled.graph, {"z": Pathwise()})
    assert variant.grads["mu"].op in ("const", "expand")


def test_normal_chain_under_the_cost_exp_prefers_no_estimator_in_the_mean():
    """Mean of N(1, 1) under exp(-10 x^2): score function and pathwise agree though their variances
    differ tenfold."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 1.0), 1.0))
        ppl.cost("loss", np.exp(-10 * z**2))

    graph = Graph(model, arrays(mu=1.0), points=4001)
    for estimator in (ScoreFunction(), Pathwise()):
        assert_unbiased(graph, {"z": estimator})
    score, path = (Sampler(graph, {"z": e})(40_000, seed=1)[1]["mu"].var() for e in (ScoreFunction(), Pathwise()))
    np.testing.assert_allclose([score, path], [0.077, 0.94], rtol=0.05)


@pytest.mark.parametrize("particles", [1, 3])
def test_the_density_that_is_sampled_is_the_whole_one_also_under_a_mask(particles):
    """`dist.mask(m)` drops units from log-densities in costs; samples, and so their gradients, keep all units."""

    @ppl.model
    def model():
        dist = Bernoulli(logits=ppl.param("a", np.zeros(2))).mask(np.array([True, False]))
        b = ppl.sample("b", dist)
        ppl.cost("loss", (b[0] + 2 * b[1] - 0.7) ** 2)

    def loss(p):
        q = 1 / (1 + np.exp(-p["a"]))
        weights = {(i, j): (q[0] if i else 1 - q[0]) * (q[1] if j else 1 - q[1]) for i in (0, 1) for j in (0, 1)}
        return sum(w * (i + 2 * j - 0.7) ** 2 for (i, j), w in weights.items())

    graph = Graph(model, arrays(a=[0.3, -0.6]), loss=loss)
    for estimator in (ScoreFunction(), Rebar(), Enumerate(), DisARM(), MeasureValued()):
        assert_unbiased(graph, {"b": estimator}, particles=particles)


def test_leave_one_out_below_and_beside_enumeration():
    plan = {"b1": Enumerate(), "b2": ScoreFunction("leave_one_out")}
    for name in ("two_layers", "skip_and_tied", "costs_upstream"):
        assert_unbiased(LAWS[name](), plan, particles=3)
