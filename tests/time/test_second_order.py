"""What needs every step on its own has loops over time written out: second derivatives, and exact references."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import EstimatorError
from ppl.estimators import Pathwise, ScoreFunction
from tests.helpers import law_loops  # noqa: F401 - adds to the laws
from tests.helpers.law_graphs import LAWS


def same(z):
    """`z`."""
    return z


def walk(length, bend=same):
    """A walk of `length` steps on a function of normal nodes."""

    @ppl.model
    def model():
        p = ppl.param("p", 0.6)

        def step(x, t):
            return np.tanh(bend(ppl.sample("z", Normal(p * x, 0.7)))), None

        x, _ = ppl.scan(step, 0.3, length=length)
        ppl.cost("c", np.sin(2.0 * x))

    return model


@pytest.mark.parametrize(("estimator", "bend"), [(ScoreFunction(), same), (Pathwise(), same), (Pathwise(), np.abs)])
def test_hessian_products_go_through_the_steps(estimator, bend):
    """Where a path has a kink, by the score."""
    program = ppl.compile(walk(2, bend), estimators=estimator, dtype="float64", particles=20_000)
    assert program.prepare().working is program.prepare().graph
    state = program.init(0)
    found = [float(program.hvp(state, {"p": np.ones(())}, seed=s)["p"]) for s in range(12)]
    e = np.linspace(-8.0, 8.0, 1601)
    w = np.exp(-(e**2) / 2) / np.sum(np.exp(-(e**2) / 2))

    def value(p):
        first = np.tanh(bend(0.3 * p + 0.7 * e))
        return float(w @ np.sin(2.0 * np.tanh(bend(first[:, None] * p + 0.7 * e))) @ w)

    h = 1e-2
    exact = (value(0.6 + h) - 2 * value(0.6) + value(0.6 - h)) / h**2
    error = np.std(found) / np.sqrt(len(found) - 1)
    assert abs(np.mean(found) - exact) <= 5 * error + 1e-3 and error <= 0.1 * abs(exact)


def test_long_loops_have_no_hessian_products():
    program = ppl.compile(walk(100), dtype="float64")
    with pytest.raises(EstimatorError, match="loops over time would be unrolled, and 100 steps are more than"):
        program.hvp(program.init(0), {"p": np.ones(())})


@pytest.mark.parametrize("name", ["loop_of_two", "loop_normal", "loop_mixed", "loop_in_a_loop", "loop_gaussian_elbo"])
@pytest.mark.parametrize("estimator", ["auto", ScoreFunction()])
def test_the_reference_of_check_unbiased_is_exact(name, estimator):
    graph = LAWS[name]()
    program = graph.compile(estimator)
    state = program.init(0, *graph.data).replace(params=graph.params)
    options = {"repeats": 10, "total_rows": graph.total_rows, "reference": "exact", "backend": "interpreter"}
    found = program.check_unbiased(state, *graph.data, **options)
    _, exact = graph.exact()
    norm = np.sqrt(sum(np.sum(g**2) for g in exact.values()))
    for key, g in exact.items():
        assert np.all(np.abs(found.reference[key] - g) <= found.reference_error[key] + 1e-6 * norm), key


def test_the_reference_is_no_chain_where_there_is_none():
    """A carry that remembers two steps: only all joint states are exact."""

    @ppl.model
    def model():
        p = ppl.param("p", 0.7)

        def step(c, t):
            last, before = c
            b = ppl.sample("b", Bernoulli(logits=p * last - before))
            ppl.cost("c", b * before)
            return (b, last), None

        (last, before), _ = ppl.scan(step, (1.0, 0.5), length=4)
        ppl.cost("end", last * before)

    program = ppl.compile(model, estimators=ScoreFunction(), dtype="float64")
    report = program.check_unbiased(program.init(0), repeats=4000, reference="exact", backend="interpreter")

    def loss(p, last=1.0, before=0.5, steps=4):
        if steps == 0:
            return last * before
        q = 1 / (1 + np.exp(before - p * last))
        return q * (before + loss(p, 1.0, last, steps - 1)) + (1 - q) * loss(p, 0.0, last, steps - 1)

    exact = (loss(0.7 + 1e-5) - loss(0.7 - 1e-5)) / 2e-5
    assert report.reference["p"] == pytest.approx(exact, rel=1e-6)
