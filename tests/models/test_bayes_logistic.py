"""Bayesian logistic regression: the quadrature reference itself, and the bound that training reaches."""

import json

import numpy as np
import pytest

from ppl.models import bayes_logistic
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")


def test_quadrature_has_the_gradients_of_its_value():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), (rng.random(20) < 0.5).astype(float)
    loc, factor = rng.normal(size=3), np.tril(rng.normal(size=(3, 3))) + 2 * np.eye(3)
    _, d_loc, d_factor = bayes_logistic.quadrature(loc, factor, x, y)
    for i in range(3):
        e = 1e-5 * np.eye(3)[i]
        gap = bayes_logistic.quadrature(loc + e, factor, x, y)[0] - bayes_logistic.quadrature(loc - e, factor, x, y)[0]
        assert d_loc[i] == pytest.approx(gap / 2e-5, rel=1e-6)
        e = 1e-5 * np.outer(np.eye(3)[2], np.eye(3)[i])
        gap = bayes_logistic.quadrature(loc, factor + e, x, y)[0] - bayes_logistic.quadrature(loc, factor - e, x, y)[0]
        assert d_factor[2, i] == pytest.approx(gap / 2e-5, rel=1e-6)


@pytest.mark.slow
def test_training_reaches_the_best_bound_of_both_guides(tmp_path):
    assert bayes_logistic.main(["--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "bayes_logistic.metrics.json").read_text())["metrics"]
    for name in bayes_logistic.GUIDES:
        best = found[f"negative bound, {name}, best by quadrature"]
        assert best - 1e-6 <= found[f"negative bound, {name}"] < best + 0.05
        reference = found["held-out accuracy, scikit-learn's posterior mode"]
        assert found[f"held-out accuracy, {name}"] >= reference - 2 / 169
    variance = {k: v for k, v in found.items() if k.startswith("gradient variance, full-rank")}
    assert min(variance, key=variance.get).endswith("BonnetPrice()")
