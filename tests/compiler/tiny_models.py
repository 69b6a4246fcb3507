"""Models whose plates read one another: across regions by index, by `collect`, by sums of sums and over rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import ppl
from ppl import Bernoulli, Categorical, Gamma, Normal

RNG = np.random.default_rng(0)


class Asked(NamedTuple):
    """An objective and data by their numbers of rows."""

    objective: Any
    data: Callable[[int], tuple[np.ndarray, ...]]
    estimators: Any = "auto"
    particles: int = 1


def floats(rows: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(rows + 5).normal(size=(rows, *shape))


def places(rows: int, of: int) -> np.ndarray:
    return np.random.default_rng(rows + 7).integers(0, of, rows)


def one(rows):
    return (floats(rows),)


def indexed(of):
    return lambda rows: (floats(rows), places(rows, of))


MODELS: dict[str, Asked] = {}


def listed(**given: Any) -> Callable[[Any], Any]:
    def add(model: Any) -> Any:
        objective = given.pop("objective", lambda m: m)(ppl.model(model))
        MODELS[model.__name__] = Asked(objective, **given)
        return model

    return add


@listed(data=indexed(6), objective=lambda m: ppl.elbo(m, ppl.autoguide(m)))
def groups_read_by_rows(x, index):
    """Each of six latents is read by the rows of its group: its gradient is a sum over rows, read by six rows."""
    with ppl.plate("groups", 6):
        v = ppl.sample("v", Normal(0.0, 1.0))
    v = ppl.collect(v, "groups")
    with ppl.plate("data", x, index) as (x, index):
        ppl.sample("x", Normal(v[index], 1.0), obs=x)


@listed(data=indexed(5))
def rows_and_groups_and_back(x, index):
    """A sum over rows reaches groups, whose means reach the rows again."""
    w = ppl.param("w", np.linspace(-1.0, 1.0, 5))
    a = ppl.param("a", 0.7)
    with ppl.plate("groups", 5):
        z = ppl.sample("z", Normal(a, 0.6))
    z = ppl.collect(z, "groups")
    with ppl.plate("data", x, index) as (x, index):
        y = ppl.sample("y", Normal(x * w[index] + np.tanh(z[index]) * np.mean(z), 0.5))
        ppl.cost("row", np.cos(y) * a)
    with ppl.plate("again", 5):
        u = ppl.sample("u", Normal(np.sum(z * w), 1.0))
        ppl.cost("group", np.sin(u) * w[0])


@listed(data=one)
def softmax_over_collected(x):
    """A softmax over the rows of a fixed plate."""
    a = ppl.param("a", 0.3)
    with ppl.plate("k", np.array([0.3, -0.4, 0.8, 1.1, -0.2, 0.6, 0.9])) as o:
        z = ppl.sample("z", Normal(a * o, 0.8))
        ppl.cost("own", z**2)
    p = ppl.softmax(ppl.collect(z, "k"))
    with ppl.plate("data", x) as x:
        y = ppl.sample("y", Normal(np.sum(p * np.cos(x + np.arange(7))), 0.4))
        ppl.cost("row", np.tanh(y) + a * p[2])
    ppl.cost("entropy", np.sum(p * np.log(p)) * a)


@listed(data=lambda rows: (floats(rows), floats(rows + 2, 3)))
def two_data_plates(x, t):
    """Two data plates of other lengths share a latent and a table."""
    w = ppl.param("w", np.ones((3, 2)))
    g = ppl.sample("g", Normal(np.sum(w), 0.5))
    with ppl.plate("first", x) as x:
        b = ppl.sample("b", Bernoulli(logits=x * g))
        ppl.cost("one", np.cos(b + x) * w[0, 0])
    with ppl.plate("second", t) as t:
        h = ppl.sample("h", Normal(t @ w, 0.3))
        ppl.cost("two", np.sum(np.tanh(h)) * g)


@listed(data=lambda rows: (floats(rows, 4),), particles=3)
def layers(x):
    """Matrix products, row and column sums, an inner plate."""
    w = ppl.param("w", np.full((4, 3), 0.2))
    c = ppl.param("c", np.full((3, 4), -0.1))
    with ppl.plate("data", x) as x:
        h = ppl.sample("h", Normal(np.tanh(x @ w), 0.5))
        y = h @ c
        with ppl.plate("inner", 5):
            k = ppl.sample("k", Bernoulli(logits=np.sum(y)))
            ppl.cost("inside", k * np.mean(h))
        ppl.cost("out", np.sum((y - x) ** 2) / np.sum(np.exp(y)))


@listed(data=lambda rows: (floats(rows), places(rows, 3), places(rows, 4)),
        objective=lambda m: ppl.elbo(m, ppl.autoguide(m)))  # fmt: skip
def crossed_effects(x, i, j):
    """Two crossed groups with scales of their own."""
    s = ppl.sample("s", Gamma(2.0, 2.0))
    with ppl.plate("a", 3):
        a = ppl.sample("u", Normal(0.0, s))
    with ppl.plate("b", 4):
        b = ppl.sample("v", Normal(0.0, 1.0))
    a, b = ppl.collect(a, "a"), ppl.collect(b, "b")
    with ppl.plate("data", x, i, j) as (x, i, j):
        ppl.sample("x", Normal(a[i] * b[j] + np.mean(a), 0.7), obs=x)


@listed(data=lambda rows: (floats(rows), places(rows, 3)), objective=lambda m: ppl.elbo(m, ppl.autoguide(m)),
        particles=2)  # fmt: skip
def chain_of_plates(x, index):
    """A plate reads the mean of another, and rows read both."""
    with ppl.plate("a", 4):
        a = ppl.sample("u", Normal(0.3, 1.0))
    a = ppl.collect(a, "a")
    with ppl.plate("b", 3):
        b = ppl.sample("v", Normal(np.mean(a) + np.max(a), 1.0))
    b = ppl.collect(b, "b")
    with ppl.plate("data", x, index) as (x, index):
        ppl.sample("x", Normal(b[index] + a[index + 1], np.exp(0.1 * np.sum(b))), obs=x)


@listed(data=indexed(9))
def table_rows(x, index):
    """Rows of a table times a matrix, and a table of biases."""
    table = ppl.param("table", np.random.default_rng(3).normal(size=(9, 4)))
    w = ppl.param("w", np.random.default_rng(4).normal(size=(4, 3)))
    with ppl.plate("data", x, index) as (x, index):
        h = table[index] @ w
        k = ppl.sample("k", Categorical(logits=h))
        ppl.cost("row", np.cos(x + k) * np.sum(table[index] ** 2))
