"""A training step of a belief network with one layer of binary units and DisARM."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks import ours, suite
from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.machine import Product
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of
from ppl import Bernoulli

TITLE = "One-layer belief net 784-200-784, DisARM, batch 100, Adam"
GOALS = (suite.Goal(0.75),)
PIXELS, UNITS, BATCH = 784, 200, 100
PRODUCTS = (
    Product(BATCH, PIXELS, UNITS, label="x @ W"),
    Product(2 * BATCH, UNITS, PIXELS, label="h @ V, both of the pair"),
    Product(PIXELS, BATCH, UNITS, transposed="a", label="dW = x.T @ g"),
    Product(UNITS, BATCH, PIXELS, transposed="a", label="dV = h.T @ r"),
)


@ppl.model
def generative(x: Any) -> None:
    """h → x."""
    prior = ppl.param("prior", 0.0, shape=(UNITS,))
    with ppl.plate("data", x) as x:
        h = ppl.sample("h", Bernoulli(logits=prior))
        ppl.sample("x", Bernoulli(logits=ppl.dense("v", h, PIXELS)), obs=x)


@ppl.model
def guide(x: Any) -> None:
    """x → h."""
    with ppl.plate("data", x) as x:
        ppl.sample("h", Bernoulli(logits=ppl.dense("w", x, UNITS)))


def forms() -> dict[str, Form]:
    """Every term of the bound sampled."""
    objective = ppl.elbo(generative, guide, kl="sampled")
    data = ppl.spec((None, PIXELS), np.float32)
    return ours.forms(
        ppl.compile(objective, estimators=ppl.estimators.DisARM(), data=data), ppl.optim.Adam(1e-3), bits(), BATCH
    )


def work() -> Work:
    """Parameters with two moments in and out, and the rows."""
    return work_of(2 * PIXELS * UNITS + PIXELS + 2 * UNITS, 6, BATCH * PIXELS, PRODUCTS)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
