"""Mixtures: the component summed exactly, pathwise inside it; what a path through the cdf may and may not do.

Exact losses are written out: moments of normals in closed form, SciPy's quadrature for the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import integrate, special, stats

import ppl
from ppl import Bernoulli, Gamma, Mixture, Normal, Transformed, Uniform, VonMises, bijectors
from ppl.compiler.surrogate.variants import build_gradient, build_value
from ppl.errors import EstimatorError, ParameterError
from ppl.estimators import Enumerate, Implicit, Pathwise, Rebar, ScoreFunction, SumComponents
from tests.estimators.test_plate_sums import evaluated
from tests.helpers.laws import Graph, arrays, assert_unbiased

APART = np.array([-6.0, 6.0])


def chosen(program: Any, name: str = "x") -> Any:
    return program.explain()[name].estimator


def smooth(x: Any) -> Any:
    return np.sin(x) + 0.1 * x * x + x


def mean_under_normal(loc: Any, scale: Any) -> Any:
    """E smooth(x) for x normal."""
    return np.sin(loc) * np.exp(-(scale**2) / 2) + 0.1 * (loc**2 + scale**2) + loc


def expected(pdf: Any, f: Any, low: float, high: float, points: Any = None) -> float:
    return integrate.quad(lambda x: pdf(x) * f(x), low, high, limit=400, points=points)[0]


@ppl.model
def two_modes():
    w, loc = ppl.param("w", np.zeros(2)), ppl.param("loc", APART)
    x = ppl.sample("x", Mixture(logits=w, components=Normal(loc, 0.5)))
    ppl.cost("c", smooth(x))


TWO = Graph(
    two_modes,
    arrays(w=[0.3, -0.2], loc=APART),
    loss=lambda v: special.softmax(v["w"]) @ mean_under_normal(v["loc"], 0.5),
)


def scalars() -> Graph:
    """Two units that choose for themselves: four joint choices."""

    @ppl.model
    def model():
        w = ppl.param("w", np.zeros((2, 2)))
        x = ppl.sample("x", Mixture(logits=w, components=Normal(np.array([[-5.0, 4.0], [-3.0, 6.0]]), 0.4)))
        ppl.cost("c", x[0] * x[1] + x[0])

    def loss(v):
        p = special.softmax(v["w"], -1)
        m = (p * np.array([[-5.0, 4.0], [-3.0, 6.0]])).sum(-1)
        return m[0] * m[1] + m[0]

    return Graph(model, arrays(w=[[0.3, -0.2], [0.1, 0.4]]), loss=loss)


def vectors() -> Graph:
    """Diagonal normals that share their choice, and components that are listed."""

    @ppl.model
    def model():
        w, t = ppl.param("w", np.array([0.4, 0.6])), ppl.param("t", 0.7)
        loc = np.array([[-5.0, 4.0], [3.0, 6.0]]) * t
        x = ppl.sample("x", Mixture(w, Normal(loc, 0.4), joint=1))
        y = ppl.sample("y", Mixture(logits=np.array([0.0, 1.0]) * t, components=[Normal(t, 1.0), Gamma(2.0, t)]))
        ppl.cost("c", x[0] * x[1] + 0.2 * y)

    def loss(v):
        p, loc = v["w"] / v["w"].sum(), np.array([[-5.0, 4.0], [3.0, 6.0]]) * v["t"]
        q = special.softmax([0.0, v["t"]])
        return p @ (loc[:, 0] * loc[:, 1]) + 0.2 * (q[0] * v["t"] + q[1] * 2 / v["t"])

    return Graph(model, arrays(w=[0.4, 0.6], t=0.7), loss=loss)


def transformed() -> Graph:
    @ppl.model
    def model():
        w, s = ppl.param("w", np.zeros(2)), ppl.param("s", 1.5)
        x = ppl.sample("x", Transformed(Mixture(logits=w, components=Normal(APART / 3, 0.3)), bijectors.Affine(0.5, s)))
        ppl.cost("c", smooth(x))

    return Graph(
        model, arrays(w=[0.3, -0.2], s=1.5),
        loss=lambda v: special.softmax(v["w"]) @ mean_under_normal(0.5 + v["s"] * APART / 3, 0.3 * abs(v["s"])),
    )  # fmt: skip


def intervals() -> Graph:
    """Uniforms with a gap whose ends move: neither a score nor a path through the cdf would do."""

    @ppl.model
    def model():
        w, end = ppl.param("w", np.zeros(2)), ppl.param("end", 1.0)
        low = np.stack([0.0 * end, 4.0 + end])
        x = ppl.sample("x", Mixture(logits=w, components=Uniform(low, low + end)))
        ppl.cost("c", smooth(x))

    def loss(v):
        p, e = special.softmax(v["w"]), v["end"]
        return p @ [integrate.quad(smooth, a, a + e)[0] / e for a in (0.0, 4.0 + e)]

    return Graph(model, arrays(w=[0.3, -0.2], end=1.0), loss=loss)


def angles() -> Graph:
    @ppl.model
    def model():
        w, k = ppl.param("w", np.zeros(2)), ppl.param("k", 8.0)
        x = ppl.sample("x", Mixture(logits=w, components=VonMises(np.array([0.3, 3.0]), k)))
        ppl.cost("c", np.cos(x) + np.sin(x))

    def loss(v):
        ratio = special.ive(1, v["k"]) / special.ive(0, v["k"])
        loc = np.array([0.3, 3.0])
        return special.softmax(v["w"]) @ (ratio * (np.cos(loc) + np.sin(loc)))

    return Graph(model, arrays(w=[0.3, -0.2], k=8.0), loss=loss)


def rows() -> Graph:
    """Weights that differ from row to row, a node above and one below the mixture, rows scaled to a larger number."""
    data = np.array([0.2, -0.5, 1.0])

    @ppl.model
    def model(y):
        w, t = ppl.param("w", np.array([0.3, -0.2])), ppl.param("t", 0.4)
        with ppl.plate("data", y) as y:
            b = ppl.sample("b", Bernoulli(logits=t), estimator=Enumerate())
            x = ppl.sample("x", Mixture(logits=w * (y + b), components=Normal(APART, 0.5)), estimator=SumComponents())
            z = ppl.sample("z", Normal(t * x, 1.0))
            ppl.cost("c", 0.1 * z * x + b)
            ppl.cost("sure", x)

    def loss(v):
        total, t = 0.0, v["t"]
        for y in data:
            for b, p in ((0, special.expit(-t)), (1, special.expit(t))):
                total += p * (special.softmax(v["w"] * (y + b)) @ (0.1 * t * (APART**2 + 0.25) + APART) + b)
        return 2 * total

    return Graph(model, arrays(w=[0.3, -0.2], t=0.4), (data,), total_rows=6, loss=loss)


def mixed_rows() -> Graph:
    @ppl.model
    def model():
        w = ppl.param("w", np.array([0.3, -0.2]))
        with ppl.plate("row", 2):
            x = ppl.sample("x", Mixture(logits=w, components=Normal(APART, 0.5)))
        s = np.sum(ppl.collect(x, "row"))
        ppl.cost("c", 0.1 * s * s + s)

    def loss(v):
        p = special.softmax(v["w"])
        m, second = p @ APART, p @ (APART**2 + 0.25)
        return 0.1 * (2 * second + 2 * m * m) + 2 * m

    return Graph(model, arrays(w=[0.3, -0.2]), loss=loss)


GRAPHS = {f.__name__: f for f in (scalars, vectors, transformed, intervals, angles, rows, mixed_rows)}


@pytest.mark.parametrize("name", GRAPHS)
def test_gradients_across_gaps_are_right(name):
    assert_unbiased(GRAPHS[name](), "auto", max_copies=32)


def test_separated_modes():
    """The case in which a path through the cdf has half the derivative: now exact for the weights."""
    program = TWO.compile()
    assert chosen(program) == SumComponents()
    assert_unbiased(TWO, "auto")
    assert_unbiased(TWO, SumComponents())
    found = evaluated(program, build_gradient, TWO.params)
    np.testing.assert_allclose(evaluated(program, build_value, TWO.params)["loss"], found["loss"])


def test_the_automatic_choice_keeps_to_its_budget():
    def program(k, **options):
        @ppl.model
        def model():
            w = ppl.param("w", np.zeros(k))
            x = ppl.sample("x", Mixture(logits=w, components=Normal(np.arange(float(k)), 1.0)))
            ppl.cost("c", x)

        return ppl.compile(model, **options)

    assert chosen(program(4)) == SumComponents()
    assert chosen(program(5)) == ScoreFunction("moving_average")
    assert chosen(program(5, particles=2)) == ScoreFunction("leave_one_out")
    assert chosen(program(5, max_copies=5)) == SumComponents()
    verdicts = {c.estimator.label: c.verdict for c in program(3).explain()["x"].candidates}
    assert "to be named" in verdicts["Pathwise()"]
    assert "3 joint choices" in program(3).explain()["x"].reason


def test_mixtures_without_paths_inside_take_the_score():
    @ppl.model
    def model():
        w = ppl.param("w", np.zeros(2))
        inner = Mixture(logits=w, components=Normal(APART, 1.0))
        x = ppl.sample("x", Mixture(logits=w, components=[inner, Normal(0.0, 1.0)]))
        ppl.cost("c", x)

    program = ppl.compile(model)
    assert chosen(program) == ScoreFunction("moving_average")
    with pytest.raises(EstimatorError, match="moved by its cdf"):
        ppl.compile(model, estimators=SumComponents())

    @ppl.model
    def jump():
        w = ppl.param("w", np.zeros(2))
        x = ppl.sample("x", Mixture(logits=w, components=Normal(APART, 1.0)))
        ppl.cost("c", np.where(x > 0.3, 1.0, 0.0))

    assert chosen(ppl.compile(jump)) == ScoreFunction("moving_average")


def test_names_and_samples_do_not_depend_on_the_estimator():
    found = []
    for estimator in ("auto", ScoreFunction()):
        program = ppl.compile(two_modes, estimators=estimator)
        found.append(program.sample(program.init(0), particles=50)["x"])
    np.testing.assert_array_equal(*found)
    assert (found[0] < 0).any()
    assert (found[0] > 0).any()


@pytest.mark.parametrize("estimator", [Pathwise(), Implicit()])
def test_a_named_path_refuses_components_that_stand_apart(estimator):
    program = ppl.compile(two_modes, estimators=estimator)
    state = program.init(0)
    with pytest.raises(ParameterError, match=r"node 'x': the components of Mixture stand apart.*SumComponents"):
        program.value_and_grad(state)
    with pytest.raises(ParameterError, match="stand apart"):
        program.check_unbiased(state, repeats=50, backend="interpreter")
    near = program.init(0, params={"loc": np.array([-0.6, 0.6])})
    assert np.isfinite(program.value_and_grad(near)[0])


@pytest.mark.parametrize(("gap", "seen"), [(1.0, True), (3.0, True), (5.0, True), (9.0, False), (40.0, False)])
def test_a_named_path_is_right_or_refused(gap, seen):
    """Unit normals so many deviations apart: within five standard errors, or no number."""

    @ppl.model
    def model():
        w = ppl.param("w", np.zeros(2))
        x = ppl.sample("x", Mixture(logits=w, components=Normal(np.array([0.0, gap]), 1.0)), estimator=Pathwise())
        ppl.cost("c", x)

    graph = Graph(model, arrays(w=[0.0, 0.0]), loss=lambda v: special.softmax(v["w"])[1] * gap)
    loss = evaluated(graph.compile(), build_gradient, graph.params)["loss"]
    assert np.isfinite(loss) == seen
    if seen:
        assert_unbiased(graph, "auto")


def test_a_named_path_with_fixed_weights_crosses_no_gap():
    @ppl.model
    def model():
        loc = ppl.param("loc", APART)
        x = ppl.sample("x", Mixture(np.array([0.3, 0.7]), Normal(loc, 0.5)), estimator=Pathwise())
        ppl.cost("c", smooth(x))

    weights = np.array([0.3, 0.7])
    graph = Graph(model, arrays(loc=APART), loss=lambda v: weights @ mean_under_normal(v["loc"], 0.5))
    assert_unbiased(graph, "auto")


def test_a_named_path_of_vectors_that_stand_apart_in_a_later_entry():
    """The entry before moves the weights of the entry after."""

    def program(gap):
        @ppl.model
        def model():
            t = ppl.param("t", 0.4)
            loc = np.array([[0.0, 0.0], [1.0, gap]]) * t
            x = ppl.sample("x", Mixture(np.array([0.5, 0.5]), Normal(loc, 1.0), joint=1), estimator=Pathwise())
            ppl.cost("c", x[0] * x[1])

        return ppl.compile(model, dtype="float64")

    assert np.isfinite(evaluated(program(1.0), build_gradient, {"t": 1.0})["loss"])
    assert np.isnan(evaluated(program(20.0), build_gradient, {"t": 1.0})["loss"])


def test_relaxing_above_a_summed_mixture():
    """REBAR above: in its relaxed branches weights and components take the relaxed value."""

    @ppl.model
    def model():
        t, w = ppl.param("t", 0.4), ppl.param("w", np.array([0.3, -0.2]))
        b = ppl.sample("b", Bernoulli(logits=t), estimator=Rebar())
        x = ppl.sample("x", Mixture(logits=w * b, components=Normal(APART * (1 + b), 0.5)), estimator=SumComponents())
        ppl.cost("c", x + 0.1 * x * x * b)

    def loss(v):
        total = 0.0
        for b, p in ((0, special.expit(-v["t"])), (1, special.expit(v["t"]))):
            loc = APART * (1 + b)
            total += p * (special.softmax(v["w"] * b) @ (loc + 0.1 * b * (loc**2 + 0.25)))
        return total

    graph = Graph(model, arrays(t=0.4, w=[0.3, -0.2]), loss=loss)
    assert_unbiased(graph, "auto", aux={"b/eta": 0.6})


def test_bound_of_a_mixture_guide_with_a_gap():
    @ppl.model
    def generative():
        z = ppl.sample("z", Normal(0.0, 3.0))
        ppl.sample("y", Normal(z * z, 2.0), obs=np.array(9.0))

    @ppl.model
    def guide():
        w, loc = ppl.param("w", np.zeros(2)), ppl.param("loc", np.array([-3.0, 3.0]))
        ppl.sample("z", Mixture(logits=w, components=Normal(loc, 0.3)))

    def loss(v):
        w = special.softmax(v["w"])

        def pdf(z):
            return w @ stats.norm.pdf(z, v["loc"], 0.3)

        def f(z):
            return np.log(pdf(z)) - stats.norm.logpdf(z, 0, 3) - stats.norm.logpdf(9.0, z * z, 2)

        return expected(pdf, f, -5.5, -0.5) + expected(pdf, f, 0.5, 5.5)

    graph = Graph(ppl.elbo(generative, guide), arrays(w=[0.3, -0.2], loc=[-3.1, 2.8]), loss=loss)
    assert chosen(graph.compile(), "z") == SumComponents()
    assert_unbiased(graph, "auto")
