"""A cost counts once for every row of the plates it was declared in, whatever its value depends on.

Exact answers are sums over all joint values of all rows, written out by hand; gradients are their differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.estimators
from ppl import Bernoulli, Categorical, Delta, Normal
from ppl.compiler.surrogate.second_order import HVP_VECTOR, build_hvp
from ppl.compiler.surrogate.variants import ProgramVariant, build_gradient, build_rows, build_value
from ppl.estimators import Analytic, Enumerate, ScoreFunction
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from tests.helpers.exact import central_differences

ROWS = np.zeros((3, 1))

ENUMERATE = Enumerate()


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softmax(x: Any) -> Any:
    return np.exp(x) / np.exp(x).sum()


def bits(p: Any, n: int) -> Any:
    """(values, probability) of n independent bits of probability p."""
    for b in itertools.product((0.0, 1.0), repeat=n):
        yield np.array(b), np.prod([p if x else 1 - p for x in b])


def evaluated(
    program: Any,
    build: Callable[..., ProgramVariant],
    params: dict[str, Any],
    data: tuple = (),
    total_rows: Any = None,
    **more: Any,
) -> dict[str, np.ndarray]:
    """Outputs of one interpreted variant in float64."""
    compiled = program.prepare(*data)
    variant = build(compiled.graph, compiled.plan.estimators)
    bound = compiled.binder.bind(data, None, total_rows)
    env = Env(
        inputs=dict(zip((i.name for i in compiled.binder.inputs), bound.arrays, strict=True)),
        sizes={**bound.rows, "particles": more.pop("particles", 1)}, scales=bound.scales, total_rows=bound.totals,
        params={**{k: np.asarray(v, np.float64) for k, v in params.items()}, **more}, aux=variant.initial_aux(),
        hyper=variant.hypers, dtype=np.float64, seed=3,
    )  # fmt: skip
    outputs = variant.outputs()
    return dict(zip(outputs, evaluate(list(outputs.values()), env), strict=True))


def assert_exact(
    model: Any, exact: Callable[..., float], params: dict[str, Any], data: tuple = (), estimators: Any = ENUMERATE,
    total_rows: Any = None, particles: int = 1,
) -> Any:  # fmt: skip
    """Loss and gradient of a program without noise equal `exact` and its differences; so does the value."""
    program = ppl.compile(model, estimators=estimators, dtype="float64", data=data, particles=particles, max_copies=64)
    values = {k: np.asarray(v, np.float64) for k, v in params.items()}
    expected, slopes = exact(values), central_differences(exact, values)
    found = evaluated(program, build_gradient, params, data, total_rows, particles=particles)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-9)
    for name, slope in slopes.items():
        np.testing.assert_allclose(found[f"grad {name}"], slope, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        evaluated(program, build_value, params, data, total_rows, particles=particles)["loss"], expected, rtol=1e-9
    )
    return program


@ppl.model
def coin(x):
    t = ppl.param("t", 0.5)
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", Bernoulli(logits=t))
        ppl.cost("c", b)


def test_a_cost_of_an_enumerated_node_alone_counts_once_a_row():
    """Three coins of probability σ(.5) cost 1.8674, and ten times as much where 30 rows stand for them."""
    assert_exact(coin, lambda v: 3 * sigmoid(v["t"]), {"t": 0.5}, (ROWS,))
    program = assert_exact(coin, lambda v: 30 * sigmoid(v["t"]), {"t": 0.5}, (ROWS,), total_rows=30)
    assert_exact(coin, lambda v: 3 * sigmoid(v["t"]), {"t": 0.5}, (ROWS,), "auto", particles=4)
    rows = evaluated(program, lambda g, e: build_rows(g, e), {"t": 0.5}, (ROWS,))["array rows"]
    np.testing.assert_allclose(rows, np.full(3, sigmoid(0.5)))


def test_second_derivatives_count_every_row():
    program = ppl.compile(coin, dtype="float64", data=(ROWS,))
    p = sigmoid(0.5)
    found = evaluated(program, build_hvp, {"t": 0.5}, (ROWS,), **{HVP_VECTOR + "t": np.array(1.0)})
    np.testing.assert_allclose(found["grad t"], 3 * p * (1 - p) * (1 - 2 * p))


def test_compiled_programs_count_every_row():
    program = ppl.compile(coin, data=(ROWS,))
    state = program.init(0, ROWS, params={"t": 0.5})
    loss, grads = program.value_and_grad(state, ROWS, total_rows=6)
    np.testing.assert_allclose(loss, 6 * sigmoid(0.5), rtol=1e-6)
    np.testing.assert_allclose(grads["t"], 6 * sigmoid(0.5) * sigmoid(-0.5), rtol=1e-6)
    np.testing.assert_allclose(program.value(state, ROWS, per_row=True), np.full(3, sigmoid(0.5)), rtol=1e-6)


@pytest.mark.parametrize("estimators", [ENUMERATE, "auto"])
def test_costs_that_depend_on_no_row(estimators):
    """A constant of the parameters, a mean (of a Delta), classes: each counts once a row."""

    @ppl.model
    def model(x):
        t, w = ppl.param("t", 0.5), ppl.param("w", np.zeros(3))
        with ppl.plate("data", x) as x:
            d = ppl.sample("d", Delta(t), estimator=ppl.estimators.Pathwise())
            k = ppl.sample("k", Categorical(logits=w))
            ppl.cost("square", t**2)
            ppl.cost("sure", np.exp(d))
            ppl.cost("class", 1.0 * k * k)

    def exact(v):
        return 3 * (v["t"] ** 2 + np.exp(v["t"]) + softmax(v["w"]) @ [0, 1, 4])

    assert_exact(model, exact, {"t": 0.5, "w": [0.1, -0.3, 0.7]}, (ROWS,), estimators)


def test_moments_of_a_node_without_rows():
    @ppl.model
    def model(x):
        t = ppl.param("t", 0.5)
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(t, 2.0), estimator=Analytic())
            ppl.cost("c", z * z)

    assert_exact(model, lambda v: 3 * (v["t"] ** 2 + 4), {"t": 0.5}, (ROWS,), {}, total_rows=3)


def test_nested_plates_and_nodes_above_the_cost():
    """The node in the outer plate, the cost in the inner one, with a node of its own or none."""

    @ppl.model
    def model():
        t, s = ppl.param("t", 0.5), ppl.param("s", -0.2)
        g = ppl.sample("g", Bernoulli(logits=s))
        with ppl.plate("outer", 3):
            b = ppl.sample("b", Bernoulli(logits=t + g))
            with ppl.plate("inner", 2):
                e = ppl.sample("e", Bernoulli(logits=s * b))
                ppl.cost("both", b * e + 0.3 * g)
                ppl.cost("outer only", b * b)

    def exact(v):
        total = 0.0
        for g in (0, 1):
            pg, p = (sigmoid(v["s"]) if g else sigmoid(-v["s"])), sigmoid(v["t"] + g)
            total += pg * 6 * (p * sigmoid(v["s"]) + 0.3 * g + p)
        return total

    assert_exact(model, exact, {"t": 0.5, "s": -0.2})


def test_rows_that_a_cost_mixes_beside_rows_on_their_own():
    @ppl.model
    def model():
        t = ppl.param("t", 0.5)
        with ppl.plate("outer", 2):
            with ppl.plate("row", 3):
                b = ppl.sample("b", Bernoulli(logits=t))
                ppl.cost("own", b)
            n = np.sum(ppl.collect(b, "row"))
            ppl.cost("square", n * n)

    def exact(v):
        return 2 * sum(w * (b.sum() + b.sum() ** 2) for b, w in bits(sigmoid(v["t"]), 3))

    assert_exact(model, exact, {"t": 0.5})


def test_advantages_of_other_nodes_see_every_row():
    """A score function above enumerated rows: its estimate at the value drawn is E[sum of 3 rows | value] d log p."""

    @ppl.model
    def model(x):
        t = ppl.param("t", 0.5)
        g = ppl.sample("g", Bernoulli(logits=t), estimator=ScoreFunction())
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(probs=0.25 + 0.5 * g), estimator=ENUMERATE)
            ppl.cost("c", b)

    program = ppl.compile(model, dtype="float64", data=(ROWS,))
    found = evaluated(program, build_gradient, {"t": 0.5}, (ROWS,), total_rows=12)
    g = (found["loss"] / 12 - 0.25) / 0.5
    assert g in (0.0, 1.0)
    np.testing.assert_allclose(found["grad t"], 12 * (0.25 + 0.5 * g) * (g - sigmoid(0.5)))


def test_elbo_of_discrete_rows():
    @ppl.model
    def joint(x):
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(probs=0.3))
            ppl.sample("y", Normal(2 * b, 1.0), obs=0.4)

    @ppl.model
    def guide(x):
        t = ppl.param("t", 0.5)
        with ppl.plate("data", x) as x:
            ppl.sample("b", Bernoulli(logits=t))

    def exact(v):
        q = sigmoid(v["t"])
        terms = [
            w * (np.log(w) - np.log(p) - stats.norm.logpdf(0.4, 2 * b)) for b, w, p in ((0, 1 - q, 0.7), (1, q, 0.3))
        ]
        return 5 * sum(terms)

    for kl in ("auto", "sampled"):
        assert_exact(ppl.elbo(joint, guide, kl=kl), exact, {"t": 0.5}, (ROWS,), total_rows=5)


def test_bound_over_rows_that_it_mixes():
    """Rows of a nested plate in the log-mean-exp: the sum over all their joint values and both samples."""

    @ppl.model
    def joint(x):
        with ppl.plate("data", x) as x:
            g = ppl.sample("g", Bernoulli(probs=0.4))
            with ppl.plate("row", 2):
                ppl.sample("b", Bernoulli(probs=0.2 + 0.5 * g))

    @ppl.model
    def guide(x):
        t = ppl.param("t", 0.5)
        with ppl.plate("data", x) as x:
            ppl.sample("g", Bernoulli(logits=t))
            with ppl.plate("row", 2):
                ppl.sample("b", Bernoulli(logits=-t))

    def exact(v):
        q, r = sigmoid(v["t"]), sigmoid(-v["t"])
        total = 0.0
        for g, wg in bits(q, 2):
            for b, wb in bits(r, 4):
                weights = []
                for k in (0, 1):
                    rows = b[2 * k : 2 * k + 2]
                    p = np.prod(np.where(rows > 0, 0.2 + 0.5 * g[k], 0.8 - 0.5 * g[k])) * (0.4 if g[k] else 0.6)
                    weights.append(p / (np.prod(np.where(rows > 0, r, 1 - r)) * (q if g[k] else 1 - q)))
                total -= wg * wb * np.log(np.mean(weights))
        return 3 * total

    assert_exact(ppl.iwae(joint, guide, particles=2), exact, {"t": 0.5}, (ROWS,))


@pytest.mark.parametrize("inside", [False, True])
def test_marginalised_rows_that_an_observation_mixes(inside):
    """All rows of the plate share one log-sum-exp, also with observations of single rows beside it."""

    @ppl.model
    def model():
        t = ppl.param("t", 0.5)
        with ppl.plate("row", 2):
            b = ppl.sample("b", Bernoulli(logits=t))
            ppl.sample("y", Normal(b, 1.0), obs=0.3)
            if inside:
                ppl.sample("n", Normal(np.sum(ppl.collect(b, "row")), 0.5), obs=1.2)
        if not inside:
            ppl.sample("n", Normal(np.sum(ppl.collect(b, "row")), 0.5), obs=1.2)

    def exact(v):
        total = 0.0
        for b, w in bits(sigmoid(v["t"]), 2):
            mixed = stats.norm.pdf(1.2, b.sum(), 0.5) ** (2 if inside else 1)
            total += w * np.prod(stats.norm.pdf(0.3, b)) * mixed
        return -np.log(total)

    assert_exact(ppl.likelihood(model, marginalize="b"), exact, {"t": 0.5}, (), "auto")


def test_fit_and_embedded_code_count_every_row():
    program = ppl.compile(coin, data=(ROWS,))
    fit = ppl.fit(program, ROWS, steps=1, optimizer=ppl.optim.SGD(0.0), progress=False)
    np.testing.assert_allclose(fit.history["loss"], sigmoid(0.5), rtol=1e-6)


def test_check_unbiased_counts_every_row():
    program = ppl.compile(coin, estimators=ScoreFunction(), dtype="float64", data=(ROWS,))
    report = program.check_unbiased(program.init(0, ROWS), ROWS, repeats=400, backend="interpreter")
    np.testing.assert_allclose(report.reference["t"], 3 * sigmoid(0.5) * sigmoid(-0.5))
