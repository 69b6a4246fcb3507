"""The graphs of the regret table: small stochastic graphs, each with its data and where its parameters stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, Categorical, Normal, OneHotCategorical, Poisson
from ppl.models import data, sbn

GRAPHS: dict[str, Callable[[], Graph]] = {}


@dataclass(frozen=True, eq=False)
class Graph:
    """An objective with data, parameters to measure at (those of `init` where none are given), and a title."""

    title: str
    objective: Any
    data: tuple[Any, ...] = ()
    params: dict[str, np.ndarray] = field(default_factory=dict)


def graph(build: Callable[[], Graph]) -> Callable[[], Graph]:
    """Register a graph under the name of the function that builds it."""
    GRAPHS[build.__name__] = build
    return build


def _normal(title: str, cost: Callable[[Any], Any], size: int, loc: float, scale: float = 1.0) -> Graph:
    @ppl.model
    def model() -> None:
        spread = np.exp(ppl.param("log_scale", np.full(size, np.log(scale))))
        ppl.cost("loss", cost(ppl.sample("z", Normal(ppl.param("loc", np.full(size, loc)), spread))))

    return Graph(title, model)


@graph
def square() -> Graph:
    """Mohamed et al.'s quadratic cost."""
    return _normal("N(1, 1), (x − 3)²", lambda z: ((z - 3.0) ** 2).sum(), 1, 1.0)


@graph
def bump() -> Graph:
    """Mohamed et al.'s exponential cost, narrow."""
    return _normal("N(1, 1), exp(−10 x²)", lambda z: np.exp(-10.0 * z**2).sum(), 1, 1.0)


@graph
def cosine() -> Graph:
    """Mohamed et al.'s periodic cost, fast."""
    return _normal("N(1, 1), cos 5x", lambda z: np.cos(5.0 * z).sum(), 1, 1.0)


@graph
def waves() -> Graph:
    """A cost of four coordinates that curves."""
    return _normal("N(½, 1)⁴, Σ sin 3x + (Σ x)² / 10", lambda z: np.sin(3 * z).sum() + z.sum() ** 2 / 10, 4, 0.5)


@graph
def hill() -> Graph:
    """One bump in eight dimensions."""
    return _normal("N(½, 1)⁸, exp(−Σ x²)", lambda z: np.exp(-(z**2).sum()), 8, 0.5)


@graph
def well() -> Graph:
    """A narrow posterior: quartic cost, small scale."""
    return _normal("N(½, 0.1)⁴, Σ x⁴", lambda z: (z**4).sum(), 4, 0.5, 0.1)


@graph
def step() -> Graph:
    """A jump, through which no path goes."""
    return _normal("N(0, 1)², 1[x + y > 1]", lambda z: np.where(z.sum() > 1.0, 1.0, 0.0), 2, 0.0)


@graph
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


def _rows_of(logits: np.ndarray, rows: int, hidden: int = 64) -> tuple[Any, tuple[Any, ...]]:
    """A layer of Bernoulli units under one network of costs in every row; (inputs, units) is the shape of `logits`."""
    rng = np.random.default_rng(1)
    inputs, units = logits.shape
    x = np.concatenate([np.ones((rows, 1)), rng.normal(size=(rows, inputs - 1))], 1)
    first, last = rng.normal(size=(units, hidden)), rng.normal(size=hidden)

    @ppl.model
    def model(x: Any) -> None:
        with ppl.plate("rows", x) as x:
            b = ppl.sample("b", Bernoulli(logits=x @ ppl.param("w", logits)))
            ppl.cost("loss", np.tanh(b @ first + x[1]) @ last)

    return model, (x,)


@graph
def units() -> Graph:
    """20 units that all are uncertain."""
    return Graph("20 Bernoulli units, 100 rows", *_rows_of(0.3 * np.random.default_rng(0).normal(size=(8, 20)), 100))


@graph
def few_units() -> Graph:
    """20 units of which 2 are uncertain, the same in every row."""
    logits = np.zeros((8, 20))
    logits[0] = np.where(np.arange(20) % 2, 9.0, -9.0)
    logits[:, :2] = 0.3 * np.random.default_rng(0).normal(size=(8, 2))
    return Graph("20 Bernoulli units, 2 of them uncertain, 100 rows", *_rows_of(logits, 100))


@graph
def five_units() -> Graph:
    """5 units of one row."""
    return Graph("5 Bernoulli units", *_rows_of(0.3 * np.random.default_rng(0).normal(size=(8, 5)), 1))


def _classes(count: int, nodes: int, spread: float, rows: int) -> Graph:
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(rows, 8)), rng.normal(size=30)
    weights, tables = spread * rng.normal(size=(nodes, 8, count)), rng.normal(size=(nodes, count, 30))

    @ppl.model
    def model(x: Any) -> None:
        with ppl.plate("rows", x) as x:
            h = x[0]
            for i in range(nodes):
                k = ppl.sample(f"k{i}", Categorical(logits=x @ ppl.param(f"w{i}", weights[i]) + h))
                g = ppl.constant(tables[i])[k]
                h = h + 0.3 * np.tanh(g @ w)
                ppl.cost(f"c{i}", np.tanh(g + h) @ w)

    return Graph(f"{nodes} categorical of {count} in a chain, {rows} rows", model, (x,))


@graph
def one_class() -> Graph:
    """One categorical node."""
    return _classes(40, 1, 1.0, 50)


@graph
def three_classes() -> Graph:
    """Three, whose joint states are too many."""
    return _classes(40, 3, 1.5, 20)


@graph
def flat_classes() -> Graph:
    """Two without a likely class."""
    return _classes(100, 2, 0.1, 20)


@graph
def one_hot_vae() -> Graph:
    """A categorical VAE's latent layer at the start of training."""
    rows, _ = data.digits()

    @ppl.model
    def generative(x: Any) -> None:
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", OneHotCategorical(logits=np.zeros((10, 10))))
            h = ppl.dense("decoder", z.ravel(), 64, activation="tanh")
            ppl.sample("x", Bernoulli(logits=ppl.dense("logits", h, 64)), obs=x)

    @ppl.model
    def guide(x: Any) -> None:
        with ppl.plate("data", x) as x:
            h = ppl.dense("encoder", x, 64, activation="tanh")
            ppl.sample("z", OneHotCategorical(logits=ppl.dense("classes", h, 100).reshape((10, 10))))

    return Graph(
        "categorical VAE 64-64-(10 × 10), 100 digits, at the start", ppl.elbo(generative, guide), (rows[:100],)
    )


@graph
def belief_net() -> Graph:
    """A sigmoid belief network of one stochastic layer at the start of training."""
    rows, _ = data.digits()
    return Graph("belief network 64-32-16, 100 digits, at the start", ppl.elbo(*sbn.network((32, 16))), (rows[:100],))


@graph
def counts() -> Graph:
    """A Poisson rate."""

    @ppl.model
    def model() -> None:
        k = ppl.sample("k", Poisson(np.exp(ppl.param("log_rate", np.log([2.0, 5.0])))))
        ppl.cost("loss", np.log1p(k.sum()) + 0.1 * (k[0] - 3.0) ** 2)

    return Graph("Poisson(2), Poisson(5), log(1 + x + y) + (x − 3)² / 10", model)


@graph
def mixed() -> Graph:
    """A switch, and a Normal variable whose law depends on it."""

    @ppl.model
    def model() -> None:
        b = ppl.sample("b", Bernoulli(logits=ppl.param("switch", np.zeros(6))))
        z = ppl.sample("z", Normal(ppl.param("loc", np.zeros(3)) + b[:3], np.exp(ppl.param("log_scale", np.zeros(3)))))
        ppl.cost("loss", np.sin(2.0 * z).sum() + 0.3 * (z * b[3:]).sum() ** 2)

    return Graph("6 switches, then 3 Normal variables", model)
