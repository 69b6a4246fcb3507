"""`benchmarks/workloads/pathwise_units.py` in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.forms import Form
from benchmarks.peers import torch_loops

UNITS = 10**6


def loss(params: Sequence[Tensor]) -> Tensor:
    """Σ softplus(z) cos z."""
    z = params[0] + torch.randn_like(params[0])
    return (torch.nn.functional.softplus(z) * torch.cos(z)).sum()


def forms() -> dict[str, Form]:
    """From μ ~ N(0, 1)."""
    return torch_loops.forms(loss, [torch.randn(UNITS)], 1e-3, adam=False)
