"""A learned kernel beside SciPy and scikit-learn; a full covariance beside the covariance of the rows."""

import json

import numpy as np
import pytest

import ppl
from ppl.models import full_normal, gaussian_process
from tests.helpers.needs import needs

pytestmark = needs("matplotlib", "sklearn")


def test_density_and_hessian_are_scikit_learns_and_differences_of_scipys():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    x, y = gaussian_process.observations(37, seed=2)
    params = {"amplitude": 1.2, "length": 0.5, "noise": 0.4}
    program = ppl.compile(ppl.likelihood(gaussian_process.process), data=(x, y), dtype="float64")
    state = program.init(0, x, y, params=params)
    kernel = ConstantKernel(1.2**2) * RBF(0.5) + WhiteKernel(0.4**2)
    peer = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(x[:, None], y)
    loss, grads = program.value_and_grad(state, x, y)
    assert loss == pytest.approx(-peer.log_marginal_likelihood_value_, rel=1e-10)
    theta = np.log(list(params.values()))

    def slope(at, h=1e-5):
        ends = [[gaussian_process.negative_log_likelihood(at + s * e, x, y) for s in (h, -h)] for e in np.eye(3)]
        return np.array([(up - down) / (2 * h) for up, down in ends])

    # gradients are those in unconstrained numbers, here logarithms
    np.testing.assert_allclose([float(grads[name]) for name in params], slope(theta), rtol=1e-6)
    v = np.array([0.3, -1.0, 0.5])
    curved = program.hvp(state, dict(zip(params, v, strict=True)), x, y)
    wanted = (slope(theta + 1e-4 * v) - slope(theta - 1e-4 * v)) / 2e-4
    np.testing.assert_allclose([float(curved[name]) for name in params], wanted, rtol=1e-5)
    mean, spread = gaussian_process.posterior(x, y, np.linspace(-4, 4, 9), **params)
    other, noisy = peer.predict(np.linspace(-4, 4, 9)[:, None], return_std=True)
    np.testing.assert_allclose(mean, other, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(spread**2 + 0.4**2, noisy**2, rtol=1e-6)


def test_the_learned_kernel_is_the_optimisers(tmp_path):
    assert gaussian_process.main(["--steps", "400", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gaussian_process.metrics.json").read_text())["metrics"]
    best = found["negative log-likelihood, Nelder and Mead"]
    assert found["negative log-likelihood"] == pytest.approx(best, abs=1e-4)
    for name in gaussian_process.TRUE:
        assert found[f"{name} learned"] == pytest.approx(found[f"{name}, Nelder and Mead"], rel=1e-2)
    assert (tmp_path / "gaussian_process.png").stat().st_size > 10_000


def test_three_forms_of_a_covariance_reach_the_closed_form(tmp_path):
    assert full_normal.main(["--steps", "1500", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "full_normal.metrics.json").read_text())["metrics"]
    least = found["negative log-likelihood per row, closed form"]
    for form in full_normal.FORMS:
        assert least - 1e-9 < found[f"negative log-likelihood per row, {form}"] < least + 1e-3
        assert found[f"largest distance of a covariance, {form}"] < 0.02
