"""A training step of a sigmoid belief network 784-200-200 by leave-one-out over two particles."""

from __future__ import annotations

from typing import Any

import ppl
from benchmarks import ours, sbn_products, suite
from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of
from benchmarks.step_models import PIXELS, UNITS, compile_program, generative, guide

__all__ = ["BATCH", "GOALS", "PRODUCTS", "TITLE", "compile_program", "forms", "generative", "guide", "run", "work"]

TITLE = "Sigmoid belief network 784-200-200, batch 100, 2 particles, leave-one-out, Adam"
GOALS = (suite.Goal(0.75), suite.Goal(1.6, peer=suite.PRODUCTS))
BATCH = 100
PRODUCTS = sbn_products.PRODUCTS


def forms() -> dict[str, Form]:
    """Adam on batches of 100."""
    return ours.forms(compile_program(), ppl.optim.Adam(1e-3), bits(), BATCH)


def work() -> Work:
    """Parameters with two moments in and out, and the rows."""
    return work_of(2 * PIXELS * UNITS + 2 * UNITS**2 + PIXELS + 4 * UNITS, 6, BATCH * PIXELS, PRODUCTS)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers and the bare products."""
    return suite.run(__name__, peers)
