"""`benchmarks/workloads/gamma_units.py` in PyTorch, with its own sampler and its own implicit derivative."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.forms import Form
from benchmarks.peers import torch_loops

UNITS = 10**5


def loss(params: Sequence[Tensor]) -> Tensor:
    """Σ log(1 + g)."""
    return torch.log1p(torch._standard_gamma(params[0].exp())).sum()


def forms() -> dict[str, Form]:
    """From log α ~ N(0, 0.5²), SGD."""
    return torch_loops.forms(loss, [0.5 * torch.randn(UNITS)], 1e-3, adam=False, whole=False)
