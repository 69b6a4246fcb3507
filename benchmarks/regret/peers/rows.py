"""The graphs of `graphs/rows.py`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    HalfNormal,
    Independent,
    LogNormal,
    Normal,
    OneHotCategorical,
    kl_divergence,
)

from benchmarks.peers.estimators_torch import dense
from benchmarks.regret.peers.peer import BITS, CLASSES, PATH, SCORE, SUM, peer
from benchmarks.regret.peers.run import Params, Run

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]) / 10
S = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]) / 10


def vector(loc: Tensor, log_scale: Tensor) -> Independent:
    """Independent Normal entries."""
    return Independent(Normal(loc, log_scale.exp()), 1)


@peer(*PATH)
def schools(run: Run, p: Params) -> None:
    mu, tau, theta = Normal(p["m"], p["s"].exp()), LogNormal(p["t"], p["u"].exp()), Normal(p["loc"], p["scale"].exp())
    run.sure(kl_divergence(mu, Normal(0.0, 1.0)) - tau.entropy())
    m, t, z = run.root(mu), run.root(tau), run.root(Independent(theta, 1))
    run.cost(-HalfNormal(1.0).log_prob(t))
    run.cost((kl_divergence(theta, Normal(m[:, None], t[:, None])) - Normal(z, S).log_prob(Y)).sum(-1))


@peer(*PATH)
def logistic(run: Run, p: Params, x: Tensor, y: Tensor) -> None:
    q = vector(p["loc"], p["log_scale"])
    run.sure(kl_divergence(q.base_dist, Normal(0.0, 1.0)))
    run.cost(-Bernoulli(logits=run.root(q) @ x.T).log_prob(y))


@peer(*PATH)
def selection(run: Run, p: Params, x: Tensor, y: Tensor) -> None:
    on, w = Bernoulli(logits=p["switch"]), vector(p["loc"], p["log_scale"])
    run.sure(kl_divergence(on, Bernoulli(torch.full((12,), 0.3))).sum())
    run.sure(kl_divergence(w.base_dist, Normal(0.0, 1.0)))
    weights = run.root(Independent(on, 1)) * run.root(w)
    run.cost(-Normal(weights @ x.T, 0.5).log_prob(y))


@peer(*SCORE, *SUM)
def iris(run: Run, p: Params, x: Tensor) -> None:
    q = Categorical(logits=dense(p, "guide", torch.cat([x, x**2], -1)))
    run.sure(kl_divergence(q, Categorical(logits=p["weights"])))
    z = run.root(q).long()
    run.cost(-vector(p["loc"][z], p["scale"][z]).log_prob(x))


def _guide(p: Params, x: Tensor) -> Tensor:
    return dense(p, "guide", torch.tanh(dense(p, "h", x)))


@peer(*SCORE, *SUM)
def mixture(run: Run, p: Params, x: Tensor) -> None:
    q = Categorical(logits=_guide(p, x))
    run.sure(kl_divergence(q, Categorical(logits=torch.zeros(16))))
    run.cost(-vector(p["loc"][run.root(q).long()], torch.zeros(2)).log_prob(x))


@peer(*CLASSES, *SUM)
def one_hot_mixture(run: Run, p: Params, x: Tensor) -> None:
    q = OneHotCategorical(logits=_guide(p, x))
    run.sure(kl_divergence(q, OneHotCategorical(logits=torch.zeros(8))))
    run.cost(-vector(run.root(q) @ p["loc"], torch.zeros(2)).log_prob(x))


@peer(*PATH, names=("hierarchy", "large_hierarchy"))
def hierarchy(run: Run, p: Params, x: Tensor, y: Tensor) -> None:
    q = vector(p["loc"], p["log_scale"])
    run.sure(kl_divergence(q.base_dist, Normal(0.0, 1.0)))
    w = run.root(q)
    a = Normal(dense(p, "mean", torch.cat([x, y[:, None]], -1))[:, 0], p["spread"].exp())
    run.cost(kl_divergence(a, Normal(w @ x.T, 1.0)))
    run.cost(-Normal(run.root(a), 0.5).log_prob(y))


@peer(*BITS, *SUM)
def large_units(run: Run, p: Params, x: Tensor) -> None:
    b = run.root(Independent(Bernoulli(logits=x @ p["w"]), 1))
    run.cost(torch.tanh(b.sum(-1) - 2.0 + x[:, 0]) ** 2)
