"""Linear-quadratic control: exact costs and gradients, the mean of both estimators, and what they learn."""

import json

import numpy as np
import pytest

import ppl
from ppl.models import control
from tests.helpers.needs import needs

pytestmark = needs("matplotlib")
SMALL = {"environments": 10, "steps": 12}


def test_the_best_gains_solve_riccatis_equation_and_no_others_are_better():
    value, best = control.riccati()
    closed = control.A - np.outer(control.B, best)
    again = np.eye(2) + control.EFFORT * np.outer(best, best) + closed.T @ value @ closed
    np.testing.assert_allclose(value, again, rtol=1e-10)
    assert np.abs(np.linalg.eigvals(closed)).max() < 1
    for away in ([0.1, 0.0], [-0.1, 0.0], [0.0, 0.1], [0.0, -0.1]):
        assert control.expected_cost(best + away) > control.expected_cost(best)


def test_the_exact_cost_is_the_mean_of_trajectories_in_numpy():
    rng, gain, runs = np.random.default_rng(1), np.array([1.0, 0.7]), 20_000
    x, cost = np.repeat(control.places(10), runs, 0), np.zeros(10 * runs)
    for _ in range(12):
        a = -x @ gain + control.SIGMA * rng.normal(size=len(x))
        cost += (x**2).sum(1) + control.EFFORT * a**2
        x = x @ control.A.T + a[:, None] * control.B
        x[:, 1] += control.JOLT * rng.normal(size=len(x))
    cost += np.einsum("ni,ij,nj->n", x, control.riccati()[0], x)
    means = cost.reshape(10, runs).mean(0)
    assert control.expected_cost(gain, **SMALL) == pytest.approx(means.mean(), abs=5 * means.std() / np.sqrt(runs))


@pytest.mark.parametrize("name", control.CHOICES)
def test_mean_gradients_are_the_exact_ones(name):
    estimator, particles = control.CHOICES[name]
    pinned = {"action": estimator}
    program = ppl.compile(control.control.bind(**SMALL), estimators=pinned, particles=particles, dtype="float64")
    gain = np.array([1.0, 0.7])
    found = program.diagnose(program.init(0, params={"gain": gain}), repeats=4000, timing=False)["gain"]
    exact = control.exact_gradient(gain, **SMALL)
    assert (np.abs(found.mean - exact) <= 5 * found.standard_error).all()
    assert (found.standard_error < 0.1 * np.abs(exact)).all()


@pytest.mark.slow
def test_main_learns_the_best_gains(tmp_path, capsys):
    assert control.main(["--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "control.metrics.json").read_text())["metrics"]
    assert found["expected cost above the optimum, pathwise"] < 0.01
    assert found["expected cost above the optimum, score function"] < 0.02
    assert found["spread of one gradient, score function"] > 2 * found["spread of one gradient, pathwise"]
    for name in control.CHOICES:
        assert found[f"largest deviation of the mean gradient, {name}"] < 5
    assert (tmp_path / "control.png").stat().st_size > 10_000 and "Pathwise()" in capsys.readouterr().out
