"""`benchmarks/workloads/rbm_step.py` in PyTorch: the gradient in closed form, eager and compiled."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.peers import torch_loops

HIDDEN, BATCH, RATE = 500, 100, 0.05


def draw(p: Tensor) -> Tensor:
    """Bits."""
    return (torch.rand_like(p) < p).float()


def step(weight: Tensor, visible: Tensor, hidden: Tensor, v: Tensor) -> None:
    """One update of CD-1, in place."""
    up = torch.sigmoid(torch.addmm(hidden, v, weight))
    fantasy = draw(torch.sigmoid(torch.addmm(visible, draw(up), weight.T)))
    down = torch.sigmoid(torch.addmm(hidden, fantasy, weight))
    rate = RATE / BATCH
    weight.addmm_(v.T, up, alpha=rate)
    weight.addmm_(fantasy.T, down, alpha=-rate)
    visible.add_((v - fantasy).sum(0), alpha=rate)
    hidden.add_((up - down).sum(0), alpha=rate)


def forms() -> dict[str, Form]:
    """SGD on batches of 100; the visible biases at the log-odds of the pixels' rates."""
    torch.set_num_threads(torch_loops.THREADS)
    data = torch.from_numpy(bits())
    rates = (data.sum(0) + 1) / (len(data) + 2)
    batches = data.split(BATCH)

    def form(function: object) -> Form:
        params, box = (0.01 * torch.randn(data.shape[1], HIDDEN), torch.logit(rates), torch.zeros(HIDDEN)), [0]

        @torch.no_grad()
        def call() -> None:
            function(*params, batches[box[0] % len(batches)])  # type: ignore[operator]
            box[0] += 1

        return Form(call)

    return {
        "PyTorch eager": form(step),
        "PyTorch, compiled step": form(torch.compile(step, options=torch_loops.noise(True))),
    }
