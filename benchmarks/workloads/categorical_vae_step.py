"""A training step of a variational autoencoder with categorical latents, relaxed by Gumbel-softmax."""

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
from ppl import Bernoulli, OneHotCategorical

TITLE = "Categorical VAE 784-256-(20×10)-256-784, Gumbel-softmax, batch 100, Adam"
GOALS = (suite.Goal(0.8),)
PIXELS, HIDDEN, UNITS, CLASSES, BATCH, TEMPERATURE = 784, 256, 20, 10, 100, 0.5
LAYERS = ((PIXELS, HIDDEN), (HIDDEN, UNITS * CLASSES), (UNITS * CLASSES, HIDDEN), (HIDDEN, PIXELS))
PRODUCTS = (
    *(Product(BATCH, a, b, label=f"forward {a}-{b}") for a, b in LAYERS),
    *(Product(a, BATCH, b, transposed="a", label=f"weight gradient {a}-{b}") for a, b in LAYERS),
    *(Product(BATCH, b, a, transposed="b", label=f"backward {b}-{a}") for a, b in LAYERS[1:]),
)


@ppl.model
def generative(x: Any) -> None:
    """z → tanh layer → x."""
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", OneHotCategorical(logits=np.zeros((UNITS, CLASSES))))
        h = ppl.dense("decoder", z.reshape(UNITS * CLASSES), HIDDEN, activation="tanh")
        ppl.sample("x", Bernoulli(logits=ppl.dense("logits", h, PIXELS)), obs=x)


@ppl.model
def guide(x: Any) -> None:
    """x → tanh layer → z."""
    with ppl.plate("data", x) as x:
        h = ppl.dense("encoder", x, HIDDEN, activation="tanh")
        logits = ppl.dense("classes", h, UNITS * CLASSES).reshape((UNITS, CLASSES))
        ppl.sample("z", OneHotCategorical(logits=logits))


def forms() -> dict[str, Form]:
    """KL divergence of the categorical units in closed form."""
    relaxed = ppl.estimators.Relaxed(temperature=TEMPERATURE)
    program = ppl.compile(
        ppl.elbo(generative, guide), estimators=relaxed, allow_bias=True, data=ppl.spec((None, PIXELS), np.float32)
    )
    return ours.forms(program, ppl.optim.Adam(1e-3), bits(), BATCH)


def work() -> Work:
    """Parameters with two moments in and out, and the rows."""
    return work_of(sum((a + 1) * b for a, b in LAYERS), 6, BATCH * PIXELS, PRODUCTS)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
