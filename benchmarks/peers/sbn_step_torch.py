"""`benchmarks/workloads/sbn_step.py` in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.peers import torch_loops
from benchmarks.peers.torch_loops import bernoulli_log_prob, dense

PIXELS, UNITS, PARTICLES = 784, 200, 2


def draw(logits: Tensor, shape: Sequence[int]) -> Tensor:
    """Bits."""
    return (torch.rand(shape) < torch.sigmoid(logits.detach())).float()


def surrogate(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """A scalar whose gradient is the leave-one-out estimate of the negative bound per row.

    The signal of a layer is what its sample can reach; both particles share the first layer's logits.
    """
    w1, c1, w2, c2, v2, b2, v1, b1, prior = params
    a1 = linear(x, w1, c1)
    h1 = draw(a1, (PARTICLES, *a1.shape))
    a2 = linear(h1, w2, c2)
    h2 = draw(a2, a2.shape)
    log_q1, log_q2 = bernoulli_log_prob(a1, h1), bernoulli_log_prob(a2, h2)
    log_p2 = bernoulli_log_prob(prior, h2)
    log_p1 = bernoulli_log_prob(linear(h2, v2, b2), h1)
    log_px = bernoulli_log_prob(linear(h1, v1, b1), x)
    upper = (log_q2 - log_p2 - log_p1).detach()
    whole = upper + (log_q1 - log_px).detach()
    score = log_q1 * (whole - whole.flip(0)) + log_q2 * (upper - upper.flip(0))
    return (log_q1 + log_q2 - log_p2 - log_p1 - log_px + score).mean()


def forms() -> dict[str, Form]:
    """Adam on batches of 100."""
    params = [*dense(PIXELS, UNITS), *dense(UNITS, UNITS), *dense(UNITS, UNITS), *dense(UNITS, PIXELS)]
    return torch_loops.forms(surrogate, [*params, torch.zeros(UNITS)], 1e-3, torch.from_numpy(bits()), own_noise=False)
