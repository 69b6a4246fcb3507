"""Regressions, hierarchies and mixtures on 8 to 100,000 rows, at the start and after training."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks.regret.graphs.graph import Graph, graph, trained
from ppl import Bernoulli, Categorical, HalfNormal, LogNormal, Normal, OneHotCategorical
from ppl.models import gmm


@trained(2000)
def schools() -> Graph:
    """Rubin's eight schools with a Normal guide."""
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]) / 10
    s = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]) / 10

    @ppl.model
    def model() -> None:
        mu, tau = ppl.sample("mu", Normal(0.0, 1.0)), ppl.sample("tau", HalfNormal(1.0))
        theta = ppl.sample("theta", Normal(mu * np.ones(8), tau * np.ones(8)))
        ppl.sample("y", Normal(theta, s), obs=y)

    @ppl.model
    def guide() -> None:
        ppl.sample("mu", Normal(ppl.param("m", 0.0), np.exp(ppl.param("s", 0.0))))
        ppl.sample("tau", LogNormal(ppl.param("t", 0.0), np.exp(ppl.param("u", -1.0))))
        ppl.sample("theta", Normal(ppl.param("loc", np.zeros(8)), np.exp(ppl.param("scale", np.zeros(8)))))

    return Graph("eight schools, a Normal guide", ppl.elbo(model, guide), rate=0.02)


@trained(2000)
def logistic() -> Graph:
    """Bayesian logistic regression of 20 weights on 200 rows, a Normal guide."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 20))
    y = (x @ rng.normal(size=20) > 0).astype(np.float64)

    @ppl.model
    def model(x: Any, y: Any) -> None:
        w = ppl.sample("w", Normal(np.zeros(20), 1.0))
        with ppl.plate("rows", x, y) as (x, y):
            ppl.sample("y", Bernoulli(logits=x @ w), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        scale = np.exp(ppl.param("log_scale", np.full(20, -1.0)))
        ppl.sample("w", Normal(ppl.param("loc", np.zeros(20)), scale))

    return Graph("logistic regression, 200 × 20", ppl.elbo(model, guide), (x, y))


@trained(1000)
def selection() -> Graph:
    """Regression with switches: a spike and a slab for each of 12 weights."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 12))
    y = x @ np.where(np.arange(12) < 4, 1.0, 0.0) + 0.5 * rng.normal(size=100)

    @ppl.model
    def model(x: Any, y: Any) -> None:
        on = ppl.sample("on", Bernoulli(np.full(12, 0.3)))
        w = ppl.sample("w", Normal(np.zeros(12), 1.0))
        with ppl.plate("rows", x, y) as (x, y):
            ppl.sample("y", Normal(x @ (on * w), 0.5), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        ppl.sample("on", Bernoulli(logits=ppl.param("switch", np.zeros(12))))
        ppl.sample("w", Normal(ppl.param("loc", np.zeros(12)), np.exp(ppl.param("log_scale", np.full(12, -1.0)))))

    return Graph("regression with 12 switches, 100 rows", ppl.elbo(model, guide), (x, y))


def _clusters(count: int, rows: int) -> np.ndarray:
    rng = np.random.default_rng(6)
    return rng.normal(size=(rows, 2)) + 3.0 * rng.normal(size=(count, 2))[rng.integers(count, size=rows)]


def _mixture(count: int, rows: int) -> Graph:
    @ppl.model
    def model(x: Any) -> None:
        loc = ppl.param("loc", ppl.init.normal(2.0), shape=(count, 2))
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Categorical(np.full(count, 1 / count)))
            ppl.sample("x", Normal(loc[z], 1.0), obs=x)

    @ppl.model
    def guide(x: Any) -> None:
        with ppl.plate("data", x) as x:
            h = ppl.dense("h", x, 32, activation="tanh")
            ppl.sample("z", Categorical(logits=ppl.dense("guide", h, count)))

    return Graph(
        f"mixture of {count}, {rows} rows, guide of 32 units", ppl.elbo(model, guide), (_clusters(count, rows),)
    )


@graph
def iris() -> Graph:
    """Three components."""
    return Graph("mixture of 3, iris", ppl.elbo(gmm.mixture, gmm.guide), (gmm.iris(),))


@trained(500)
def mixture() -> Graph:
    """Sixteen components: too many to sum within four copies."""
    return _mixture(16, 300)


@graph
def one_hot_mixture() -> Graph:
    """One-hot assignments to eight components."""
    count, x = 8, _clusters(8, 300)

    @ppl.model
    def model(x: Any) -> None:
        loc = ppl.param("loc", ppl.init.normal(2.0), shape=(count, 2))
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", OneHotCategorical(np.full(count, 1 / count)))
            ppl.sample("x", Normal(z @ loc, 1.0), obs=x)

    @ppl.model
    def guide(x: Any) -> None:
        with ppl.plate("data", x) as x:
            h = ppl.dense("h", x, 32, activation="tanh")
            ppl.sample("z", OneHotCategorical(logits=ppl.dense("guide", h, count)))

    return Graph("mixture of 8, one-hot, 300 rows", ppl.elbo(model, guide), (x,))


def _hierarchy(groups: int) -> Graph:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(groups, 3))
    y = x @ np.array([1.0, -0.5, 0.2]) + rng.normal(size=groups) + 0.5 * rng.normal(size=groups)

    @ppl.model
    def model(x: Any, y: Any) -> None:
        w = ppl.sample("w", Normal(np.zeros(3), 1.0))
        with ppl.plate("groups", x, y) as (x, y):
            a = ppl.sample("a", Normal(x @ w, 1.0))
            ppl.sample("y", Normal(a, 0.5), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        ppl.sample("w", Normal(ppl.param("loc", np.zeros(3)), np.exp(ppl.param("log_scale", np.full(3, -2.0)))))
        with ppl.plate("groups", x, y) as (x, y):
            mean = ppl.dense("mean", np.concatenate([x, y[None]]), 1)[0]
            ppl.sample("a", Normal(mean, np.exp(ppl.param("spread", 0.0))))

    return Graph(f"hierarchical regression, {groups} groups", ppl.elbo(model, guide), (x, y))


@trained(1000)
def hierarchy() -> Graph:
    """A thousand groups."""
    return _hierarchy(1000)


@graph
def large_hierarchy() -> Graph:
    """Many groups."""
    return _hierarchy(100_000)


@graph
def large_units() -> Graph:
    """Four units a row of many rows."""
    x = np.random.default_rng(8).normal(size=(100_000, 2))

    @ppl.model
    def model(x: Any) -> None:
        w = ppl.param("w", ppl.init.normal(1.0), shape=(2, 4))
        with ppl.plate("rows", x) as x:
            b = ppl.sample("b", Bernoulli(logits=x @ w))
            ppl.cost("loss", np.tanh(b.sum() - 2.0 + x[0]) ** 2)

    return Graph("4 Bernoulli units, 100,000 rows", model, (x,))
