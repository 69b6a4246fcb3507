"""Laplace's approximation against closed forms: mode and curvature of the density of the reals are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special, stats

import ppl
from ppl import Normal
from ppl.errors import DataError, ModelError
from tests.guides.test_joint import GROUP, X, Y, regression, regression_posterior

COUNTS = np.array([2, 5, 3, 4, 1, 0, 3])


@ppl.model
def gamma_poisson(y):
    rate = ppl.sample("rate", ppl.Gamma(2.0, 0.7))
    with ppl.plate("data", y) as y:
        ppl.sample("y", ppl.Poisson(rate), obs=y)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gamma_posterior_in_the_logarithm(dtype):
    """The log-density of the log-rate is A u - B exp(u) + constants: mode log(A / B), curvature A."""
    a, b = 2.0 + COUNTS.sum(), 0.7 + len(COUNTS)
    guide = ppl.autoguide(gamma_poisson, "laplace")
    program = ppl.compile(ppl.elbo(gamma_poisson, guide), dtype=dtype, data=(COUNTS,))
    found = guide.normal(program, program.init(0), COUNTS)
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(found.params["guide/loc"], [np.log(a / b)], atol=tolerance)
    np.testing.assert_allclose(found.params["guide/scale_tril"], [[a**-0.5]], rtol=tolerance)
    exact = (
        2 * np.log(0.7) - special.gammaln(2) - special.gammaln(COUNTS + 1).sum() + special.gammaln(a) - a * np.log(b)
    )
    stirling = (
        0.5 * np.log(2 * np.pi / a) + a * np.log(a) - a - special.gammaln(a)
    )  # log of what Laplace makes of gamma
    assert found.log_evidence == pytest.approx(exact + stirling, abs=10 * tolerance)


def test_a_normal_posterior_is_exact():
    mean, covariance, evidence = regression_posterior()
    guide = ppl.autoguide(regression, "laplace")
    program = ppl.compile(ppl.elbo(regression, guide), dtype="float64", data=(X, GROUP, Y))
    found = guide.normal(program, program.init(0), X, GROUP, Y)
    assert found.log_evidence == pytest.approx(-evidence, abs=1e-9)
    np.testing.assert_allclose(found.params["guide/loc"], mean, atol=1e-9)
    tril = found.params["guide/scale_tril"]
    np.testing.assert_allclose(tril @ tril.T, covariance, atol=1e-9)
    normal = ppl.compile(ppl.elbo(regression, found.guide), dtype="float64", data=(X, GROUP, Y))
    assert normal.value(normal.init(0, params=found.params), X, GROUP, Y) == pytest.approx(evidence, abs=1e-8)


def test_a_logistic_regression_with_a_learned_width():
    """Against SciPy's minimum of the same density; the model's own parameter stays where it is."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    y = (rng.random(40) < special.expit(x @ [1.5, -1.0])).astype(int)

    @ppl.model
    def logistic(x, y):
        w = ppl.sample("w", Normal(np.zeros(2), ppl.param("width", 2.0, constraint="positive")))
        with ppl.plate("data", x, y) as (x, y):
            ppl.sample("y", ppl.Bernoulli(logits=x @ w), obs=y)

    def loss(w):
        return -stats.norm(0, 2.0).logpdf(w).sum() - (y * (x @ w) - np.logaddexp(0, x @ w)).sum()

    mode = optimize.minimize(loss, np.zeros(2), tol=1e-12).x
    p = special.expit(x @ mode)
    hessian = np.eye(2) / 4 + (x * (p * (1 - p))[:, None]).T @ x
    guide = ppl.autoguide(logistic, "laplace")
    program = ppl.compile(ppl.elbo(logistic, guide), dtype="float64", data=(x, y))
    found = guide.normal(program, program.init(0), x, y)
    np.testing.assert_allclose(found.params["guide/loc"], mode, atol=1e-6)
    tril = found.params["guide/scale_tril"]
    np.testing.assert_allclose(np.linalg.inv(tril @ tril.T), hessian, rtol=1e-6)
    wanted = np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(hessian)[1] - loss(mode)
    assert found.log_evidence == pytest.approx(wanted, abs=1e-6)


def test_what_has_no_such_approximation_is_refused():
    @ppl.model
    def saddle():
        x = ppl.sample("x", Normal(np.zeros(2), 1.0))
        ppl.factor("f", 2.0 * x[0] ** 2 - 0.1 * x[0] ** 4)

    @ppl.model
    def local(y):
        with ppl.plate("data", y) as y:
            ppl.sample("z", Normal(0.0, 1.0))

    guide = ppl.autoguide(saddle, "laplace")
    program = ppl.compile(ppl.elbo(saddle, guide), dtype="float64")
    with pytest.raises(
        DataError, match=r"the curvature is not positive here \(smallest eigenvalue of the Hessian -3\)"
    ):
        guide.normal(program, program.init(0))
    with pytest.raises(DataError, match="with this guide"):
        ppl.autoguide(saddle, "laplace").normal(program, program.init(0))
    with pytest.raises(ModelError, match="of kind 'mvn'"):
        ppl.autoguide(saddle, "mvn").normal(program, program.init(0))
    with pytest.raises(ModelError, match="take kind 'structured'"):
        ppl.compile(ppl.elbo(local, ppl.autoguide(local, "laplace")), data=(Y,))
