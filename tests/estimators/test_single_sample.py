"""Single-sample gradients equal the hand-derived formula to 1e-10, on the same noise: what an average
may hide.

The noise comes from the reference `ppl.ir.reference.noise` by node name; the formulas are those of the project's
notes, in NumPy."""

import numpy as np
import pytest
from scipy.special import expit, logit, ndtri
from scipy.stats import norm

import ppl
from ppl import Bernoulli, Normal, OneHotCategorical
from ppl.compiler.surrogate.variants import build_gradient
from ppl.estimators import Enumerate, Pathwise, Rebar, Relaxed, ScoreFunction, StraightThrough
from ppl.estimators.base import CONDITIONAL_PURPOSE
from ppl.estimators.baselines import DECAY
from ppl.ir.reference import noise
from ppl.ir.reference.interpret import evaluate
from tests.helpers.law_graphs import LAWS, TARGET, X3
from tests.helpers.laws import Graph, Sampler, arrays, make_env

SEEDS = range(5)

LOGIT = 0.4

P = expit(LOGIT)

TOL = {"rtol": 1e-10, "atol": 1e-10}


def uniforms(name: str, count: int, seed: int, purpose: int = 0, step: int = 0) -> np.ndarray:
    """The first `count` uniforms of a node."""
    key = noise.mix(seed, noise.node_hash(name))
    return noise.uniforms(np.arange(count), int(key), 0, step, purpose, np.float64)


def run(graph: Graph, estimators, seed: int, aux=None, **options):
    """(loss, grads, new auxiliaries) of one draw."""
    compiled = graph.compile(estimators, **options).prepare()
    variant = build_gradient(compiled.graph, compiled.plan.estimators)
    sizes = {"particles": options.get("particles", 1)}
    env = make_env(compiled, graph, variant, aux, sizes=sizes, seed=seed)
    outputs = {**variant.scalars, **{f"grad {k}": v for k, v in variant.grads.items()}}
    found = evaluate([*outputs.values(), *variant.aux.values()], env)
    named = dict(zip([*outputs, *(f"aux {k}" for k in variant.aux)], found, strict=True))
    grads = {k: named[f"grad {k}"] for k in variant.grads}
    return named["loss"], grads, {k: named[f"aux {k}"] for k in variant.aux}


def f(x):
    return (x - TARGET) ** 2


def df(x):
    return 2 * (x - TARGET)


def draw(u):
    return (u > 1 - P).astype(float)


def toy(estimator, seed, **options):
    loss, grads, aux = run(LAWS["toy"](), {"b": estimator}, seed, **options)
    return loss, grads["logit"], aux


# --- score function -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_score_function(seed):
    b = draw(uniforms("b", 1, seed))[0]
    loss, grad, aux = toy(ScoreFunction(), seed)
    np.testing.assert_allclose(loss, f(b), **TOL)
    np.testing.assert_allclose(grad, f(b) * (b - P), **TOL)
    assert aux == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_moving_average_baseline_and_its_update(seed):
    b = draw(uniforms("b", 1, seed))[0]
    _, grad, aux = toy(ScoreFunction("moving_average"), seed, aux={"b/baseline": 0.25})
    np.testing.assert_allclose(grad, (f(b) - 0.25) * (b - P), **TOL)
    np.testing.assert_allclose(aux["b/baseline"], DECAY * 0.25 + (1 - DECAY) * f(b), **TOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_constant_baseline(seed):
    b = draw(uniforms("b", 1, seed))[0]
    for estimator, c in ((ScoreFunction(0.7), 0.7), (ScoreFunction(ppl.hyper("c", -0.4)), -0.4)):
        loss, grad, aux = toy(estimator, seed)
        np.testing.assert_allclose(loss, f(b), **TOL)
        np.testing.assert_allclose(grad, (f(b) - c) * (b - P), **TOL)
        assert aux == {}


def test_constant_baseline_has_the_variance_of_its_formula():
    """Var (f(b) - c) s = p (1 - p) ((f(1) - c)(1 - p) + (f(0) - c) p)^2: nothing at c = f(1)(1 - p) + f(0) p."""
    best = f(1.0) * (1 - P) + f(0.0) * P
    for c in (-0.5, 0.7, best):
        grads = Sampler(LAWS["toy"](), {"b": ScoreFunction(c)})(40_000, 3)[1]["logit"]
        exact = P * (1 - P) * (best - c) ** 2
        fourth = P * (1 - P) * (1 - 3 * P * (1 - P)) * (best - c) ** 4  # central, of a variable with two values
        error = np.sqrt((fourth - exact**2) / grads.size)
        assert abs(grads.var() - exact) <= 5 * error + 1e-12


@pytest.mark.parametrize("particles", [2, 3])
@pytest.mark.parametrize("seed", SEEDS)
def test_leave_one_out(seed, particles):
    b = draw(uniforms("b", particles, seed))
    others = (f(b).sum() - f(b)) / (particles - 1)
    loss, grad, _ = toy(ScoreFunction("leave_one_out"), seed, particles=particles)
    np.testing.assert_allclose(loss, f(b).mean(), **TOL)
    np.testing.assert_allclose(grad, np.mean((f(b) - others) * (b - P)), **TOL)


def test_moving_average_follows_the_mean_over_rows_and_particles():
    graph = LAWS["rows"]()
    x, w, c = graph.data[0], graph.params["w"], graph.params["c"]
    u = uniforms("b", 10, 3).reshape(5, 2)
    b = (u > expit(-(w * x + c))[:, None]).astype(float)
    cost = (b - 0.5 * x[:, None]) ** 2
    options = {"particles": 2, "aux": {"b/baseline": 0.4}}
    loss, grads, aux = run(graph, {"b": ScoreFunction("moving_average")}, 3, **options)
    np.testing.assert_allclose(aux["b/baseline"], DECAY * 0.4 + (1 - DECAY) * cost.mean(), **TOL)
    score = b - expit(w * x + c)[:, None]
    np.testing.assert_allclose(loss, 4 * cost.mean(1).sum(), **TOL)
    np.testing.assert_allclose(grads["c"], 4 * np.mean((cost - 0.4) * score, 1).sum(), **TOL)
    np.testing.assert_allclose(grads["w"], 4 * np.mean((cost - 0.4) * score, 1) @ x, **TOL)


# --- REBAR --------------------------------------------------------------------------------------


def rebar_parts(a, u, w, temperature, cost, slope):
    """(b, A, B) with the estimate A + eta B, for one logit and one pair of uniforms (Tucker et al. 2017)."""
    p = expit(a)
    b = float(u > 1 - p)
    z = a + logit(u)
    v = (1 - p) + w * p if b else w * (1 - p)
    given = a + logit(v)
    dv = p * (1 - p) * (w - 1 if b else -w)
    d_given = 1 + dv / (v * (1 - v))
    s, t = expit(z / temperature), expit(given / temperature)
    ds, dt = s * (1 - s) / temperature, t * (1 - t) / temperature * d_given
    return b, cost(b) * (b - p), -cost(t) * (b - p) + slope(s) * ds - slope(t) * dt


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("eta", "temperature"), [(1.0, 0.5), (0.6, 0.3)])
def test_rebar_bernoulli(seed, eta, temperature):
    u, w = uniforms("b", 1, seed)[0], uniforms("b", 1, seed, CONDITIONAL_PURPOSE)[0]
    b, a_part, b_part = rebar_parts(LOGIT, u, w, temperature, f, df)
    loss, grad, _ = toy(Rebar(temperature), seed, aux={"b/eta": eta})
    np.testing.assert_allclose(loss, f(b), **TOL)
    np.testing.assert_allclose(grad, a_part + eta * b_part, **TOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_eta_takes_an_adam_step_on_the_second_moment(seed):
    u, w = uniforms("b", 1, seed)[0], uniforms("b", 1, seed, CONDITIONAL_PURPOSE)[0]
    _, a_part, b_part = rebar_parts(LOGIT, u, w, 0.5, f, df)
    slope = 2 * (a_part + 0.7 * b_part) * b_part
    start = {"b/eta": 0.7, "b/eta.mean": 0.02, "b/eta.square": 0.003, "b/eta.count": 4.0}
    _, _, aux = toy(Rebar(), seed, aux=start)
    mean, square = 0.9 * 0.02 + 0.1 * slope, 0.999 * 0.003 + 0.001 * slope**2
    step = 0.01 * (mean / (1 - 0.9**5)) / (np.sqrt(square / (1 - 0.999**5)) + 1e-12)
    np.testing.assert_allclose(aux["b/eta.mean"], mean, **TOL)
    np.testing.assert_allclose(aux["b/eta.square"], square, **TOL)
    np.testing.assert_allclose(aux["b/eta.count"], 5.0)
    np.testing.assert_allclose(aux["b/eta"], 0.7 - step, **TOL)


def test_eta_minimises_the_row_local_second_moment():
    """Per row, the gradient with respect to that row's own logit is squared; rows are added."""
    graph = LAWS["rows"]()
    x, a = graph.data[0], graph.params["w"] * graph.data[0] + graph.params["c"]
    u, w = uniforms("b", 5, 7), uniforms("b", 5, 7, CONDITIONAL_PURPOSE)
    rows = [
        rebar_parts(a[i], u[i], w[i], 0.5, lambda b, i=i: (b - 0.5 * x[i]) ** 2, lambda b, i=i: 2 * (b - 0.5 * x[i]))
        for i in range(5)
    ]
    a_part, b_part = (4 * np.array([r[k] for r in rows]) for k in (1, 2))
    own = a_part + 0.8 * b_part
    _, grads, aux = run(graph, {"b": Rebar()}, 7, aux={"b/eta": 0.8})
    np.testing.assert_allclose(grads["c"], own.sum(), **TOL)
    np.testing.assert_allclose(grads["w"], own @ x, **TOL)
    np.testing.assert_allclose(aux["b/eta.mean"], 0.1 * np.sum(2 * own * b_part), **TOL)


def test_fixed_eta_has_no_auxiliary():
    assert toy(Rebar(adapt_eta=False), 0)[2] == {}


def test_two_rebar_layers_adapt_their_own_eta():
    """The slope of each second moment, by a central difference of the estimate in that layer's own eta."""

    @ppl.model
    def model():
        b1 = ppl.sample("b1", Bernoulli(logits=ppl.param("a", 0.0)))
        b2 = ppl.sample("b2", Bernoulli(logits=1.5 * b1 + ppl.param("c", 0.0)))
        ppl.cost("loss", (b2 - 0.2) ** 2 + 0.3 * b1)

    graph, start = Graph(model, arrays(a=0.3, c=-0.4)), {"b1/eta": 0.7, "b2/eta": 1.2}
    _, grads, aux = run(graph, Rebar(), 5, aux=start)
    for node, param in (("b1", "a"), ("b2", "c")):
        high, low = (run(graph, Rebar(), 5, aux={**start, f"{node}/eta": start[f"{node}/eta"] + d})[1][param]
                     for d in (0.5, -0.5))  # fmt: skip
        slope = 2 * grads[param] * (high - low)
        np.testing.assert_allclose(aux[f"{node}/eta.mean"], 0.1 * slope, rtol=1e-9, atol=1e-12)


CLASSES = np.array([0.1, 0.8, 1.5])


def g(x):
    return (x @ CLASSES - 0.4) ** 2


def dg(x):
    return 2 * (x @ CLASSES - 0.4) * CLASSES


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def softmax_vjp(s, v):
    return s * v - s * (s @ v)


@pytest.mark.parametrize("seed", SEEDS)
def test_rebar_one_hot(seed):
    graph, temperature, eta = LAWS["one_hot"](), 0.4, 0.7
    logits = graph.params["logits"]
    pi = softmax(logits)
    z = logits - np.log(-np.log(uniforms("x", 3, seed)))
    k = np.argmax(z)
    b, v = np.eye(3)[k], uniforms("x", 3, seed, CONDITIONAL_PURPOSE)
    rest = -np.log(v) / pi
    given = np.where(b == 1, -np.log(-np.log(v[k])), -np.log(rest - np.log(v[k])))
    d_given = np.where(b == 1, 0.0, rest / (rest - np.log(v[k])))[:, None] * (np.eye(3) - pi)
    s, t = softmax(z / temperature), softmax(given / temperature)
    grad = (g(b) - eta * g(t)) * (b - pi)
    grad = grad + eta * softmax_vjp(s, dg(s)) / temperature
    grad = grad - eta * (softmax_vjp(t, dg(t)) / temperature) @ d_given
    loss, grads, _ = run(graph, {"x": Rebar(temperature)}, seed, aux={"x/eta": eta})
    np.testing.assert_allclose(loss, g(b), **TOL)
    np.testing.assert_allclose(grads["logits"], grad, **TOL)


# --- relaxed, straight-through ------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_relaxed_bernoulli(seed, hard):
    u = uniforms("b", 1, seed)[0]
    s = expit((LOGIT + logit(u)) / 0.6)
    value = draw(u) if hard else s
    loss, grad, _ = toy(Relaxed(0.6, hard=hard), seed)
    np.testing.assert_allclose(loss, f(value), **TOL)
    np.testing.assert_allclose(grad, df(value) * s * (1 - s) / 0.6, **TOL)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_relaxed_one_hot(seed, hard):
    graph = LAWS["one_hot"]()
    z = graph.params["logits"] - np.log(-np.log(uniforms("x", 3, seed)))
    s = softmax(z / 0.6)
    value = np.eye(3)[np.argmax(z)] if hard else s
    loss, grads, _ = run(graph, {"x": Relaxed(0.6, hard=hard)}, seed)
    np.testing.assert_allclose(loss, g(value), **TOL)
    np.testing.assert_allclose(grads["logits"], softmax_vjp(s, dg(value)) / 0.6, **TOL)


NOISES = {
    "logistic": (expit, lambda a: expit(a) * expit(-a)),
    "normal": (norm.cdf, norm.pdf),
    "uniform": (lambda a: np.clip((a + 1) / 2, 0, 1), lambda a: 0.5 * (np.abs(a) < 1)),
}


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("seed", SEEDS)
def test_straight_through_backpropagates_the_density_of_the_noise(seed, kind):
    cdf, pdf = NOISES[kind]
    graph = LAWS[f"binary_units_{kind}"]()
    weight, bias = graph.params["y/0.weight"], graph.params["y/0.bias"]
    a = X3[:, None] @ weight + bias
    y = (uniforms("y/0", 6, seed).reshape(3, 2) > 1 - cdf(a)).astype(float)
    inner = y @ np.array([1.0, 2.0]) - 0.7
    da = 2 * inner[:, None] * np.array([1.0, 2.0]) * pdf(a)
    loss, grads, _ = run(graph, {"y/0": StraightThrough()}, seed)
    np.testing.assert_allclose(loss, np.sum(inner**2), **TOL)
    np.testing.assert_allclose(grads["y/0.bias"], da.sum(0), **TOL)
    np.testing.assert_allclose(grads["y/0.weight"], X3[None, :] @ da, **TOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_straight_through_one_hot(seed):
    graph = LAWS["one_hot"]()
    logits = graph.params["logits"]
    b = np.eye(3)[np.argmax(logits - np.log(-np.log(uniforms("x", 3, seed))))]
    _, grads, _ = run(graph, {"x": StraightThrough()}, seed)
    np.testing.assert_allclose(grads["logits"], softmax_vjp(softmax(logits), dg(b)), **TOL)


# --- pathwise, enumeration, mixtures ------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_pathwise_normal(seed):
    graph = LAWS["normal"]()
    scale = np.exp(graph.params["log_scale"])
    eps = ndtri(uniforms("z", 1, seed)[0])
    z = graph.params["loc"] + scale * eps
    slope = np.cos(z) + 0.5 * (z - 0.5)
    loss, grads, _ = run(graph, {"z": Pathwise()}, seed)
    np.testing.assert_allclose(loss, np.sin(z) + 0.25 * (z - 0.5) ** 2, **TOL)
    np.testing.assert_allclose(grads["loc"], slope, **TOL)
    np.testing.assert_allclose(grads["log_scale"], slope * scale * eps, **TOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_score_function_normal(seed):
    graph = LAWS["normal"]()
    eps = ndtri(uniforms("z", 1, seed)[0])
    scale = np.exp(graph.params["log_scale"])
    loss, grads, _ = run(graph, {"z": ScoreFunction()}, seed)
    np.testing.assert_allclose(grads["loc"], loss * eps / scale, **TOL)
    np.testing.assert_allclose(grads["log_scale"], loss * (eps**2 - 1), **TOL)


def test_enumerate_is_the_exact_sum():
    loss, grad, _ = toy(Enumerate(), 0)
    np.testing.assert_allclose(loss, P * f(1.0) + (1 - P) * f(0.0), **TOL)
    np.testing.assert_allclose(grad, P * (1 - P) * (f(1.0) - f(0.0)), **TOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_score_layers(seed):
    """Both layers' scores on their own downstream cost; the weight between them through the second score."""

    @ppl.model
    def model():
        b1 = ppl.sample("b1", Bernoulli(logits=ppl.param("a", 0.0)))
        ppl.cost("first", 2.0 * b1)
        b2 = ppl.sample("b2", Bernoulli(logits=ppl.param("w", 0.0) * b1 - 0.3))
        ppl.cost("second", (b2 - 0.2) ** 2)

    b1 = float(uniforms("b1", 1, seed)[0] > expit(-0.3))
    q = expit(1.4 * b1 - 0.3)
    b2 = float(uniforms("b2", 1, seed)[0] > 1 - q)
    second = (b2 - 0.2) ** 2
    _, grads, _ = run(Graph(model, arrays(a=0.3, w=1.4)), ScoreFunction(), seed)
    np.testing.assert_allclose(grads["a"], (2 * b1 + second) * (b1 - expit(0.3)), **TOL)
    np.testing.assert_allclose(grads["w"], second * (b2 - q) * b1, **TOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_score_above_pathwise_and_pathwise_above_score(seed):
    """A Normal above a Bernoulli: the path through the Normal enters the Bernoulli's score term."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("m", 0.0), 0.8))
        b = ppl.sample("b", Bernoulli(logits=2.0 * z))
        ppl.cost("loss", (b - 0.3) ** 2 + 0.5 * z * b)

    z = 0.4 + 0.8 * ndtri(uniforms("z", 1, seed)[0])
    b = float(uniforms("b", 1, seed)[0] > expit(-2 * z))
    cost = (b - 0.3) ** 2 + 0.5 * z * b
    graph = Graph(model, arrays(m=0.4))
    _, path, _ = run(graph, {"z": Pathwise(), "b": ScoreFunction()}, seed)
    np.testing.assert_allclose(path["m"], 0.5 * b + cost * (b - expit(2 * z)) * 2.0, **TOL)
    _, score, _ = run(graph, {"z": ScoreFunction(), "b": ScoreFunction()}, seed)
    np.testing.assert_allclose(score["m"], cost * (z - 0.4) / 0.64, **TOL)


@pytest.mark.parametrize("seed", SEEDS)
def test_enumerate_below_a_score_function(seed):
    """The advantage of the upper unit is the expected cost given it; the lower layer's weight is exact
    given it."""

    @ppl.model
    def model():
        b1 = ppl.sample("b1", Bernoulli(logits=ppl.param("a", 0.0)))
        b2 = ppl.sample("b2", Bernoulli(logits=ppl.param("w", 0.0) * b1 - 0.3))
        ppl.cost("loss", (b2 - 0.2) ** 2)

    b1 = float(uniforms("b1", 1, seed)[0] > expit(-0.3))
    q = expit(1.4 * b1 - 0.3)
    expected = q * 0.64 + (1 - q) * 0.04
    loss, grads, _ = run(Graph(model, arrays(a=0.3, w=1.4)), {"b1": ScoreFunction(), "b2": Enumerate()}, seed)
    np.testing.assert_allclose(loss, expected, **TOL)
    np.testing.assert_allclose(grads["a"], expected * (b1 - expit(0.3)), **TOL)
    np.testing.assert_allclose(grads["w"], 0.6 * q * (1 - q) * b1, **TOL)


def test_one_hot_score_is_the_indicator_minus_the_probabilities():
    @ppl.model
    def model():
        x = ppl.sample("x", OneHotCategorical(probs=ppl.param("p", np.full(3, 1 / 3), constraint="simplex")))
        ppl.cost("loss", x @ CLASSES)

    raw = np.array([0.2, -0.1, 0.4])
    loss, grads, _ = run(Graph(model, arrays(p=raw)), ScoreFunction(), 2)
    k = int(np.argmin(np.abs(CLASSES - loss)))
    np.testing.assert_allclose(grads["p"], loss * (np.eye(3)[k] - softmax(raw)), **TOL)


def test_the_moving_average_weighs_enumerated_states_by_their_probability():
    @ppl.model
    def model():
        e = ppl.sample("e", Bernoulli(logits=ppl.param("a", 0.0)))
        b = ppl.sample("b", Bernoulli(logits=e + ppl.param("c", 0.0)))
        ppl.cost("loss", (b - 0.3) ** 2 + e)

    estimators = {"e": Enumerate(), "b": ScoreFunction("moving_average")}
    u, p, states = uniforms("b", 1, 4)[0], expit(0.3), np.array([0.0, 1.0])
    q = expit(states - 0.2)
    b = (u > 1 - q).astype(float)
    cost, weight = (b - 0.3) ** 2 + states, np.array([1 - p, p])
    loss, grads, aux = run(Graph(model, arrays(a=0.3, c=-0.2)), estimators, 4, aux={"b/baseline": 0.5})
    np.testing.assert_allclose(loss, weight @ cost, **TOL)
    np.testing.assert_allclose(grads["c"], weight @ ((cost - 0.5) * (b - q)), **TOL)
    np.testing.assert_allclose(grads["a"], p * (1 - p) * (cost[1] - cost[0]), **TOL)
    np.testing.assert_allclose(aux["b/baseline"], DECAY * 0.5 + (1 - DECAY) * (weight @ cost), **TOL)


def test_an_optimal_baseline_outlives_scores_of_zero():
    """Poisson(2) at 2 has score 0: the weight of the only other particle may be nothing."""

    @ppl.model
    def model():
        k = ppl.sample("k", ppl.Poisson(np.exp(ppl.param("log_rate", np.log([2.0, 5.0])))))
        ppl.cost("loss", np.log1p(k.sum()))

    programs = [ppl.compile(model, ScoreFunction(baseline), particles=2) for baseline in ("optimal", "leave_one_out")]
    options = {"repeats": 500, "seed": 1, "timing": False, "backend": "interpreter"}
    found = [program.diagnose(program.init(0), **options) for program in programs]
    for name in ("mean", "variance"):
        optimal, leave = (getattr(f["log_rate"], name) for f in found)
        np.testing.assert_allclose(optimal, leave, rtol=1e-3)
