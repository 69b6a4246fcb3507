"""Twelve models whose first training step is timed, each with an edit that a user might make next.

A model is a function ``(edited) -> (program, data)``. Nobody tuned on the first six.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import ppl
from benchmarks import step_models
from ppl import Bernoulli, Normal, StudentT

Made = tuple[Any, tuple[np.ndarray, ...]]
ROWS = np.random.default_rng(0).normal(size=(100, 13)).astype(np.float32)


def hierarchical(edited: bool) -> Made:
    """Intercepts of 8 groups around a common one; edited: Student's t instead of normal noise."""

    @ppl.model
    def model(x, group, y):
        center = ppl.sample("center", Normal(0.0, 5.0))
        spread = ppl.sample("spread", ppl.LogNormal(0.0, 1.0))
        a = ppl.sample("a", Normal(np.zeros(8) + center, spread))
        b = ppl.sample("b", Normal(0.0, 1.0))
        with ppl.plate("data", x, group, y) as (x, group, y):
            loc = a[group] + b * x
            ppl.sample("y", StudentT(4.0, loc, 1.0) if edited else Normal(loc, 1.0), obs=y)

    @ppl.model
    def guide(x, group, y):
        for name in ("center", "b"):
            ppl.sample(name, Normal(ppl.param(f"{name}_loc", 0.0), np.exp(ppl.param(f"{name}_scale", -1.0))))
        ppl.sample("spread", ppl.LogNormal(ppl.param("spread_loc", 0.0), np.exp(ppl.param("spread_scale", -1.0))))
        ppl.sample("a", Normal(ppl.param("a_loc", 0.0, shape=8), np.exp(ppl.param("a_scale", -1.0, shape=8))))

    data = ROWS[:, 0], np.arange(len(ROWS)) % 8, ROWS[:, 1]
    return ppl.compile(ppl.elbo(model, guide), data=data), data


def autoregression(edited: bool) -> Made:
    """12 steps of a hidden state, seen with noise; edited: the guide's state passes through tanh."""

    @ppl.model
    def model(x):
        decay = ppl.param("decay", 0.5)
        with ppl.plate("data", x) as x:
            z = ppl.sample("z0", Normal(0.0, 1.0))
            for t in range(1, 13):
                z = ppl.sample(f"z{t}", Normal(decay * z, 1.0))
                ppl.sample(f"x{t}", Normal(z, 1.0), obs=x[t])

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z0", Normal(ppl.param("m0", 0.0), np.exp(ppl.param("s0", 0.0))))
            for t in range(1, 13):
                a, b = (ppl.param(f"{name}{t}", 0.1) for name in "ab")
                loc = a * (np.tanh(z) if edited else z) + b * x[t]
                z = ppl.sample(f"z{t}", Normal(loc, np.exp(ppl.param(f"s{t}", 0.0))))

    return ppl.compile(ppl.elbo(model, guide), data=(ROWS,)), (ROWS,)


def bayesian_network(edited: bool) -> Made:
    """Regression 13-50-1 with normal weights; edited: 40 instead of 50 hidden units."""
    hidden = 40 if edited else 50
    shapes = {"w1": (13, hidden), "b1": (hidden,), "w2": (hidden,), "b2": ()}

    @ppl.model
    def model(x, y):
        w = {name: ppl.sample(name, Normal(np.zeros(shape), 1.0)) for name, shape in shapes.items()}
        with ppl.plate("data", x, y) as (x, y):
            h = np.tanh(x @ w["w1"] + w["b1"])
            ppl.sample("y", Normal(h @ w["w2"] + w["b2"], 0.5), obs=y)

    @ppl.model
    def guide(x, y):
        for name, shape in shapes.items():
            loc = ppl.param(f"{name}_loc", ppl.init.normal(0.1), shape=shape)
            ppl.sample(name, Normal(loc, np.exp(ppl.param(f"{name}_scale", -3.0, shape=shape))))

    data = ROWS, ROWS[:, 0].copy()
    return ppl.compile(ppl.elbo(model, guide), data=data), data


def logistic(edited: bool) -> Made:
    """Logistic regression on 13 features; edited: a score function for the weights."""

    @ppl.model
    def model(x, y):
        w = ppl.sample("w", Normal(np.zeros(13), 1.0))
        with ppl.plate("data", x, y) as (x, y):
            ppl.sample("y", Bernoulli(logits=x @ w), obs=y)

    @ppl.model
    def guide(x, y):
        ppl.sample("w", Normal(ppl.param("loc", 0.0, shape=13), np.exp(ppl.param("scale", -1.0, shape=13))))

    data = ROWS, (ROWS[:, 0] > 0).astype(np.float32)
    chosen = {"w": ppl.estimators.ScoreFunction("leave_one_out")} if edited else "auto"
    return ppl.compile(ppl.elbo(model, guide), chosen, particles=4, data=data), data


def importance(edited: bool) -> Made:
    """A bound of 5 samples, 13-32-4-32-13; edited: one more layer."""
    depth = 2 if edited else 1

    def layers(name, x):
        for k in range(depth):
            x = ppl.dense(f"{name}{k}", x, 32, activation="tanh")
        return x

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(np.zeros(4), 1.0))
            ppl.sample("x", Normal(ppl.dense("out", layers("d", z), 13), 1.0), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            h = layers("e", x)
            ppl.sample("z", Normal(ppl.dense("mu", h, 4), np.exp(ppl.dense("log_sigma", h, 4))))

    return ppl.compile(ppl.iwae(model, guide, 5), data=(ROWS,)), (ROWS,)


def robust(edited: bool) -> Made:
    """Regression by maximum likelihood, noise of Student's t; edited: a term x² more."""

    @ppl.model
    def model(x, y):
        w, scale = ppl.param("w", 0.0, shape=13), np.exp(ppl.param("log_scale", 0.0))
        with ppl.plate("data", x, y) as (x, y):
            loc = x @ w + (x**2 @ ppl.param("v", 0.0, shape=13) if edited else 0.0)
            ppl.sample("y", StudentT(4.0, loc, scale), obs=y)

    data = ROWS, ROWS[:, 0].copy()
    return ppl.compile(ppl.likelihood(model), data=data), data


def toy(edited: bool) -> Made:
    """W1, REBAR; edited: DisARM."""
    estimator = ppl.estimators.DisARM() if edited else ppl.estimators.Rebar()
    from ppl.models.toy import toy  # a process has the models that it uses

    return ppl.compile(toy, estimators=estimator), ()


def belief_network(edited: bool) -> Made:
    """W3, 784-200-200; edited: 784-160-160."""
    step_models.UNITS = 160 if edited else 200
    return step_models.compile_program(), (np.zeros((100, 784), np.float32),)


def autoencoder(edited: bool) -> Made:
    """W4, 784-400-20; edited: 784-320-20."""
    from ppl.models import vae

    sizes = {"latent": 20, "hidden": 320 if edited else 400}
    data = (np.zeros((100, 784), np.float32),)
    return ppl.compile(ppl.elbo(vae.generative.bind(**sizes), vae.guide.bind(**sizes)), data=data), data


def gammas(edited: bool) -> Made:
    """W8, 10⁵ gamma units; edited: 80,000."""
    step_models.GAMMAS = 80_000 if edited else 100_000
    return ppl.compile(step_models.units, estimators=ppl.estimators.Implicit()), ()


def hidden_markov(edited: bool) -> Made:
    """The likelihood of a hidden Markov model, 64 sequences of 500 steps, 16 states; edited: 12 states."""
    from ppl.models import hmm

    y = np.random.default_rng(0).normal(size=(64, 500)).astype(np.float32)
    model = hmm.hidden.bind(states=12 if edited else 16)
    return ppl.compile(ppl.likelihood(model, marginalize=["z"]), data=y), (y,)


def random_walk(edited: bool) -> Made:
    """10,000 walks of 50 steps by their score; edited: of 60 steps."""
    from ppl.models import walk

    model = walk.walk.bind(walks=10_000, steps=60 if edited else 50)
    return ppl.compile(model, estimators=ppl.estimators.ScoreFunction()), ()


MODELS: dict[str, Callable[[bool], Made]] = {
    f.__name__: f
    for f in (hierarchical, autoregression, bayesian_network, logistic, importance, robust, toy, belief_network,
              autoencoder, gammas, hidden_markov, random_walk)
}  # fmt: skip


def first_step(name: str, edited: bool) -> None:
    """Compile a model and take one training step."""
    program, data = MODELS[name](edited)
    optimizer = ppl.optim.SGD(1e-2) if name in ("toy", "gammas", "random_walk") else ppl.optim.Adam(1e-3)
    program.update(program.init(0, *data), *data, optimizer=optimizer)
