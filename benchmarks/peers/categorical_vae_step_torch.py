"""`benchmarks/workloads/categorical_vae_step.py` in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.peers import torch_loops
from benchmarks.peers.torch_loops import bernoulli_log_prob, dense

PIXELS, HIDDEN, UNITS, CLASSES, TEMPERATURE = 784, 256, 20, 10, 0.5


def loss(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """The negative bound per row at relaxed samples, KL divergence from uniform classes in closed form."""
    w1, b1, w2, b2, w3, b3, w4, b4 = params
    log_q = linear(torch.tanh(linear(x, w1, b1)), w2, b2).view(-1, UNITS, CLASSES).log_softmax(-1)
    gumbel = -torch.log(-torch.log(torch.rand(log_q.shape).clamp_min(1e-20)).clamp_min(1e-20))
    z = torch.softmax((log_q + gumbel) / TEMPERATURE, -1).view(-1, UNITS * CLASSES)
    pixels = linear(torch.tanh(linear(z, w3, b3)), w4, b4)
    kl = (log_q.exp() * log_q).sum((-2, -1)) + UNITS * math.log(CLASSES)
    return (kl - bernoulli_log_prob(pixels, x)).mean()


def forms() -> dict[str, Form]:
    """Adam on batches of 100."""
    n = UNITS * CLASSES
    params = [*dense(PIXELS, HIDDEN), *dense(HIDDEN, n), *dense(n, HIDDEN), *dense(HIDDEN, PIXELS)]
    return torch_loops.forms(loss, params, 1e-3, torch.from_numpy(bits()))
