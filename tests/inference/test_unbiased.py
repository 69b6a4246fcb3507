"""`check_unbiased`: its references against the tests' own oracle, and its verdicts."""

import numpy as np
import pytest

import ppl
from ppl.errors import EstimatorError, OptionError
from ppl.estimators import Pathwise, Relaxed, Support
from tests.helpers.law_graphs import LAWS
from tests.program.programs import data, mixed_program, toy, toy_program

EXACT = {
    "toy": "exact",
    "two_layers": "exact",
    "three_layers": "exact",
    "one_hot_pair": "exact",
    "coupled_rows": "exact",
    "nested": "exact",
    "costs_in_and_between": "exact",
    "elbo_sbn": "exact",
    "normal": "quadrature",
    "jump": "quadrature",
    "kinks": "quadrature",
    "normal_chain": "quadrature",
    "normal_between": "quadrature",
    "bernoulli_between": "quadrature",
    "exponential": "quadrature",
    "uniform": "quadrature",
    "global_and_rows": "quadrature",
    "likelihood_mixture": "exact",
}


@pytest.mark.parametrize("law", EXACT)
def test_exact_references_are_the_oracles(law):
    graph = LAWS[law]()
    program = graph.compile()
    state = program.init(0, *graph.data).replace(params=graph.params)
    report = program.check_unbiased(state, *graph.data, repeats=500, total_rows=graph.total_rows)
    assert report.method.startswith(EXACT[law]), report
    _, exact = graph.exact()
    for name, g in exact.items():
        np.testing.assert_allclose(report.reference[name], g, atol=3e-3 * report.norm, err_msg=name)
    assert report.ok, report


def test_score_reference_has_its_own_error():
    program, x = mixed_program(), data(2)
    report = program.check_unbiased(program.init(0, x), x, repeats=2000, reference="score")
    assert report.ok and "score functions" in report.method
    assert all(np.all(e > 0) for e in report.reference_error.values())
    with pytest.raises(EstimatorError, match="too many to integrate"):
        program.check_unbiased(program.init(0, x), x, repeats=10, reference="exact")
    auto = program.check_unbiased(program.init(0, x), x, repeats=200)
    assert "too many to integrate" in auto.method


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bias_of_a_relaxation_is_measured(dtype):
    program = ppl.compile(toy, Relaxed(temperature=0.5), dtype=dtype)
    report = program.check_unbiased(program.init(0), repeats=20_000)
    assert not report.ok and report.biased == ("b",)
    assert report.deviation["logit"] > 5 and "declared biased: b" in str(report) and "DEVIATES" in str(report)
    mean = program.diagnose(program.init(0), repeats=20_000, timing=False)["logit"].mean
    assert report.bias["logit"] == pytest.approx(float(mean) - float(report.reference["logit"]))


def test_a_wrong_gradient_is_found(monkeypatch):
    """The pathwise gradient of a value with a jump, which `supports` refuses."""
    monkeypatch.setattr(Pathwise, "supports", lambda self, node: Support(True, "forced"))
    graph = LAWS["jump"]()
    program = graph.compile(Pathwise())
    state = program.init(0).replace(params=graph.params)
    report = program.check_unbiased(state, repeats=2000)
    assert not report.ok and not report.biased
    assert report.bias["mu"] == pytest.approx(-float(report.reference["mu"]))


def test_enumerated_programs_deviate_by_rounding_only():
    for dtype in ("float32", "float64"):
        program = ppl.compile(toy, ppl.estimators.Enumerate(), dtype=dtype)
        report = program.check_unbiased(program.init(0), repeats=10)
        assert report.ok and report.power < 1e-5


def test_options():
    program = toy_program()
    with pytest.raises(OptionError, match="reference"):
        program.check_unbiased(program.init(0), reference="guess")
    text = str(program.check_unbiased(program.init(0), repeats=50))
    assert "agrees" in text and "exact: 2 joint states" in text
