"""Models that no rule of choice was made by: written after the rules, and only measured."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import ppl
from benchmarks.regret.graphs.graph import Graph, graph
from ppl import Bernoulli, Categorical, Dirichlet, Gamma, MultivariateNormal, Normal, OneHotCategorical, Poisson
from ppl.models import data


@graph
def grades() -> Graph:
    """Essays in four grades, by an ordered logistic regression."""
    rng = np.random.default_rng(60)
    x = rng.normal(size=(150, 4))
    y = np.digitize(x @ np.array([1.0, -1.0, 0.5, 0.0]) + rng.logistic(size=150), [-1.5, 0.0, 1.5])

    @ppl.model
    def model(x: Any, y: Any) -> None:
        w, gaps = ppl.sample("w", Normal(np.zeros(4), 1.0)), ppl.sample("gaps", Gamma(np.full(2, 4.0), 3.0))
        first = ppl.sample("first", Normal(-1.0, 1.0))
        with ppl.plate("essays", x, y) as (x, y):
            at = x @ w
            cuts = [1 / (1 + np.exp(at - c)) for c in (first, first + gaps[0], first + gaps[0] + gaps[1])]
            probs = np.stack([cuts[0], cuts[1] - cuts[0], cuts[2] - cuts[1], 1 - cuts[2]])
            ppl.sample("y", Categorical(probs=probs), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        ppl.sample("w", Normal(ppl.param("m", np.zeros(4)), np.exp(ppl.param("s", np.full(4, -1.5)))))
        a, b = ppl.param("a", np.full(2, 3.0)), ppl.param("b", np.full(2, 2.7))
        ppl.sample("gaps", Gamma(np.exp(a), np.exp(b)))
        ppl.sample("first", Normal(ppl.param("fm", -1.0), np.exp(ppl.param("fs", -1.5))))

    return Graph("ordered grades of 150 essays", ppl.elbo(model, guide), (x, y))


@graph
def topics() -> Graph:
    """Forty documents of four topics and 25 words, shares by a Dirichlet guide of an encoder."""
    rng = np.random.default_rng(61)
    words = rng.dirichlet(np.full(25, 0.2), size=4)
    counts = np.stack([rng.multinomial(60, s @ words) for s in rng.dirichlet(np.full(4, 0.4), size=40)]).astype(float)

    @ppl.model
    def model(counts: Any) -> None:
        logits = ppl.param("words", 0.3 * np.random.default_rng(1).normal(size=(4, 25)))
        e = np.exp(logits)
        with ppl.plate("documents", counts) as counts:
            share = ppl.sample("share", Dirichlet(np.full(4, 0.4)))
            ppl.cost("words", -np.sum(counts * np.log(share @ (e / np.sum(e, axis=1, keepdims=True)))))

    @ppl.model
    def guide(counts: Any) -> None:
        with ppl.plate("documents", counts) as counts:
            ppl.sample("share", Dirichlet(np.exp(ppl.dense("shares", counts / 60.0, 4) + 1.0)))

    return Graph("4 topics of 40 documents, a Dirichlet guide", ppl.elbo(model, guide), (counts,))


@graph
def full_rank() -> Graph:
    """A probit regression with a Normal guide of full rank."""
    rng = np.random.default_rng(62)
    x = rng.normal(size=(120, 6)) @ (np.eye(6) + 0.5)
    y = (x @ np.array([1.0, 0.5, 0.0, -0.5, -1.0, 0.2]) + rng.normal(size=120) > 0).astype(float)

    @ppl.model
    def model(x: Any, y: Any) -> None:
        w = ppl.sample("w", MultivariateNormal(np.zeros(6), scale_tril=np.eye(6)))
        with ppl.plate("rows", x, y) as (x, y):
            ppl.sample("y", Bernoulli(logits=1.7 * (x @ w)), obs=y)

    @ppl.model
    def guide(x: Any, y: Any) -> None:
        tril = ppl.param("tril", 0.2 * np.eye(6), constraint="lower_cholesky")
        ppl.sample("w", MultivariateNormal(ppl.param("m", np.zeros(6)), scale_tril=tril))

    return Graph("probit regression, 120 × 6, a guide of full rank", ppl.elbo(model, guide), (x, y))


@graph
def newsvendor() -> Graph:
    """How many papers to order, by day of the week, when the demand is a Poisson count."""
    days = np.eye(7)

    @ppl.model
    def model(days: Any) -> None:
        with ppl.plate("days", days) as day:
            order = ppl.sample("order", Categorical(logits=ppl.dense("policy", day, 15)))
            demand = ppl.sample("demand", Poisson(np.exp(day @ np.linspace(1.0, 2.2, 7))))
            ppl.cost("loss", 0.4 * order - np.minimum(order, demand))

    return Graph("orders for 7 days against Poisson demand", model, (days,))


@graph
def rates() -> Graph:
    """Failures of twelve pumps: Gamma rates with a common scale."""
    rng = np.random.default_rng(63)
    hours = rng.uniform(1, 100, size=12)
    y = rng.poisson(hours * rng.gamma(1.0, 0.3, size=12))

    @ppl.model
    def model(hours: Any, y: Any) -> None:
        beta = ppl.sample("beta", Gamma(2.0, 1.0))
        rate = ppl.sample("rate", Gamma(np.ones(12), beta))
        with ppl.plate("pumps", hours, y, rate) as (hours, y, rate):
            ppl.sample("y", Poisson(hours * rate), obs=y)

    @ppl.model
    def guide(hours: Any, y: Any) -> None:
        ppl.sample("beta", Gamma(np.exp(ppl.param("a", 2.0)), np.exp(ppl.param("b", 1.5))))
        ppl.sample("rate", Gamma(np.exp(ppl.param("c", np.full(12, 1.0))), np.exp(ppl.param("d", np.full(12, 2.0)))))

    return Graph("failures of 12 pumps, Gamma rates", ppl.elbo(model, guide), (hours, y))


@graph
def barrier() -> Graph:
    """The price of an option that is lost where a path of twelve months falls below a barrier."""

    @ppl.model
    def model() -> None:
        drift, volatility = ppl.param("drift", np.full(12, 0.01)), np.exp(ppl.param("log_vol", -2.5))
        path = np.cumsum(ppl.sample("moves", Normal(drift, volatility)))
        alive = np.where(np.min(path) > -0.15, 1.0, 0.0)
        ppl.cost("loss", -alive * np.maximum(np.exp(path[11]) - 1.0, 0.0))

    return Graph("an option with a barrier, 12 months", model)


@graph
def hybrid() -> Graph:
    """A variational autoencoder with eight switches above four Normal variables."""

    @ppl.model
    def generative(x: Any) -> None:
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=np.zeros(8)))
            z = ppl.sample("z", Normal(ppl.dense("prior", b, 4), 1.0))
            h = ppl.dense("decoder", z, 32, activation="tanh")
            ppl.sample("x", Bernoulli(logits=ppl.dense("logits", h, 64)), obs=x)

    @ppl.model
    def guide(x: Any) -> None:
        with ppl.plate("data", x) as x:
            h = ppl.dense("encoder", x, 32, activation="tanh")
            ppl.sample("b", Bernoulli(logits=ppl.dense("switches", h, 8)))
            ppl.sample("z", Normal(ppl.dense("mean", h, 4), np.exp(ppl.dense("log_scale", h, 4) - 1.0)))

    return Graph(
        "VAE of 8 switches and 4 Normal variables, 60 digits", ppl.elbo(generative, guide), (data.digits()[0][:60],)
    )


@graph
def two_moves() -> Graph:
    """A move of three, an answer of four that sees it, and a score from a table; 30 positions."""
    rng = np.random.default_rng(64)
    x, table = rng.normal(size=(30, 3)), rng.normal(size=(3, 4))

    @ppl.model
    def model(x: Any) -> None:
        with ppl.plate("positions", x) as x:
            move = ppl.sample("move", OneHotCategorical(logits=ppl.dense("first", x, 3)))
            answer = ppl.sample("answer", OneHotCategorical(logits=ppl.dense("second", np.concatenate([x, move]), 4)))
            ppl.cost("score", np.sum((move @ table) * answer) + 0.3 * np.sum(move * x) ** 2)

    return Graph("a move and an answer, 30 positions", model, (x,))


@numba.njit  # type: ignore[untyped-decorator]
def _miss(angle: float, speed: float) -> float:
    """How far a thrown ball lands from a basket, at most 3, with a bonus for a hit."""
    far = abs(speed * speed * np.sin(2 * angle) / 9.81 - 5.0)
    return min(far, 3.0) - (1.0 if far < 0.2 else 0.0)


@graph
def throws() -> Graph:
    """A throw of Normal angle and speed into a simulator."""

    @ppl.model
    def model() -> None:
        angle = ppl.sample("angle", Normal(ppl.param("a", 0.6), np.exp(ppl.param("la", -2.0))))
        speed = ppl.sample("speed", Normal(ppl.param("v", 7.0), np.exp(ppl.param("lv", -1.0))))
        ppl.cost("miss", ppl.external(_miss, angle, speed))

    return Graph("a throw of Normal angle and speed, a simulator", model)


@graph
def gates() -> Graph:
    """Which of two noisy sensors to trust: a switch for each row and a Normal position that it reads."""
    rng = np.random.default_rng(65)
    at = rng.normal(size=90)
    trust = rng.random(90) < 0.7
    seen = np.column_stack([at + np.where(trust, 0.2, 2.0) * rng.normal(size=90), at + 0.8 * rng.normal(size=90)])

    @ppl.model
    def model(seen: Any) -> None:
        with ppl.plate("rows", seen) as seen:
            good = ppl.sample("good", Bernoulli(probs=0.7))
            at = ppl.sample("at", Normal(0.0, 1.0))
            ppl.sample("first", Normal(at, np.exp(ppl.param("spread", 0.5) - 2.0 * good)), obs=seen[0])
            ppl.sample("second", Normal(at, 0.8), obs=seen[1])

    @ppl.model
    def guide(seen: Any) -> None:
        with ppl.plate("rows", seen) as seen:
            h = ppl.dense("h", seen, 8, activation="tanh")
            good = ppl.sample("good", Bernoulli(logits=ppl.dense("trust", h, 1)[0]))
            mean, scale = ppl.dense("mean", np.concatenate([h, good[None]]), 1), ppl.param("scale", -0.5)
            ppl.sample("at", Normal(mean[0], np.exp(scale)))

    return Graph("two sensors, 90 rows, a switch and a position", ppl.elbo(model, guide), (seen,))
