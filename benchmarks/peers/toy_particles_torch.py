"""`benchmarks/workloads/toy_particles.py` in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from benchmarks.forms import Form
from benchmarks.peers import torch_loops

TARGET, SAMPLES = 0.499, 1000


def surrogate(params: Sequence[Tensor]) -> Tensor:
    """A scalar whose slope in θ is the leave-one-out estimate."""
    theta = params[0]
    b = (torch.rand(SAMPLES) < torch.sigmoid(theta.detach())).float()
    f = (b - TARGET) ** 2
    advantage = (f - f.mean()) * (SAMPLES / (SAMPLES - 1))
    return (advantage * (b * theta - softplus(theta))).mean()


def forms() -> dict[str, Form]:
    """From θ = 0, SGD."""
    return torch_loops.forms(surrogate, [torch.zeros(())], 0.01, adam=False)
