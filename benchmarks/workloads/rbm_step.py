"""A training step of a restricted Boltzmann machine by contrastive divergence with one Gibbs step."""

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
from ppl.models import rbm

TITLE = "Bernoulli RBM 784×500, CD-1, batch 100, SGD"
GOALS = (suite.Goal(0.55),)
VISIBLE, HIDDEN, BATCH = 784, 500, 100
PRODUCTS = (
    Product(BATCH, VISIBLE, HIDDEN, calls=2, label="v @ W, data and fantasies"),
    Product(BATCH, HIDDEN, VISIBLE, transposed="b", label="h @ W.T"),
    Product(VISIBLE, BATCH, HIDDEN, calls=2, transposed="a", label="v.T @ E[h], data and fantasies"),
)


def forms() -> dict[str, Form]:
    """The zoo's model."""
    data = bits()
    model = rbm.contrastive.bind(rates=rbm.smoothed(data), units=HIDDEN, steps=1)
    program = ppl.compile(model, data=ppl.spec((None, VISIBLE), np.float32))
    return ours.forms(program, ppl.optim.SGD(0.05), data, BATCH)


def work() -> Work:
    """Parameters in and out, and the rows."""
    return work_of(VISIBLE * HIDDEN + VISIBLE + HIDDEN, 2, BATCH * VISIBLE, PRODUCTS)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
