"""A training step of a sigmoid belief network 784-200-200 against the bare products in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks import sbn_products
from benchmarks.data import bits
from benchmarks.timing import check, interleave
from ppl import Bernoulli

UNITS, BATCH = 200, 100


@ppl.model
def generative(x):
    """h2 → h1 → x."""
    prior = ppl.param("prior", 0.0, shape=(UNITS,))
    with ppl.plate("data", x) as x:
        h2 = ppl.sample("h2", Bernoulli(logits=prior))
        h1 = ppl.sample("h1", Bernoulli(logits=ppl.dense("v2", h2, UNITS)))
        ppl.sample("x", Bernoulli(logits=ppl.dense("v1", h1, 784)), obs=x)


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
        data=ppl.spec((None, 784), np.float32),
    )


def run(peers: list[str]) -> dict[str, Any]:
    """Time `program.update` with Adam on batches of 100, interleaved with the products."""
    data = bits()
    program = compile_program()
    optimizer = ppl.optim.Adam(1e-3)
    box = {"state": program.init(seed=0), "at": 0}

    def step() -> None:
        start = box["at"]
        box["state"], _ = program.update(box["state"], data[start : start + BATCH], optimizer=optimizer, rows=start)
        box["at"] = (start + BATCH) % len(data)

    products = sbn_products.runner()
    # NumPy's own threads go on spinning for about a tenth of a second after a product.
    timings = interleave({"NumPy products": products, "ppl step": step}, samples=20, sample_seconds=0.15, pause=0.25)
    ratio = timings["ppl step"].median / timings["NumPy products"].median
    return {
        "title": "Sigmoid belief network 784-200-200, batch 100, 2 particles, leave-one-out, Adam",
        "timings": timings,
        "baseline": "NumPy products",
        "checks": [check("step / bare products", ratio, 1.6, "×")],
        "notes": ["The products are the step's eight matrix products alone, on NumPy with its own threads."],
    }
