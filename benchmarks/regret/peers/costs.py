"""The graphs of `graphs/costs.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Gamma, Independent, Normal, OneHotCategorical, Poisson

from benchmarks.regret.peers.peer import BITS, BOTH, CLASSES, SCORE, SUM, peer
from benchmarks.regret.peers.run import Params, Run

NORMAL: dict[str, Callable[[Tensor], Tensor]] = {
    "square": lambda z: ((z - 3.0) ** 2).sum(-1),
    "bump": lambda z: torch.exp(-10.0 * z**2).sum(-1),
    "wide_bump": lambda z: torch.exp(-0.1 * z**2).sum(-1),
    "cosine": lambda z: torch.cos(5.0 * z).sum(-1),
    "slow_cosine": lambda z: torch.cos(0.5 * z).sum(-1),
    "waves": lambda z: torch.sin(3 * z).sum(-1) + z.sum(-1) ** 2 / 10,
    "hill": lambda z: torch.exp(-(z**2).sum(-1)),
    "well": lambda z: (z**4).sum(-1),
    "jump": lambda z: (z.sum(-1) > 1.0).float(),
    "black_box": lambda z: (torch.floor(2.0 * z) ** 2).sum(-1),
}
COINS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[str, ...]]] = {
    "four_coins": (lambda b: 5.0 + 4.0 * (b.mean(-1) - 0.45) ** 2, BITS + SUM),
    "many_coins": (lambda b: 5.0 + 4.0 * (b.mean(-1) - 0.45) ** 2, BITS),
    "coins_apart": (lambda b: ((b - 0.45) ** 2).sum(-1), BITS),
    "coins_jump": (lambda b: (b.sum(-1) > 7.0).float(), ("RLOO", "DisARM")),
}


def _normal(cost: Callable[[Tensor], Tensor]) -> Callable[..., None]:
    def program(run: Run, p: Params) -> None:
        run.cost(cost(run.root(Independent(Normal(p["loc"], p["log_scale"].exp()), 1))))

    return program


def _coins(cost: Callable[[Tensor], Tensor]) -> Callable[..., None]:
    def program(run: Run, p: Params) -> None:
        run.cost(cost(run.root(Independent(Bernoulli(logits=p["logits"]), 1))))

    return program


for _name, _cost in NORMAL.items():
    peer(*(SCORE if _name in ("jump", "black_box") else BOTH), names=(_name,))(_normal(_cost))
for _name, (_cost, _kinds) in COINS.items():
    peer(*_kinds, names=(_name,))(_coins(_cost))


@peer(*SCORE)
def counts(run: Run, p: Params) -> None:
    k = run.root(Independent(Poisson(p["log_rate"].exp()), 1))
    run.cost(torch.log1p(k.sum(-1)) + 0.1 * (k[..., 0] - 3.0) ** 2)


@peer(*BOTH)
def gammas(run: Run, p: Params) -> None:
    z = run.root(Independent(Gamma(p["log_concentration"].exp(), p["log_rate"].exp()), 1))
    run.cost(torch.tanh(z.sum(-1) - 2.0) + 0.2 * (z**2).sum(-1))


@peer(*BITS, *SUM)
def one_coin(run: Run, p: Params) -> None:
    run.cost((run.root(Bernoulli(logits=p["logit"])) - 0.499) ** 2)


_rng = np.random.default_rng(5)
TARGET, TABLE = (torch.tensor(_rng.normal(size=shape), dtype=torch.float32) for shape in (6, (5, 8, 6)))


@peer(*CLASSES)
def classes_meet(run: Run, p: Params) -> None:
    z = run.root(Independent(OneHotCategorical(logits=p["logits"]), 1))
    run.cost(((z.flatten(-2) @ TABLE.flatten(0, 1) - TARGET) ** 2).sum(-1))


@peer(*BOTH)
def mixed(run: Run, p: Params) -> None:
    b = run.root(Independent(Bernoulli(logits=p["switch"]), 1))
    z = run.draw(Independent(Normal(p["loc"] + b[..., :3], p["log_scale"].exp()), 1))
    run.cost(torch.sin(2.0 * z).sum(-1) + 0.3 * (z * b[..., 3:]).sum(-1) ** 2)
