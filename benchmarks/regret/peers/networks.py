"""The graphs of `graphs/networks.py`; belief nets of two layers also with REBAR and DisARM of `estimators_torch`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal, OneHotCategorical, kl_divergence

from benchmarks.peers.estimators_torch import SBN, dense
from benchmarks.regret.peers.peer import BITS, CLASSES, PATH, SCORE, peer
from benchmarks.regret.peers.run import Params, Run


def bits(logits: Tensor) -> Independent:
    """A layer of Bernoulli units."""
    return Independent(Bernoulli(logits=logits), 1)


def _latent(p: Params, x: Tensor) -> Independent:
    h = torch.tanh(dense(p, "encoder", x))
    return Independent(Normal(dense(p, "mu", h), dense(p, "log_sigma", h).exp()), 1)


def _pixels(p: Params, z: Tensor) -> Independent:
    return bits(dense(p, "logits", torch.tanh(dense(p, "decoder", z))))


def drawn_vae(run: Run, p: Params, x: Tensor) -> None:
    q = _latent(p, x)
    z = run.root(q)
    run.cost(q.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(-1) - _pixels(p, z).log_prob(x))


@peer(*PATH, sampled=("rsample", drawn_vae))
def normal_vae(run: Run, p: Params, x: Tensor) -> None:
    q = _latent(p, x)
    run.sure(kl_divergence(q.base_dist, Normal(0.0, 1.0)))
    run.cost(-_pixels(p, run.root(q)).log_prob(x))


@peer(*PATH)
def importance_vae(run: Run, p: Params, x: Tensor) -> None:
    q = _latent(p, x.expand(5, *x.shape))
    z = run.root(q)
    prior = Independent(Normal(torch.zeros(8), 1.0), 1)
    weights = prior.log_prob(z) + _pixels(p, z).log_prob(x) - q.log_prob(z)
    run.cost(math.log(5) - torch.logsumexp(weights, 1))


def _divergence(q: Independent, prior: Tensor) -> Tensor:
    """KL(q ‖ Bernoulli units of logits `prior`)."""
    return kl_divergence(q.base_dist, Bernoulli(logits=prior.expand_as(q.base_dist.logits))).sum(-1)


def _net(layers: int, closed: bool = True) -> Callable[..., None]:
    """A belief net; `closed`: entropies and the last layer's divergence in closed form."""

    def program(run: Run, p: Params, x: Tensor) -> None:
        below, draw, add = x, run.root, run.sure
        for i in range(layers):
            q, last = bits(dense(p, f"up/{i}", below)), i == layers - 1
            if closed:
                add(_divergence(q, p["prior"]) if last else -q.entropy())
            h, draw, add = draw(q), run.draw, run.cost
            if not closed:
                run.cost(q.log_prob(h) - (bits(p["prior"]).log_prob(h) if last else 0.0))
            run.cost(-bits(dense(p, f"down/{i}", h)).log_prob(below))
            below = h

    return program


def _drawn(layers: int) -> tuple[str, Callable[..., None]]:
    return "RLOO", _net(layers, closed=False)


def _peer_of(kind: str) -> Callable[..., Any]:
    def surrogate(p: Any, x: Tensor) -> tuple[Tensor, None]:
        return getattr(SBN(p, x, {}, torch.default_generator), kind)(), None

    return surrogate


peer(*BITS, names=("one_layer",), sampled=_drawn(1))(_net(1))
OWN = {"DisARM": _peer_of("disarm"), "REBAR": _peer_of("rebar")}
peer(*SCORE, names=("belief_net",), own=OWN, sampled=_drawn(2))(_net(2))
peer(*SCORE, names=("deep_net",), sampled=_drawn(3))(_net(3))


def _bound(p: Params, x: Tensor, a: Tensor, h: Tensor) -> Tensor:
    """Log-weights of samples h of units with logits a."""
    return bits(p["prior"]).log_prob(h) + bits(dense(p, "down/0", h)).log_prob(x) - bits(a).log_prob(h)


def vimco(p: Params, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mnih & Rezende 2016, of 5 samples."""
    a = dense(p, "up/0", x).expand(5, -1, -1)
    h = bits(a).sample()
    weights = _bound(p, x, a, h)
    bound = torch.logsumexp(weights, 0) - math.log(5)
    with torch.no_grad():
        others = (weights.sum(0) - weights) / 4
        without = torch.where(torch.eye(5, dtype=torch.bool)[:, :, None], others, weights)
        signal = bound - torch.logsumexp(without, 1) + math.log(5)
    return -(bound.sum() + (signal * bits(a).log_prob(h)).sum()), -bound.sum()


@peer(*SCORE, own={"VIMCO": vimco})
def importance_net(run: Run, p: Params, x: Tensor) -> None:
    a = dense(p, "up/0", x)[:, None].expand(-1, 5, -1)
    h = run.root(Independent(Bernoulli(logits=a), 2))
    run.cost(math.log(5) - torch.logsumexp(_bound(p, x[:, None], a, h), -1))


def _classes(p: Params, x: Tensor) -> OneHotCategorical:
    return OneHotCategorical(logits=dense(p, "classes", torch.tanh(dense(p, "encoder", x))).unflatten(-1, (10, 10)))


def drawn_classes(run: Run, p: Params, x: Tensor) -> None:
    q = Independent(_classes(p, x), 1)
    z = run.root(q)
    run.cost(q.log_prob(z) + 10 * math.log(10) - _pixels(p, z.flatten(-2)).log_prob(x))


@peer(*CLASSES, sampled=("RLOO", drawn_classes))
def class_vae(run: Run, p: Params, x: Tensor) -> None:
    q = _classes(p, x)
    run.sure(kl_divergence(q, OneHotCategorical(logits=torch.zeros(10))))
    run.cost(-_pixels(p, run.root(Independent(q, 1)).flatten(-2)).log_prob(x))


@peer(*BITS)
def classifier(run: Run, p: Params, x: Tensor, label: Tensor) -> None:
    h = run.root(bits(dense(p, "h/0", x)))
    run.cost(-Categorical(logits=dense(p, "head", h)).log_prob(label))
