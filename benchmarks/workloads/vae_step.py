"""A training step of a Gaussian variational autoencoder."""

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
from ppl.models import vae

TITLE = "Gaussian VAE 784-400-20-400-784, batch 100, Adam"
GOALS = (suite.Goal(0.8),)
PIXELS, HIDDEN, LATENT, BATCH = 784, 400, 20, 100
LAYERS = ((PIXELS, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, PIXELS))
PRODUCTS = (
    *(Product(BATCH, a, b, label=f"forward {a}-{b}") for a, b in LAYERS),
    *(Product(a, BATCH, b, transposed="a", label=f"weight gradient {a}-{b}") for a, b in LAYERS),
    *(Product(BATCH, b, a, transposed="b", label=f"backward {b}-{a}") for a, b in LAYERS[1:]),
)


def forms() -> dict[str, Form]:
    """The zoo's model, KL divergence in closed form, pathwise."""
    sizes = {"latent": LATENT, "hidden": HIDDEN}
    objective = ppl.elbo(vae.generative.bind(**sizes), vae.guide.bind(**sizes))
    program = ppl.compile(objective, data=ppl.spec((None, PIXELS), np.float32))
    return ours.forms(program, ppl.optim.Adam(1e-3), bits(), BATCH)


def work() -> Work:
    """Parameters with two moments in and out, and the rows."""
    return work_of(sum((a + 1) * b for a, b in LAYERS), 6, BATCH * PIXELS, PRODUCTS)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
