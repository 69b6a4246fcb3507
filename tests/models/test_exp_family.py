"""Exponential families: moments, convexity, Fisher information and both gradients against SciPy and closed forms."""

import json

import numpy as np
import pytest
from scipy import stats

from ppl.models import common, exp_family
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")

ETA = {
    "Gaussian": np.array([0.8, -0.3]), "gamma": np.array([1.4, -0.7]), "Bernoulli": np.array([0.4]),
    "Poisson": np.array([0.9]),
}  # fmt: skip


def law(name, eta):
    """SciPy's distribution with natural parameters η."""
    if name == "Gaussian":
        return stats.norm(-eta[0] / (2 * eta[1]), np.sqrt(-0.5 / eta[1]))
    if name == "gamma":
        return stats.gamma(eta[0] + 1, scale=-1 / eta[1])
    return stats.bernoulli(1 / (1 + np.exp(-eta[0]))) if name == "Bernoulli" else stats.poisson(np.exp(eta[0]))


@pytest.fixture(scope="module")
def problems():
    job = common.Job("exp_family", "", [])
    return {n: exp_family.Problem(job, n, x) for n, x in exp_family.observations().items()}


@pytest.mark.parametrize("name", ETA)
def test_the_cost_is_minus_the_log_density_up_to_the_base_measure(name, problems):
    """Differences between two η are those of SciPy's mean log-likelihoods: h(x) cancels."""
    x, problem, eta = exp_family.observations()[name], problems[name], ETA[name]
    other = 0.7 * eta

    def log_likelihood(at):
        found = law(name, at)
        return (found.logpdf if hasattr(found.dist, "pdf") else found.logpmf)(x).mean()

    assert problem.loss(eta) - problem.loss(other) == pytest.approx(
        log_likelihood(other) - log_likelihood(eta), rel=1e-9
    )


@pytest.mark.parametrize("name", ETA)
def test_gradient_and_hessian_of_a_are_mean_and_covariance_of_the_statistics(name, problems):
    problem, eta = problems[name], ETA[name]
    found = law(name, eta)
    if name in ("Bernoulli", "Poisson"):
        x = np.arange(2 if name == "Bernoulli" else 60)
        weights, u = found.pmf(x), problem.family.statistics(x)
    else:
        nodes, w = np.polynomial.legendre.leggauss(2000)
        low, high = found.ppf(1e-14), found.isf(1e-14)
        x = 0.5 * (high - low) * nodes + 0.5 * (high + low)
        weights, u = 0.5 * (high - low) * w * found.pdf(x), problem.family.statistics(x)
    mean = weights @ u
    covariance = (u - mean).T @ ((u - mean) * weights[:, None])
    np.testing.assert_allclose(problem.gradient(eta) + problem.u.mean(0), mean, rtol=1e-6)
    np.testing.assert_allclose(problem.family.moments(eta), mean, rtol=1e-6)
    np.testing.assert_allclose(problem.fisher(eta), covariance, rtol=1e-5)


def test_the_analytic_optima_are_scipys():
    data = exp_family.observations()
    shape, _, scale = stats.gamma.fit(data["gamma"], floc=0)
    np.testing.assert_allclose(exp_family.analytic("gamma", data["gamma"]), [shape - 1, -1 / scale], rtol=1e-4)
    mean, deviation = stats.norm.fit(data["Gaussian"])
    np.testing.assert_allclose(
        exp_family.analytic("Gaussian", data["Gaussian"]), [mean / deviation**2, -0.5 / deviation**2], rtol=1e-10
    )


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp_family")
    assert exp_family.main(["--steps", "60", "--out", str(folder)]) == 0
    assert (folder / "exp_family.png").stat().st_size > 10_000
    return json.loads((folder / "exp_family.metrics.json").read_text())["metrics"]


@pytest.mark.parametrize("name", ETA)
def test_moments_match_at_the_maximum_of_the_likelihood(name, figures):
    assert figures[f"{name}: largest |∇A(η̂) / mean u - 1|"] < 1e-7
    assert figures[f"{name}: largest |η̂ / η_ML - 1|"] < 1e-7


@pytest.mark.parametrize("name", ETA)
def test_a_is_convex(name, figures):
    assert figures[f"{name}: smallest eigenvalue of ∇²A"] > 0
    assert figures[f"{name}: largest A(middle) - chord"] < 0


@pytest.mark.parametrize("name", ["Gaussian", "gamma"])
def test_the_natural_gradient_needs_few_steps_where_the_ordinary_one_needs_many(name, figures):
    assert figures[f"{name}: steps to 1e-6 nat, natural gradient"] <= 10
    assert figures[f"{name}: nats above the minimum at the end, ordinary gradient"] > 1e-3


def test_descents_are_continued_where_they_ended(tmp_path):
    """10 steps in one run and in two: the same path, for which the size of the last step is kept."""
    x = exp_family.observations()["gamma"]
    for natural in (True, False):
        runs = {}
        for folder, parts in (("whole", [[10]]), ("parts", [[4], [10, "--resume"]])):
            for steps, *more in parts:
                options = ["--steps", str(steps), "--out", str(tmp_path / folder), *more]
                job = common.Job("exp_family", "", options, epochs=None, steps=300)
                problem = exp_family.Problem(job, "gamma", x)
                runs[folder] = exp_family.resumed(job, problem, "gamma", natural)
        assert len(runs["whole"]) == 11 or natural
        np.testing.assert_array_equal(runs["parts"], runs["whole"])
