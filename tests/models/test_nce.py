"""The models of noise-contrastive estimation: their figures, and the formulas that measure them."""

import json

import numpy as np
import pytest
from scipy import stats

from ppl.models import nce
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The figures of the main with its defaults, and its folder."""
    folder = tmp_path_factory.mktemp("nce")
    assert nce.main(["--out", str(folder)]) == 0
    return json.loads((folder / "nce.metrics.json").read_text())["metrics"], folder


def test_the_gaussian_is_within_five_standard_errors_of_maximum_likelihood(figures):
    found, folder = figures
    assert found["Gaussian: largest distance from maximum likelihood"] < 5
    assert found["Gaussian: learned log Z"] == pytest.approx(
        found["Gaussian: log Z of the learned precision"], abs=0.02
    )
    assert (folder / "nce.png").stat().st_size > 10_000


def test_the_mixing_is_recovered_better_than_by_fastica(figures):
    found, _ = figures
    assert found["ICA: Amari distance"] < 0.02
    assert found["ICA: Amari distance"] <= found["ICA: Amari distance of FastICA"]
    assert abs(found["ICA: learned log Z less the exact one"]) < 0.02


def test_features_and_natural_parameters_are_those_of_the_gaussian():
    x = nce.gaussian_rows(50, 3)
    mean, covariance = x.mean(0), np.cov(x.T, bias=True)
    np.testing.assert_allclose(
        nce.features(x) @ nce.maximum_likelihood(x), stats.multivariate_normal(mean, covariance).logpdf(x), rtol=1e-10
    )


def test_standard_errors_are_the_spread_over_data_sets():
    """NCE solved by Newton's method with many noise samples, on 60 data sets: spread within 40 % of the formula's."""
    k, scale, n = 5, 2.0, 1000
    noise = np.random.default_rng(9).normal(0, scale, (20_000, nce.DIM))
    v = nce.features(noise)
    log_q = lambda rows: stats.norm(0, scale).logpdf(rows).sum(-1) + np.log(k)  # noqa: E731
    away, errors = [], []
    for seed in range(60):
        x = nce.gaussian_rows(n, 100 + seed)
        u, ml = nce.features(x), nce.maximum_likelihood(x)
        theta = ml.copy()
        for _ in range(6):
            p, q = (1 / (1 + np.exp(-(f @ theta - log_q(r)))) for f, r in ((u, x), (v, noise)))
            slope = (1 - p) @ u / n - k * q @ v / len(v)
            curvature = (u.T * (p * (1 - p))) @ u / n + k * (v.T * (q * (1 - q))) @ v / len(v)
            theta += np.linalg.solve(curvature, slope)
        away.append(theta - ml)
        errors.append(nce.standard_errors(x, k, scale) if seed < 3 else errors[0])
    ratio = np.std(away, axis=0) / np.mean(errors[:3], axis=0)
    np.testing.assert_allclose(ratio, 1.0, atol=0.4)


def test_the_amari_distance_ignores_order_sign_and_scale():
    _, mixing = nce.mixed_rows(1, 5)
    unmixing = np.linalg.inv(mixing)
    scaled = np.array([[0, 0, -2.0, 0], [0.5, 0, 0, 0], [0, 0, 0, 3.0], [0, 1, 0, 0]]) @ unmixing
    assert nce.amari(scaled, mixing) == pytest.approx(0.0, abs=1e-12)
    assert nce.amari(np.ones((4, 4)), np.eye(4)) == pytest.approx(1.0)
    assert 0.01 < nce.amari(unmixing + 0.05, mixing) < 1
