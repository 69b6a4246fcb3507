"""Ten models outside the suite, on 1,000 rows, whose training steps are timed.

Six are those of `first_steps`; nobody tuned on any of them. A model is a function () -> (program, data).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import ppl
from benchmarks import first_steps
from ppl import Categorical, Normal, Poisson

ROWS, WIDTH, GROUPS, USERS, ITEMS, FACTORS = 1000, 13, 5, 200, 100, 8
Made = tuple[Any, tuple[np.ndarray, ...]]


def rows() -> np.ndarray:
    """What all models see."""
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


def mixture() -> Made:
    """A mixture of five normal laws in 13 dimensions, its labels summed out."""

    @ppl.model
    def model(x):
        logits = ppl.param("logits", np.zeros(GROUPS))
        centers = ppl.param("centers", ppl.init.normal(1.0), shape=(GROUPS, WIDTH))
        scales = np.exp(ppl.param("scales", 0.0, shape=(GROUPS, WIDTH)))
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Categorical(logits=logits))
            ppl.sample("x", Normal(centers[z], scales[z]), obs=x)

    return ppl.compile(ppl.likelihood(model, marginalize=["z"]), data=(rows(),)), (rows(),)


def autoencoder() -> Made:
    """A variational autoencoder of real values, 13-64-4-64-13."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(np.zeros(4), 1.0))
            h = ppl.dense("d", z, 64, activation="tanh")
            ppl.sample("x", Normal(ppl.dense("out", h, WIDTH), 1.0), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            h = ppl.dense("e", x, 64, activation="tanh")
            ppl.sample("z", Normal(ppl.dense("mu", h, 4), np.exp(ppl.dense("log_sigma", h, 4))))

    return ppl.compile(ppl.elbo(model, guide), data=(rows(),)), (rows(),)


def counts() -> Made:
    """Poisson regression with normal weights, by variational inference."""

    @ppl.model
    def model(x, y):
        w = ppl.sample("w", Normal(np.zeros(WIDTH), 1.0))
        with ppl.plate("data", x, y) as (x, y):
            ppl.sample("y", Poisson(np.exp(0.1 * (x @ w))), obs=y)

    @ppl.model
    def guide(x, y):
        ppl.sample("w", Normal(ppl.param("loc", 0.0, shape=WIDTH), np.exp(ppl.param("scale", -1.0, shape=WIDTH))))

    data = rows(), np.arange(ROWS) % 4
    return ppl.compile(ppl.elbo(model, guide), data=data), data


def factorization() -> Made:
    """Ratings of 100 items by 200 users, eight factors each, by maximum likelihood."""

    @ppl.model
    def model(user, item, rating):
        users = ppl.param("users", ppl.init.normal(0.1), shape=(USERS, FACTORS))
        items = ppl.param("items", ppl.init.normal(0.1), shape=(ITEMS, FACTORS))
        with ppl.plate("data", user, item, rating) as (user, item, rating):
            ppl.sample("rating", Normal((users[user] * items[item]).sum(), 1.0), obs=rating)

    data = np.arange(ROWS) % USERS, np.arange(ROWS) * 7 % ITEMS, rows()[:, 0]
    return ppl.compile(ppl.likelihood(model), data=data), data


def _larger(model: Callable[[bool], Made]) -> Callable[[], Made]:
    """A model of `first_steps` on these rows."""

    def made() -> Made:
        before, first_steps.ROWS = first_steps.ROWS, rows()
        try:
            return model(False)
        finally:
            first_steps.ROWS = before

    return made


SMALL = ("hierarchical", "autoregression", "bayesian_network", "logistic", "importance", "robust")
MODELS: dict[str, Callable[[], Made]] = {name: _larger(first_steps.MODELS[name]) for name in SMALL} | {
    f.__name__: f for f in (mixture, autoencoder, counts, factorization)
}
