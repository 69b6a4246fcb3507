"""The graphs of `graphs/held_out.py`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Geometric,
    Independent,
    Laplace,
    LogNormal,
    NegativeBinomial,
    Normal,
    StudentT,
    kl_divergence,
)

from benchmarks.regret.peers.peer import BOTH, PATH, SCORE, peer
from benchmarks.regret.peers.run import Params, Run


@peer(*PATH)
def beta_coin(run: Run, p: Params, y: Tensor) -> None:
    q = Beta(p["a"].exp(), p["b"].exp())
    run.sure(kl_divergence(q, Beta(2.0, 2.0)))
    run.cost(-Bernoulli(run.root(q)[:, None]).log_prob(y))


@peer(*PATH)
def accidents(run: Run, p: Params, x: Tensor, y: Tensor) -> None:
    w, r = Independent(Normal(p["loc"], p["log_scale"].exp()), 1), LogNormal(p["m"], p["s"].exp())
    run.sure(kl_divergence(w.base_dist, Normal(0.0, 1.0)).sum() + kl_divergence(r, LogNormal(0.0, 1.0)))
    run.cost(-NegativeBinomial(run.root(r)[:, None], logits=run.root(w) @ x.T).log_prob(y))


@peer(*PATH)
def shares(run: Run, p: Params, x: Tensor) -> None:
    guide, classes = Dirichlet(p["concentration"].exp()), Categorical(logits=p["slope"] * x[:, None])
    run.sure(kl_divergence(guide, Dirichlet(torch.ones(5))))
    weights = run.root(guide)[:, None].log()
    seen = Normal(p["loc"], 0.5).log_prob(x[:, None])
    run.cost((classes.probs * (classes.logits - weights - seen)).sum(-1))


@peer(*BOTH)
def robust(run: Run, p: Params, x: Tensor, y: Tensor) -> None:
    q = Independent(Laplace(p["loc"], p["log_scale"].exp()), 1)
    run.sure(kl_divergence(q.base_dist, Laplace(torch.zeros(4), 0.5)))
    run.cost(-StudentT(3.0, run.root(q) @ x.T, 0.3).log_prob(y))


@peer(*SCORE)
def censored(run: Run, p: Params) -> None:
    t = run.root(Independent(LogNormal(p["log_loc"], p["log_scale"].exp()), 1))
    run.cost(torch.where(t > 2.0, 3.0 + 0.5 * t, t).sum(-1))


@peer(*SCORE)
def tries(run: Run, p: Params) -> None:
    k = run.root(Independent(Geometric(logits=p["logits"]), 1))
    run.cost(torch.sqrt(1.0 + k.sum(-1)) + 0.2 * (k[..., 1] - 2.0) ** 2)
