"""The graphs of `graphs/laws.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from benchmarks.regret.peers.peer import BITS, BOTH, SCORE, SUM, peer
from benchmarks.regret.peers.run import Params, Run


def single(x: np.ndarray) -> Tensor:
    """As float32."""
    return torch.tensor(x, dtype=torch.float32)


_rng = np.random.default_rng(4)
WEIGHTS = [single(_rng.normal(size=shape)) for shape in (10, (10, 10), 10, 10)][-1]


@peer(*SCORE)
def two_layers(run: Run, p: Params) -> None:
    b1 = run.root(Independent(Bernoulli(logits=p["a"]), 1))
    b2 = run.draw(Independent(Bernoulli(logits=b1 @ p["w"] + p["c"]), 1))
    run.cost(torch.tanh(b2 @ WEIGHTS) + ((b2 - 0.3) ** 2).sum(-1))


@peer(*SCORE)
def three_bits(run: Run, p: Params, x: Tensor) -> None:
    b1 = run.root(Bernoulli(logits=p["a"] + x))
    b2 = run.draw(Bernoulli(logits=p["w"] * b1 - 0.5))
    run.cost(0.3 * (b2 - 0.8) ** 2 * x)
    b3 = run.draw(Bernoulli(logits=p["v"] * b2 - 0.3 * x))
    run.cost((b3 - 0.2) ** 2)


@peer(*BOTH)
def normal_between(run: Run, p: Params, x: Tensor) -> None:
    b = run.root(Independent(Bernoulli(logits=p["a"] + x[:, None]), 1))
    run.cost(0.1 * b.sum(-1))
    z = run.draw(Normal(b @ p["w"], 0.8))
    c = run.draw(Bernoulli(logits=1.5 * z - p["t"]))
    run.cost((c - 0.3) ** 2 + 0.2 * z * c)


@peer(*BOTH)
def normal_chain(run: Run, p: Params, x: Tensor) -> None:
    z = run.root(Normal(p["m"] * x, 0.7))
    y = run.draw(Normal(p["w"] * z, 0.5 + 0.3 * torch.sigmoid(z)))
    run.cost(torch.cos(y) + 0.2 * y * z)


@peer(*BITS)
def coupled(run: Run, p: Params) -> None:
    b = run.root(Independent(Bernoulli(logits=p["c"] + torch.linspace(-1.0, 1.0, 12)), 1))
    run.cost((b.sum(-1) - p["t"]) ** 2)


@peer("RLOO", "DisARM", *SUM)
def black_box_rows(run: Run, p: Params, x: Tensor) -> None:
    b = run.root(Independent(Bernoulli(logits=p["a"] + x[:, None]), 1))
    run.cost(torch.floor(2.0 * b[..., 0] * x + b[..., 1:].sum(-1)) ** 2)


def _units(inputs: int, units: int, rows: int) -> Callable[..., None]:
    rng = np.random.default_rng(1)
    rng.normal(size=(rows, inputs - 1))
    first, last = single(rng.normal(size=(units, 64))), single(rng.normal(size=64))

    def program(run: Run, p: Params, x: Tensor) -> None:
        b = run.root(Independent(Bernoulli(logits=x @ p["w"]), 1))
        run.cost(torch.tanh(b @ first + x[:, 1, None]) @ last)

    return program


peer(*BITS, *SUM, names=("five_units",))(_units(8, 5, 1))
peer(*BITS, names=("units", "few_units"))(_units(8, 20, 100))


def _classes(count: int, nodes: int, rows: int) -> Callable[..., None]:
    rng = np.random.default_rng(2)
    rng.normal(size=(rows, 8))
    w = single(rng.normal(size=30))
    rng.normal(size=(nodes, 8, count))
    tables = single(rng.normal(size=(nodes, count, 30)))

    def program(run: Run, p: Params, x: Tensor) -> None:
        h, draw = x[:, 0], run.root
        for i in range(nodes):
            k = draw(Categorical(logits=x @ p[f"w{i}"] + h[..., None]))
            g = tables[i][k.long()]
            h, draw = h + 0.3 * torch.tanh(g @ w), run.draw
            run.cost(torch.tanh(g + h[..., None]) @ w)

    return program


peer(*SCORE, *SUM, names=("one_class",))(_classes(40, 1, 50))
peer(*SCORE, names=("flat_classes",))(_classes(100, 2, 20))
peer(*SCORE, names=("three_classes",))(_classes(40, 3, 20))
