"""min E[z²], z ~ N(2θ + 3, 1): single gradients, their variance, and the spread of whole runs against formulas."""

import json

import numpy as np
import pytest

import ppl
from ppl.models import quadratic
from tests.helpers.needs import needs

pytestmark = needs("matplotlib")
WIDTH = 5


@pytest.mark.parametrize("name", quadratic.CHOICES)
def test_single_gradients_are_those_of_the_hand_derived_formula(name):
    theta = np.linspace(-3, 1, 5)
    model = quadratic.quadratic.bind(runs=5)
    program = ppl.compile(model, estimators=quadratic.CHOICES[name], dtype="float64")
    state = program.init(0, params={"theta": theta})
    z = program.sample(state, seed=3)["z"]
    _, grads = program.value_and_grad(state, seed=3)
    a, m = quadratic.A, quadratic.A * theta + quadratic.B
    np.testing.assert_allclose(grads["theta"], z**2 * a * (z - m) if name == "score function" else 2 * a * z, rtol=1e-9)


@pytest.mark.parametrize("name", quadratic.CHOICES)
def test_mean_and_variance_of_a_gradient_are_the_exact_ones(name):
    """The variance of the sample variance is taken from the fourth moment that `trace_error` estimates."""
    program = ppl.compile(quadratic.quadratic, estimators=quadratic.CHOICES[name], dtype="float64")
    for theta in (quadratic.OPTIMUM, 0.0):
        found = program.diagnose(program.init(0, params={"theta": [theta]}), repeats=40_000, seed=1, timing=False)
        exact = 2 * quadratic.A * (quadratic.A * theta + quadratic.B)
        assert found["theta"].mean[0] == pytest.approx(exact, abs=WIDTH * found["theta"].standard_error[0])
        variance = quadratic.exact_variance(name, theta)
        assert found["theta"].trace == pytest.approx(variance, abs=WIDTH * found["theta"].trace_error)
        assert found["theta"].trace_error < 0.05 * variance


def test_whole_runs_have_the_exact_mean_and_spread():
    runs, steps, lr = 2000, 100, 5e-3
    mean, spread = quadratic.exact_path(steps, lr)
    found = {n: quadratic.paths(e, runs, steps, lr, seed=0) for n, e in quadratic.CHOICES.items()}
    for theta in found.values():
        for t in (1, 10, steps):
            assert theta[t].mean() == pytest.approx(mean[t], abs=WIDTH * theta[t].std() / np.sqrt(runs))
    for t in (1, 10, steps):
        assert found["pathwise"][t].std() == pytest.approx(spread[t], rel=WIDTH / np.sqrt(2 * runs))
    assert found["score function"][-1].std() > 1.5 * found["pathwise"][-1].std()


def test_main_reports_the_optimum_and_draws(tmp_path, capsys):
    assert quadratic.main(["--runs", "200", "--estimator", "BonnetPrice", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "quadratic.metrics.json").read_text())["metrics"]
    for name in (*quadratic.CHOICES, "BonnetPrice"):
        label = f"mean of θ after 300 steps, {name}"
        assert found[label] == pytest.approx(-1.5, abs=WIDTH * found[f"{label} (standard error)"])
    assert (tmp_path / "quadratic.png").stat().st_size > 10_000 and "Pathwise()" in capsys.readouterr().out
