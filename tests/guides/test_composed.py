"""Guides beside other parts of the language: learned ends, hand-written nodes, pickles, natural gradients."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl import Bernoulli, Normal

RNG = np.random.default_rng(0)
Y = np.concatenate([RNG.normal(-2, 1, 20), RNG.normal(2, 1, 12)])


def test_ends_that_are_parameters():
    """The mean of p / q is 1 whatever the learned ends are, and gradients reach them."""

    @ppl.model
    def model(y):
        low = ppl.param("low", -0.7)
        with ppl.plate("data", y) as y:
            ppl.sample("x", ppl.Uniform(low, low + 3.0))
            ppl.sample("z", ppl.Pareto(ppl.param("start", 0.4, constraint="positive"), 2.0))

    y = np.zeros(4000)
    guide = ppl.autoguide(model, rows={"data": 4000})
    program = ppl.compile(ppl.elbo(model, guide), dtype="float64", data=(y,))
    wide = {f"guide/{k}/log_scale": np.full(4000, np.log(1.5)) for k in "xz"}
    weights = np.exp(-program.value(program.init(0, params=wide), y, seed=1, per_row=True))
    assert abs(weights.mean() - 1) < 5 * weights.std(ddof=1) / np.sqrt(4000) < 0.5


@ppl.model
def mixture(y):
    m = ppl.sample("m", Normal(0.0, 3.0))
    with ppl.plate("data", y) as y:
        k = ppl.sample("k", Bernoulli(0.4))
        ppl.sample("y", Normal(np.where(k == 1, m, -m), 1.0), obs=y)


CONTINUOUS = ppl.autoguide(ppl.condition(mixture, {"k": 0}))


@ppl.model
def mixture_guide(y):
    CONTINUOUS(y)
    with ppl.plate("data", y) as y:
        ppl.sample("k", Bernoulli(logits=ppl.param("a", -0.4) + ppl.param("b", 0.1) * y))


def test_discrete_latents_beside_a_guide():
    """The guide of a conditioned model samples the others; the discrete node's guide is exact for a sure m."""
    program = ppl.compile(ppl.elbo(mixture, mixture_guide), dtype="float64", data=(Y,))
    optimizer = ppl.optim.Adam(ppl.optim.cosine(0.05, 5e-4, 2500))
    state = ppl.fit(program, Y, steps=2500, optimizer=optimizer, batch_size=None, seed=1).state
    m = state.params["guide/m/loc"]
    assert abs(m) == pytest.approx(2.0, abs=0.5)
    assert program.params(state)["b"] == pytest.approx(2 * m, abs=0.15)  # log-odds of two normals: 2 m y
    assert program.params(state)["a"] == pytest.approx(np.log(0.4 / 0.6), abs=0.15)


@ppl.model
def linear(y):
    m = ppl.sample("m", Normal(0.5, 3.0))
    with ppl.plate("data", y) as y:
        ppl.sample("y", Normal(m, 2.0), obs=y)


LINEAR_GUIDE = ppl.autoguide(linear)


def test_programs_with_such_guides_are_pickled():
    program = ppl.compile(ppl.elbo(linear, ppl.autoguide(linear, "mvn")), dtype="float64", data=(Y,))
    again = pickle.loads(pickle.dumps(program))
    assert again.value(again.init(3), Y) == program.value(program.init(3), Y)


def test_natural_gradients_reach_a_conjugate_posterior_in_a_step():
    program = ppl.compile(ppl.elbo(linear, LINEAR_GUIDE), dtype="float64", data=(Y,), particles=2000)
    optimizer = ppl.optim.NaturalGradient(program, lr=0.2)
    state = ppl.fit(program, Y, steps=60, optimizer=optimizer, batch_size=None, seed=0).state
    precision = 1 / 9 + len(Y) / 4
    params = program.params(state)
    assert params["guide/m/loc"] == pytest.approx((0.5 / 9 + Y.sum() / 4) / precision, abs=0.03)
    assert params["guide/m/scale"] == pytest.approx(precision**-0.5, rel=0.05)


def test_an_encoder_of_several_latents():
    @ppl.model
    def model(x, y):
        with ppl.plate("data", x, y) as (x, y):
            a = ppl.sample("a", Normal(np.zeros(2), 1.0))
            s = ppl.sample("s", ppl.LogNormal(0.0, 0.5))
            ppl.sample("y", Normal(a @ x, s), obs=y)

    def encoder(y, x):
        return {"a": (x * y, np.full(2, -1.0)), "s": (0.1 * y, -2.0)}

    x, y = RNG.normal(size=(6, 2)), Y[:6]
    program = ppl.compile(ppl.elbo(model, ppl.autoguide(model, encoder=encoder)), dtype="float64", data=(x, y))
    drawn = program.posterior(program.init(0), x, y, particles=20_000)
    for values, mean, sd in (
        (drawn["a"], x * y[:, None], np.exp(-1.0)),
        (np.log(drawn["s"]), 0.1 * y, np.exp(-2.0)),
    ):
        assert (np.abs(values.mean(0) - mean) < 5 * sd / np.sqrt(20_000)).all()
        assert stats.kstest((values - mean).ravel()[:5000] / sd, "norm").pvalue > 1e-3
