"""Stochastic volatility: the particle filter against quadrature, the bound below it, the parameters found."""

import json

import numpy as np
import pytest

import ppl
from ppl.models import volatility
from tests.helpers.needs import needs

pytestmark = needs("matplotlib")


def _by_quadrature(y, m, phi, s, points=400):
    """log p(y) of one series by the forward recursion on a grid."""
    spread = s / np.sqrt(1 - phi**2)
    h = m + spread * np.linspace(-6, 6, points)
    step = h[1] - h[0]
    normal = lambda x, mean, sd: np.exp(-0.5 * ((x - mean) / sd) ** 2) / (np.sqrt(2 * np.pi) * sd)  # noqa: E731
    weight, total = normal(h, m, spread), 0.0
    move = normal(h[None], m + phi * (h[:, None] - m), s) * step
    for now in y:
        weight = weight * normal(now, 0.0, np.exp(h / 2))
        mass = weight.sum() * step
        total += np.log(mass)
        weight = (weight / mass) @ move
    return total


def test_the_particle_filter_is_near_quadrature():
    y, _ = volatility.returns(3, 40)
    exact = sum(_by_quadrature(row, **volatility.TRUE) for row in y)
    runs = np.array([volatility.particle_filter(y, **volatility.TRUE, particles=2000, seed=s) for s in range(10)])
    assert runs.mean() == pytest.approx(exact, abs=5 * runs.std() / np.sqrt(10) + runs.var())


def test_bounds_lie_below_the_likelihood_and_many_samples_reach_it():
    """The guide is near the prior, so that the log-mean of 5000 weights is biased by far less than its spread."""
    y, _ = volatility.returns(3, 6)
    params = {"m": -1.0, "phi": 0.3, "s": 0.4}
    exact = sum(_by_quadrature(row, **params) for row in y)
    given = {**params, "kept": 0.3, "fresh": 0.0, "base": -0.7, "first": -1.0, "scale": 0.45}
    found = []
    for objective in (ppl.elbo, lambda m, g: ppl.iwae(m, g, 5000)):
        program = ppl.compile(objective(volatility.returns_model, volatility.guide), data=y, dtype="float64")
        state = program.init(0, y, params=given)
        values = [-program.value(state, y, seed=seed) for seed in range(400 if not found else 20)]
        found.append((np.mean(values), np.std(values) / np.sqrt(len(values))))
    (single, error), (many, spread) = found
    assert single + 5 * error < exact
    assert many == pytest.approx(exact, abs=5 * spread) and spread < 0.02


@pytest.mark.slow
def test_main_is_near_the_particle_filter(tmp_path):
    assert volatility.main(["--epochs", "700", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "volatility.metrics.json").read_text())["metrics"]
    exact = found["negative log-likelihood by a particle filter, at the learned parameters"]
    assert exact < found["negative bound"] < exact + 0.03
    assert exact < found["negative log-likelihood by a particle filter, at the true parameters"] + 0.005
    assert 0.8 < found["phi learned"] < 1 and (tmp_path / "volatility.png").stat().st_size > 10_000
