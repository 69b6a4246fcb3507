"""A stopped occurrence of a node is a constant, for every estimator: gradients worked out by hand."""

import numpy as np
import pytest
from scipy.special import expit

import ppl
from ppl import Bernoulli, Categorical, Normal, OneHotCategorical, Uniform
from ppl.errors import EstimatorError
from ppl.estimators import (
    ARM,
    Analytic,
    BonnetPrice,
    CategoricalDisARM,
    Combine,
    DisARM,
    Enumerate,
    Implicit,
    MeasureValued,
    Pathwise,
    Rebar,
    Relax,
    ScoreFunction,
    by_default,
)
from ppl.estimators.base import check_support
from tests.helpers.laws import Graph, Sampler, arrays, assert_matches

stop = ppl.stop_gradient


def check(model, estimators, params, exact, particles=1):
    graph = Graph(model, arrays(**params), particles=particles)
    assert_matches(Sampler(graph, estimators), (None, arrays(**exact)))


def node_of(model, name="z"):
    return ppl.compile(model).prepare().graph[name]


def one(dist, cost):
    """A model of one node z ~ dist(t) under `cost(z)`."""

    @ppl.model
    def model():
        z = ppl.sample("z", dist(ppl.param("t", 0.3)))
        ppl.cost("loss", cost(z))

    return model


def bit(t):
    return Bernoulli(logits=t)


def normal(t):
    return Normal(t, 0.8)


# --- inseparable: paths only --------------------------------------------------------------------

T, SIGMA = 0.3, 0.8
INSEPARABLE = {
    "product": (lambda z: z * stop(z), T),
    "of a square": (lambda z: z * stop(z**2), T**2 + SIGMA**2),
    "power": (lambda z: stop(z) ** 2 * z**2, 2 * (T**3 + 3 * T * SIGMA**2)),
    "inside a function": (lambda z: np.exp(z - stop(z)) * 2.0, 2.0),
    "condition": (lambda z: np.where(stop(z) > 0.3, z, 3.0 * z), 2.0),
    "straight through": (lambda z: (z + stop(np.floor(z) - z)) * 1.5 + z * stop(z), 1.5 + T),
}


@pytest.mark.parametrize("label", INSEPARABLE)
@pytest.mark.parametrize("estimator", ["auto", Pathwise(), Implicit()], ids=str)
def test_a_path_leaves_the_stopped_value_as_it_is(label, estimator):
    cost, exact = INSEPARABLE[label]
    check(one(normal, cost), estimator, {"t": T}, {"t": exact})


OTHERS = [e for e in by_default() if not e.follows_path and not isinstance(e, Analytic)]
OTHERS.append(Combine(MeasureValued(), ScoreFunction()))


@pytest.mark.parametrize("estimator", OTHERS, ids=lambda e: e.label)
@pytest.mark.parametrize("dist", [normal, bit])
def test_every_other_estimator_refuses_a_product_with_the_stopped_value(dist, estimator):
    model = one(dist, lambda z: z * stop(z))
    if dist is bit:
        with pytest.raises(EstimatorError, match=r"no admissible estimator for node 'z' \(.*test_stop_gradient"):
            ppl.compile(model).explain()
    with pytest.raises(EstimatorError, match=r"node 'z' \(.*test_stop_gradient.*both directly and through"):
        ppl.compile(model, estimators={"z": estimator}).explain()


def test_a_parent_and_a_child_of_a_stopped_value():
    """y ~ Normal(z + stop(z), 1) under y^2: the frozen z leaves 2 E[y] = 4 t; y may have its score, z may not."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("t", T), SIGMA))
        y = ppl.sample("y", Normal(z + stop(z), 1.0))
        ppl.cost("loss", y**2)

    for estimators in ("auto", {"z": Pathwise(), "y": ScoreFunction()}):
        check(model, estimators, {"t": T}, {"t": 4 * T})
    assert not check_support(ScoreFunction(), node_of(model)).ok
    assert check_support(ScoreFunction(), node_of(model, "y")).ok


def test_the_law_of_a_child_of_a_stopped_node_is_frozen_too():
    """y ~ Normal(stop(z), 1) under z y: E[y] = t, and nothing for the mean of y."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("t", T), SIGMA))
        y = ppl.sample("y", Normal(stop(z), 1.0))
        ppl.cost("loss", z * y)

    check(model, "auto", {"t": T}, {"t": T})
    assert not check_support(ScoreFunction(), node_of(model)).ok


@pytest.mark.parametrize("dist", [normal, bit])
def test_a_grandparent_of_a_product_with_a_stopped_value_needs_a_path_too(dist):
    @ppl.model
    def model():
        x = ppl.sample("x", dist(ppl.param("t", T)))
        z = ppl.sample("z", Normal(x, 1.0))
        ppl.cost("loss", z * stop(z))

    if dist is normal:
        check(model, "auto", {"t": T}, {"t": T})
    else:
        with pytest.raises(EstimatorError, match="node 'x'"):
            ppl.compile(model).explain()


# --- sums of terms: every estimator -------------------------------------------------------------

P = float(expit(T))
DATA = np.array([0.5, -1.0, 2.0])
SEPARABLE = {
    "sum": lambda z: z + 3.0 * stop(z),
    "difference": lambda z: z - stop(2.0 * z) + 1.0,
    "mean of a vector": lambda z: np.mean(3.0 * (DATA * stop(z) + np.array([0.5, 0.25, 0.25]) * z)),
    "negated": lambda z: -(stop(z) - z),
    "scaled by another value": lambda z: (z + stop(z)) * ppl.hyper("h", 1.0),
    "divided": lambda z: (2.0 * z + stop(z)) / 2.0,
    "selected": lambda z: np.where(DATA > 1.0, z + stop(z), stop(z))[2],
    "joined": lambda z: np.sum(np.stack([z, stop(z), 5.0 * stop(z)]) @ np.eye(3)),
}
BITS = [
    Enumerate(),
    DisARM(),
    ARM(),
    Rebar(),
    Relax(),
    MeasureValued(),
    ScoreFunction(),
    ScoreFunction("moving_average"),
]


@pytest.mark.parametrize("label", SEPARABLE)
@pytest.mark.parametrize("estimator", [Enumerate(), ScoreFunction(), DisARM()], ids=lambda e: e.label)
def test_only_the_direct_term_of_a_sum_counts(label, estimator):
    check(one(bit, SEPARABLE[label]), {"z": estimator}, {"t": T}, {"t": P * (1 - P)})


@pytest.mark.parametrize("estimator", BITS, ids=lambda e: e.label)
def test_all_estimators_of_a_bit_agree_on_a_sum(estimator):
    check(one(bit, lambda z: (z - 0.3) ** 2 + 4.0 * stop(z) ** 3), {"z": estimator}, {"t": T}, {"t": 0.4 * P * (1 - P)})


NORMALS = [Pathwise(), Implicit(), BonnetPrice(), MeasureValued(), ScoreFunction(), ScoreFunction("moving_average")]


@pytest.mark.parametrize("estimator", NORMALS, ids=lambda e: e.label)
def test_all_estimators_of_a_normal_agree_on_a_sum(estimator):
    check(one(normal, lambda z: z**2 + 4.0 * stop(z) ** 3), {"z": estimator}, {"t": T}, {"t": 2 * T})


@pytest.mark.parametrize(
    "estimator", [Enumerate(), CategoricalDisARM(), Rebar(), MeasureValued()], ids=lambda e: e.label
)
def test_classes_agree_on_a_sum(estimator):
    weights, logits = np.array([1.0, -2.0, 0.5]), np.array([0.2, 0.0, -0.4])
    p = np.exp(logits) / np.exp(logits).sum()
    exact = p * (weights - p @ weights)

    @ppl.model
    def rows():
        z = ppl.sample("z", OneHotCategorical(logits=ppl.param("t", logits)))
        ppl.cost("loss", z @ weights + 7.0 * stop(z)[0])

    check(rows, {"z": estimator}, {"t": logits}, {"t": exact})


@pytest.mark.parametrize("first", [Enumerate(), ScoreFunction(), DisARM(), Rebar()], ids=lambda e: e.label)
@pytest.mark.parametrize("second", [Enumerate(), ScoreFunction(), DisARM()], ids=lambda e: e.label)
def test_two_nodes_that_are_each_stopped_in_the_others_term(first, second):
    """(z - stop(w))^2 + 2 (stop(z) - w)^2: E over the other node, whose law is that of the moment."""

    @ppl.model
    def model():
        z = ppl.sample("z", Bernoulli(logits=ppl.param("s", 0.3)))
        w = ppl.sample("w", Bernoulli(logits=ppl.param("t", -0.5)))
        ppl.cost("loss", (z - stop(w)) ** 2 + 2.0 * (stop(z) - w) ** 2)

    p, q = expit(0.3), expit(-0.5)
    exact = {"s": p * (1 - p) * (1 - 2 * q), "t": 2 * q * (1 - q) * (1 - 2 * p)}
    check(model, {"z": first, "w": second}, {"s": 0.3, "t": -0.5}, exact)


@pytest.mark.parametrize("child", [Enumerate(), ScoreFunction()], ids=lambda e: e.label)
@pytest.mark.parametrize("parent", [Enumerate(), ScoreFunction(), DisARM()], ids=lambda e: e.label)
def test_a_child_of_a_stopped_bit_beside_the_bit(parent, child):
    """y ~ Bernoulli(logits=stop(z) + s) under z + 3 y: z counts directly, y with its law frozen in z."""

    @ppl.model
    def model():
        z = ppl.sample("z", Bernoulli(logits=ppl.param("t", T)))
        y = ppl.sample("y", Bernoulli(logits=stop(z) + ppl.param("s", 0.2)))
        ppl.cost("loss", z + 3.0 * y)

    slope = sum(w * expit(0.2 + k) * (1 - expit(0.2 + k)) for k, w in ((0, 1 - P), (1, P)))
    check(model, {"z": parent, "y": child}, {"t": T, "s": 0.2}, {"t": P * (1 - P), "s": 3 * slope})


def test_terms_beside_an_analytic_node():
    """The second moment of x goes to the terms it belongs to, and into the score of z with its direct terms alone."""

    @ppl.model
    def model():
        z = ppl.sample("z", Bernoulli(logits=ppl.param("t", T)))
        x = ppl.sample("x", Normal(ppl.param("m", 0.4), 0.7))
        ppl.cost("loss", z * x**2 + 5.0 * stop(z) * x)

    exact = {"t": P * (1 - P) * (0.4**2 + 0.7**2), "m": P * 2 * 0.4 + 5.0 * P}
    for estimator in (ScoreFunction(), Enumerate()):
        check(model, {"z": estimator, "x": Analytic()}, {"t": T, "m": 0.4}, exact)


def test_costs_of_their_own_and_stopped_parameters_need_no_splitting():
    @ppl.model
    def model():
        t = ppl.param("t", T)
        z = ppl.sample("z", Bernoulli(logits=t))
        ppl.cost("direct", 2.0 * z * stop(t) + t)
        ppl.cost("stopped", stop(z) * t)

    exact = {"t": 2 * T * P * (1 - P) + 1 + P}
    for estimator in (Enumerate(), ScoreFunction(), DisARM()):
        check(model, {"z": estimator}, {"t": T}, exact)
    assert ppl.compile(model).explain()["z"].costs == ("direct",)


def test_names_of_costs_and_the_loss_stay():
    model = one(bit, lambda z: z + 3.0 * stop(z))
    program = ppl.compile(model, estimators={"z": ScoreFunction()})
    assert program.explain()["z"].costs == ("loss",)
    losses, _ = Sampler(Graph(model, arrays(t=T)), {"z": Enumerate()})(1, 1)
    assert losses[0] == pytest.approx(4 * P)


def test_an_enumerated_node_whose_rows_are_coupled_behind_a_stop():
    """The rows of z meet only in the stopped sum; their joint states are summed over all the same."""
    offsets = np.array([0.3, -0.4, 0.1])

    @ppl.model
    def model():
        with ppl.plate("k", offsets) as o:
            z = ppl.sample("z", Bernoulli(logits=ppl.param("t", T) + o))
            ppl.cost("own", 2.0 * z)
        ppl.cost("joint", (np.sum(stop(ppl.collect(z, "k"))) - 1.0) ** 2)

    q = expit(T + offsets)
    loss = 2 * q.sum() + (q.sum() - 1) ** 2 + np.sum(q * (1 - q))
    losses, grads = Sampler(Graph(model, arrays(t=T)), {"z": Enumerate()})(1, 1)
    assert losses[0] == pytest.approx(loss)
    assert grads["t"][0] == pytest.approx(np.sum(2 * q * (1 - q)))


def test_a_marginalised_latent_behind_a_stop_is_refused():
    @ppl.model
    def model(x):
        k = ppl.sample("k", Categorical(logits=ppl.param("w", np.zeros(2))))
        ppl.sample("x", Normal(ppl.constant(np.array([-1.0, 2.0]))[stop(k)], 1.0), obs=x)

    with pytest.raises(EstimatorError, match=r"'k' .*reads it through ppl\.stop_gradient"):
        ppl.compile(ppl.likelihood(model, marginalize="k"), data=(np.array(0.3),)).explain()


# --- elbo, curvature, references ----------------------------------------------------------------


def test_a_guides_node_that_reads_an_earlier_one_through_a_stop():
    """elbo with q(w | stop(z)): -log p(w | z) has z in both ways, so z takes its path; worked out by hand.

    q: z ~ N(a, 1), w ~ N(stop(z), 1); p: z ~ N(0, 1), w ~ N(z, 1), x ~ N(w, 1). With w = zbar + e fixed in a the
    terms of z are z^2 / 2 + (w - z)^2 / 2 - log q(z), whose slope in a is E[z - (w - z)] = a - 0.
    """

    @ppl.model
    def guide(x):
        z = ppl.sample("z", Normal(ppl.param("a", 0.4), 1.0))
        ppl.sample("w", Normal(stop(z), 1.0))

    @ppl.model
    def model(x):
        z = ppl.sample("z", Normal(0.0, 1.0))
        w = ppl.sample("w", Normal(z, 1.0))
        ppl.sample("x", Normal(w + np.zeros(1), 1.0), obs=x)

    objective = ppl.elbo(model, guide, kl="sampled")
    graph = Graph(objective, arrays(a=0.4), data=(np.array([0.7]),))
    assert_matches(Sampler(graph, "auto"), (None, arrays(a=0.4)))
    with pytest.raises(EstimatorError, match="both directly and through"):
        ppl.compile(objective, estimators={"z": ScoreFunction()}, data=graph.data).explain()


def test_second_derivatives_leave_the_stopped_term_alone():
    """d2/dt2 of E[z] at fixed stop(z): p (1 - p) (1 - 2 p) for a bit; 2 for the square of a normal."""
    cases = [(bit, lambda z: z + 3.0 * stop(z), ScoreFunction(), P * (1 - P) * (1 - 2 * P)),
             (bit, lambda z: z + 3.0 * stop(z), Enumerate(), P * (1 - P) * (1 - 2 * P)),
             (normal, lambda z: z**2 * stop(z) ** 2, Pathwise(), 2 * (T**2 + SIGMA**2))]  # fmt: skip
    for dist, cost, estimator, exact in cases:
        program = ppl.compile(one(dist, cost), estimators={"z": estimator}, dtype="float64", particles=20_000)
        state = program.init(seed=0).replace(params={"t": np.array(T)})
        found = program.hvp(state, {"t": np.array(1.0)})
        assert float(np.asarray(found["t"])) == pytest.approx(exact, abs=0.06), (dist, estimator)


@pytest.mark.parametrize(
    ("dist", "cost", "estimator"),
    [(normal, lambda z: z * stop(z), Pathwise()), (bit, lambda z: z + 3.0 * stop(z), ScoreFunction())],
)
def test_check_unbiased_reads_stops_in_the_same_way(dist, cost, estimator):
    program = ppl.compile(one(dist, cost), estimators={"z": estimator}, dtype="float64")
    report = program.check_unbiased(program.init(seed=0), repeats=20_000, backend="interpreter")
    assert report.ok and report.reference["t"] == pytest.approx(T if dist is normal else P * (1 - P), rel=1e-3)


def test_the_filler_of_a_masked_entry_is_no_stopped_value():
    """Where obs_mask drops an entry of a Uniform, its filler is made of the limits, but counts in no cost."""

    @ppl.model
    def model(x, w):
        with ppl.plate("data", x, w) as (x, w):
            b = ppl.sample("b", Bernoulli(logits=ppl.param("t", T)))
            ppl.sample("x", Uniform(-1.0 - b, 2.0), obs=x, obs_mask=w > 0)

    data = (np.array([0.3, 0.2, 1.0]), np.array([1.0, 0.0, 1.0]))
    exact = 2 * P * (1 - P) * (np.log(4.0) - np.log(3.0))
    for estimator in (Enumerate(), ScoreFunction()):
        graph = Graph(ppl.likelihood(model), arrays(t=T), data=data)
        assert_matches(Sampler(graph, {"b": estimator}), (None, arrays(t=exact)))
