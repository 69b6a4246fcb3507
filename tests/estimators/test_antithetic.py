"""Coupled estimators: single samples against the hand-derived formulas, variances against closed forms, their cost.

Single samples agree to 1e-10 on the same noise. Variances agree within 5 standard errors of a sample variance, which
are taken from the fourth central moment."""

import re

import numpy as np
import pytest
from scipy.special import expit, ndtri

import ppl
from ppl import Bernoulli, Categorical, Normal, OneHotCategorical
from ppl.compiler.surrogate.variants import build_gradient
from ppl.errors import EstimatorError
from ppl.estimators import (
    ARM,
    CategoricalDisARM,
    DisARM,
    MeasureValued,
    ScoreFunction,
    categorical_disarm,
    measure_valued,
)
from ppl.estimators.base import CONDITIONAL_PURPOSE
from ppl.estimators.categorical_disarm import StickBreakingDecisions
from ppl.ir import ops
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from tests.estimators.test_single_sample import CLASSES, SEEDS, TOL, f, g, run, softmax, toy, uniforms
from tests.helpers.law_graphs import LAWS, TARGET
from tests.helpers.laws import Graph, Sampler, arrays

LOGITS = np.array([0.5, -0.4, 0.2])


def layer_cost(b):
    return (b @ np.array([1.0, 0.7, -0.5]) - 0.4) ** 2


# --- binary pairs -------------------------------------------------------------------------------


def binary_pair(a, u):
    return (u > expit(-a)).astype(float), (1 - u > expit(-a)).astype(float)


@pytest.mark.parametrize("seed", SEEDS)
def test_disarm_of_a_layer(seed):
    b, other = binary_pair(LOGITS, uniforms("b", 3, seed))
    sign = np.where(other == 1, -1.0, 1.0) * (b != other)
    expected = 0.5 * (layer_cost(b) - layer_cost(other)) * sign * expit(np.abs(LOGITS))
    loss, grads, aux = run(LAWS["layer"](), {"b": DisARM()}, seed)
    np.testing.assert_allclose(loss, layer_cost(b), **TOL)
    np.testing.assert_allclose(grads["logits"], expected, **TOL)
    assert aux == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_arm_of_a_layer(seed):
    """The two values as Yin & Zhou write them: 1[u > sigmoid(-a)] and 1[u < sigmoid(a)]."""
    u = uniforms("b", 3, seed)
    first, second = (u > expit(-LOGITS)).astype(float), (u < expit(LOGITS)).astype(float)
    loss, grads, _ = run(LAWS["layer"](), {"b": ARM()}, seed)
    np.testing.assert_allclose(loss, layer_cost(first), **TOL)
    np.testing.assert_allclose(grads["logits"], (layer_cost(first) - layer_cost(second)) * (u - 0.5), **TOL)


@pytest.mark.parametrize("estimator", [DisARM(), ARM()], ids=lambda e: e.label)
@pytest.mark.parametrize("seed", SEEDS)
def test_units_given_by_probabilities_have_the_gradient_of_the_same_logit(seed, estimator):
    graph = LAWS["bernoulli_probs"]()
    _, in_probs, _ = run(graph, {"b": estimator}, seed)

    @ppl.model
    def in_logits():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("p", 0.0)))
        ppl.cost("loss", (b - ppl.param("t", 0.2)) ** 2)

    _, expected, _ = run(Graph(in_logits, graph.params), {"b": estimator}, seed)
    for name in ("p", "t"):
        np.testing.assert_allclose(in_probs[name], expected[name], **TOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_later_unit_follows_the_antithetic_branch_on_the_trunks_noise(seed):
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))
        c = ppl.sample("c", Bernoulli(logits=ppl.param("w", 0.0) * b - 0.3))
        ppl.cost("loss", (c - TARGET) ** 2 + 0.2 * b)

    b, other = binary_pair(0.3, uniforms("b", 1, seed)[0])
    v, w = uniforms("c", 1, seed)[0], 1.4
    cost = [f(float(v > expit(0.3 - w * x))) + 0.2 * x for x in (b, other)]
    _, grads, _ = run(Graph(model, arrays(a=0.3, w=w)), {"b": DisARM(), "c": ScoreFunction()}, seed)
    np.testing.assert_allclose(grads["a"], 0.5 * (cost[0] - cost[1]) * (b - other) * expit(0.3), **TOL)
    q, c = expit(w * b - 0.3), float(v > expit(0.3 - w * b))
    np.testing.assert_allclose(grads["w"], cost[0] * (c - q) * b, **TOL)


# --- classes ------------------------------------------------------------------------------------


def stick_pair(pi, k, w):
    """Class of the partner and the gradient's factor in the log-odds of every decision (Dong et al. 2021)."""
    q = pi / np.cumsum(pi[::-1])[::-1]
    v = np.where(np.arange(3) == k, 1 - q + w * q, np.where(np.arange(3) < k, w * (1 - q), w))
    b, other = (v > 1 - q).astype(float), (1 - v > 1 - q).astype(float)
    b[2] = other[2] = 1.0
    assert np.argmax(b) == k
    j = int(np.argmax(other))
    c = np.zeros(2)
    for i in range(2):
        if i <= k and i <= j:
            c[i] = (-1) ** other[i] * (b[i] != other[i]) * max(q[i], 1 - q[i])
        elif i <= k:
            c[i] = b[i] - q[i]
        elif i <= j:
            c[i] = q[i] - other[i]
    return j, c


def log_odds_jacobian(pi):
    """d (log pi_k - log sum_{j > k} pi_j) / d logits, one row a decision."""
    return np.array([np.eye(3)[k] - np.where(np.arange(3) > k, pi, 0.0) / pi[k + 1 :].sum() for k in range(2)])


@pytest.mark.parametrize("name", ["one_hot", "categorical"])
@pytest.mark.parametrize("seed", SEEDS)
def test_categorical_disarm(seed, name):
    graph, node = LAWS[name](), "x" if name == "one_hot" else "k"
    logits = graph.params["logits"]
    pi = softmax(logits)
    by_gumbel = int(np.argmax(logits - np.log(-np.log(uniforms(node, 3, seed)))))
    by_inversion = int(np.searchsorted(np.cumsum(pi), uniforms(node, 1, seed)[0]))
    k = by_gumbel if name == "one_hot" else by_inversion
    j, c = stick_pair(pi, k, uniforms(node, 3, seed, CONDITIONAL_PURPOSE))
    loss, grads, _ = run(graph, {node: CategoricalDisARM()}, seed)
    costs = g(np.eye(3))
    np.testing.assert_allclose(loss, costs[k], **TOL)
    np.testing.assert_allclose(grads["logits"], 0.5 * (costs[k] - costs[j]) * c @ log_odds_jacobian(pi), **TOL)
    if name == "categorical":
        np.testing.assert_allclose(grads["table"], 2 * (CLASSES[k] - 0.4) * np.eye(3)[k], **TOL)


def test_two_classes_reduce_to_a_binary_pair():
    """With K = 2 the estimate has DisARM's variance: nothing is lost by going through sticks."""

    @ppl.model
    def model():
        x = ppl.sample("x", OneHotCategorical(logits=ppl.param("logits", np.zeros(2))))
        ppl.cost("loss", (x[1] - TARGET) ** 2)

    _, grads = Sampler(Graph(model, arrays(logits=[0.0, 0.4])), {"x": CategoricalDisARM()})(100_000, seed=1)
    assert_variance(grads["logits"][:, 1], disarm(expit(0.4), TARGET))


def test_classes_of_probability_zero_have_finite_gradients():
    @ppl.model
    def model():
        logits = ppl.param("l", np.zeros(2))
        k = ppl.sample("k", Categorical(logits=np.concatenate([logits, np.array([-np.inf])])))
        ppl.cost("loss", ppl.constant(CLASSES)[k])

    losses, grads = Sampler(Graph(model, arrays(l=[0.3, -0.2])), {"k": CategoricalDisARM()})(20_000, seed=1)
    p = expit(0.5)
    exact = p * (1 - p) * (CLASSES[0] - CLASSES[1]) * np.array([1, -1])
    assert np.isfinite(grads["l"]).all() and losses.max() < 1.0
    np.testing.assert_allclose(grads["l"].mean(0), exact, atol=5 * grads["l"].std() / np.sqrt(20_000))


# --- measure-valued pairs -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_measure_valued_normal(seed):
    graph = LAWS["normal"]()
    loc, scale = graph.params["loc"], np.exp(graph.params["log_scale"])
    n = ndtri(uniforms("z", 1, seed)[0])
    rayleigh = np.sqrt(-2 * np.log(1 - uniforms("z", 1, seed, CONDITIONAL_PURPOSE)[0]))
    maxwell = np.sign(n) * np.sqrt(n**2 - 2 * np.log(1 - uniforms("z", 1, seed, CONDITIONAL_PURPOSE + 1)[0]))

    def cost(z):
        return np.sin(z) + 0.25 * (z - 0.5) ** 2

    loss, grads, _ = run(graph, {"z": MeasureValued()}, seed)
    np.testing.assert_allclose(loss, cost(loc + scale * n), **TOL)
    pair = cost(loc + scale * rayleigh) - cost(loc - scale * rayleigh)
    np.testing.assert_allclose(grads["loc"], pair / (scale * np.sqrt(2 * np.pi)), **TOL)
    pair = cost(loc + scale * maxwell) - cost(loc + scale * n)
    np.testing.assert_allclose(grads["log_scale"], pair / scale * scale, **TOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_measure_valued_bernoulli_is_the_difference_per_unit(seed):
    b = (uniforms("b", 3, seed) > expit(-LOGITS)).astype(float)
    expected = []
    for i, p in enumerate(expit(LOGITS)):
        one, zero = b.copy(), b.copy()
        one[i], zero[i] = 1.0, 0.0
        expected.append(p * (1 - p) * (layer_cost(one) - layer_cost(zero)))
    _, grads, _ = run(LAWS["layer"](), {"b": MeasureValued()}, seed)
    np.testing.assert_allclose(grads["logits"], expected, **TOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_measure_valued_exponential(seed):
    rate = np.exp(0.3)
    x, more = (-np.log(1 - uniforms("z", 1, seed, purpose)[0]) / rate for purpose in (0, CONDITIONAL_PURPOSE))

    def cost(z):
        return np.tanh(z) + 0.2 * z

    _, grads, _ = run(LAWS["exponential"](), {"z": MeasureValued()}, seed)
    np.testing.assert_allclose(grads["rate"], cost(x) - cost(x + more), **TOL)


@pytest.mark.parametrize(("name", "node"), [("one_hot", "x"), ("categorical", "k")])
def test_measure_valued_classes_are_exact_for_one_unit(name, node):
    graph = LAWS[name]()
    pi = softmax(graph.params["logits"])
    costs = g(np.eye(3))
    _, grads, _ = run(graph, {node: MeasureValued()}, 3)
    np.testing.assert_allclose(grads["logits"], pi * (costs - pi @ costs), **TOL)


def test_a_parameter_without_a_pair_is_refused(monkeypatch):
    rule = measure_valued.PAIR_RULES[Normal]
    monkeypatch.setitem(measure_valued.PAIR_RULES, Normal, rule._replace(sides=lambda dist: {"loc": 2}))
    with pytest.raises(EstimatorError, match="no measure-valued pair for the scale of Normal"):
        LAWS["normal"]().compile(MeasureValued())
    assert LAWS["jump"]().compile(MeasureValued()).explain().copies == 3


def test_a_node_that_needs_no_gradient_gets_no_pairs():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=0.3))
        ppl.cost("loss", (b - ppl.param("t", 0.0)) ** 2)

    assert copies(Graph(model, arrays(t=0.2)), {"b": MeasureValued()}) == 1


def test_measure_valued_refusals():
    @ppl.model
    def wide():
        z = ppl.sample("z", Normal(ppl.param("m", np.zeros(17)), 1.0))
        ppl.cost("loss", np.sum(z**2))

    with pytest.raises(EstimatorError, match="17 units need a pair each; at most max_units=16"):
        ppl.compile(wide, MeasureValued())
    assert ppl.compile(wide, MeasureValued(max_units=17)).explain().copies == 1 + 2 * 17
    with pytest.raises(EstimatorError, match="a cost couples its rows"):
        LAWS["coupled_rows"]().compile(MeasureValued())
    with pytest.raises(EstimatorError, match="no measure-valued pair for the concentration of Gamma"):
        LAWS["gamma"]().compile(MeasureValued())
    for name in ("uniform", "laplace"):
        with pytest.raises(EstimatorError, match="no measure-valued pairs"):
            LAWS[name]().compile(MeasureValued())


# --- variances in closed form -------------------------------------------------------------------


def score(p, t):
    return p * (1 - p) * ((1 - p) * (1 - t) ** 4 + p * t**4) - mean_square(p, t)


def arm(p, t):
    m = max(p, 1 - p)
    return (1 - 2 * t) ** 2 * 2 / 3 * (1 / 8 - (m - 0.5) ** 3) - mean_square(p, t)


def disarm(p, t):
    m = max(p, 1 - p)
    return 0.5 * (1 - 2 * t) ** 2 * m**2 * (1 - m) - mean_square(p, t)


def leave_one_out(p, t):
    return 0.5 * (1 - 2 * t) ** 2 * p * (1 - p) - mean_square(p, t)


def mean_square(p, t):
    """The square of the exact gradient p (1 - p) (1 - 2 t)."""
    return (p * (1 - p) * (1 - 2 * t)) ** 2


def assert_variance(samples, expected):
    n, centred = len(samples), samples - samples.mean()
    variance = np.mean(centred**2)
    error = np.sqrt(max(np.mean(centred**4) - variance**2, 0.0) / n)
    assert abs(variance - expected) <= 5 * error + 2e-4 * expected + 1e-12, (variance, expected, error)


CLOSED_FORMS = {
    "score function": (ScoreFunction(), score, 1),
    "ARM": (ARM(), arm, 1),
    "DisARM": (DisARM(), disarm, 1),
    "leave-one-out, two particles": (ScoreFunction("leave_one_out"), leave_one_out, 2),
}


@pytest.mark.parametrize("p", [0.05, 0.2, 0.35, 0.5, 0.65, 0.9])
@pytest.mark.parametrize("label", CLOSED_FORMS)
def test_variances_of_the_quadratic_cost_in_closed_form(label, p):
    estimator, expected, particles = CLOSED_FORMS[label]
    toy_graph = LAWS["toy"]()
    graph = Graph(toy_graph.objective, arrays(logit=np.log(p / (1 - p))), loss=toy_graph.loss)
    _, grads = Sampler(graph, {"b": estimator}, particles=particles)(50_000, seed=3)
    assert_variance(grads["logit"], expected(p, TARGET))


def test_disarm_is_never_worse_than_arm_and_leave_one_out():
    for p in np.linspace(0.01, 0.99, 99):
        assert disarm(p, TARGET) <= min(arm(p, TARGET), leave_one_out(p, TARGET)) + 1e-15


# --- cost ---------------------------------------------------------------------------------------


def copies(graph, estimators):
    compiled = graph.compile(estimators).prepare()
    found = build_gradient(compiled.graph, compiled.plan.estimators).copies
    assert max(found.values(), default=1) == compiled.plan.copies
    return compiled.plan.copies


@pytest.mark.parametrize(
    ("law", "estimator", "expected"),
    [("layer", DisARM(), 2), ("layer", ARM(), 2), ("two_layers", DisARM(), 3), ("three_layers", DisARM(), 4),
     ("one_hot", CategoricalDisARM(), 2), ("categorical", CategoricalDisARM(), 2), ("layer", MeasureValued(), 4),
     ("normal", MeasureValued(), 4), ("jump", MeasureValued(), 3), ("exponential", MeasureValued(), 2),
     ("gamma_rates", MeasureValued(), 3), ("poisson", MeasureValued(), 2),
     ("one_hot", MeasureValued(), 3), ("three_layers", MeasureValued(), 4)],
)  # fmt: skip
def test_the_plan_and_the_expansion_agree_on_the_copies(law, estimator, expected):
    assert copies(LAWS[law](), estimator) == expected


def test_both_copies_of_a_disarm_step_run_as_one_batch():
    """As many kernels and products as a score function has: the branch axis makes them longer, not more."""
    x = (np.random.default_rng(0).random((8, 96)) < 0.5).astype(np.float32)

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            h = ppl.sample("h", Bernoulli(logits=ppl.dense("encoder", x, 64)))
            ppl.cost("loss", np.sum((ppl.dense("decoder", h, 96) - x) ** 2))

    sources = {e.label: ppl.compile(model, e, data=x).source for e in (ScoreFunction(), DisARM())}
    for pattern, count in ((r"def rows_\d+_kernel_", 2), (r"def \w+_kernel_", 3), (r"gemm_f32\(", 4)):
        assert {k: len(re.findall(pattern, s)) for k, s in sources.items()} == dict.fromkeys(sources, count), pattern


def test_an_antithetic_step_keeps_no_state():
    assert toy(DisARM(), 0)[2] == toy(ARM(), 0)[2] == {}


def test_running_sums_of_many_classes_are_those_of_the_product(monkeypatch):
    p = np.random.default_rng(0).dirichlet(np.ones(7), size=3)
    c = np.random.default_rng(1).normal(size=(3, 7))

    def sums():
        sticks = StickBreakingDecisions(ops.const(p), ops.const(np.array([0, 3, 6])))
        return evaluate([sticks.after, sticks.in_log_probs(ops.const(c))], Env())

    wanted = sums()
    monkeypatch.setattr(categorical_disarm, "CLASSES_MULTIPLIED", 1)
    for got, exact in zip(sums(), wanted, strict=True):
        np.testing.assert_allclose(got, exact, rtol=1e-13, atol=1e-15)
