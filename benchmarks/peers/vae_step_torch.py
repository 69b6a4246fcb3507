"""`benchmarks/workloads/vae_step.py` in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.peers import torch_loops
from benchmarks.peers.torch_loops import bernoulli_log_prob, dense

PIXELS, HIDDEN, LATENT = 784, 400, 20


def loss(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """The negative bound per row, KL divergence in closed form; μ and log σ in one product."""
    w1, b1, w2, b2, w3, b3, w4, b4 = params
    mu, log_sigma = linear(torch.tanh(linear(x, w1, b1)), w2, b2).chunk(2, dim=-1)
    sigma = log_sigma.exp()
    z = mu + sigma * torch.randn(mu.shape)
    logits = linear(torch.tanh(linear(z, w3, b3)), w4, b4)
    kl = (0.5 * (mu * mu + sigma * sigma - 1) - log_sigma).sum(-1)
    return (kl - bernoulli_log_prob(logits, x)).mean()


def forms() -> dict[str, Form]:
    """Adam on batches of 100."""
    params = [*dense(PIXELS, HIDDEN), *dense(HIDDEN, 2 * LATENT), *dense(LATENT, HIDDEN), *dense(HIDDEN, PIXELS)]
    return torch_loops.forms(loss, params, 1e-3, torch.from_numpy(bits()))
