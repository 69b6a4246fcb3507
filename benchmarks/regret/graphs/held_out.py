"""Graphs that no rule was made by: they were written after the rules, and are only measured."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import ppl
from benchmarks.regret.graphs.graph import Graph, graph
from ppl import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Geometric,
    Laplace,
    LogNormal,
    NegativeBinomial,
    Normal,
    StudentT,
)


@graph
def beta_coin() -> Graph:
    """A coin with a Beta prior and a Beta guide."""
    y = (np.random.default_rng(20).random(50) < 0.7).astype(np.float64)

    @ppl.model
    def model(y: Any) -> None:
        p = ppl.sample("p", Beta(2.0, 2.0))
        with ppl.plate("rows", y) as y:
            ppl.sample("y", Bernoulli(p), obs=y)

    @ppl.model
    def guide(y: Any) -> None:
        ppl.sample("p", Beta(np.exp(ppl.param("a", 2.0)), np.exp(ppl.param("b", 1.5))))

    return Graph("a coin, 50 throws, a Beta guide", ppl.elbo(model, guide), (y,))


@graph
def accidents() -> Graph:
    """A regression of overdispersed counts, the dispersion latent, too."""
    rng = np.random.default_rng(21)
    x = rng.normal(size=(60, 3))
    y = rng.negative_binomial(2.0, 1 / (1 + 0.5 * np.exp(x @ np.array([0.5, -0.3, 0.2]))))

    @ppl.model
    def model(x: Any, y: Any) -> None:
        w, r = ppl.sample("w", Normal(np.zeros(3), 1.0)), ppl.sample("r", LogNormal(0.0, 1.0))
        with ppl.plate("rows", x, y) as (x, y):
            ppl.sample("y", NegativeBinomial(r, logits=x @ w), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        ppl.sample("w", Normal(ppl.param("loc", np.zeros(3)), np.exp(ppl.param("log_scale", np.full(3, -1.0)))))
        ppl.sample("r", LogNormal(ppl.param("m", 0.5), np.exp(ppl.param("s", -1.0))))

    return Graph("negative binomial regression, 60 rows", ppl.elbo(model, guide), (x, y))


@graph
def shares() -> Graph:
    """A mixture whose shares have a Dirichlet guide, and whose rows a categorical one."""
    rng = np.random.default_rng(22)
    loc = np.array([-3.0, -1.0, 0.5, 2.0, 4.0])
    x = loc[rng.integers(5, size=80)] + 0.5 * rng.normal(size=80)

    @ppl.model
    def model(x: Any) -> None:
        weights = ppl.sample("weights", Dirichlet(np.ones(5)))
        with ppl.plate("rows", x) as x:
            z = ppl.sample("z", Categorical(weights))
            ppl.sample("x", Normal(ppl.param("loc", loc)[z], 0.5), obs=x)

    @ppl.model
    def guide(x: Any) -> None:
        ppl.sample("weights", Dirichlet(np.exp(ppl.param("concentration", np.full(5, 1.5)))))
        with ppl.plate("rows", x) as x:
            slope = ppl.param("slope", np.linspace(-1.0, 1.0, 5))
            ppl.sample("z", Categorical(logits=slope * x))

    return Graph("mixture of 5 with Dirichlet shares, 80 rows", ppl.elbo(model, guide), (x,))


@graph
def robust() -> Graph:
    """A regression with outliers and a Laplace guide."""
    rng = np.random.default_rng(23)
    x = rng.normal(size=(80, 4))
    y = x @ np.array([1.0, 0.0, -0.5, 0.0]) + 0.3 * rng.standard_t(2, size=80)

    @ppl.model
    def model(x: Any, y: Any) -> None:
        w = ppl.sample("w", Laplace(np.zeros(4), 0.5))
        with ppl.plate("rows", x, y) as (x, y):
            ppl.sample("y", StudentT(3.0, x @ w, 0.3), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        ppl.sample("w", Laplace(ppl.param("loc", np.zeros(4)), np.exp(ppl.param("log_scale", np.full(4, -1.5)))))

    return Graph("regression with outliers, 80 rows, a Laplace guide", ppl.elbo(model, guide), (x, y))


@numba.njit  # type: ignore[untyped-decorator]
def _censored(times: np.ndarray) -> float:
    """Regret of a limit of 2 on waiting: what was waited, and a fine for every one that was cut off."""
    total = 0.0
    for t in times:
        total += 3.0 + 0.5 * t if t > 2.0 else t
    return total


@graph
def censored() -> Graph:
    """Waiting times that a black box cuts off."""

    @ppl.model
    def model() -> None:
        log_loc, log_scale = ppl.param("log_loc", np.zeros(3)), ppl.param("log_scale", np.full(3, -0.5))
        ppl.cost("loss", ppl.external(_censored, ppl.sample("t", LogNormal(log_loc, np.exp(log_scale)))))

    return Graph("3 waiting times, censored by a black box", model)


@graph
def tries() -> Graph:
    """Numbers of tries, and a fee that both share."""

    @ppl.model
    def model() -> None:
        k = ppl.sample("k", Geometric(logits=ppl.param("logits", np.array([0.0, -1.0]))))
        ppl.cost("loss", np.sqrt(1.0 + k.sum()) + 0.2 * (k[1] - 2.0) ** 2)

    return Graph("2 Geometric numbers of tries", model)
