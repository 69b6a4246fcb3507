"""PyTorch's forms of a training step: eager, with the loss compiled, and the whole step compiled.

Its compiler writes generators into the graphs, or has them call PyTorch's own. For 10⁶ normals the former took 15 ms
more, for the bits of a belief network the latter took 2 ms more; every workload names the better way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.forms import Form

THREADS = 2
Loss = Callable[..., Tensor]


def forms(loss: Loss, params: Sequence[Tensor], lr: float, data: Tensor | None = None, batch: int = 100,
          adam: bool = True, whole: bool = True, own_noise: bool = True) -> dict[str, Form]:  # fmt: skip
    """Forms of steps down the gradient of ``loss(params, *minibatch)``, by Adam (fused) or SGD.

    `whole` adds the step in one compiled graph: gradient and update, parameters written in place. With `own_noise`
    compiled graphs call PyTorch's own generators.
    """
    torch.set_num_threads(THREADS)
    batches = [()] if data is None else [(part,) for part in data.split(batch)]
    make: Callable[[list[Tensor]], torch.optim.Optimizer]
    if adam:
        make = lambda p: torch.optim.Adam(p, lr=lr, fused=True)  # noqa: E731
    else:
        make = lambda p: torch.optim.SGD(p, lr=lr, foreach=True)  # noqa: E731
    out = {
        "PyTorch eager": _eager(loss, params, make, batches),
        "PyTorch, compiled loss": _eager(torch.compile(loss, options=noise(own_noise)), params, make, batches),
    }
    if whole:
        out["PyTorch, compiled step"] = _whole(loss, params, lr, adam, batches, own_noise)
    return out


def noise(own: bool) -> dict[str, bool]:
    """Options of the compiler: whether graphs call PyTorch's own generators."""
    return {"fallback_random": own}


def _copies(params: Sequence[Tensor], grad: bool) -> list[Tensor]:
    return [p.detach().clone().requires_grad_(grad) for p in params]


def _eager(loss: Loss, start: Sequence[Tensor], make: Any, batches: Sequence[tuple[Tensor, ...]]) -> Form:
    params, box = _copies(start, True), [0]
    optimizer = make(params)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(params, *batches[box[0] % len(batches)]).backward()
        optimizer.step()
        box[0] += 1

    return Form(call)


def _whole(loss: Loss, start: Sequence[Tensor], lr: float, adam: bool, batches: Sequence[tuple[Tensor, ...]],
           own_noise: bool) -> Form:  # fmt: skip
    params, box = _copies(start, False), [0]
    first, second = ([torch.zeros_like(p) for p in params] for _ in range(2))
    gradient = torch.func.grad(loss)

    def step(n: Tensor, *rows: Tensor) -> None:
        grads = gradient(params, *rows)
        if adam:
            adam_(params, first, second, grads, n, lr)
        else:
            for p, g in zip(params, grads, strict=True):
                p.sub_(lr * g)

    compiled = torch.compile(step, fullgraph=True, options=noise(own_noise))
    n = torch.zeros(())

    def call() -> None:
        n.add_(1)
        with torch.no_grad():
            compiled(n, *batches[box[0] % len(batches)])
        box[0] += 1

    return Form(call)


def adam_(params: Any, first: Any, second: Any, grads: Any, n: Tensor, lr: float) -> None:
    """One step of Adam in place, the n-th from 1."""
    b1, b2, eps = 0.9, 0.999, 1e-8
    rate, root = lr / (1 - b1**n), torch.rsqrt(1 - b2**n)
    for p, m, v, g in zip(params, first, second, grads, strict=True):
        m.mul_(b1).add_(g, alpha=1 - b1)
        v.mul_(b2).addcmul_(g, g, value=1 - b2)
        p.sub_(rate * m / (v.sqrt() * root + eps))


def dense(inputs: int, outputs: int) -> list[Tensor]:
    """Weight (outputs, inputs) and bias of an affine layer, Glorot-uniform."""
    return [torch.nn.init.xavier_uniform_(torch.empty(outputs, inputs)), torch.zeros(outputs)]


def bernoulli_log_prob(logits: Tensor, value: Tensor) -> Tensor:
    """Log-probability of bits, summed over units."""
    return (value * logits - torch.nn.functional.softplus(logits)).sum(-1)
