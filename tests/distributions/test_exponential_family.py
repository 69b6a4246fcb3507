"""Laws of every registered exponential family: its density, moments, entropy, divergence, fit, conjugate updates."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_laws import LAWS, build, noise_of, value_of
from scipy import stats

from ppl.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    Exponential,
    Gamma,
    Geometric,
    InverseGamma,
    LogNormal,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    Poisson,
    StudentT,
    kl,
    kl_divergence,
)
from ppl.distributions.base import apply_formula
from ppl.distributions.families.conjugate import CONJUGATE, posterior
from ppl.distributions.families.family import (
    FAMILIES,
    bregman_divergence,
    entropy_from_family,
    fixed_parameters,
    from_natural,
    log_partition,
    mean_parameters,
    natural_parameters,
    sufficient_statistics,
)
from ppl.distributions.families.fit import fisher_information
from ppl.errors import DataError, ModelError
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

CASES = [(cls.__name__, i) for cls in FAMILIES for i in range(2)]

each = pytest.mark.parametrize(("name", "index"), CASES, ids=[f"{n}-{i}" for n, i in CASES])


LOC = np.array([0.5, -1.0, 2.0])

TRIL = np.array([[0.6, 0.0, 0.0], [-0.4, 1.2, 0.0], [0.1, 0.2, 0.7]])

SURE = ("Bernoulli", "Binomial", "Geometric", "NegativeBinomial")


def member(name, index):
    sure = name in SURE  # whose natural parameter is not finite for a sure outcome
    cases = [c for c in LAWS[name].cases if not sure or np.ndim(c.get("probs")) or c.get("probs") not in (0.0, 1.0)]
    case = cases[min(index, len(cases) - 1)]
    held = {k: cases[0][k] for k in ("total_count",) if k in cases[0]}  # members of one family share it
    return build(name, {**case, **held})


def draws(dist, n, seed=0):
    return evaluate([dist.draw(*noise_of(dist, n))], Env(dtype=np.float64, seed=seed))[0]


def flat(parts):
    parts = [np.asarray(p, float) for p in parts]
    return parts[0] if parts[0].ndim else np.array(parts)


def columns(cls, x):
    parts = sufficient_statistics(cls, x)
    return parts[0] if FAMILIES[cls].rank else np.stack(parts, -1)


@each
def test_the_density_is_that_of_the_family(name, index):
    """log p(x) - eta . u(x) + A is log h(x), the same for two members."""
    one, two = member(name, 0), member(name, 1)
    values = draws(one, 40)
    carriers = []
    for dist in (one, two):
        u, eta = columns(type(dist), values), flat(natural_parameters(dist))
        if len(eta) == u.shape[-1]:
            carriers.append(dist.log_prob(values) - u @ eta + log_partition(dist))
    if len(carriers) == 2:
        size = 1 + np.abs(carriers[0]) + np.abs(one.log_prob(values)) + np.abs(two.log_prob(values))
        np.testing.assert_allclose((carriers[0] - carriers[1]) / size, 0.0, atol=1e-9)


@each
def test_natural_and_usual_parameters(name, index):
    dist = member(name, index)
    back = from_natural(type(dist), *natural_parameters(dist), **fixed_parameters(dist))
    x = draws(dist, 20)
    np.testing.assert_allclose(back.log_prob(x), dist.log_prob(x), rtol=1e-9, atol=1e-9)


@each
def test_moments_of_the_statistics(name, index):
    """grad A and its Hessian against 2e5 draws, within 5 standard errors."""
    dist = member(name, index)
    u = columns(type(dist), draws(dist, 200_000))
    mean, wanted = u.mean(0), flat(mean_parameters(dist))
    if u.shape[-1] != wanted.shape[-1]:
        return
    error = u.std(0) / np.sqrt(len(u))
    assert (np.abs(mean - wanted) <= 5 * error + 1e-12).all()
    centred = u - wanted
    products = centred[:, :, None] * centred[:, None, :]
    noise = products.std(0) / np.sqrt(len(u))
    assert (np.abs(products.mean(0) - fisher_information(dist)) <= 6 * noise + 1e-9).all()


@each
def test_entropy_from_the_log_partition(name, index):
    dist = member(name, index)
    if FAMILIES[type(dist)].log_carrier is None:
        with pytest.raises(ModelError, match="closed form"):
            entropy_from_family(dist)
        return
    size = np.abs(flat(natural_parameters(dist))).max()
    assert value_of(entropy_from_family(dist)) == pytest.approx(dist.entropy(), rel=1e-9, abs=1e-11 * max(size, 1))


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (Normal(0.3, 0.7), Normal(-1.0, 2.0)),
        (LogNormal(0.3, 0.7), LogNormal(-1.0, 2.0)),
        (Gamma(2.5, 0.5), Gamma(1.2, 3.0)),
        (Beta(2.5, 1.7), Beta(1.2, 3.0)),
        (Dirichlet([2.5, 1.7, 3.1]), Dirichlet([1.2, 3.0, 0.8])),
        (Bernoulli(0.2), Bernoulli(0.7)),
        (Categorical([0.2, 0.5, 0.3]), Categorical([0.1, 0.3, 0.6])),
        (Exponential(0.5), Exponential(3.0)),
        (Geometric(0.3), Geometric(logits=0.9)),
        (Binomial(7, 0.2), Binomial(7, logits=0.5)),
        (NegativeBinomial(2.5, 0.3), NegativeBinomial(2.5, logits=0.5)),
        (Multinomial(5, [0.2, 0.5, 0.3]), Multinomial(5, logits=[0.1, 0.3, 0.6])),
        (MultivariateNormal(LOC, scale_tril=TRIL), MultivariateNormal(LOC[::-1].copy(), TRIL @ TRIL.T)),
        (MultivariateNormal(LOC, scale_diag=LOC + 2.0), MultivariateNormal(0 * LOC, scale_tril=TRIL)),
    ],
)
def test_divergence_from_the_log_partition_is_the_hand_written_one(p, q):
    assert apply_formula((p, q), lambda: bregman_divergence(p, q)) == pytest.approx(kl(p, q), rel=1e-12)


@each
def test_fit_matches_the_moments(name, index):
    """At the estimate the mean of the statistics is the model's; and it is close to the truth."""
    dist = member(name, index)
    x = draws(dist, 20_000, seed=3)
    found = type(dist).fit(x, **fixed_parameters(dist))
    mean = columns(type(dist), x).mean(0)
    np.testing.assert_allclose(flat(mean_parameters(found)), mean, rtol=1e-8, atol=1e-10)
    scale = np.sqrt(np.diagonal(np.linalg.pinv(fisher_information(dist))) / len(x))
    if FAMILIES[type(dist)].minimal:
        gap = np.abs(flat(natural_parameters(found)) - flat(natural_parameters(dist)))
        assert (gap <= 6 * scale).all()


def test_fit_of_several_units_and_weights():
    x = np.random.default_rng(1).gamma(2.5, 2.0, size=(4000, 3)) * np.array([1.0, 5.0, 0.1])
    found = Gamma.fit(x)
    apart = [Gamma.fit(x[:, i]) for i in range(3)]
    np.testing.assert_allclose(found.mean, [a.mean for a in apart], rtol=1e-9)
    shape, _, scale = stats.gamma.fit(x[:, 1], floc=0)
    np.testing.assert_allclose(found.mean[1], shape * scale, rtol=1e-6)
    np.testing.assert_allclose(found.variance[1], shape * scale**2, rtol=1e-4)
    doubled = Gamma.fit(x[:50, 0], weights=np.r_[np.full(25, 2.0), np.ones(25)])
    np.testing.assert_allclose(doubled.variance, Gamma.fit(np.r_[x[:25, 0], x[:50, 0]]).variance, rtol=1e-9)


def test_fit_refuses():
    with pytest.raises(ModelError, match="StudentT is not registered"):
        StudentT.fit([1.0, 2.0])
    with pytest.raises(DataError, match="leave the support"):
        Gamma.fit([1.0, -2.0])
    with pytest.raises(DataError, match="no maximum inside the family"):
        Normal.fit([1.0, 1.0, 1.0])
    with pytest.raises(DataError, match="no maximum inside the family"):
        Gamma.fit([2.0, 2.0, 2.0])
    with pytest.raises(DataError, match="leading axis"):
        Poisson.fit(3)
    with pytest.raises(DataError, match="no maximum inside the family"):
        MultivariateNormal.fit([[0.0, 0.0], [1.0, 1.0]])
    with pytest.raises(DataError, match="weights"):
        Poisson.fit([1, 2], weights=[1.0, -1.0])


RNG = np.random.default_rng(5)

POSTERIORS = {
    (Beta, Bernoulli): (Beta(2.0, 3.0), RNG.integers(0, 2, 30), {}, lambda v: Bernoulli(v)),
    (Dirichlet, Categorical): (Dirichlet([1.0, 2.0, 0.5]), RNG.integers(0, 3, 30), {}, lambda v: Categorical(v)),
    (Dirichlet, OneHotCategorical): (
        Dirichlet([1.0, 2.0, 0.5]), np.eye(3)[RNG.integers(0, 3, 30)], {}, lambda v: OneHotCategorical(v)
    ),
    (Gamma, Poisson): (Gamma(2.0, 3.0), RNG.poisson(2.0, 30), {}, lambda v: Poisson(v)),
    (Gamma, Exponential): (Gamma(2.0, 3.0), RNG.exponential(2.0, 30), {}, lambda v: Exponential(v)),
    (Gamma, Gamma): (
        Gamma(2.0, 3.0), RNG.gamma(1.5, 1.0, 30), {"concentration": 1.5}, lambda v: Gamma(1.5, v)
    ),
    (Normal, Normal): (Normal(0.5, 2.0), RNG.normal(size=30), {"scale": 0.7}, lambda v: Normal(v, 0.7)),
    (Normal, LogNormal): (Normal(0.5, 2.0), RNG.lognormal(size=30), {"scale": 0.7}, lambda v: LogNormal(v, 0.7)),
    (Gamma, Normal): (Gamma(2.0, 3.0), RNG.normal(size=30), {"loc": 0.2}, lambda v: Normal(0.2, v**-0.5)),
    (InverseGamma, Normal): (InverseGamma(2.0, 3.0), RNG.normal(size=30), {"loc": 0.2}, lambda v: Normal(0.2, v**0.5)),
}  # fmt: skip


@pytest.mark.parametrize("pair", CONJUGATE, ids=lambda pair: f"{pair[0].__name__}-{pair[1].__name__}")
def test_conjugate_updates_are_bayes_rule(pair):
    """log posterior - log prior - log likelihood is the same at every value."""
    prior, x, known, likelihood = POSTERIORS[pair]
    after = posterior(prior, pair[1], x, **known)
    values = draws(after, 12)
    gaps = [after.log_prob(v) - prior.log_prob(v) - likelihood(v).log_prob(x).sum() for v in values]
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-10)


def test_conjugate_refusals():
    with pytest.raises(ModelError, match="Gamma is no conjugate prior of Bernoulli"):
        posterior(Gamma(1.0, 1.0), Bernoulli, [0, 1])


def test_a_multivariate_normal_in_units():
    """Natural parameters, the way back and the fit take one unit after another."""
    dist = MultivariateNormal(np.stack([LOC, -LOC]), scale_tril=np.stack([TRIL, 2 * TRIL]))
    (eta,) = natural_parameters(dist)
    for i, (loc, tril) in enumerate(((LOC, TRIL), (-LOC, 2 * TRIL))):
        precision = np.linalg.inv(tril @ tril.T)
        np.testing.assert_allclose(eta[i, :3], precision @ loc, rtol=1e-12)
        pairs = [-precision[j, k] / (1 + (j == k)) for j in range(3) for k in range(j, 3)]
        np.testing.assert_allclose(eta[i, 3:], pairs, rtol=1e-12)
    back = from_natural(MultivariateNormal, eta)
    np.testing.assert_allclose(back.mean, dist.mean, rtol=1e-12)
    np.testing.assert_allclose(value_of(back.unit_covariance()), value_of(dist.unit_covariance()), rtol=1e-12)
    x = draws(dist, 500)
    found = MultivariateNormal.fit(x)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(value_of(found.unit_covariance())[1], np.cov(x[:, 1].T, bias=True), rtol=1e-10)


def test_counts_of_different_trials_are_of_different_families():
    assert kl_divergence(Binomial(3, 0.5), Binomial(4, 0.5)) is None
    with pytest.raises(ModelError, match="no closed form"):
        kl(NegativeBinomial(2.5, 0.3), NegativeBinomial(2.0, 0.3))


NOT_FITTED = {
    "no simplex": (Dirichlet, np.array([[0.5, 0.2], [0.3, 0.3]]), "leave the support"),
    "one row of a simplex": (Dirichlet, np.array([0.5, 0.5]), "Dirichlet.fit"),
    "ones": (Dirichlet, np.ones((2, 2)), "Dirichlet.fit"),
    "no axis of vectors": (MultivariateNormal, np.arange(4.0), "MultivariateNormal.fit"),
    "no whole counts": (Poisson, np.array([0.5, 1.5]), "leave the support"),
    "no whole numbers of trials": (Geometric, np.array([0.5, 1.5]), "leave the support"),
}


@pytest.mark.parametrize("name", NOT_FITTED)
def test_data_that_a_family_cannot_have(name):
    cls, x, message = NOT_FITTED[name]
    with pytest.raises(DataError, match=message):
        cls.fit(x)
