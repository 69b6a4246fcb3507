"""The law graphs of the tests at useful sizes: layers, chains, rows that a cost couples, black boxes in rows."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import ppl
from benchmarks.regret.graphs.graph import Graph, graph
from ppl import Bernoulli, Categorical, Normal

X = np.random.default_rng(3).normal(size=200)


@graph
def two_layers() -> Graph:
    """Two layers of 10 units."""
    rng = np.random.default_rng(4)
    start = {name: rng.normal(size=shape) for name, shape in (("a", 10), ("w", (10, 10)), ("c", 10))}
    weights = rng.normal(size=10)

    @ppl.model
    def model() -> None:
        a, w, c = (ppl.param(name, value) for name, value in start.items())
        b1 = ppl.sample("b1", Bernoulli(logits=a))
        b2 = ppl.sample("b2", Bernoulli(logits=b1 @ w + c))
        ppl.cost("loss", np.tanh(b2 @ weights) + ((b2 - 0.3) ** 2).sum())

    return Graph("two layers of 10 Bernoulli units", model)


@graph
def three_bits() -> Graph:
    """Three single units in a chain, in rows."""

    @ppl.model
    def model(x: Any) -> None:
        a, w, v = ppl.param("a", 0.2), ppl.param("w", 2.0), ppl.param("v", -2.5)
        with ppl.plate("rows", x) as x:
            b1 = ppl.sample("b1", Bernoulli(logits=a + x))
            b2 = ppl.sample("b2", Bernoulli(logits=w * b1 - 0.5))
            b3 = ppl.sample("b3", Bernoulli(logits=v * b2 - 0.3 * x))
            ppl.cost("loss", (b3 - 0.2) ** 2 + 0.3 * (b2 - 0.8) ** 2 * x)

    return Graph("chain of 3 Bernoulli units, 200 rows", model, (X,))


@graph
def normal_between() -> Graph:
    """Bernoulli, Normal, Bernoulli in rows."""

    @ppl.model
    def model(x: Any) -> None:
        a, w, t = ppl.param("a", np.full(6, 0.3)), ppl.param("w", np.full(6, 0.5)), ppl.param("t", 0.2)
        with ppl.plate("rows", x) as x:
            b = ppl.sample("b", Bernoulli(logits=a + x))
            z = ppl.sample("z", Normal(b @ w, 0.8))
            c = ppl.sample("c", Bernoulli(logits=1.5 * z - t))
            ppl.cost("loss", (c - 0.3) ** 2 + 0.2 * z * c + 0.1 * b.sum())

    return Graph("6 Bernoulli, Normal, Bernoulli, 200 rows", model, (X,))


@graph
def normal_chain() -> Graph:
    """Normal after Normal in rows."""

    @ppl.model
    def model(x: Any) -> None:
        m, w = ppl.param("m", 0.4), ppl.param("w", 0.8)
        with ppl.plate("rows", x) as x:
            z = ppl.sample("z", Normal(m * x, 0.7))
            y = ppl.sample("y", Normal(w * z, 0.5 + 0.3 * ppl.sigmoid(z)))
            ppl.cost("loss", np.cos(y) + 0.2 * y * z)

    return Graph("Normal after Normal, 200 rows", model, (X,))


@graph
def coupled() -> Graph:
    """Rows that one cost outside couples."""
    offsets = np.linspace(-1.0, 1.0, 12)

    @ppl.model
    def model() -> None:
        with ppl.plate("k", offsets) as o:
            b = ppl.sample("b", Bernoulli(logits=ppl.param("c", 0.0) + o))
        ppl.cost("loss", (np.sum(ppl.collect(b, "k")) - ppl.param("t", 5.0)) ** 2)

    return Graph("12 rows of a Bernoulli unit, (Σ x − t)²", model)


@numba.njit
def _steps(b, x):
    return np.floor(2.0 * b[0] * x + b[1:].sum()) ** 2


@graph
def black_box_rows() -> Graph:
    """A user's function between the units of a row and its cost."""

    @ppl.model
    def model(x: Any) -> None:
        a = ppl.param("a", np.linspace(-1.0, 1.0, 6))
        with ppl.plate("rows", x) as x:
            ppl.cost("loss", ppl.external(_steps, ppl.sample("b", Bernoulli(logits=a + x)), x))

    return Graph("6 Bernoulli units, a black box, 200 rows", model, (X,))


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
def five_units() -> Graph:
    """5 units of one row."""
    return Graph("5 Bernoulli units", *_rows_of(0.3 * np.random.default_rng(0).normal(size=(8, 5)), 1))


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
def flat_classes() -> Graph:
    """Two without a likely class."""
    return _classes(100, 2, 0.1, 20)


@graph
def three_classes() -> Graph:
    """Three, whose joint states are too many."""
    return _classes(40, 3, 1.5, 20)
