"""New families inside compiled programs: loss and gradient in float32 and float64 against the interpreter's numbers."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
from ppl.compiler.surrogate.variants import build_gradient
from tests.helpers.laws import Graph
from tests.helpers.replay import Case, interpreted

AT = {"a": 0.8, "b": 1.6}


def families():
    """A cost of one node of every family, in parameters a and b."""
    a, b = ppl.param("a", AT["a"]), ppl.param("b", AT["b"])
    draws = {
        "cauchy": ppl.sample("cauchy", ppl.Cauchy(a, b)),
        "half_normal": ppl.sample("half_normal", ppl.HalfNormal(a)),
        "half_cauchy": ppl.sample("half_cauchy", ppl.HalfCauchy(b)),
        "kumaraswamy": ppl.sample("kumaraswamy", ppl.Kumaraswamy(a, b)),
        "pareto": ppl.sample("pareto", ppl.Pareto(b, a + 3.0)),
        "weibull": ppl.sample("weibull", ppl.Weibull(b, a)),
        "tail": ppl.sample("tail", ppl.TruncatedNormal(-20.0 * a, b, 0.0)),
        "slot": ppl.sample("slot", ppl.TruncatedNormal(a, b, 0.5, 0.625)),
        "walk": ppl.sample("walk", ppl.GaussianRandomWalk(b, 4, drift=a))[-1],
        "low_rank": ppl.sample(
            "low_rank", ppl.LowRankMultivariateNormal(np.zeros(3), np.ones((3, 2)) * b, np.ones(3) * a)
        )[1],
        "inverse_gamma": ppl.sample("inverse_gamma", ppl.InverseGamma(a + 2.0, b)),
        "chi2": ppl.sample("chi2", ppl.Chi2(b)),
        "lkj": ppl.sample("lkj", ppl.LKJCholesky(3, b))[2, 1],
    }
    for name, value in draws.items():
        ppl.cost(f"cost of {name}", np.tanh(value))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_compiled_agrees_with_the_interpreter(dtype, tolerance):
    graph = Graph(ppl.model(families), {k: np.asarray(v) for k, v in AT.items()}, particles=3)
    program = graph.compile("auto", dtype)
    state = program.init(0).replace(params=graph.params, seed=2, step=1)
    loss, grads = program.value_and_grad(state)
    expected = interpreted(program, graph, Case(""), build_gradient, dtype, seed=2, step=1)
    assert loss == pytest.approx(float(expected["loss"]), rel=tolerance)
    for name in AT:
        assert grads[name] == pytest.approx(expected[f"grad {name}"], rel=tolerance), name
