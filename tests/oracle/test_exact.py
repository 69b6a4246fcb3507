"""The oracle against closed forms and against other quadrature, and what it may import."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from tests.helpers.law_graphs import LAWS
from tests.oracle.exact import Unstated, solve
from tests.oracle.graphs.source import program

ALLOWED = (
    "__future__", "collections", "dataclasses", "functools", "itertools", "re", "typing", "numpy", "scipy",
    "ppl.lang.context", "ppl.lang.trace", "ppl.lang.tracing", "ppl.ir.node", "ppl.ir.types", "tests.oracle.exact",
)  # fmt: skip
COARSE = {"gamma_rates": 1e-3, "gamma_rows": 2e-4, "studentt": 2e-4, "laplace": 5e-5}  # the other grid is the coarser


def _modules(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            found.append(str(node.module))
    return found


def test_the_oracle_imports_nothing_of_the_compiler():
    files = sorted((Path(__file__).parent / "exact").glob("*.py"))
    assert len(files) > 10
    for path in files:
        for name in _modules(path):
            allowed = any(name == a or name.startswith(f"{a}.") for a in ALLOWED)
            assert allowed, f"{path.name} imports {name}"


def answer(body: str, params: str, **more):
    """The oracle's answer for a model of the given lines over parameters t and s."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    made = program("closed form", f"@ppl.model\ndef model():\n{lines}objective = model\nparams = {params}\n")
    return solve(made.objective, made.params, **more)


ONE = "t = ppl.param('t', 0.0)\nz = ppl.sample('z', {dist})\nppl.cost('c', {cost})"
PHI = stats.norm.pdf
CLOSED = {
    "sine of a normal": ("ppl.Normal(t, 0.8)", "np.sin(z)", np.exp(-0.32) * np.cos(0.3)),
    "jump": ("ppl.Normal(t, 0.8)", "np.where(z > 0.5, 1.0, 0.0)", PHI(0.2 / 0.8) / 0.8),
    "sign by a pole": ("ppl.Normal(t, 0.8)", "z / np.abs(z)", 2 * PHI(0.3 / 0.8) / 0.8),
    "floor": ("ppl.Normal(t, 0.8)", "np.floor(z)", sum(PHI((k - 0.3) / 0.8) / 0.8 for k in range(-8, 9))),
    "kink": ("ppl.Normal(t, 0.8)", "np.abs(z)", 2 * special.ndtr(0.3 / 0.8) - 1),
    "kink by a root": ("ppl.Normal(t, 0.8)", "np.sqrt(z * z)", 2 * special.ndtr(0.3 / 0.8) - 1),
    "moved jump": ("ppl.Normal(t, 0.8)", "(z + t) / np.abs(z + t)", 4 * PHI(0.6 / 0.8) / 0.8),
    "mean of a gamma": ("ppl.Gamma(np.exp(t), 2.0)", "z", np.exp(0.3) / 2),
    "log of a gamma": ("ppl.Gamma(np.exp(t), 2.0)", "np.log(z)", np.exp(0.3) * special.polygamma(1, np.exp(0.3))),
    "inverse of a gamma": ("ppl.Gamma(3.0 + t, 1.0)", "1 / z", -1 / 2.3**2),
    "poisson": ("ppl.Poisson(np.exp(t))", "z ** 2", np.exp(0.3) + 2 * np.exp(0.6)),
    "mixture": ("ppl.Mixture(logits=t * np.array([1.0, -1.0]), components=ppl.Normal(np.array([-4.0, 4.0]), 0.5))",
                "z", -8 * special.expit(0.6) * special.expit(-0.6) * 2),
    "edge of the interval": ("ppl.Bernoulli(t + 0.7)", "(z - 0.3) ** 2", 0.49 - 0.09),
    "infinite at a state that is not reached": ("ppl.Bernoulli(t + 0.7)", "np.log(z)", 0.0),
    "far tail": ("ppl.Truncated(ppl.Normal(t, 1.0), low=9.0)", "z", None),
    "stopped factor": ("ppl.Normal(t, 0.8)", "z * ppl.stop_gradient(z)", 0.3),
    "stopped summand": ("ppl.Bernoulli(logits=t)", "z + 3.0 * ppl.stop_gradient(z)",
                        special.expit(0.3) * special.expit(-0.3)),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name):
    dist, cost, exact = CLOSED[name]
    found = answer(ONE.format(dist=dist, cost=cost), "dict(t=0.3)")
    if exact is None:
        a, mills = 8.7, np.exp(stats.norm.logpdf(8.7) - stats.norm.logsf(8.7))
        exact = 1 + a * mills - mills**2  # d/dt of t + hazard(9 - t)
    assert abs(found.grads["t"] - exact) <= 1e-7 * max(1.0, abs(exact))
    assert abs(found.grads["t"] - exact) <= found.errors["t"] + 1e-9


def test_a_discrete_node_read_directly_and_behind_a_stop_has_no_answer():
    with pytest.raises(Unstated):
        answer(ONE.format(dist="ppl.Bernoulli(logits=t)", cost="z * ppl.stop_gradient(z)"), "dict(t=0.3)")


@pytest.mark.parametrize("name", LAWS)
def test_law_graphs_have_the_gradient_that_their_own_formulas_give(name):
    graph = LAWS[name]()
    found = solve(graph.objective, graph.params, graph.data, graph.total_rows, graph.hyper)
    loss, grads = graph.exact()
    norm = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
    close = COARSE.get(name, 1e-6)
    assert abs(found.loss - loss) <= close * (1 + abs(loss))
    for key, g in grads.items():
        assert np.all(np.abs(found.grads[key] - g) <= close * norm), key
    if name not in ("studentt",):
        assert max(float(e.max(initial=0.0)) for e in found.errors.values()) <= 1e-5 * norm


REFERENCED = ("toy", "normal", "jump", "normal_between", "nested", "global_and_rows", "elbo_deep", "likelihood_mixture")


@pytest.mark.parametrize("name", REFERENCED)
def test_the_reference_of_check_unbiased_is_the_oracles_gradient(name):
    graph = LAWS[name]()
    program = graph.compile()
    state = program.init(0, *graph.data).replace(params=graph.params)
    found = program.check_unbiased(
        state, *graph.data, repeats=10, total_rows=graph.total_rows, reference="exact", backend="interpreter"
    )
    exact = solve(graph.objective, graph.params, graph.data, graph.total_rows)
    for key, g in exact.grads.items():
        slack = found.reference_error[key] + exact.errors[key] + 2e-3 * exact.norm * (name == "jump")
        assert np.all(np.abs(found.reference[key] - g) <= slack + 1e-6 * exact.norm), key
