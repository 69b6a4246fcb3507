"""MultivariateNormal with a learned factor, of many dimensions: SciPy's density, and code that does not grow."""

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl.ir.node import make, topological


@ppl.model
def gaussian(x, *, d):
    loc = ppl.param("loc", 0.0, shape=d)
    tril = ppl.param("tril", np.eye(d), constraint="lower_cholesky")
    with ppl.plate("data", x) as x:
        ppl.sample("x", ppl.MultivariateNormal(loc, scale_tril=tril), obs=x)


def test_a_learned_factor_of_a_hundred_dimensions_has_the_density_and_gradient_of_scipy():
    d, rng = 100, np.random.default_rng(0)
    x, loc = rng.normal(size=(7, d)), rng.normal(size=d)
    tril = np.tril(rng.normal(size=(d, d)) / np.sqrt(d), -1) + np.diag(rng.uniform(0.5, 2.0, d))
    program = ppl.compile(ppl.likelihood(gaussian.bind(d=d)), dtype="float64", data=x)
    state = program.init(0, x, params={"loc": loc, "tril": tril})
    loss, grads = program.value_and_grad(state, x)
    assert loss == pytest.approx(-stats.multivariate_normal(loc, tril @ tril.T).logpdf(x).sum(), rel=1e-10)
    np.testing.assert_allclose(grads["loc"], -np.linalg.solve(tril @ tril.T, (x - loc).sum(0)), rtol=1e-8, atol=1e-8)


def test_the_density_has_as_many_ops_in_two_dimensions_as_in_fifty():
    def count(d):
        dist = ppl.MultivariateNormal(np.zeros(d), scale_tril=make("param", name="L", shape=(d, d)))
        return len(topological([dist.unit_log_prob(make("param", name="x", shape=(d,)))]))

    assert count(2) == count(50)
