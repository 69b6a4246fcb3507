"""A training step of word embeddings by negative sampling: vocabulary 10,000, 100 dims, 1024 pairs × 5 noise words."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import ppl
from benchmarks import skip_gram_data as data
from benchmarks.timing import check, interleave
from ppl.models.alias import AliasTable

STEPS, GOAL = 1000, 1 / 3


@ppl.model
def skip_gram(center: Any, word: Any, *, noise: AliasTable) -> None:
    """-log σ(u_w · v_c) - Σ log σ(-u_noise · v_c), the noise words drawn in the step."""
    shape = (data.VOCABULARY, data.DIM)
    u = ppl.param("u", 0.0, shape=shape)
    v = ppl.param("v", ppl.init.uniform(-0.5 / data.DIM, 0.5 / data.DIM), shape=shape)
    with ppl.plate("data", center, word) as (center, word):
        false = noise.sample("noise", data.NOISE)
        ppl.cost("contrast", ppl.softplus(-(u[word] @ v[center])) + np.sum(ppl.softplus(u[false] @ v[center])))


def build(steps: int = STEPS) -> Callable[[], Any]:
    """A function that takes `steps` steps by one call of `ppl.fit`, minibatches shuffled and gathered by itself."""
    d = data.make()
    probs = (np.bincount(d.other, 1 - d.accept.astype(float), data.VOCABULARY) + d.accept) / data.VOCABULARY
    pairs = d.center.ravel(), d.word.ravel()
    program = ppl.compile(skip_gram.bind(noise=AliasTable(d.accept, d.other, probs)), data=pairs)
    box, optimizer = [program.init(0, *pairs)], ppl.optim.SGD(data.RATE * data.PAIRS)

    def call() -> Any:
        found = ppl.fit(
            program, *pairs, steps=steps, batch_size=data.PAIRS, optimizer=optimizer, state=box[0], progress=False
        )
        box[0] = found.state
        return found.history["loss"]

    return call


def run(peers: list[str]) -> dict[str, Any]:
    """Time ours, and the peers that can be imported, in turns."""
    calls = {"ppl": build()}
    steps = {"ppl": STEPS}
    for peer in peers:
        module = importlib.import_module(f"benchmarks.peers.skip_gram_{peer}")
        for variant in module.VARIANTS:
            calls[f"{peer}, {variant}"], steps[f"{peer}, {variant}"] = module.build(variant), module.STEPS
    found = interleave(calls, samples=20, sample_seconds=0.05)
    timings = {k: t._replace(**{n: getattr(t, n) / steps[k] for n in t._fields[:4]}) for k, t in found.items()}
    fastest = min((t.median for k, t in timings.items() if k != "ppl"), default=None)
    checks = [check("ppl, relative to the fastest peer", timings["ppl"].median / fastest, GOAL, "")] if fastest else []
    return {
        "title": "Skip-gram, vocabulary 10,000, 100 dims, 1024 pairs × 5 noise words, SGD: a step",
        "timings": timings,
        "baseline": "ppl",
        "checks": checks,
        "details": {"pairs per second": data.PAIRS / timings["ppl"].median},
        "notes": ["Every step draws its noise words from an alias table; words are Zipfian, noise is p^0.75."],
    }
