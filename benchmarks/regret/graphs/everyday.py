"""Everyday models that were written when the first rules of choice were finished."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import ppl
from benchmarks.regret.graphs.graph import Graph, graph, trained
from ppl import (
    Bernoulli,
    Categorical,
    Gamma,
    HalfCauchy,
    LogNormal,
    Normal,
    Poisson,
    StudentT,
    Weibull,
    ZeroInflatedPoisson,
)


def _normals(name: str, size: int | tuple[int, ...], scale: float = -1.0) -> Any:
    """Normal weights with means and standard deviations of their own."""
    loc, log_scale = ppl.param(f"{name}_loc", np.zeros(size)), ppl.param(f"{name}_scale", np.full(size, scale))
    return ppl.sample(name, Normal(loc, np.exp(log_scale)))


@trained(300)
def items() -> Graph:
    """Item response theory: the ability of a student, and the slope and difficulty of questions."""
    rng = np.random.default_rng(40)
    ability, hard = rng.normal(size=(80, 1)), rng.normal(size=12)
    y = (rng.random((80, 12)) < 1 / (1 + np.exp(hard - ability))).astype(float)

    @ppl.model
    def model(y: Any) -> None:
        slope, at = ppl.sample("slope", LogNormal(np.zeros(12), 0.5)), ppl.sample("at", Normal(np.zeros(12), 1.0))
        with ppl.plate("students", y) as y:
            ability = ppl.sample("ability", Normal(0.0, 1.0))
            ppl.sample("y", Bernoulli(logits=slope * (ability - at)), obs=y)

    @ppl.model
    def guide(y: Any) -> None:
        ppl.sample("slope", LogNormal(ppl.param("m", np.zeros(12)), np.exp(ppl.param("s", np.full(12, -1.0)))))
        _normals("at", 12)
        with ppl.plate("students", y) as y:
            ppl.sample("ability", Normal(y @ ppl.param("w", np.full(12, 0.1)) - 0.5, np.exp(ppl.param("t", -0.5))))

    return Graph("item response, 80 students, 12 questions", ppl.elbo(model, guide), (y,))


@graph
def visits() -> Graph:
    """Counts with too many zeros."""
    rng = np.random.default_rng(41)
    x = rng.normal(size=(120, 3))
    y = np.where(rng.random(120) < 0.3, 0, rng.poisson(np.exp(0.5 + 0.4 * x[:, 0])))

    @ppl.model
    def model(x: Any, y: Any) -> None:
        w, gate = ppl.sample("w", Normal(np.zeros(3), 1.0)), ppl.sample("gate", Normal(0.0, 1.0))
        with ppl.plate("rows", x, y) as (x, y):
            ppl.sample("y", ZeroInflatedPoisson(1 / (1 + np.exp(-gate)), np.exp(x @ w + 0.5)), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        _normals("w", 3)
        _normals("gate", ())

    return Graph("counts with many zeros, 120 rows", ppl.elbo(model, guide), (x, y))


@graph
def lifetimes() -> Graph:
    """Weibull lifetimes of proportional hazards, the shape latent with a Gamma guide."""
    rng = np.random.default_rng(42)
    x = rng.normal(size=(90, 2))
    y = np.exp(0.3 * x[:, 0]) * rng.weibull(1.5, size=90) + 1e-3

    @ppl.model
    def model(x: Any, y: Any) -> None:
        w, shape = ppl.sample("w", Normal(np.zeros(2), 1.0)), ppl.sample("shape", Gamma(2.0, 1.0))
        with ppl.plate("rows", x, y) as (x, y):
            ppl.sample("y", Weibull(shape, np.exp(x @ w / shape)), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        _normals("w", 2)
        ppl.sample("shape", Gamma(np.exp(ppl.param("a", 2.5)), np.exp(ppl.param("b", 2.0))))

    return Graph("Weibull lifetimes, 90 rows, a Gamma guide", ppl.elbo(model, guide), (x, y))


@trained(300)
def bayesian_net() -> Graph:
    """A regression by a network of 16 tanh units with Normal weights."""
    rng = np.random.default_rng(43)
    x = rng.uniform(-2, 2, size=(100, 2))
    y = np.sin(2 * x[:, 0]) * x[:, 1] + 0.1 * rng.normal(size=100)

    @ppl.model
    def model(x: Any, y: Any) -> None:
        a, b = ppl.sample("a", Normal(np.zeros((2, 16)), 1.0)), ppl.sample("b", Normal(np.zeros(16), 0.5))
        with ppl.plate("rows", x, y) as (x, y):
            ppl.sample("y", Normal(np.tanh(x @ a) @ b, 0.2), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        _normals("a", (2, 16), -2.0)
        _normals("b", 16, -2.0)

    return Graph("Bayesian network 2-16-1, 100 rows", ppl.elbo(model, guide), (x, y))


@graph
def sparse() -> Graph:
    """A regression with a horseshoe prior."""
    rng = np.random.default_rng(44)
    x = rng.normal(size=(60, 10))
    y = 2 * x[:, 0] - x[:, 3] + 0.5 * rng.normal(size=60)

    @ppl.model
    def model(x: Any, y: Any) -> None:
        local = ppl.sample("local", HalfCauchy(np.ones(10)))
        w = ppl.sample("w", Normal(np.zeros(10), 0.3 * local))
        with ppl.plate("rows", x, y) as (x, y):
            ppl.sample("y", Normal(x @ w, 0.5), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        ppl.sample("local", LogNormal(ppl.param("m", np.zeros(10)), np.exp(ppl.param("s", np.full(10, -0.5)))))
        _normals("w", 10)

    return Graph("horseshoe regression, 60 × 10", ppl.elbo(model, guide), (x, y))


@numba.njit  # type: ignore[untyped-decorator]
def _reward(place: np.ndarray, taken: np.ndarray) -> float:
    """Of showing one of five advertisements to a visitor: 1 minus what it earns."""
    k = int(taken)
    return 1.0 - np.cos(place[0] * k) * (1.0 if place[1] > 0 else 0.5)


@graph
def advertisements() -> Graph:
    """A policy that shows one of five things, paid by a simulator."""
    x = np.random.default_rng(45).normal(size=(150, 2))

    @ppl.model
    def policy(x: Any) -> None:
        with ppl.plate("visitors", x) as x:
            k = ppl.sample("k", Categorical(logits=ppl.dense("logits", x, 5)))
            ppl.cost("regret", ppl.external(_reward, x, k))

    return Graph("policy of 5 advertisements, 150 visitors", policy, (x,))


@graph
def experts() -> Graph:
    """Four experts of a regression, one chosen for each row, with common noise of unknown size."""
    rng = np.random.default_rng(46)
    x = rng.normal(size=(100, 2))
    y = np.where(x[:, 0] > 0, x[:, 1], -x[:, 1]) + 0.1 * rng.normal(size=100)

    @ppl.model
    def model(x: Any, y: Any) -> None:
        slopes, scale = ppl.param("slopes", np.array([1.0, -1.0, 0.5, 0.0])), ppl.sample("scale", LogNormal(-1.0, 0.5))
        with ppl.plate("rows", x, y) as (x, y):
            k = ppl.sample("k", Categorical(logits=np.zeros(4)))
            ppl.sample("y", Normal(slopes[k] * x[1], scale), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        ppl.sample("scale", LogNormal(ppl.param("m", -1.0), np.exp(ppl.param("s", -1.0))))
        with ppl.plate("rows", x, y) as (x, y):
            ppl.sample("k", Categorical(logits=ppl.dense("gate", x, 4)))

    return Graph("4 experts, 100 rows, common noise", ppl.elbo(model, guide), (x, y))


@graph
def dropped() -> Graph:
    """A network whose 16 hidden units are kept by coins of learned probability, each row its own."""
    rng = np.random.default_rng(47)
    x = rng.normal(size=(100, 4))
    y = np.tanh(x[:, 0]) + x[:, 1] * x[:, 2]

    @ppl.model
    def network(x: Any, y: Any) -> None:
        keep = ppl.param("keep", np.full(16, 1.0))
        with ppl.plate("rows", x, y) as (x, y):
            h = np.tanh(ppl.dense("hidden", x, 16)) * ppl.sample("kept", Bernoulli(logits=keep))
            ppl.cost("error", (ppl.dense("out", h, 1)[0] - y) ** 2)

    return Graph("network with 16 coins of dropout, 100 rows", network, (x, y))


@graph
def volatile() -> Graph:
    """Returns whose log-variance is a hidden autoregression of 12 steps."""
    rng = np.random.default_rng(48)
    y = rng.normal(size=(20, 12)) * np.exp(0.5 * np.cumsum(0.3 * rng.normal(size=(20, 12)), axis=1))

    @ppl.model
    def model(y: Any) -> None:
        with ppl.plate("series", y) as y:

            def step(h: Any, now: Any) -> tuple[Any, None]:
                h = ppl.sample("h", Normal(0.9 * h, 0.3))
                ppl.sample("y", StudentT(5.0, 0.0, np.exp(0.5 * h)), obs=now)
                return h, None

            ppl.scan(step, 0.0, y)

    @ppl.model
    def guide(y: Any) -> None:
        a, b, s = ppl.param("keep", 0.8), ppl.param("take", 0.2), ppl.param("log_scale", -1.0)
        with ppl.plate("series", y) as y:

            def step(h: Any, now: Any) -> tuple[Any, None]:
                return ppl.sample("h", Normal(a * h + b * (np.log(now * now + 0.1) + 1.0), np.exp(s))), None

            ppl.scan(step, 0.0, y)

    return Graph("stochastic volatility, 20 × 12", ppl.elbo(model, guide), (y,))


@graph
def broken_rate() -> Graph:
    """The day on which the rate of accidents changed, and the rates before and after."""
    rng = np.random.default_rng(49)
    y = rng.poisson(np.where(np.arange(30) < 12, 3.0, 1.0))
    days = np.arange(30.0)

    @ppl.model
    def model(y: Any, days: Any) -> None:
        day = ppl.sample("day", Categorical(logits=np.zeros(30)))
        rates = ppl.sample("rates", Gamma(np.full(2, 2.0), 1.0))
        with ppl.plate("days", y, days) as (y, days):
            ppl.sample("y", Poisson(np.where(days < day, rates[0], rates[1])), obs=y)

    @ppl.model
    def guide(y: Any, days: Any) -> None:
        ppl.sample("day", Categorical(logits=ppl.param("logits", np.zeros(30))))
        shape, rate = ppl.param("shape", np.full(2, 2.0)), ppl.param("rate", np.full(2, 1.5))
        ppl.sample("rates", Gamma(np.exp(shape), np.exp(rate)))

    return Graph("the day of a change, 30 days, two rates", ppl.elbo(model, guide), (y, days))


@numba.njit  # type: ignore[untyped-decorator]
def _waiting(arrivals: float, served: float) -> float:
    """Cost of a queue with so many arrivals and so many served: waiting, and idle hands."""
    waiting = max(arrivals - served, 0.0)
    return waiting * waiting + 0.5 * max(served - arrivals, 0.0)


@graph
def queue() -> Graph:
    """How many to employ: two counts meet in a simulator."""

    @ppl.model
    def model() -> None:
        rate, arrivals = np.exp(ppl.param("log_rate", 1.5)), ppl.sample("arrivals", Poisson(6.0))
        served = ppl.sample("served", Poisson(rate))
        ppl.cost("cost", ppl.external(_waiting, arrivals, served) + 0.3 * rate)

    return Graph("a queue: Poisson arrivals, Poisson service, a simulator", model)


@graph
def ranked() -> Graph:
    """Factors of a table of ratings, by rows, noise of Student's t."""
    rng = np.random.default_rng(50)
    y = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 8)) + 0.3 * rng.standard_t(3, size=(60, 8))

    @ppl.model
    def model(y: Any) -> None:
        items = ppl.param("items", 0.5 * np.random.default_rng(0).normal(size=(3, 8)))
        with ppl.plate("users", y) as y:
            u = ppl.sample("u", Normal(np.zeros(3), 1.0))
            ppl.sample("y", StudentT(4.0, u @ items, 0.5), obs=y)

    @ppl.model
    def guide(y: Any) -> None:
        with ppl.plate("users", y) as y:
            mean = ppl.dense("mean", y, 3)
            ppl.sample("u", Normal(mean, np.exp(ppl.param("log_scale", np.full(3, -1.0)))))

    return Graph("factors of ratings, 60 × 8, Student's t", ppl.elbo(model, guide), (y,))
