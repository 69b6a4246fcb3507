"""Learned baselines and control variates: single samples by hand, their training, and what must not leak.

Gradients of the second moment in an auxiliary variable are compared with central differences of the squared
estimate on the same noise."""

import numpy as np
import pytest
from scipy.special import expit, logit, ndtri

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import EstimatorError
from ppl.estimators import Pathwise, Rebar, Relax, ScoreFunction
from ppl.estimators.base import CONDITIONAL_PURPOSE
from ppl.estimators.baselines import DECAY
from tests.estimators.test_single_sample import LOGIT, SEEDS, TOL, P, df, draw, f, rebar_parts, run, toy, uniforms
from tests.helpers.law_graphs import LAWS
from tests.helpers.laws import Graph, Sampler, arrays

WIDTH = 3

V = np.array([[0.4, -0.7, 1.1], [0.3, 0.6, -0.2]])

C = np.array([0.1, -0.3, 0.2])

W = np.array([0.5, -0.8, 0.3])

LEARNED = {"b/network.context": V, "b/network.bias": C, "b/network.output": W}

WEIGHTS = {**LEARNED, "b/network.value": V[:1], "b/network.context": V[1:]}


def adam(start, slope, rate=0.01):
    """The first Adam step."""
    return start - rate * slope / (np.abs(slope) + 1e-12)


def slopes(estimate, start, step=1e-5):
    """Central differences of the squared estimate in every entry of every variable of `start`."""
    out = {}
    for name, value in start.items():
        out[name] = np.zeros_like(value)
        for i in np.ndindex(value.shape):
            high, low = (value.copy() for _ in range(2))
            high[i] += step
            low[i] -= step
            squares = [np.sum(estimate({**start, name: v}) ** 2) for v in (high, low)]
            out[name][i] = (squares[0] - squares[1]) / (2 * step)
    return out


# --- temperature --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_rebar_temperature_follows_the_second_moment(seed):
    u, w = uniforms("b", 1, seed)[0], uniforms("b", 1, seed, CONDITIONAL_PURPOSE)[0]

    def estimate(aux):
        _, a_part, b_part = rebar_parts(LOGIT, u, w, np.exp(aux["b/log_temperature"]), f, df)
        return a_part + 0.8 * b_part

    start = {"b/log_temperature": np.array(-0.4)}
    _, grad, aux = toy(Rebar(adapt_temperature=True), seed, aux={**start, "b/eta": 0.8})
    np.testing.assert_allclose(grad, estimate(start), **TOL)
    slope = slopes(estimate, start)["b/log_temperature"]
    np.testing.assert_allclose(aux["b/log_temperature.mean"], 0.1 * slope, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(aux["b/log_temperature"], adam(-0.4, slope), rtol=1e-5)


def test_the_temperature_starts_at_its_option():
    program = ppl.compile(LAWS["toy"]().objective, {"b": Rebar(temperature=0.3, adapt_temperature=True)})
    np.testing.assert_allclose(program.init(0).aux["b/log_temperature"], np.log(0.3), rtol=1e-6)


def test_a_trained_temperature_cannot_also_be_a_run_time_scalar():
    for estimator in (Rebar, Relax):
        with pytest.raises(EstimatorError, match="not both"):
            estimator(temperature=ppl.hyper("tau", 1.0), adapt_temperature=True)


def test_later_units_are_relaxed_at_the_trained_temperature():
    """The second moment of the first layer depends on its temperature through the second layer too."""
    graph = LAWS["two_layers"]()
    estimators = {"b1": Rebar(adapt_temperature=True), "b2": ScoreFunction()}
    start = {"b1/log_temperature": np.array(-0.5)}
    aux = run(graph, estimators, 3, aux=start)[2]

    def estimate(aux):
        return run(graph, estimators, 3, aux=aux)[1]["a"]

    slope = slopes(estimate, start)["b1/log_temperature"]
    np.testing.assert_allclose(aux["b1/log_temperature.mean"], 0.1 * slope, rtol=1e-6)
    low, high = (estimate({"b1/log_temperature": t}) for t in (-0.5, 0.5))
    assert np.abs(low - high).max() > 1e-3


# --- learned and optimal baselines --------------------------------------------------------------


def test_learned_baseline_and_its_regression():
    """Features are the stopped logit and the row's x; the loss is the mean squared error over rows."""
    graph = LAWS["rows"]()
    x, a = graph.data[0], graph.params["w"] * graph.data[0] + graph.params["c"]
    b = (uniforms("b", 5, 3) > expit(-a)).astype(float)
    cost, score = (b - 0.5 * x) ** 2, b - expit(a)
    features = np.stack([a, x], 1)
    hidden = np.tanh(features @ V + C)
    missed = cost - 0.4 - hidden @ W
    start = {**LEARNED, "b/baseline": 0.4}
    _, grads, aux = run(graph, {"b": ScoreFunction("learned", width=WIDTH)}, 3, aux=start)
    np.testing.assert_allclose(grads["c"], 4 * missed @ score, **TOL)
    np.testing.assert_allclose(grads["w"], 4 * (missed * score) @ x, **TOL)
    centre = DECAY * 0.4 + (1 - DECAY) * np.mean(cost - hidden @ W)
    np.testing.assert_allclose(aux["b/baseline"], centre, **TOL)
    back = -2 * missed[:, None] * (W * (1 - hidden**2)) / 5
    expected = {"output": -2 * missed @ hidden / 5, "bias": back.sum(0), "context": features.T @ back}
    for key, slope in expected.items():
        np.testing.assert_allclose(aux[f"b/network.{key}.mean"], 0.1 * slope, **TOL)
        np.testing.assert_allclose(aux[f"b/network.{key}"], adam(LEARNED[f"b/network.{key}"], slope), rtol=1e-8)


@pytest.mark.parametrize("particles", [2, 3, 5])
def test_optimal_baseline_is_the_weighted_mean_of_the_other_particles(particles):
    graph = LAWS["normal"]()
    scale = np.exp(graph.params["log_scale"])
    eps = ndtri(uniforms("z", particles, 2))
    z = graph.params["loc"] + scale * eps
    cost = np.sin(z) + 0.25 * (z - 0.5) ** 2
    square = (eps**2 + (eps**2 - 1) ** 2) / scale**2
    others = [np.delete(np.arange(particles), k) for k in range(particles)]
    advantage = cost - np.array([square[o] @ cost[o] / square[o].sum() for o in others])
    _, grads, _ = run(graph, {"z": ScoreFunction("optimal")}, 2, particles=particles)
    np.testing.assert_allclose(grads["loc"], np.mean(advantage * eps) / scale, **TOL)
    np.testing.assert_allclose(grads["log_scale"], np.mean(advantage * (eps**2 - 1)), **TOL)


def test_optimal_baseline_beats_leave_one_out_where_the_score_is_skewed():
    """Rare units: the optimal constant is near the cost of the rare value, not near the mean cost."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", -2.0)))
        ppl.cost("loss", 1.0 + 5.0 * b)

    graph = Graph(model, arrays(logit=-2.0))
    optimal, plain = (Sampler(graph, {"b": ScoreFunction(b)}, particles=64)(4_000, 1)[1]["logit"].var()
                      for b in ("optimal", "leave_one_out"))  # fmt: skip
    assert optimal < 0.5 * plain


def test_optimal_baseline_needs_two_particles():
    with pytest.raises(EstimatorError, match="particles >= 2"):
        LAWS["toy"]().compile({"b": ScoreFunction("optimal")}).prepare()


# --- RELAX --------------------------------------------------------------------------------------


def relax_estimate(aux, u, w, temperature, black_box=False):
    """[f(b) - c(z~)] score + c'(z) ds - c'(z~) dt for the toy, its network on (relaxed value, logit)."""
    weight, context, bias, output = (aux[f"b/network.{k}"] for k in ("value", "context", "bias", "output"))

    def cost(x):
        return np.tanh(weight[0] * x + context[0] * LOGIT + bias) @ output + (0.0 if black_box else f(x))

    def slope(x):
        hidden = np.tanh(weight[0] * x + context[0] * LOGIT + bias)
        return (weight[0] * (1 - hidden**2)) @ output + (0.0 if black_box else df(x))

    b, _, part = rebar_parts(LOGIT, u, w, temperature, cost, slope)
    return f(b) * (b - P) + part


@pytest.mark.parametrize("seed", SEEDS)
def test_relax_bernoulli_and_the_training_of_its_network(seed):
    u, w = uniforms("b", 1, seed)[0], uniforms("b", 1, seed, CONDITIONAL_PURPOSE)[0]
    start = {**WEIGHTS, "b/log_temperature": np.array(-0.3)}

    def estimate(aux):
        return relax_estimate(aux, u, w, np.exp(aux["b/log_temperature"]))

    loss, grad, aux = toy(Relax(width=WIDTH, adapt_temperature=True), seed, aux=start)
    np.testing.assert_allclose(loss, f(draw(u)), **TOL)
    np.testing.assert_allclose(grad, estimate(start), **TOL)
    for name, slope in slopes(estimate, start).items():
        np.testing.assert_allclose(aux[f"{name}.mean"], 0.1 * slope, rtol=1e-6, atol=1e-9, err_msg=name)


def _black_box_toy():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.4)))
        ppl.cost("loss", np.where(b > 0.5, 0.49, 0.09))

    return Graph(model, arrays(logit=0.4))


@pytest.mark.parametrize("seed", SEEDS)
def test_relax_of_a_black_box_is_the_network_alone(seed):
    u, w = uniforms("b", 1, seed)[0], uniforms("b", 1, seed, CONDITIONAL_PURPOSE)[0]
    loss, grads, aux = run(_black_box_toy(), {"b": Relax(width=WIDTH)}, seed, aux=WEIGHTS)

    def estimate(aux):
        return relax_estimate(aux, u, w, 0.5, black_box=True)

    np.testing.assert_allclose(loss, f(draw(u)), **TOL)
    np.testing.assert_allclose(grads["logit"], estimate(WEIGHTS), **TOL)
    for name, slope in slopes(estimate, WEIGHTS).items():
        np.testing.assert_allclose(aux[f"{name}.mean"], 0.1 * slope, rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("law", ["threshold", "black_box"])
def test_rebar_refuses_black_boxes_and_relax_spends_no_copies_on_them(law):
    graph = LAWS[law]()
    with pytest.raises(EstimatorError, match="jump"):
        graph.compile({"b": Rebar()}).prepare()
    plan = graph.compile({"b": Relax()}).explain(*graph.data)
    assert plan["b"].copies == plan.copies == 1
    assert "network alone" in plan["b"].reason


def test_relax_needs_a_relaxable_node():
    with pytest.raises(EstimatorError, match="OneHotCategorical"):
        LAWS["categorical"]().compile({"k": Relax()}).prepare()


@pytest.mark.parametrize("estimator", [Relax(width=WIDTH), Relax(width=WIDTH, adapt_temperature=True),
                                       Rebar(adapt_temperature=True), ScoreFunction("learned", width=WIDTH)],
                         ids=["relax", "relax-temperature", "rebar-temperature", "learned"])  # fmt: skip
def test_no_control_variate_leaks_into_later_parameters(estimator):
    """Gradients of the cost's own parameter and of the second layer are those of the primal, sample by sample."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("w", 0.9)))
        c = ppl.sample("c", Bernoulli(logits=ppl.param("v", 0.5) * b))
        ppl.cost("loss", (c + 0.5 * b - ppl.param("t", 0.2)) ** 2)

    graph = Graph(model, arrays(w=0.9, v=0.5, t=0.2))
    aux = {} if isinstance(estimator, Rebar) else {"b/network.output": 7.0}
    wild = Sampler(graph, {"b": estimator, "c": ScoreFunction()}, aux)(300, seed=4)[1]
    plain = Sampler(graph, {"b": ScoreFunction(), "c": ScoreFunction()})(300, seed=4)[1]
    for name in ("t", "v"):
        np.testing.assert_allclose(wild[name], plain[name], atol=1e-12)
    assert np.abs(wild["w"] - plain["w"]).max() > 0.1


def test_dropping_the_dependence_of_the_conditional_sample_would_be_seen():
    """With a steep network, c'(z~) dz~/dtheta carries a mean that no other term makes up for."""
    aux = {**WEIGHTS, "b/network.output": 3.0 * W}
    u, w = uniforms("b", 40_000, 1), uniforms("b", 40_000, 1, CONDITIONAL_PURPOSE)
    whole = np.array([relax_estimate(aux, *pair, 0.5) for pair in zip(u, w, strict=True)])
    exact = P * (1 - P) * 0.4
    assert abs(whole.mean() - exact) < 5 * whole.std() / 200
    dropped = whole + np.array([_through_conditional(aux, *pair) for pair in zip(u, w, strict=True)])
    assert abs(dropped.mean() - exact) > 20 * dropped.std() / 200


def _through_conditional(aux, u, w):
    """c'(z~) dz~/dtheta."""
    weight, context, bias, output = (aux[f"b/network.{k}"] for k in ("value", "context", "bias", "output"))
    b = u > 1 - P
    v = (1 - P) + w * P if b else w * (1 - P)
    t = expit((LOGIT + logit(v)) / 0.5)
    slope = 1 + P * (1 - P) * (w - 1 if b else -w) / (v * (1 - v))
    hidden = np.tanh(weight[0] * t + context[0] * LOGIT + bias)
    return ((weight[0] * (1 - hidden**2)) @ output + df(t)) * t * (1 - t) / 0.5 * slope


# --- auxiliary variables with shapes ------------------------------------------------------------


def test_the_start_of_a_network_is_keyed_by_seed_and_name():
    @ppl.model
    def one():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", np.zeros(2))))
        ppl.cost("loss", (b[0] - b[1]) ** 2)

    @ppl.model
    def two():
        z = ppl.sample("z", Normal(ppl.param("m", 0.0), 1.0))
        c = ppl.sample("c", Bernoulli(logits=ppl.param("d", 0.0)))
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", np.zeros(2))))
        ppl.cost("loss", (b[0] - b[1]) ** 2 + z * c)

    learned = ScoreFunction("learned", width=4)
    small = ppl.compile(one, {"b": learned})
    large = ppl.compile(two, {"b": learned, "c": learned, "z": Pathwise()})
    key = "b/network.context"
    start = small.init(3).aux[key]
    assert start.shape == (2, 4)
    np.testing.assert_array_equal(start, large.init(3).aux[key])
    assert np.abs(start - small.init(4).aux[key]).min() > 0
    assert large.init(3).aux["c/network.context"].shape == (1, 4)
    assert large.init(3).aux["b/network.context.square"].shape == (2, 4)


@pytest.mark.parametrize("estimator", [Relax(), ScoreFunction("learned"), Rebar(adapt_temperature=True)],
                         ids=["relax", "learned", "rebar"])  # fmt: skip
def test_states_with_networks_are_saved_and_trained(tmp_path, estimator):
    program = ppl.compile(LAWS["layer"]().objective, {"b": estimator})
    fit = ppl.fit(program, steps=30, optimizer=ppl.optim.Adam(1e-2), seed=1, progress=False)
    fit.state.save(tmp_path / "state.npz")
    loaded = ppl.load_state(tmp_path / "state.npz")
    for name, value in fit.state.aux.items():
        assert np.all(np.isfinite(value))
        np.testing.assert_array_equal(value, loaded.aux[name])
    start = program.init(1).aux
    moved = [n for n in start if "." not in n.removeprefix("b/network.") and np.any(start[n] != fit.state.aux[n])]
    assert moved
    assert program.step(loaded)[0] == program.step(fit.state)[0]
