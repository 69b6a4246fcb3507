"""`benchmarks/workloads/disarm_step.py` in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.peers import torch_loops
from benchmarks.peers.torch_loops import bernoulli_log_prob, dense

PIXELS, UNITS = 784, 200


def surrogate(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """A scalar whose gradient is DisARM's estimate of the negative bound per row, with every term sampled.

    f = log q(h) - log p(h) - log p(x | h) at an antithetic pair from u and 1 - u; the logits' gradient is
    ½ (f(h) - f(h̃)) (−1)^h̃ 1[h ≠ h̃] σ(|a|). The generative parameters take their gradient at h alone.
    """
    w, c, v, b, prior = params
    a = linear(x, w, c)
    stopped = a.detach()
    u, probability = torch.rand(a.shape), torch.sigmoid(stopped)
    h, partner = (u < probability).float(), (1 - u < probability).float()
    log_p, log_px = bernoulli_log_prob(prior, h), bernoulli_log_prob(linear(h, v, b), x)
    other = bernoulli_log_prob(linear(partner, v.detach(), b.detach()), x) + bernoulli_log_prob(prior.detach(), partner)
    f = bernoulli_log_prob(stopped, h) - (log_p + log_px).detach() - bernoulli_log_prob(stopped, partner) + other
    slope = 0.5 * f[:, None] * (h - partner) * torch.sigmoid(stopped.abs())
    return ((slope * a).sum(-1) - log_p - log_px).mean()


def forms() -> dict[str, Form]:
    """Adam on batches of 100."""
    params = [*dense(PIXELS, UNITS), *dense(UNITS, PIXELS), torch.zeros(UNITS)]
    return torch_loops.forms(surrogate, params, 1e-3, torch.from_numpy(bits()), own_noise=False)
