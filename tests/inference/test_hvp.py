"""Hessian-vector products against the exact Hessian, in expectation, and the plans that are refused."""

from dataclasses import replace

import numba
import numpy as np
import pytest

import ppl
from ppl import Laplace, Normal
from ppl.compiler.surrogate.second_order import HVP_VECTOR, build_hvp
from ppl.errors import DataError, EstimatorError
from ppl.estimators import Analytic, Enumerate, Pathwise, Rebar, Relaxed, ScoreFunction
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from tests.helpers.exact import expected_loss
from tests.helpers.law_graphs import LAWS
from tests.helpers.laws import environment, make_env
from tests.program.programs import data, mixed_program, toy, toy_program

LOO, MOVING = ScoreFunction("leave_one_out"), ScoreFunction("moving_average")

CASES = {
    "toy, enumerated": ("toy", Enumerate()),
    "toy, rebar": ("toy", Rebar()),
    "layer": ("layer", MOVING),
    "two layers": ("two_layers", Rebar()),
    "three layers": ("three_layers", {"b1": Rebar(), "b2": MOVING, "b3": Enumerate()}),
    "skip and tied": ("skip_and_tied", ScoreFunction()),
    "costs upstream": ("costs_upstream", ScoreFunction()),
    "one-hot": ("one_hot", Rebar()),
    "lookup": ("categorical", ScoreFunction()),
    "normal, pathwise": ("normal", Pathwise()),
    "normal, score": ("normal", ScoreFunction()),
    "jump": ("jump", ScoreFunction()),
    "kinks": ("kinks", Pathwise()),
    "normal chain": ("normal_chain", Pathwise()),
    "normal between": ("normal_between", {"b": Rebar(), "z": Pathwise(), "c": MOVING}),
    "bernoulli between": ("bernoulli_between", "auto"),
    "moving support": ("uniform", "auto"),
    "rows": ("rows", ScoreFunction()),
    "rows, analytic": ("rows", Analytic()),
    "vector, analytic": ("multivariate_normal", Analytic()),
    "score above analytic": ("global_bernoulli_and_rows", {"g": ScoreFunction(), "b": Analytic()}),
    "global and rows": ("global_and_rows", "auto"),
    "global bernoulli": ("global_bernoulli_and_rows", {"g": ScoreFunction(), "b": Enumerate()}),
    "nested": ("nested", {"g": Rebar(), "b": ScoreFunction()}),
    "enumerated global": ("costs_in_and_between", {"g": Enumerate(), "b": ScoreFunction()}),
    "coupled rows": ("coupled_rows", ScoreFunction()),
    "belief network": ("elbo_sbn", ScoreFunction()),
    "sampled bound": ("elbo_normal_sampled", Pathwise()),
    "mixture": ("likelihood_mixture", "auto"),
}

POWER, WIDTH, H = 0.05, 5, 2e-3

REPEATS = {"normal, score": 400_000}


def exact_loss(graph):
    """The exact expected loss as a function of parameter values."""
    if graph.loss is not None:
        return graph.loss
    compiled = graph.compile().prepare()
    node = expected_loss(compiled.trace, graph.points)
    fields = {**environment(compiled, graph), "hyper": {**compiled.trace.hypers, **graph.hyper}}
    return lambda p: float(evaluate([node], Env(params=p, dtype=np.float64, **fields))[0])


def exact_hvp(graph, vector):
    """Mixed second differences of the exact loss."""
    loss = exact_loss(graph)
    out = {}
    for name, value in graph.params.items():
        out[name] = np.zeros_like(value)
        for i in np.ndindex(value.shape):
            total = 0.0
            for a in (1, -1):
                for b in (1, -1):
                    moved = {k: np.array(x + b * H * vector[k]) for k, x in graph.params.items()}
                    moved[name][i] += a * H
                    total += a * b * float(loss(moved))
            out[name][i] = total / (4 * H * H)
    return out


def direction(graph):
    rng = np.random.default_rng(5)
    return {k: rng.normal(size=v.shape) for k, v in graph.params.items()}


@pytest.mark.parametrize("case", CASES)
def test_expected_product_is_the_exact_one(case):
    law, estimators = CASES[case]
    graph = LAWS[law]()
    compiled = graph.compile(estimators).prepare()
    variant = build_hvp(compiled.graph, compiled.plan.estimators, repeats=True)
    vector = direction(graph)
    exact = exact_hvp(graph, vector)
    norm = np.sqrt(sum(np.sum(h**2) for h in exact.values()))
    repeats = REPEATS.get(case, 60_000)
    env = make_env(compiled, graph, variant, sizes={"repeats": repeats}, seed=11)
    env = replace(env, params={**graph.params, **{HVP_VECTOR + k: v for k, v in vector.items()}})
    found = evaluate(list(variant.grads.values()), env)
    for name, samples in zip(variant.grads, found, strict=True):
        mean, error = samples.mean(0), samples.std(0) / np.sqrt(repeats)
        assert np.all(error <= POWER * norm), f"no power for {name}: {error}, norm {norm}"
        deviation = np.abs(mean - exact[name])
        assert np.all(deviation <= WIDTH * error + 1e-4 * norm), f"{name}: {mean}, exact {exact[name]}, error {error}"


@pytest.mark.parametrize("particles", [1, 3])
def test_compiled_product_is_the_interpreters(particles):
    program, x = mixed_program(), data()
    state = program.init(0, x)
    vector = {k: np.cos(np.arange(v.size)).reshape(v.shape) for k, v in state.params.items()}
    found = program.hvp(state, vector, x, seed=4, particles=particles, total_rows=30)
    compiled = program.prepare(x)
    variant = compiled.variant("hvp")
    bound = compiled.binder.bind((x,), None, 30)
    env = Env(
        params={**state.params, **{HVP_VECTOR + k: v for k, v in vector.items()}},
        inputs={"x": bound.arrays[0]},
        sizes={**bound.rows, "particles": particles},
        scales=bound.scales,
        seed=4,
    )
    expected = dict(zip(variant.grads, evaluate(list(variant.grads.values()), env), strict=True))
    scale = max(np.abs(v).max() for v in expected.values())
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-10 * scale, err_msg=name)
    flat = program.hvp(state, np.concatenate([v.ravel() for v in vector.values()]), x, seed=4, total_rows=30)
    assert flat.keys() == found.keys()


def test_an_enumerated_product_is_exact():
    program = ppl.compile(toy, Enumerate(), dtype="float64")
    state = program.init(0)
    p = 1 / (1 + np.exp(-0.3))
    exact = (0.501**2 - 0.499**2) * p * (1 - p) * (1 - 2 * p)
    assert program.hvp(state, {"logit": 2.0})["logit"] == pytest.approx(2 * exact, rel=1e-9)


def test_vectors_must_fit():
    program = toy_program()
    state = program.init(0)
    with pytest.raises(DataError, match="logit"):
        program.hvp(state, {"logits": 1.0})
    with pytest.raises(DataError, match="shape"):
        program.hvp(state, np.zeros(2))


def _model(dist, cost):
    @ppl.model
    def model():
        theta = ppl.param("theta", 0.3)
        ppl.cost("c", cost(ppl.sample("z", dist(theta)), theta))

    return model


REFUSED = {
    "a kink of noise and parameter": (_model(lambda t: Normal(0.0, 1.0), lambda z, t: np.maximum(z + t, 0)), "auto"),
    "a bend of noise and scale": (_model(lambda t: Normal(0.0, 1.0), lambda z, t: np.where(z > t, z - t, 0)), "auto"),
    "a root of both": (_model(lambda t: Normal(0.0, 1.0), lambda z, t: np.sqrt((z + t) ** 2)), "auto"),
    "a kink at a draw by rejection": (_model(lambda t: ppl.Gamma(2.0, 1.0), lambda z, t: abs(z - t)), "auto"),
    "a kinked density": (_model(lambda t: Laplace(t, 1.0), lambda z, t: z**2), ScoreFunction()),
    "an absolute error on the path": (_model(lambda t: ppl.Uniform(0.0, np.exp(t)), lambda z, t: abs(z - t)), "auto"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_second_derivative_would_miss_is_refused(case):
    model, estimators = REFUSED[case]
    program = ppl.compile(model, estimators, dtype="float64")
    with pytest.raises(EstimatorError, match=r"hvp: .*'z'"):
        program.hvp(program.init(0), {"theta": 1.0})


def test_external_functions_are_refused():
    @numba.njit
    def square(x):
        return x * x

    @numba.njit
    def slope(x, g):
        return (2 * x * g,)

    def model(inside):
        @ppl.model
        def model():
            theta = ppl.param("theta", 0.3)
            z = ppl.sample("z", Normal(theta, 1.0))
            ppl.cost("c", ppl.external(square, z + theta if inside else z, gradient=slope))

        return ppl.compile(model, Pathwise(), dtype="float64")

    program = model(inside=True)
    with pytest.raises(EstimatorError, match=r"external function 'square.*' has no second derivative"):
        program.hvp(program.init(0), {"theta": 1.0})
    program = model(inside=False)  # the score sees values of the function only
    found = program.hvp(program.init(0), {"theta": 1.0}, particles=300_000)
    assert found["theta"] == pytest.approx(2.0, abs=0.15)


def test_biased_estimators_are_refused():
    program = ppl.compile(toy, Relaxed())
    with pytest.raises(EstimatorError, match=r"hvp: node 'b' .* biased estimator Relaxed"):
        program.hvp(program.init(0), {"logit": 1.0})
