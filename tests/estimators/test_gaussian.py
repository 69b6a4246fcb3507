"""Bonnet-Price and sticking-the-landing: single samples by hand, refusals, and the variances that they promise."""

import numba
import numpy as np
import pytest
from scipy.special import expit, ndtri

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import EstimatorError
from ppl.estimators import BonnetPrice, Enumerate, Pathwise, Rebar, ScoreFunction, StickingTheLanding
from tests.estimators.test_single_sample import SEEDS, TOL, run, uniforms
from tests.helpers.law_graphs import LAWS, X3
from tests.helpers.laws import Graph, Sampler, arrays, assert_unbiased

# --- Bonnet and Price ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_bonnet_price_normal(seed):
    graph = LAWS["normal"]()
    scale = np.exp(graph.params["log_scale"])
    z = graph.params["loc"] + scale * ndtri(uniforms("z", 1, seed)[0])
    loss, grads, _ = run(graph, {"z": BonnetPrice()}, seed)
    np.testing.assert_allclose(loss, np.sin(z) + 0.25 * (z - 0.5) ** 2, **TOL)
    np.testing.assert_allclose(grads["loc"], np.cos(z) + 0.5 * (z - 0.5), **TOL)
    np.testing.assert_allclose(grads["log_scale"], (0.5 - np.sin(z)) * scale**2, **TOL)


@pytest.mark.parametrize("particles", [1, 3])
def test_bonnet_price_takes_the_diagonal_of_the_hessian(particles):
    graph, p, x = LAWS["normal_vector"](), LAWS["normal_vector"]().params, X3[:, None, None]
    scale = np.exp(p["tilt"] * x) * np.array([0.6, 0.9])
    z = p["loc"] * x + scale * ndtri(uniforms("z", 6 * particles, 3).reshape(3, particles, 2))
    a, b = z[..., 0], z[..., 1]
    slope = np.stack([b * np.cos(a * b) + 0.6 * (a - x[..., 0]), a * np.cos(a * b) + expit(b)], -1)
    curve = np.stack([0.6 - b**2 * np.sin(a * b), expit(b) * expit(-b) - a**2 * np.sin(a * b)], -1)
    _, grads, _ = run(graph, {"z": BonnetPrice()}, 3, particles=particles)
    np.testing.assert_allclose(grads["loc"], 2 * (slope * x).mean(1).sum(0), **TOL)
    np.testing.assert_allclose(grads["tilt"], 2 * (curve * scale**2 * x).mean(1).sum(), **TOL)


def test_bonnet_price_has_no_variance_in_the_scale_under_a_quadratic_cost():
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("loc", 0.0), np.exp(ppl.param("s", 0.0))))
        ppl.cost("loss", (z - 1.0) ** 2)

    graph = Graph(model, arrays(loc=0.3, s=0.2))
    curved, path = (Sampler(graph, {"z": e})(2000, 1)[1] for e in (BonnetPrice(), Pathwise()))
    np.testing.assert_allclose(curved["s"], 2 * np.exp(0.4), rtol=1e-12)
    np.testing.assert_allclose(curved["loc"], path["loc"], rtol=1e-12)
    assert path["s"].var() > 1


TRIL = np.array([[0.8, 0.3], [-0.5, 0.6]])  # what stands above the diagonal does not count


@pytest.mark.parametrize("seed", SEEDS)
def test_bonnet_price_takes_blocks_of_the_hessian_for_vectors(seed):
    """Two vectors that a cost couples: blocks across them do not count; d tr(H L L^T) / 2 = H L, lower part."""

    @ppl.model
    def model():
        dist = ppl.MultivariateNormal(ppl.param("loc", np.zeros((2, 2))), scale_tril=ppl.param("tril", np.eye(2)))
        x = ppl.sample("x", dist)
        ppl.cost("loss", np.sin(x[0, 0] * x[0, 1]) + np.exp(0.3 * x[1, 0] * x[0, 1]) + x[1, 1] ** 2)

    loc = np.array([[0.4, -0.2], [0.1, 0.7]])
    graph = Graph(model, arrays(loc=loc, tril=TRIL))
    x = loc + ndtri(uniforms("x", 4, seed)).reshape(2, 2) @ np.tril(TRIL).T
    (a, b), c, e = x[0], x[1, 0], np.exp(0.3 * x[1, 0] * x[0, 1])
    s, t = np.sin(a * b), np.cos(a * b)
    first = np.array([[-b * b * s, t - a * b * s], [t - a * b * s, -a * a * s + 0.09 * c * c * e]])
    second = np.array([[0.09 * b * b * e, 0.0], [0.0, 2.0]])
    slope = np.array([[b * t, a * t + 0.3 * c * e], [0.3 * b * e, 2 * x[1, 1]]])
    loss, grads, _ = run(graph, {"x": BonnetPrice()}, seed)
    np.testing.assert_allclose(loss, s + e + x[1, 1] ** 2, **TOL)
    np.testing.assert_allclose(grads["loc"], slope, **TOL)
    np.testing.assert_allclose(grads["tril"], np.tril((first + second) @ np.tril(TRIL)), **TOL)


def test_bonnet_price_has_no_variance_in_the_covariance_under_a_quadratic_cost():
    graph = LAWS["multivariate_normal"]()
    w, tril = np.array([1.0, -0.5]), np.tril(graph.params["tril"])
    hessian = 2 * np.outer(w, w) + 0.2 * np.array([[0.0, 1.0], [1.0, 0.0]])
    curved, path = (Sampler(graph, {"x": e})(2000, 1)[1] for e in (BonnetPrice(), Pathwise()))
    exact = np.broadcast_to(np.tril(hessian @ tril), (2000, 2, 2))
    np.testing.assert_allclose(curved["tril"], exact, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(curved["loc"], path["loc"], rtol=1e-12, atol=1e-14)
    assert path["tril"].var(0)[np.tril_indices(2)].min() > 0.01


@pytest.mark.parametrize("above", [Rebar(), ScoreFunction(), Enumerate()], ids=lambda e: type(e).__name__)
def test_bonnet_price_below_other_estimators(above):
    assert_unbiased(LAWS["bernoulli_between"](), {"z": Pathwise(), "b": above, "y": BonnetPrice()})


@numba.njit
def _square(z):
    return z * z


@numba.njit
def _slope(z, g):
    return (2.0 * z * g,)


def _refused(cost, match, size=(), estimator=None):
    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("m", np.zeros(size)), 1.0))
        ppl.cost("loss", cost(z))

    with pytest.raises(EstimatorError, match=match):
        ppl.compile(model, {"z": BonnetPrice() if estimator is None else estimator}).prepare()


def test_bonnet_price_refuses_what_it_would_miss():
    _refused(lambda z: np.abs(z), "a kink")
    _refused(lambda z: np.where(z > 0, z, 0.0), "a jump")
    _refused(lambda z: ppl.external(_square, z, gradient=_slope), "no second derivative")
    _refused(lambda z: np.sum(z), "exceed the budget", 40)
    _refused(lambda z: ppl.sample("b", Bernoulli(logits=z)) * 1.0, "downstream is random")
    with pytest.raises(EstimatorError, match="Normal"):
        LAWS["toy"]().compile({"b": BonnetPrice()}).prepare()
    with pytest.raises(EstimatorError, match="exceed the budget"):
        LAWS["multivariate_normal"]().compile({"x": BonnetPrice(budget=1)}).prepare()


def test_bonnet_price_refuses_coupled_rows():
    @ppl.model
    def model():
        with ppl.plate("k", np.zeros(3)) as o:
            z = ppl.sample("z", Normal(ppl.param("m", 0.0) + o, 1.0))
        ppl.cost("loss", np.sum(ppl.collect(z, "k")) ** 2)

    with pytest.raises(EstimatorError, match="couples the rows"):
        ppl.compile(model, {"z": BonnetPrice()}).prepare()


# --- sticking the landing -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_sticking_the_landing_drops_the_score(seed):
    """Per row, beta (log q - log p) - log p(x | z), with d log q / dz alone; pathwise minus it is the score."""
    graph = LAWS["elbo_normal_sampled"]()
    p, x, beta = graph.params, graph.data[0], 0.7
    sign, scale = 2 * x - 1, np.exp(p["s"])
    eps = ndtri(uniforms("z", 3, seed))
    z = p["m"] * sign + scale * eps
    dz = beta * (-eps / scale + (z - p["prior"]) / 1.44) - p["w"] * (x - expit(p["w"] * z))
    loss, grads, _ = run(graph, {"z": StickingTheLanding()}, seed)
    same, path, _ = run(graph, {"z": Pathwise()}, seed)
    np.testing.assert_allclose(loss, same, **TOL)
    np.testing.assert_allclose(grads["m"], 2 * dz @ sign, **TOL)
    np.testing.assert_allclose(grads["s"], 2 * dz @ (scale * eps), **TOL)
    np.testing.assert_allclose(path["m"] - grads["m"], 2 * beta * (eps / scale) @ sign, **TOL)
    np.testing.assert_allclose(path["s"] - grads["s"], 2 * beta * np.sum(eps**2 - 1), **TOL)
    for name in ("prior", "w"):
        np.testing.assert_allclose(grads[name], path[name], **TOL)


def _posterior(m, s):
    """z ~ N(0, 1), x ~ N(z, 1) at x = 1: the posterior is N(1/2, 1/2)."""

    @ppl.model
    def generative():
        z = ppl.sample("z", Normal(0.0, 1.0))
        ppl.sample("x", Normal(z, 1.0), obs=1.0)

    @ppl.model
    def guide():
        ppl.sample("z", Normal(ppl.param("m", 0.0), np.exp(ppl.param("s", 0.0))))

    return Graph(ppl.elbo(generative, guide, kl="sampled"), arrays(m=m, s=s))


def test_sticking_the_landing_has_no_variance_at_the_posterior():
    graph = _posterior(0.5, 0.5 * np.log(0.5))
    landing, path = (Sampler(graph, {"z": e})(2000, 1)[1] for e in (StickingTheLanding(), Pathwise()))
    for name in ("m", "s"):
        np.testing.assert_allclose(landing[name], 0.0, atol=1e-12)
        assert path[name].var() > 0.5


def test_sticking_the_landing_away_from_the_posterior_is_unbiased():
    assert_unbiased(_posterior(-0.3, 0.2), {"z": StickingTheLanding()})


@pytest.mark.parametrize("low", [Pathwise(), ScoreFunction(), StickingTheLanding()], ids=lambda e: type(e).__name__)
def test_sticking_the_landing_below_other_estimators(low):
    assert_unbiased(LAWS["elbo_normal_deep"](), {"low": low, "top": StickingTheLanding()})


def test_sticking_the_landing_needs_a_sampled_density():
    for law, match in (("elbo_normal", "sampled"), ("normal", "sampled"), ("jump", "a jump")):
        with pytest.raises(EstimatorError, match=match):
            LAWS[law]().compile({"z": StickingTheLanding()}).prepare()
