"""MultivariateNormal whose covariance or precision is computed: SciPy's density, derivatives, draws, and errors."""

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl.errors import ParameterError
from ppl.graph.stochastic import StochasticGraph
from ppl.objectives.base import as_objective

T = np.linspace(-1.0, 2.0, 6)


def kernel(scale, length, t):
    """The kernel exp(-(t - t')^2 / 2) between points `t`, stretched, with noise; of values or arrays."""
    apart = (t[:, None] - t[None, :]) / length
    return scale * scale * np.exp(-0.5 * apart * apart) + 0.1 * np.eye(t.shape[0])


def law(form, covariance):
    """A MultivariateNormal around 0.5 of a value."""
    if form == "covariance_matrix":
        return ppl.MultivariateNormal(0.5, covariance)
    if form == "precision_matrix":
        return ppl.MultivariateNormal(0.5, precision_matrix=np.linalg.inv(covariance))
    return ppl.MultivariateNormal(0.5, scale_tril=np.linalg.cholesky(covariance))


FORMS = ("covariance_matrix", "precision_matrix", "scale_tril")


def density(theta, x):
    return stats.multivariate_normal(np.full(T.size, 0.5), kernel(*theta, T)).logpdf(x).sum()


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-6), pytest.param("float32", 2e-3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", FORMS)
def test_the_density_of_rows_and_its_derivatives(form, dtype, tolerance):
    @ppl.model
    def process(x):
        theta = ppl.param("theta", np.array([1.3, 0.7]))
        with ppl.plate("data", x) as x:
            ppl.sample("x", law(form, kernel(theta[0], theta[1], T)), obs=x)

    x, theta, v = np.random.default_rng(0).normal(size=(5, T.size)), np.array([1.3, 0.7]), np.array([0.4, -1.1])
    program = ppl.compile(ppl.likelihood(process), dtype=dtype, data=x)
    state = program.init(0, x)
    loss, grads = program.value_and_grad(state, x)
    np.testing.assert_allclose(loss, -density(theta, x), rtol=max(1e-10, tolerance / 100))

    def slope(at, h=1e-5):
        return np.array([(density(at - h * e, x) - density(at + h * e, x)) / (2 * h) for e in np.eye(2)])

    np.testing.assert_allclose(grads["theta"], slope(theta), rtol=tolerance)
    curved = (slope(theta + 1e-4 * v) - slope(theta - 1e-4 * v)) / 2e-4
    np.testing.assert_allclose(program.hvp(state, {"theta": v}, x)["theta"], curved, rtol=10 * tolerance)


def test_a_covariance_of_every_row():
    @ppl.model
    def process(x, length):
        theta = ppl.param("theta", np.array([1.3, 0.7]))
        with ppl.plate("data", x, length) as (x, length):
            ppl.sample("x", law("covariance_matrix", kernel(theta[0], theta[1] * length, T)), obs=x)

    rng = np.random.default_rng(1)
    x, length = rng.normal(size=(40, T.size)), rng.uniform(0.5, 2.0, 40)
    program = ppl.compile(ppl.likelihood(process), dtype="float64", data=(x, length))
    state = program.init(0, x, length)
    wanted = -sum(density((1.3, 0.7 * b), row) for row, b in zip(x, length, strict=True))
    np.testing.assert_allclose(program.value(state, x, length), wanted, rtol=1e-10)


def test_one_matrix_for_many_vectors_of_an_event_is_not_repeated():
    @ppl.model
    def process():
        theta = ppl.param("theta", np.array([1.3, 0.7]))
        covariance = kernel(theta[0], theta[1], T)
        ppl.sample("x", ppl.MultivariateNormal(np.full((30, T.size), 0.5), covariance), obs=x)

    x = np.random.default_rng(2).normal(size=(30, T.size))
    program = ppl.compile(ppl.likelihood(process), dtype="float64")
    np.testing.assert_allclose(program.value(program.init(0)), -density((1.3, 0.7), x), rtol=1e-10)
    assert "[30,6,6]" not in program.ir("schedule").replace(" ", "")


@pytest.mark.parametrize("form", FORMS)
def test_draws_have_the_covariance(form):
    """Within five standard errors, sqrt((c_ij^2 + c_ii c_jj) / n)."""

    @ppl.model
    def process():
        theta = ppl.param("theta", np.array([1.3, 0.7]))
        ppl.cost("loss", ppl.sample("x", law(form, kernel(theta[0], theta[1], T))).sum())

    program = ppl.compile(process, dtype="float64")
    n, exact = 40_000, kernel(1.3, 0.7, T)
    x = program.sample(program.init(0), particles=n, seed=3)["x"]
    bound = 5 * np.sqrt((exact**2 + np.outer(np.diag(exact), np.diag(exact))) / n)
    assert (np.abs(np.cov(x.T) - exact) < bound).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_matrix_that_is_not_positive_definite_is_an_error_that_names_the_node(form):
    @ppl.model
    def process(x):
        diagonal = ppl.param("diagonal", np.ones(3))
        with ppl.plate("data", x) as x:
            ppl.sample("x", law(form, 2.0 * np.eye(3) * diagonal), obs=x)

    x = np.random.default_rng(0).normal(size=(4, 3))
    program = ppl.compile(ppl.likelihood(process), dtype="float64", data=x)
    for value in (0.0, -1.0):
        state = program.init(0, x, params={"diagonal": np.array([1.0, value, 1.0])})
        for run in (program.value, program.step, program.value_and_grad):
            with pytest.raises(ParameterError, match=r"node 'x'.*(factor of|scale_tril|diagonal of)") as caught:
                run(state, x)
            assert caught.value.args and "diagonal" in str(caught.value)


def test_a_covariance_of_random_numbers_has_a_path():
    """A latent length: the mean pathwise gradient of the bound is that of quadrature."""
    x = np.random.default_rng(0).normal(size=(3, T.size))

    @ppl.model
    def process(x):
        length = ppl.sample("length", ppl.LogNormal(-0.3, 0.5))
        with ppl.plate("data", x) as x:
            ppl.sample("x", law("covariance_matrix", kernel(1.3, length, T)), obs=x)

    @ppl.model
    def guide(x):
        ppl.sample("length", ppl.LogNormal(ppl.param("m", 0.1), 0.3))

    program = ppl.compile(ppl.elbo(process, guide), data=x, dtype="float64", particles=50)
    assert "length: low variance through the cost's slope" in str(program.explain())

    def bound(m):
        at, weights = np.polynomial.hermite_e.hermegauss(60)
        fits = [density((1.3, np.exp(m + 0.3 * z)), x) for z in at]
        gap = np.log(0.5 / 0.3) + (0.3**2 + (m + 0.3) ** 2) / (2 * 0.25) - 0.5
        return gap - weights @ fits / weights.sum()

    wanted = (bound(0.1 + 1e-4) - bound(0.1 - 1e-4)) / 2e-4
    state = program.init(0, x)
    found = np.array([program.step(state, x, seed=s)[1]["m"] for s in range(200)])
    assert abs(found.mean() - wanted) < 5 * found.std() / np.sqrt(200)
    assert found.std() < 5 * abs(wanted)


def test_a_random_matrix_may_be_singular_so_its_inverse_has_a_pole():
    @ppl.model
    def model():
        z = ppl.sample("z", ppl.Normal(ppl.param("mu", np.zeros((2, 2))), 1.0))
        ppl.cost("loss", np.tanh(np.linalg.inv(z)).sum())

    order, where = StochasticGraph(as_objective(model).trace({}))["z"].path_order()
    assert order == -1 and "singular" in where
