"""The mixed model beside quadrature over its four scales; effects and coefficients are integrated in closed form."""

import numpy as np
import pytest
from scipy.special import logsumexp

from tests.textbook.chains import chains, check_moments
from tests.textbook.runs import run


def grid():
    """sigma, tau_0, tau_1 and rho at every point, and the logs of the volumes."""
    logs = (np.linspace(-1.95, -1.1, 15), np.linspace(-1.5, 0.4, 19), np.linspace(-1.6, 0.4, 19))
    rho = np.linspace(-0.96, 0.96, 33)
    points = np.stack(np.meshgrid(*logs, rho, indexing="ij"), -1).reshape(-1, 4)
    return np.exp(points[:, 0]), np.exp(points[:, 1:3]), points[:, 3], points[:, :3].sum(1)


def exact(script):
    """Mean and standard deviation of beta, tau, sigma and rho."""
    sigma, tau, rho, volume = grid()
    s = tau[:, :, None] * tau[:, None, :] * np.where(np.eye(2, dtype=bool), 1.0, rho[:, None, None])
    noise, inverse = sigma[:, None, None] ** 2, np.linalg.inv(s)
    log = volume - (sigma**2 + (tau**2).sum(1)) / 2 + np.log1p(-(rho**2))
    precision, linear = np.zeros_like(s) + np.eye(2) / 25, np.zeros((len(s), 2))
    for j in range(18):
        rows = script.subject == j
        x, y = np.stack([np.ones(rows.sum()), script.day[rows]], 1), script.time[rows]
        a, c = x.T @ x, x.T @ y
        middle = np.linalg.inv(a + noise * inverse)
        precision += (a - a @ middle @ a) / noise
        linear += (c - (middle @ c) @ a) / noise[:, 0]
        quadratic = (y @ y - (middle @ c) @ c) / sigma**2
        log -= 0.5 * (len(y) * np.log(sigma**2) + np.linalg.slogdet(np.eye(2) + s @ a / noise)[1] + quadratic)
    covariance = np.linalg.inv(precision)
    beta = (covariance @ linear[..., None])[..., 0]
    log += 0.5 * ((linear * beta).sum(1) + np.linalg.slogdet(covariance)[1])
    w = np.exp(log - logsumexp(log))
    assert w.reshape(15, 19, 19, 33)[[0, -1]].sum() + w.reshape(15, 19, 19, 33)[:, [0, -1]].sum() < 2e-3
    found = {}
    for name, x in (("tau", tau), ("sigma", sigma), ("rho", rho)):
        found[name] = w @ x, np.sqrt(w @ x**2 - (w @ x) ** 2)
    second = w @ (beta**2 + np.einsum("gii->gi", covariance))
    return {**found, "beta": (w @ beta, np.sqrt(second - (w @ beta) ** 2))}


@pytest.mark.slow
def test_the_guide_has_the_means_of_the_posterior():
    """Its spreads of tau are too small, as those of any normal that has effects and their logs of scales together."""
    script = run("mixed_model")
    drawn = {**script.drawn, "rho": script.drawn["factor"][:, 1, 0]}
    for name, (mean, spread) in exact(script).items():
        np.testing.assert_array_less(np.abs(drawn[name].mean(0) - mean), 0.25 * spread)
        if name != "tau":
            np.testing.assert_allclose(drawn[name].std(0), spread, rtol=0.15)


@pytest.mark.slow
def test_the_guide_is_the_best_normal_in_the_scales():
    """Of the best normal of mean m: E g = 0 and E (u - m) g = -1, where g is the slope of log p in u = log tau."""
    drawn = run("mixed_model").drawn
    tau, u = drawn["tau"].astype(float), np.log(drawn["tau"].astype(float))
    inverse = np.linalg.inv(drawn["factor"].astype(float))
    r = (drawn["b"] - drawn["beta"][:, None]) / tau[:, None]
    y = np.einsum("pij,pnj->pni", inverse, r)
    for k in (0, 1):
        g = 1 - tau[:, k] ** 2 - 18 + np.einsum("pni,pi,pn->p", y, inverse[:, :, k], r[:, :, k])
        first, second = g * u[:, k].std(), (u[:, k] - u[:, k].mean()) * g
        for found, exactly in ((first, 0.0), (second, -1.0)):
            assert abs(found.mean() - exactly) < 5 * found.std() / np.sqrt(len(found)) + 0.05


@pytest.mark.slow
def test_chains_are_exact():
    pytest.importorskip("nutpie")
    script = run("mixed_model")
    found = chains(script.mixed, *script.data)
    for name, (mean, spread) in exact(script).items():
        draws = np.asarray(found["factor"])[..., 1, 0] if name == "rho" else np.asarray(found[name])
        check_moments(draws, mean, spread)
