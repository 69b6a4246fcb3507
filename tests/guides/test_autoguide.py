"""Guides written from models, against posteriors in closed form."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import integrate, stats

import ppl
from ppl import Gamma, HalfNormal, Normal, Poisson
from ppl.errors import ModelError, OptionError

RNG = np.random.default_rng(0)
Y = RNG.normal(1.0, 2.0, 12)
COUNTS = RNG.poisson(3.0, 9)


@ppl.model
def normal_normal(y):
    m = ppl.sample("m", Normal(0.5, 3.0))
    with ppl.plate("data", y) as y:
        ppl.sample("y", Normal(m, 2.0), obs=y)


@ppl.model
def gamma_poisson(y):
    rate = ppl.sample("rate", Gamma(2.0, 0.7))
    with ppl.plate("data", y) as y:
        ppl.sample("y", Poisson(rate), obs=y)


def many(program, state, *data, seeds=60):
    """Losses and gradients of many seeds, each a mean over the program's particles: (losses, {name: gradients})."""
    losses, grads = [], []
    for seed in range(seeds):
        loss, grad = program.value_and_grad(state, *data, seed=seed)
        losses.append(loss)
        grads.append(grad)
    return np.array(losses), {k: np.stack([g[k] for g in grads]) for k in grads[0]}


def check_mean(values, wanted):
    """The mean over the first axis within five standard errors."""
    error = values.std(0, ddof=1) / np.sqrt(len(values))
    np.testing.assert_array_less(np.abs(values.mean(0) - wanted), 5 * error + 1e-9)


def check_optimum(program, params, *data, evidence=None):
    """The gradient vanishes at parameters, and not a little beside."""
    losses, grads = many(program, program.init(0, params=params), *data)
    for name, found in grads.items():
        check_mean(found, 0.0)
        moved = {**params, name: params[name] * 1.3 + 0.2}
        _, beside = many(program, program.init(0, params=moved), *data, seeds=10)
        error = beside[name].std(0, ddof=1) / np.sqrt(10)
        assert (np.abs(beside[name].mean(0)) > 5 * error).any(), name
    if evidence is not None:
        check_mean(losses, evidence)


def normal_evidence(y, prior_mean, prior_sd, sd):
    covariance = np.full((len(y), len(y)), prior_sd**2) + sd**2 * np.eye(len(y))
    return -stats.multivariate_normal(np.full(len(y), prior_mean), covariance).logpdf(y)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_normal_posterior_is_reached(dtype):
    precision = 1 / 9 + len(Y) / 4
    mean = (0.5 / 9 + Y.sum() / 4) / precision
    program = ppl.compile(ppl.elbo(normal_normal, ppl.autoguide(normal_normal)), dtype=dtype, data=(Y,), particles=100)
    exact = {"guide/m/loc": mean, "guide/m/scale": precision**-0.5}
    check_optimum(program, exact, Y, evidence=normal_evidence(Y, 0.5, 3.0, 2.0))


def test_the_best_normal_in_the_logarithm_of_a_gamma_posterior():
    a, b = 2.0 + COUNTS.sum(), 0.7 + len(COUNTS)
    guide = ppl.autoguide(gamma_poisson)
    program = ppl.compile(ppl.elbo(gamma_poisson, guide), dtype="float64", data=(COUNTS,), particles=100)
    m, s = np.log(a / b) - 0.5 / a, a**-0.5  # stationary: b exp(m + s^2 / 2) = a, s^2 = 1 / a

    def term(u):
        rate = np.exp(m + s * u)
        prior = stats.gamma(2.0, scale=1 / 0.7).logpdf(rate)
        q = stats.lognorm(s, scale=np.exp(m)).logpdf(rate)
        return stats.norm.pdf(u) * (q - prior - stats.poisson.logpmf(COUNTS, rate).sum())

    best = integrate.quad(term, -10, 10)[0]
    check_optimum(program, {"guide/rate/loc": m, "guide/rate/scale": s}, COUNTS, evidence=best)


def test_a_point_is_the_mode():
    program = ppl.compile(ppl.elbo(gamma_poisson, ppl.autoguide(gamma_poisson, "delta")), dtype="float64")
    fitted = ppl.fit(program, COUNTS, steps=800, optimizer=ppl.optim.Adam(0.05))
    mode = (2.0 + COUNTS.sum() - 1) / (0.7 + len(COUNTS))
    assert np.exp(fitted.state.params["guide/rate/loc"]) == pytest.approx(mode, rel=1e-5)
    loss = -stats.gamma(2.0, scale=1 / 0.7).logpdf(mode) - stats.poisson.logpmf(COUNTS, mode).sum()
    assert program.value(fitted.state, COUNTS) == pytest.approx(loss, rel=1e-8)


def test_a_guide_starts_at_the_mean_of_constant_laws():
    @ppl.model
    def model():
        m = ppl.sample("m", Normal([500.0, -3.0], 10.0))
        ppl.sample("g", Gamma(4.0, 2.0))
        ppl.sample("h", ppl.HalfCauchy(7.0))
        ppl.sample("n", Normal(m, 1.0))

    start = ppl.compile(ppl.elbo(model, ppl.autoguide(model))).init(0).params
    np.testing.assert_allclose(start["guide/m/loc"], [500.0, -3.0])
    assert start["guide/g/loc"] == pytest.approx(np.log(2.0), rel=1e-6)
    assert start["guide/h/loc"] == pytest.approx(np.log(7.0), rel=1e-6)
    np.testing.assert_array_equal(start["guide/n/loc"], 0.0)


def test_models_without_latents_have_empty_guides():
    @ppl.model
    def model(y):
        m = ppl.param("m", 0.0)
        with ppl.plate("data", y) as y:
            ppl.sample("y", Normal(m, 1.0), obs=y)

    program = ppl.compile(ppl.elbo(model, ppl.autoguide(model)), dtype="float64", data=(Y,))
    assert program.value(program.init(0), Y) == pytest.approx(-stats.norm.logpdf(Y).sum())
    assert list(program.init(0).params) == ["m"]


@ppl.model
def grouped(*, groups=3):
    m = ppl.sample("m", Normal(0.0, 1.0))
    with ppl.plate("group", groups):
        ppl.sample("a", Normal(m, np.ones(2)))
        with ppl.plate("member", 4):
            ppl.sample("b", HalfNormal(1.0))


def test_plates_of_fixed_size_have_parameters_of_their_own():
    guide = ppl.autoguide(grouped)
    program = ppl.compile(ppl.elbo(grouped.bind(groups=5), guide.bind(groups=5)))
    shapes = {k: v.shape for k, v in program.init(0).params.items() if k.endswith("loc")}
    assert shapes == {"guide/m/loc": (), "guide/a/loc": (5, 2), "guide/b/loc": (5, 4)}
    loc = np.arange(20.0).reshape(5, 4) / 10
    state = program.init(0, params={"guide/b/loc": loc, "guide/b/scale": np.full((5, 4), 1e-4)})
    np.testing.assert_allclose(program.posterior(state, particles=1)["b"][0], np.exp(loc), rtol=1e-2)


def test_conditioned_models_and_predictions():
    guide = ppl.autoguide(normal_normal)
    given = ppl.condition(grouped, {"m": 0.3})
    assert "guide/m/loc" not in ppl.compile(ppl.elbo(given, ppl.autoguide(given))).init(0).params
    prediction = ppl.compile(ppl.predictive(normal_normal, guide), dtype="float64", data=(Y,))
    state = prediction.init(0, params={"guide/m/loc": 4.0, "guide/m/scale": 1e-3})
    drawn = prediction.predict(state, Y)
    assert drawn["m"].mean() == pytest.approx(4.0, abs=1e-2)


def test_guides_are_pickled_by_their_models():
    guide = pickle.loads(pickle.dumps(ppl.autoguide(normal_normal, "delta", rows={"data": 4})))
    assert (guide.base.name, guide.kind, guide.rows) == ("normal_normal", "delta", {"data": 4})
    assert repr(guide) == "autoguide(Model(normal_normal), 'delta')"


def trace_of(model, *data, **options):
    return ppl.compile(ppl.elbo(model, ppl.autoguide(model, **options)), data=data)


def test_what_no_guide_can_sample_is_refused():
    @ppl.model
    def discrete():
        ppl.sample("k", ppl.Categorical(np.ones(3) / 3))

    @ppl.model
    def sure():
        ppl.sample("k", ppl.Delta(1.0))

    @ppl.model
    def masked():
        ppl.sample("k", Normal(np.zeros(2), 1.0).mask([True, False]))

    @ppl.model
    def local(y):
        with ppl.plate("data", y) as y:
            z = ppl.sample("z", Normal(0.0, 1.0))
            ppl.sample("y", Normal(z, 1.0), obs=y)

    with pytest.raises(ModelError, match=r"'k' \(.*test_autoguide.py.*is discrete.*sum it out in the model"):
        trace_of(discrete)
    with pytest.raises(ModelError, match=r"ppl\.deterministic"):
        trace_of(sure)
    with pytest.raises(ModelError, match="has a mask"):
        trace_of(masked)
    with pytest.raises(ModelError, match=r"rows=\{'data': N\}, or an encoder"):
        trace_of(local, Y)
    with pytest.raises(OptionError, match="kind"):
        ppl.autoguide(local, "exact")
    with pytest.raises(ModelError, match="decorated"):
        ppl.autoguide(len)
    with pytest.raises(ModelError, match="rows of plate 'data'"):
        ppl.autoguide(local, rows={"data": 0})
    with pytest.raises(ModelError, match="was called outside a model"):
        ppl.autoguide(local)(Y)
