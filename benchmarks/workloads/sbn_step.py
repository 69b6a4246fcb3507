"""A training step of a sigmoid belief network 784-200-200 by leave-one-out over two particles."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks import ours, sbn_products, suite
from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of
from ppl import Bernoulli

TITLE = "Sigmoid belief network 784-200-200, batch 100, 2 particles, leave-one-out, Adam"
GOALS = (suite.Goal(0.75), suite.Goal(1.6, peer=suite.PRODUCTS))
PIXELS, UNITS, BATCH = 784, 200, 100
PRODUCTS = sbn_products.PRODUCTS


@ppl.model
def generative(x):
    """h2 → h1 → x."""
    prior = ppl.param("prior", 0.0, shape=(UNITS,))
    with ppl.plate("data", x) as x:
        h2 = ppl.sample("h2", Bernoulli(logits=prior))
        h1 = ppl.sample("h1", Bernoulli(logits=ppl.dense("v2", h2, UNITS)))
        ppl.sample("x", Bernoulli(logits=ppl.dense("v1", h1, PIXELS)), obs=x)


@ppl.model
def guide(x):
    """x → h1 → h2."""
    with ppl.plate("data", x) as x:
        h1 = ppl.sample("h1", Bernoulli(logits=ppl.dense("w1", x, UNITS)))
        ppl.sample("h2", Bernoulli(logits=ppl.dense("w2", h1, UNITS)))


def compile_program() -> Any:
    """The program: leave-one-out over two particles, every term of the bound sampled."""
    return ppl.compile(
        ppl.elbo(generative, guide, kl="sampled"),
        estimators=ppl.estimators.ScoreFunction("leave_one_out"),
        particles=2,
        data=ppl.spec((None, PIXELS), np.float32),
    )


def forms() -> dict[str, Form]:
    """Adam on batches of 100."""
    return ours.forms(compile_program(), ppl.optim.Adam(1e-3), bits(), BATCH)


def work() -> Work:
    """Parameters with two moments in and out, and the rows."""
    return work_of(2 * PIXELS * UNITS + 2 * UNITS**2 + PIXELS + 4 * UNITS, 6, BATCH * PIXELS, PRODUCTS)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers and the bare products."""
    return suite.run(__name__, peers)
