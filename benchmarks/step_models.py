"""Models of the suite's steps that are not in the zoo: W3 and W8. Nothing else of the suite is imported with them."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, Gamma

PIXELS, UNITS = 784, 200
GAMMAS = 10**5


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


@ppl.model
def units() -> None:
    """g ~ Gamma(α, 1) with one log α per unit, N(0, 0.5²) at the start: α from 0.1 to 8."""
    alpha = np.exp(ppl.param("log_alpha", ppl.init.normal(0.5), shape=(GAMMAS,)))
    g = ppl.sample("g", Gamma(alpha, 1.0))
    ppl.cost("cost", np.sum(np.log1p(g)))
