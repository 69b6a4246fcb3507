"""A training step of word embeddings by negative sampling: vocabulary 10,000, 100 dims, 1024 pairs × 5 noise words."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks import ours, suite
from benchmarks import skip_gram_data as data
from benchmarks.forms import Form
from benchmarks.roofline import Work
from ppl.models.alias import AliasTable

TITLE = "Skip-gram, negative sampling, vocabulary 10,000, 100 dims, 1024 pairs × 5 noise words, SGD"
GOALS = (suite.Goal(0.5),)
STEPS = 1000


@ppl.model
def skip_gram(center: Any, word: Any, *, noise: AliasTable) -> None:
    """-log σ(u_w · v_c) - Σ log σ(-u_noise · v_c), the noise words drawn in the step."""
    shape = (data.VOCABULARY, data.DIM)
    u = ppl.param("u", 0.0, shape=shape)
    v = ppl.param("v", ppl.init.uniform(-0.5 / data.DIM, 0.5 / data.DIM), shape=shape)
    with ppl.plate("data", center, word) as (center, word):
        false = noise.sample("noise", data.NOISE)
        ppl.cost("contrast", ppl.softplus(-(u[word] @ v[center])) + np.sum(ppl.softplus(u[false] @ v[center])))


def forms() -> dict[str, Form]:
    """`ppl.fit` over shuffled minibatches, which updates touched rows in place."""
    d = data.make()
    probs = (np.bincount(d.other, 1 - d.accept.astype(float), data.VOCABULARY) + d.accept) / data.VOCABULARY
    pairs = d.center.ravel(), d.word.ravel()
    program = ppl.compile(skip_gram.bind(noise=AliasTable(d.accept, d.other, probs)), data=pairs)
    optimizer = ppl.optim.SGD(data.RATE * data.PAIRS)
    return {f"fit, {STEPS} steps a call": ours.fit(program, optimizer, pairs, data.PAIRS, STEPS)}


def work() -> Work:
    """The rows of a pair's words: read once, and once more read and written; products of three passes over them."""
    words = data.PAIRS * (data.NOISE + 2)
    return Work(data.PAIRS * (data.NOISE + 1) * data.DIM * 6, 4 * 3 * words * data.DIM, 8 * data.VOCABULARY * data.DIM)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
