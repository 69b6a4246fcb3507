"""Sums over a part of a node's states: their samples against formulas in NumPy, the choice of the part, refusals."""

from itertools import product

import numpy as np
import pytest
from scipy.special import expit, softmax

import ppl
from ppl import Bernoulli, Categorical, Normal, OneHotCategorical
from ppl.errors import EstimatorError
from ppl.estimators import CategoricalDisARM, Enumerate, ScoreFunction
from tests.helpers.law_graphs import LAWS
from tests.helpers.laws import Graph, Sampler, arrays

LOGITS = np.array([2.5, 0.2, -1.8, -0.4])
TABLE = np.random.default_rng(0).normal(size=(2,) * 4)


def units_graph(logits=LOGITS):
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.zeros(4))))
        total = 0.0
        for state in product((0, 1), repeat=4):
            term = TABLE[state]
            for i, s in enumerate(state):
                term = term * (b[i] if s else 1 - b[i])
            total = total + term
        ppl.cost("loss", total)

    return Graph(model, arrays(logits=logits))


def by_hand(chosen, rest_values, baseline):
    """The estimate given the drawn units: (gradient, probability of this draw), with `chosen` units summed."""
    p, rest = expit(LOGITS), [i for i in range(4) if i not in chosen]
    gradient, mean, chance = np.zeros(4), 0.0, 1.0
    for state in product((0, 1), repeat=len(chosen)):
        full = np.zeros(4, int)
        full[list(chosen)], full[rest] = state, rest_values
        weight = np.prod([p[i] if full[i] else 1 - p[i] for i in chosen])
        mean += weight * TABLE[tuple(full)]
        for i in chosen:
            gradient[i] += weight * TABLE[tuple(full)] * (full[i] - p[i])
    for i, value in zip(rest, rest_values, strict=True):
        gradient[i] = (mean - baseline) * (value - p[i])
        chance *= p[i] if value else 1 - p[i]
    return gradient, chance


@pytest.mark.parametrize(("units", "chosen"), [(1, (1,)), (2, (1, 3)), (3, (1, 3, 2))])
def test_samples_are_those_of_the_formula_with_the_least_certain_units_summed(units, chosen):
    sampler = Sampler(units_graph(), {"b": Enumerate(units=units, baseline=0.25)})
    found = sampler(4000, seed=1)[1]["logits"]
    values = list(product((0, 1), repeat=4 - units))
    wanted = [by_hand(chosen, v, 0.25) for v in values]
    distance = np.abs(found[:, None] - np.array([g for g, _ in wanted])).max(-1)
    assert distance.min(1).max() < 1e-9
    shares = np.bincount(distance.argmin(1), minlength=len(values)) / len(found)
    chances = np.array([c for _, c in wanted])
    assert np.all(np.abs(shares - chances) < 5 * np.sqrt(chances * (1 - chances) / len(found)))


def test_each_row_has_its_own_units():
    """Where all but one unit of every row are certain, the one is summed: no variance is left."""
    logits = np.where(np.eye(3) > 0, 0.3, 40.0) * [1, -1, 1]

    @ppl.model
    def model(x):
        with ppl.plate("rows", x) as x:
            b = ppl.sample("b", Bernoulli(logits=x @ ppl.param("w", np.eye(3))))
            ppl.cost("loss", np.exp(b[0] - 2 * b[1] + b[2] * b[1]))

    graph = Graph(model, arrays(w=np.eye(3)), (logits,))
    exact, score = (
        Sampler(graph, {"b": e})(200, seed=2)[1]["w"].std(0).max() for e in (Enumerate(units=1), ScoreFunction())
    )
    assert exact < 1e-9 < 1 < score


def categories_graph(kind=Categorical, logits=(2.0, 0.1, -1.0, 0.6, -2.0)):
    @ppl.model
    def model():
        k = ppl.sample("k", kind(logits=ppl.param("logits", np.zeros(5))))
        cost = ppl.constant(np.array([1.0, -0.5, 2.0, 0.3, 7.0]))
        ppl.cost("loss", cost[k] if kind is Categorical else np.exp(k @ cost))

    return Graph(model, arrays(logits=logits))


@pytest.mark.parametrize("kind", [Categorical, OneHotCategorical])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_likely_categories_are_summed_and_one_of_the_others_is_drawn(kind, count):
    graph = categories_graph(kind)
    found = Sampler(graph, {"k": Enumerate(categories=count)})(4000, seed=1)[1]["logits"]
    logits = graph.params["logits"]
    p, cost = softmax(logits), np.array([1.0, -0.5, 2.0, 0.3, 7.0])
    cost = cost if kind is Categorical else np.exp(cost)
    likely, rest = np.argsort(-p)[:count], np.argsort(-p)[count:]
    mean = p[likely] @ cost[likely] / p[likely].sum()
    slope = np.diag(p) - np.outer(p, p)
    base = sum(slope[c] * (cost[c] - mean) for c in likely)
    wanted = np.array([base + slope[r] / p[r] * p[rest].sum() * (cost[r] - mean) for r in rest])
    distance = np.abs(found[:, None] - wanted).max(-1)
    assert distance.min(1).max() < 1e-9 * np.abs(wanted).max()
    shares, chances = np.bincount(distance.argmin(1), minlength=len(rest)) / len(found), p[rest] / p[rest].sum()
    assert np.all(np.abs(shares - chances) <= 5 * np.sqrt(chances * (1 - chances) / len(found)))


def test_categories_without_probability_are_left_out():
    """One of three can happen: the gradient is 0, at whatever cost the others have."""

    @ppl.model
    def model():
        k = ppl.sample("k", Categorical(logits=ppl.param("shift", np.zeros(3)) + np.array([0.0, -np.inf, -np.inf])))
        ppl.cost("loss", ppl.constant(np.array([1.0, np.inf, 3.0]))[k])

    for dtype in ("float64", "float32"):
        program = ppl.compile(model, {"k": Enumerate(categories=1)}, dtype=dtype)
        loss, grads = program.value_and_grad(program.init(0))
        assert loss == 1.0 and not np.any(grads["shift"])


@pytest.mark.parametrize("kind", [Categorical, OneHotCategorical])
@pytest.mark.parametrize(("count", "possible"), [(3, 2), (4, 2), (4, 3), (3, 1), (2, 2)])
def test_more_categories_are_summed_than_can_happen(kind, count, possible):
    """The gradient is p (cost - mean cost), without noise, at whatever cost impossible categories have."""
    cost, shift = np.array([1.0, 5.0, 1.6, np.inf, np.nan]), np.zeros(5)
    can = [0, 2, 1][:possible]
    shift[[c for c in range(5) if c not in can]] = -np.inf

    @ppl.model
    def model():
        k = ppl.sample("k", kind(logits=ppl.param("w", np.zeros(5)) + shift))
        ppl.cost("loss", ppl.constant(cost)[np.argmax(k) if kind is OneHotCategorical else k])

    p = np.exp(shift) / possible
    exact = np.zeros(5)
    exact[can] = p[can] * (cost[can] - cost[can].mean())
    for dtype, close in (("float64", 1e-12), ("float32", 1e-6)):
        program = ppl.compile(model, {"k": Enumerate(categories=count)}, dtype=dtype)
        for seed in range(3):
            np.testing.assert_allclose(program.value_and_grad(program.init(seed))[1]["w"], exact, atol=close)


def test_less_variance_than_the_score_function_under_the_same_baseline():
    graph = LAWS["layer"]()
    variances = [
        sum(g.var(0).sum() for g in Sampler(graph, {"b": e})(20_000, seed=3)[1].values())
        for e in (ScoreFunction(0.3), Enumerate(units=1, baseline=0.3), Enumerate(units=2, baseline=0.3), Enumerate())
    ]
    assert variances[0] > 1.05 * variances[1] > 1.05**2 * variances[2] > variances[3]


def test_three_classes_in_a_chain_are_better_summed_in_part_than_paired():
    rng = np.random.default_rng(0)
    weights, tables = rng.normal(size=(2, 12)), rng.normal(size=(2, 12, 4))

    @ppl.model
    def model():
        h = 0.0
        for i in range(2):
            k = ppl.sample(f"k{i}", Categorical(logits=2 * ppl.param(f"a{i}", weights[i]) + h))
            g = ppl.constant(tables[i])[k]
            h = h + 0.2 * g.sum()
            ppl.cost(f"c{i}", np.tanh(g + h).sum())

    graph = Graph(model, arrays(a0=weights[0], a1=weights[1]))
    part, pair = (
        sum(g.var(0).sum() for g in Sampler(graph, {"k*": e})(4000, seed=1)[1].values())
        for e in (Enumerate(categories=4), CategoricalDisARM())
    )
    assert part < 0.3 * pair  # five evaluations against two


@pytest.mark.parametrize(
    ("law", "node", "estimator", "why"),
    [
        ("normal", "z", Enumerate(units=1), "no units with finitely many"),
        ("layer", "b", Enumerate(units=3), "3 units in all, not more than units=3: name Enumerate"),
        ("layer", "b", Enumerate(units=2, budget=3), "4 joint values exceed the budget of 3"),
        ("layer", "b", Enumerate(units=1, baseline="leave_one_out"), "particles >= 2"),
        ("layer", "b", Enumerate(categories=1), "needs categories"),
        ("one_hot", "x", Enumerate(categories=3), "3 categories in all"),
        ("one_hot_pair", "x", Enumerate(categories=1), "2 units"),
        ("coupled_rows", "b", Enumerate(units=1), "couples its rows"),
    ],
)
def test_what_has_no_such_part_is_refused(law, node, estimator, why):
    with pytest.raises(EstimatorError, match=why):
        LAWS[law]().compile({node: estimator}).prepare()


@pytest.mark.parametrize(
    "options",
    [{"units": 1, "categories": 1}, {"units": 0}, {"categories": 1.5}, {"units": 1, "baseline": "optimal"}],
)
def test_options_are_checked(options):
    with pytest.raises(EstimatorError, match=r"Enumerate|unknown baseline"):
        Enumerate(**options)


def test_a_probability_at_its_edge_that_a_parameter_moves_is_refused():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(probs=ppl.param("p", np.array([0.5, 1.0]), constraint=None)))
        ppl.cost("loss", b.sum() + Normal(0.0, 1.0).log_prob(b[0] * b[1]))

    program = ppl.compile(model, {"b": Enumerate(units=1)})
    with pytest.raises(ppl.errors.ParameterError, match="never drawn"):
        program.step(program.init(0))
