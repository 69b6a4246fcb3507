"""`benchmarks/workloads/toy_step.py` in PyTorch: the whole step as one function, eager and compiled."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from benchmarks.forms import Form
from benchmarks.peers import torch_loops

TARGET, TEMPERATURE, RATE, B1, B2 = 0.499, 0.5, 0.01, 0.9, 0.999


def surrogate(theta: Tensor, u: Tensor, v: Tensor, eta: Tensor) -> Tensor:
    """A scalar whose slope in θ is REBAR's estimate: (f(b) - η f(σ(z̃/λ))) ∂log p(b) + η ∂(f(σ(z/λ)) - f(σ(z̃/λ)))."""
    p = torch.sigmoid(theta)
    b = (u > 1 - p.detach()).float()
    w = torch.where(b > 0, 1 - p + v * p, v * (1 - p))
    soft, conditional = (
        (torch.sigmoid((theta + torch.log(x) - torch.log1p(-x)) / TEMPERATURE) - TARGET) ** 2 for x in (u, w)
    )
    advantage = ((b - TARGET) ** 2 - eta * conditional).detach()
    return advantage * (b * theta - softplus(theta)) + eta * (soft - conditional)


def step(theta: Tensor, eta: Tensor, first: Tensor, second: Tensor, n: Tensor) -> None:
    """SGD for θ, Adam for η on the squared gradient, which is linear in η: g = g₀ + η g₁; all in place."""
    n.add_(1)
    u, v = torch.rand(2).clamp_min(1e-7)
    at = torch.func.grad(surrogate)
    rest = at(theta, u, v, torch.zeros(()))
    slope = at(theta, u, v, torch.ones(())) - rest
    g = rest + eta * slope
    h = 2 * g * slope
    first.mul_(B1).add_((1 - B1) * h)
    second.mul_(B2).add_((1 - B2) * h * h)
    eta.sub_(RATE * (first / (1 - B1**n)) / (torch.sqrt(second / (1 - B2**n)) + 1e-8))
    theta.sub_(RATE * g)


def forms() -> dict[str, Form]:
    """From θ = 0 and η = 1."""
    torch.set_num_threads(torch_loops.THREADS)
    out = {}
    for label, function in {
        "eager": step,
        "compiled step": torch.compile(step, fullgraph=True, options=torch_loops.noise(False)),
    }.items():
        state = [torch.zeros(()), torch.ones(()), *(torch.zeros(()) for _ in range(3))]

        def call(function=function, state=state) -> None:
            with torch.no_grad():
                function(*state)

        out[f"PyTorch {label}"] = Form(call)
    return out
