"""Exact expectations from two moments: closed forms, other estimators beside and above, refusals, diagnostics."""

import numpy as np
import pytest
from scipy.special import expit, rel_entr, softmax

import ppl
from ppl import Bernoulli, Categorical, MultivariateNormal, Normal, OneHotCategorical, Poisson
from ppl.compiler.surrogate.variants import build_rows, build_value
from ppl.errors import EstimatorError
from ppl.estimators import ARM, Analytic, Enumerate, MeasureValued, Pathwise, Rebar, ScoreFunction
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from tests.estimators.test_single_sample import run
from tests.helpers.exact import central_differences
from tests.helpers.law_graphs import LAWS, X3
from tests.helpers.laws import Graph, Sampler, arrays, assert_unbiased, make_env

X = np.array([[0.5, -1.0, 0.3], [1.2, 0.4, -0.6], [-0.7, 0.9, 0.2], [0.1, -0.3, 1.4]])

Y = np.array([0.3, 1.1, -0.8, 0.6])


def exactly(graph, estimators=None, **options):
    """No variance, and the closed form of loss and gradient."""
    plan = Analytic() if estimators is None else estimators
    losses, grads = Sampler(graph, plan, **options)(3, 1)
    np.testing.assert_allclose(losses, graph.loss(graph.params), rtol=1e-10)
    wanted = central_differences(graph.loss, graph.params)
    for name, g in grads.items():
        np.testing.assert_array_equal(g, np.broadcast_to(g[:1], g.shape))
        np.testing.assert_allclose(g[0], wanted[name], rtol=1e-6, atol=1e-7, err_msg=name)


# --- closed forms -------------------------------------------------------------------------------


def regression(kl, prior=1.3, noise=0.6):
    """Bayesian linear regression: w ~ N(0, prior^2), y ~ N(x w, noise^2), the guide N(m, s^2) for each weight."""

    @ppl.model
    def generative(x, y):
        w = ppl.sample("w", Normal(np.zeros(3), prior))
        with ppl.plate("data", x, y) as (x, y):
            ppl.sample("y", Normal(x @ w, noise), obs=y)

    @ppl.model
    def guide(x, y):
        ppl.sample("w", Normal(ppl.param("m", np.zeros(3)), np.exp(ppl.param("s", np.zeros(3)))))

    def loss(p):
        m, var = p["m"], np.exp(2 * p["s"])
        square = (Y - X @ m) ** 2 + X**2 @ var
        fit = 2 * np.sum(0.5 * square / noise**2 + np.log(noise) + 0.5 * np.log(2 * np.pi))
        return fit + np.sum(0.5 * (m**2 + var) / prior**2 + np.log(prior) - p["s"] - 0.5)

    params = arrays(m=[0.4, -0.2, 0.9], s=[-0.5, 0.1, -1.0])
    return Graph(ppl.elbo(generative, guide, kl=kl), params, (X, Y), total_rows=8, loss=loss)


@pytest.mark.parametrize("kl", ["auto", "sampled"])
def test_the_bound_of_linear_regression_is_exact(kl):
    graph = regression(kl)
    exactly(graph)
    program = graph.compile(Analytic())
    state = program.init(0, *graph.data).replace(params=graph.params)
    loss, _ = program.value_and_grad(state, *graph.data, total_rows=8)
    np.testing.assert_allclose(loss, graph.loss(graph.params), rtol=1e-10)
    np.testing.assert_allclose(program.value(state, *graph.data, total_rows=8), loss, rtol=1e-12)
    assert program.explain()["w"].copies == 4


def test_a_linear_cost_of_many_units_takes_one_copy():
    a, c = np.linspace(-2, 2, 50), np.cos(np.arange(50))

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", np.zeros(50))))
        ppl.cost("loss", b @ c + 0.3 * np.sum(np.where(c > 0, b, 2.0 * b)))

    graph = Graph(model, arrays(a=a), loss=lambda p: expit(p["a"]) @ (c + 0.3 * np.where(c > 0, 1.0, 2.0)))
    exactly(graph)
    assert graph.compile(Analytic()).explain().copies == 1


@pytest.mark.parametrize("prior", [[0.2, 0.5, 0.3], [0.6, 0.0, 0.4]])
def test_classes_keep_the_guards_of_their_densities(prior):
    """x log p with 0 log 0 = 0: an impossible class costs infinitely much, unless the guide leaves it out too."""
    w = np.array([1.0, -0.4, 0.7])

    def graph(out):
        @ppl.model
        def generative():
            k = ppl.sample("k", OneHotCategorical(probs=np.array(prior)))
            ppl.sample("x", Normal(k @ w, 0.8), obs=0.3)

        @ppl.model
        def guide():
            a = ppl.param("a", np.zeros(3))
            ppl.sample("k", OneHotCategorical(probs=ppl.softmax(a) * out / np.sum(ppl.softmax(a) * out)))

        def loss(p):
            q = softmax(p["a"]) * out / np.sum(softmax(p["a"]) * out)
            fit = 0.5 * ((0.3 - w) / 0.8) ** 2 + np.log(0.8) + 0.5 * np.log(2 * np.pi)
            return np.sum(rel_entr(q, prior)) + q @ fit

        return Graph(ppl.elbo(generative, guide, kl="sampled"), arrays(a=[0.1, 0.2, -0.3]), loss=loss)

    exactly(graph(np.array([1.0, 0.0, 1.0])))
    everywhere = graph(np.ones(3))
    if min(prior) > 0:
        exactly(everywhere)
    else:
        assert Sampler(everywhere, {"k": Analytic()})(2, 1)[0].tolist() == [np.inf] * 2


def _pair(cost, loss, first=None, second=None):
    @ppl.model
    def model():
        m, s = ppl.param("m", 0.0), ppl.param("s", 1.0, constraint="positive")
        x = ppl.sample("x", first(m, s) if first else Normal(m, s))
        y = ppl.sample("y", second(m, s) if second else Normal(m, s))
        ppl.cost("loss", cost(x, y, m))

    def exact(p):
        m, s = p["m"], np.exp(p["s"])
        return loss(m, s)

    return Graph(model, arrays(m=0.7, s=-0.3), loss=exact)


def test_squares_of_two_nodes_with_one_mean():
    exactly(_pair(lambda x, y, m: x**2 * y**2, lambda m, s: (m**2 + s**2) ** 2))
    exactly(_pair(lambda x, y, m: x * y * m, lambda m, s: m**3))
    exactly(_pair(lambda x, y, m: np.square(x - m) + m * x, lambda m, s: s**2 + m**2))
    exactly(_pair(lambda x, y, m: (x * y - m) ** 2 / (1 + m**2), lambda m, s: (
        (m**2 + s**2) ** 2 - 2 * m**3 + m**2) / (1 + m**2)))  # fmt: skip


def test_one_node_exact_beside_a_sampled_one():
    """E x^2 y^2 with y sampled has no variance left from x, and sampling goes on in y."""
    graph = _pair(lambda x, y, m: x**2 * y**2, lambda m, s: (m**2 + s**2) ** 2)
    assert_unbiased(graph, {"x": Analytic(), "y": Pathwise()})
    assert_unbiased(graph, {"x": ScoreFunction(), "y": Analytic()}, particles=2)


FAMILIES = {
    "LogNormal": lambda m, s: ppl.LogNormal(m, s), "Uniform": lambda m, s: ppl.Uniform(m - s, m + 2 * s),
    "Exponential": lambda m, s: ppl.Exponential(s), "Gamma": lambda m, s: ppl.Gamma(s, 1 + s * s),
    "Beta": lambda m, s: ppl.Beta(s, 2 + s), "StudentT": lambda m, s: ppl.StudentT(5.0 + s, m, s),
    "Poisson": lambda m, s: Poisson(s), "Laplace": lambda m, s: ppl.Laplace(m, s),
    "Logistic": lambda m, s: ppl.Logistic(m, s), "Gumbel": lambda m, s: ppl.Gumbel(m, s),
    "Bernoulli": lambda m, s: Bernoulli(logits=m * s),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_scalar_families(family):
    def loss(m, s):
        dist = FAMILIES[family](m, s)
        return np.asarray(dist.mean) ** 2 - dist.mean + evaluate([dist.unit_covariance()], Env())[0]

    exactly(_pair(lambda x, y, m: (1.0 * x) ** 2 - x + 0.0 * y, loss, FAMILIES[family]))


def test_vectors_take_their_covariance():
    """A quadratic form across two vectors and two one-hot rows: independent between, correlated within."""
    q = np.random.default_rng(3).normal(size=(10, 10))

    @ppl.model
    def model():
        tril = ppl.param("tril", np.eye(2))
        x = ppl.sample("x", MultivariateNormal(ppl.param("loc", np.zeros((2, 2))), scale_tril=tril))
        k = ppl.sample("k", OneHotCategorical(logits=ppl.param("logits", np.zeros((2, 3)))))
        z = np.concatenate([np.reshape(x, (4,)), np.reshape(k, (6,))])
        ppl.cost("loss", z @ q @ z)

    def loss(p):
        e = np.exp(p["logits"])
        probs = e / e.sum(-1, keepdims=True)
        mean = np.concatenate([p["loc"].ravel(), probs.ravel()])
        cov, lower = np.zeros((10, 10)), np.tril(p["tril"])
        for i in range(2):
            cov[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = lower @ lower.T
            at = slice(4 + 3 * i, 7 + 3 * i)
            cov[at, at] = np.diag(probs[i]) - np.outer(probs[i], probs[i])
        return mean @ q @ mean + np.sum(q * cov)

    params = arrays(loc=[[0.4, -0.2], [0.1, 0.7]], tril=[[0.8, 0.3], [-0.5, 0.6]], logits=[[0.2, -1, 0.5], [1, 0, 0.3]])
    exactly(Graph(model, params, loss=loss))


def test_coupled_rows_are_units_of_one_event():
    offsets, q = np.array([0.3, -0.4, 0.1]), np.array([[1.0, 0.5, -0.2], [0.3, 2.0, 0.7], [-0.4, 0.1, 0.6]])

    @ppl.model
    def model():
        with ppl.plate("k", offsets) as o:
            x = ppl.sample("x", Normal(ppl.param("m", np.zeros(2)) + o, np.exp(ppl.param("s", 0.0) * o)))
            ppl.cost("own", 0.2 * np.sum(x**2) * o)
        rows = ppl.collect(x, "k")
        ppl.cost("loss", rows[:, 0] @ q @ rows[:, 1] + rows[:, 0] @ q @ rows[:, 0])

    def loss(p):
        mean, var = p["m"] + offsets[:, None], np.exp(2 * p["s"] * offsets)
        own = 0.2 * np.sum((mean**2 + var[:, None]) * offsets[:, None])
        return own + mean[:, 0] @ q @ mean[:, 1] + mean[:, 0] @ q @ mean[:, 0] + np.diag(q) @ var

    graph = Graph(model, arrays(m=[0.4, -0.3], s=0.7), loss=loss)
    exactly(graph)
    assert graph.compile(Analytic()).explain().copies == 7


def test_the_loss_of_every_row():
    graph, p = LAWS["rows"](), LAWS["rows"]().params
    compiled = graph.compile(Analytic()).prepare()
    variant = build_rows(compiled.graph, compiled.plan.estimators)
    (rows,) = evaluate([variant.arrays["rows"]], make_env(compiled, graph, variant))
    x, q = graph.data[0], expit(p["w"] * graph.data[0] + p["c"])
    np.testing.assert_allclose(rows, q * (1 - 0.5 * x) ** 2 + (1 - q) * 0.25 * x**2, rtol=1e-12)


def test_samples_are_samples():
    graph = LAWS["rows"]()
    program = graph.compile(Analytic())
    state = program.init(0, *graph.data).replace(params=graph.params)
    b = program.sample(state, *graph.data, particles=50)["b"]
    assert set(np.unique(b)) == {0.0, 1.0}


# --- other estimators above and beside ----------------------------------------------------------

ABOVE = [Rebar(), ScoreFunction("moving_average"), Enumerate(), ARM(), MeasureValued()]

kinds = {"ids": lambda e: type(e).__name__}


@pytest.mark.parametrize("above", ABOVE, **kinds)
@pytest.mark.parametrize(("law", "node", "below"), [("normal_between", "b", "c"), ("two_layers", "b1", "b2")])
def test_below_other_estimators(law, node, below, above):
    beside = {"z": Pathwise()} if law == "normal_between" else {}
    assert_unbiased(LAWS[law](), {node: above, **beside, below: Analytic()}, particles=2)


@pytest.mark.parametrize("above", ABOVE, **kinds)
def test_a_parent_that_moves_the_variance_alone(above):
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))
        x = ppl.sample("x", Normal(ppl.param("m", 0.0), np.exp(ppl.param("s", 0.0) * b)))
        ppl.cost("loss", (x - 0.4) ** 2 + 0.5 * b)

    def loss(p):
        q = expit(p["a"])
        return (p["m"] - 0.4) ** 2 + q * np.exp(2 * p["s"]) + 1 - q + 0.5 * q

    assert_unbiased(Graph(model, arrays(a=0.4, m=0.9, s=0.5), loss=loss), {"b": above, "x": Analytic()})


@pytest.mark.parametrize("beside", ABOVE, **kinds)
def test_a_global_node_under_costs_of_rows_with_other_nodes(beside):
    """The Hessian in the global node differs from row to row, branch to branch and state to state."""

    @ppl.model
    def model(x):
        w = ppl.sample("w", Normal(ppl.param("m", np.zeros(2)), np.exp(ppl.param("s", 0.0))))
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=ppl.param("c", 0.0) * x + 0.2))
            ppl.cost("loss", (b * (w[0] + ppl.param("t", 1.0) * w[1]) - x) ** 2 + 0.3 * b * w[0] * w[1])

    def loss(p):
        m, v, t, total = p["m"], np.exp(2 * p["s"]), p["t"], 0.0
        for x in X3:
            q, mean = expit(p["c"] * x + 0.2), m[0] + t * m[1]
            one = (mean - x) ** 2 + (1 + t**2) * v + 0.3 * m[0] * m[1]
            total += 2 * (q * one + (1 - q) * x**2)
        return total

    graph = Graph(model, arrays(m=[0.6, -0.5], s=-0.4, c=0.8, t=0.7), (X3,), total_rows=6, loss=loss)
    assert_unbiased(graph, {"w": Analytic(), "b": beside}, particles=2)


def test_values_of_program_and_step_agree_with_a_sampled_node_above():
    graph = LAWS["normal_between"]()
    plan = {"b": Enumerate(), "z": Pathwise(), "c": Analytic()}
    compiled = graph.compile(plan, particles=3).prepare()
    variant = build_value(compiled.graph, compiled.plan.estimators)
    (value,) = evaluate([variant.scalars["loss"]], make_env(compiled, graph, variant, seed=4, sizes={"particles": 3}))
    np.testing.assert_allclose(run(graph, plan, 4, particles=3)[0], value, rtol=1e-12)


# --- refusals -----------------------------------------------------------------------------------


def _refused(cost, match, dist=None, estimator=None):
    @ppl.model
    def model():
        m = ppl.param("m", 0.3)
        ppl.cost("loss", cost(ppl.sample("z", dist(m) if dist else Normal(m, 1.0))))

    with pytest.raises(EstimatorError, match=match):
        ppl.compile(model, {"z": estimator or Analytic()}).prepare()


REFUSED = {
    "cube": (lambda z: z**3, "'loss' is degree 3 .*op mul"),
    "high power": (lambda z: 0.1 * z**5 + z, "'loss' is degree 5 .*op pow"),
    "exp": (np.exp, "no polynomial .*op exp"),
    "kink": (np.abs, "op abs"),
    "quotient": (lambda z: 1.0 / (2.0 + z), "op div"),
    "broken power": (lambda z: z**1.5, "op pow"),
    "exponent": (lambda z: 2.0**z, "op pow"),
    "selection": (lambda z: np.where(z > 0, z, 0.0), "op lt"),
    "behind a stop": (lambda z: z + ppl.stop_gradient(z) ** 2, "stop_gradient"),
    "only behind a stop": (lambda z: ppl.stop_gradient(z), "stop_gradient"),
    "child": (lambda z: ppl.sample("b", Bernoulli(logits=z)) * 1.0, "'b' downstream is random"),
    "child behind a stop": (lambda z: z + ppl.sample("b", Normal(ppl.stop_gradient(z), 1.0)), "'b' downstream"),
    "index": (lambda z: 1.0 * z, "Categorical has no covariance", lambda m: Categorical(logits=m * np.ones(3))),
    "concrete": (lambda z: z, "RelaxedBernoulli has no mean", lambda m: ppl.RelaxedBernoulli(0.5, logits=m)),
    "counts in whole numbers": (lambda z: 1.0 * (z * z), "op mul on whole numbers", lambda m: Poisson(np.exp(m))),
    "budget": (lambda z: np.sum(z**2), "40 second derivatives exceed", lambda m: Normal(m * np.ones(40), 1.0)),
}  # fmt: skip


@pytest.mark.parametrize("label", REFUSED)
def test_refused(label):
    cost, match, *dist = REFUSED[label]
    _refused(cost, match, *dist)


def test_refused_inside_the_logarithm_of_a_marginal():
    @ppl.model
    def model(x):
        w = ppl.param("w", 0.5)
        g = ppl.sample("g", Normal(w, 1.0))
        k = ppl.sample("k", Bernoulli(logits=w))
        ppl.sample("x", Normal(k + g, 1.0), obs=x)

    with pytest.raises(EstimatorError, match="sums out k inside a logarithm"):
        ppl.compile(ppl.likelihood(model, marginalize="k"), {"g": Analytic()}, data=(0.3,)).prepare()


# --- diagnostics --------------------------------------------------------------------------------


def test_diagnostics_see_an_exact_gradient():
    graph = LAWS["coupled_rows"]()
    program = graph.compile(Analytic())
    state = program.init(0).replace(params=graph.params)
    d = program.diagnose(state, repeats=20, timing=False)
    exact = graph.exact()
    assert d.total.trace == 0 and d.loss_error == 0
    np.testing.assert_allclose(d["c"].mean, exact[1]["c"], rtol=1e-6)
    report = program.check_unbiased(state, repeats=20)
    assert report.ok and report.method.startswith("exact") and report.power == 0 and not report.biased


def test_tune_finds_it():
    graph = regression("sampled")
    program = graph.compile()
    state = program.init(0, *graph.data).replace(params=graph.params)
    candidates = [Pathwise(), ScoreFunction(), Analytic()]
    tuned = ppl.tune(program, state, *graph.data, budget_seconds=0.3, candidates=candidates)
    assert tuned.explain().as_dict() == {"w": Analytic()}
    measured = {type(m.estimator): m for m in tuned.explain().measured["w"]}
    assert measured[Analytic].variance == 0 and not measured[Analytic].rejected
