"""The stochastic graph: node kinds, downstream costs, smoothness of paths, moving supports, coupled rows."""

import networkx as nx
import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Exponential, LogNormal, Normal, OneHotCategorical, Uniform
from ppl.estimators import Enumerate, Pathwise, Rebar, Relaxed, ScoreFunction, StraightThrough
from ppl.estimators.base import check_support
from ppl.graph.stochastic import StochasticGraph, data_plates
from ppl.ir.op_facts import JUMP, KINK, SMOOTH
from ppl.objectives.base import as_objective


def graph_of(objective, *data) -> StochasticGraph:
    objective = as_objective(objective)
    return StochasticGraph(objective.trace(dict(zip(objective.argument_names, data, strict=True))))


def of_cost(cost, dist=None) -> StochasticGraph:
    """The graph of one random node 'z' under `cost(z)`."""

    @ppl.model
    def model():
        z = ppl.sample("z", dist() if dist else Normal(ppl.param("mu", 0.0), 1.0))
        ppl.cost("loss", cost(z))

    return graph_of(model)


# --- smoothness ---------------------------------------------------------------------------------

TABLE = np.array([0.1, 0.5, 0.9])

ORDERS = [
    ("square", lambda z: z**2, SMOOTH),
    ("tanh", np.tanh, SMOOTH),
    ("abs", np.abs, KINK),
    ("relu", lambda z: np.maximum(z, 0.0), KINK),
    ("minimum", lambda z: np.minimum(z, 1.0), KINK),
    ("clip", lambda z: np.clip(z, -1.0, 1.0), KINK),
    ("amax", lambda z: np.max(np.stack([z, 2 * z])), KINK),
    ("logsumexp", lambda z: ppl.logsumexp(np.stack([z, 2 * z])), SMOOTH),
    ("softmax", lambda z: ppl.softmax(np.stack([z, 2 * z]))[0], SMOOTH),
    ("comparison", lambda z: 1.0 * (z > 0.5), JUMP),
    ("where condition", lambda z: np.where(z > 0.0, z, 0.5), JUMP),
    ("where value", lambda z: np.where(ppl.hyper("h", 1.0) > 0.0, z, 0.5), SMOOTH),
    ("floor", np.floor, JUMP),
    ("sign", np.sign, JUMP),
    ("argmax", lambda z: 1.0 * np.argmax(np.stack([z, -z])), JUMP),
    ("index", lambda z: ppl.constant(TABLE)[np.floor(z).astype(int) * 0], JUMP),
    ("kink then smooth", lambda z: np.exp(np.abs(z)), KINK),
    ("jump on one of two paths", lambda z: z**2 + np.floor(z), JUMP),
    ("jump behind stop_gradient", lambda z: z**2 + np.floor(ppl.stop_gradient(z)), SMOOTH),
    ("multiplied jump", lambda z: z * (z > 0.0), JUMP),
]


@pytest.mark.parametrize(("label", "cost", "order"), ORDERS, ids=[o[0] for o in ORDERS])
def test_the_worst_path_decides(label, cost, order):
    node = of_cost(cost)["z"]
    assert node.path_order()[0] == order
    assert check_support(Pathwise(), node).ok == (order >= KINK)


def test_a_jump_is_blamed_on_its_cost_and_op():
    order, where = of_cost(lambda z: np.where(np.exp(z) > 1.0, 1.0, 0.0))["z"].path_order()
    assert order == JUMP and "cost 'loss'" in where and "op lt" in where
    assert "op floor" in of_cost(lambda z: np.exp(np.floor(z)) ** 2)["z"].path_order()[1]


def test_a_jump_into_the_next_nodes_parameters_counts():
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.0), 1.0))
        b = ppl.sample("b", Bernoulli(logits=np.floor(z)))
        ppl.cost("loss", b)

    order, where = graph_of(model)["z"].path_order()
    assert order == JUMP and "parameters of 'b'" in where


def test_a_jump_after_the_next_node_does_not_block_the_path_to_it():
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("mu", 0.0), 1.0))
        y = ppl.sample("y", Normal(z, 1.0))
        ppl.cost("loss", np.where(y > 0, 1.0, 0.0))

    graph = graph_of(model)
    assert graph["z"].path_order()[0] == SMOOTH and graph["y"].path_order()[0] == JUMP
    assert check_support(Pathwise(), graph["z"]).ok and not check_support(Pathwise(), graph["y"]).ok


def test_black_boxes_jump_and_externals_with_a_gradient_do_not():
    def plain(z):
        return z * z

    def slope(z, g):
        return 2 * z * g

    assert of_cost(lambda z: ppl.external(plain, z))["z"].path_order()[0] == JUMP
    assert of_cost(lambda z: ppl.external(plain, z, gradient=slope))["z"].path_order()[0] == SMOOTH


def test_log_densities_jump_at_the_edge_that_a_path_can_cross():
    def prior(dist):
        return of_cost(lambda z: -dist.log_prob(z))["z"].path_order()[0]

    assert prior(Normal(0.0, 1.0)) == SMOOTH
    assert prior(Exponential(1.0)) == JUMP
    assert prior(Uniform(-1.0, 1.0)) == JUMP

    def positive():
        return LogNormal(ppl.param("mu", 0.0), 1.0)

    assert of_cost(lambda z: -Exponential(1.0).log_prob(z), positive)["z"].path_order()[0] == SMOOTH


# --- relaxation ---------------------------------------------------------------------------------


def binary():
    return Bernoulli(logits=ppl.param("a", 0.0))


def test_relaxation_needs_a_cost_without_jumps_on_soft_values():
    smooth, jump = (
        of_cost(lambda b: (b - 0.3) ** 2, binary)["z"],
        of_cost(lambda b: 1.0 * (b > 0.5), binary)["z"],
    )
    for estimator in (Rebar(), Relaxed(), StraightThrough()):
        assert check_support(estimator, smooth).ok
        refused = check_support(estimator, jump)
        assert not refused.ok and "jump" in refused.reason
    assert check_support(Enumerate(), jump).ok and check_support(ScoreFunction(), jump).ok


def test_discrete_log_densities_are_smooth_on_soft_values():
    def cost(b):
        return -Bernoulli(logits=0.3).log_prob(b)

    assert of_cost(cost, binary)["z"].soft_order()[0] == SMOOTH


def test_an_integer_node_downstream_blocks_the_relaxation():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))
        k = ppl.sample("k", Categorical(logits=b * np.ones(3)))
        ppl.cost("loss", ppl.constant(TABLE)[k])

    refused = check_support(Rebar(), graph_of(model)["b"])
    assert not refused.ok and "'k' downstream, a Categorical" in refused.reason


def test_a_jump_two_layers_down_blocks_the_relaxation():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))
        c = ppl.sample("c", Bernoulli(logits=b))
        ppl.cost("loss", np.where(c > 0.5, 1.0, 0.0))

    assert not check_support(Rebar(), graph_of(model)["b"]).ok


def test_categorical_points_to_its_one_hot_sibling():
    def dist():
        return Categorical(logits=ppl.param("l", np.zeros(3)))

    refused = check_support(Rebar(), of_cost(lambda k: ppl.constant(TABLE)[k], dist)["z"])
    assert not refused.ok and "OneHotCategorical" in refused.reason


def test_straight_through_wants_binary_or_one_hot_units():
    assert "Normal" in check_support(StraightThrough(), of_cost(lambda z: z)["z"]).reason


# --- supports that move -------------------------------------------------------------------------


@pytest.mark.parametrize("learned", ["low", "high"])
def test_a_learned_bound_refuses_the_score_function(learned):
    def dist():
        bounds = {"low": 0.0, "high": 2.0, learned: ppl.param("edge", 1.0)}
        return Uniform(**bounds)

    node = of_cost(lambda z: z**2, dist)["z"]
    refused = check_support(ScoreFunction(), node)
    assert node.moving_support() == [learned]
    assert not refused.ok and learned in refused.reason and "support moves" in refused.reason
    assert check_support(Pathwise(), node).ok


def test_bounds_without_a_parameter_upstream_do_not_move():
    def dist():
        return Uniform(ppl.stop_gradient(ppl.param("low", 0.0)), 2.0)

    node = of_cost(lambda z: z**2 * ppl.param("w", 1.0), dist)["z"]
    assert node.moving_support() == [] and not node.needs_gradient


def test_a_bound_that_moves_through_another_node_is_found():
    @ppl.model
    def model():
        h = ppl.sample("h", LogNormal(ppl.param("m", 0.0), 1.0))
        ppl.cost("loss", ppl.sample("z", Uniform(0.0, h)) ** 2)

    assert graph_of(model)["z"].moving_support() == ["high"]


# --- downstream costs and plates ----------------------------------------------------------------


@ppl.model
def branching(x):
    a = ppl.param("a", 0.0)
    g = ppl.sample("g", Bernoulli(logits=a))
    ppl.cost("global", g)
    with ppl.plate("data", x) as x:
        h = ppl.deterministic("h", np.tanh(x * a))
        b = ppl.sample("b", Bernoulli(logits=h + g))
        ppl.cost("row", (b - x) ** 2)
        ppl.cost("stopped", ppl.stop_gradient(b) * a)
        ppl.sample("idle", Normal(x, 1.0))
        ppl.sample("unlearned", Bernoulli(logits=x))
    ppl.cost("apart", a**2)


X = np.array([0.5, -1.0])


def test_downstream_costs_per_node():
    graph = graph_of(branching, X)
    assert [c.name for c in graph["g"].costs] == ["global", "row"]
    assert [c.name for c in graph["b"].costs] == ["row"]
    assert graph["idle"].costs == [] and graph["unlearned"].costs == []


def test_children_and_plates():
    graph = graph_of(branching, X)
    assert [n.name for n in graph["g"].children] == ["b"]
    assert [a.name for a in data_plates(graph["b"].node.type.axes)] == ["data"]
    assert data_plates(graph["g"].node.type.axes) == ()


def test_only_nodes_between_a_parameter_and_a_cost_need_a_gradient():
    graph = graph_of(branching, X)
    assert {n for n in graph.nodes if graph[n].needs_gradient} == {"g", "b"}


def test_stop_gradient_cuts_the_dependence_of_later_nodes():
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("m", 0.0), 1.0))
        y = ppl.sample("y", Normal(ppl.stop_gradient(z), 1.0))
        ppl.cost("loss", y**2)

    graph = graph_of(model)
    assert graph["z"].costs == [] and graph["z"].children == []
    assert not graph["z"].needs_gradient and not graph["y"].needs_gradient


def rows_model(outside):
    @ppl.model
    def model():
        with ppl.plate("k", 3):
            b = ppl.sample("b", Bernoulli(logits=ppl.param("c", np.zeros(2))))
            ppl.cost("own", np.sum(b))
        if outside:
            ppl.cost("all", np.sum(ppl.collect(b, "k")) ** 2)

    return graph_of(model)["b"]


def test_collect_couples_the_rows_and_the_joint_support_counts_them():
    alone, coupled = rows_model(False), rows_model(True)
    assert alone.coupled_plates == () and alone.joint_support() == 4
    assert [a.name for a in coupled.coupled_plates] == ["k"] and coupled.joint_support() == 4**3
    assert check_support(Enumerate(budget=64), coupled).ok
    refused = check_support(Enumerate(budget=63), coupled)
    assert not refused.ok and "64 joint values exceed the budget of 63" in refused.reason


def test_coupling_through_a_later_node_counts_too():
    @ppl.model
    def model():
        with ppl.plate("k", 3):
            b = ppl.sample("b", Bernoulli(logits=ppl.param("c", 0.0)))
            z = ppl.sample("z", Normal(b, 1.0))
        ppl.cost("all", np.sum(ppl.collect(z, "k")) ** 2)

    assert graph_of(model)["b"].joint_support() == 2**3


def test_a_joint_support_beyond_floats_is_infinite():
    @ppl.model
    def model():
        with ppl.plate("k", 500):
            b = ppl.sample("b", Bernoulli(logits=ppl.param("c", np.zeros(64))))
        ppl.cost("all", np.sum(ppl.collect(b, "k")) ** 2)

    node = graph_of(model)["b"]
    assert node.joint_support() == float("inf") and not check_support(Enumerate(), node).ok


def test_the_joint_support_counts_all_units():
    def dist():
        return OneHotCategorical(logits=ppl.param("l", np.zeros((4, 3))))

    assert of_cost(lambda x: np.sum(x[:, 0]), dist)["z"].joint_support() == 3**4


# --- as a networkx graph ------------------------------------------------------------------------


def test_networkx_content():
    graph = graph_of(branching, X).networkx
    assert isinstance(graph, nx.DiGraph) and nx.is_directed_acyclic_graph(graph)
    kinds = nx.get_node_attributes(graph, "kind")
    assert kinds == {
        "a": "parameter", "x": "input", "g": "random", "h": "deterministic", "b": "random", "idle": "random",
        "unlearned": "random", "global": "cost", "row": "cost", "stopped": "cost", "apart": "cost",
    }  # fmt: skip
    assert set(graph.predecessors("b")) == {"h", "g"}
    assert set(graph.predecessors("h")) == {"a", "x"}
    assert set(graph.predecessors("row")) == {"b", "x"}
    assert set(graph.predecessors("stopped")) == {"a"}
    assert graph.nodes["b"]["axes"] == ("data",) and graph.nodes["g"]["axes"] == ()


def test_observed_nodes_are_a_kind_of_their_own():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            k = ppl.sample("k", Categorical(logits=ppl.param("l", np.zeros(3))))
            ppl.sample("x", Normal(ppl.constant(TABLE)[k], np.exp(ppl.hyper("s", 0.0))), obs=x)

    graph = graph_of(ppl.likelihood(model), X).networkx
    kinds = nx.get_node_attributes(graph, "kind")
    assert kinds["x"] == "observed" and kinds["x (input)"] == "input" and kinds["s"] == "hyper"
    assert set(graph.predecessors("x")) == {"k", "x (input)", "s"}
    assert set(graph.predecessors("-log p(x)")) >= {"k"}


def test_a_program_hands_out_the_graph_with_estimators():
    program = ppl.compile(branching, estimators={"b": ScoreFunction()}, data=(X,))
    assert program.graph.nodes["b"]["estimator"] == "ScoreFunction()"
    assert "estimator" not in program.graph.nodes["a"]
