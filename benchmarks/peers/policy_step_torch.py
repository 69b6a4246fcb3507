"""`benchmarks/workloads/policy_step.py` in PyTorch: the whole step as one function, eager and compiled."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.forms import Form
from benchmarks.peers import torch_loops

ENVIRONMENTS, TIMES, DT, COST, RATE = 1000, 200, 0.05, 0.1, 1e-6


def step(gain: Tensor, log_sigma: Tensor, noise: Tensor) -> None:
    """One step of SGD in place: the score times the cost to go, both by formulas."""
    sigma = log_sigma.exp()
    x, v = torch.ones(ENVIRONMENTS), torch.zeros(ENVIRONMENTS)
    xs, vs, costs = [], [], []
    for e in noise.unbind():
        a = gain[0] * x + gain[1] * v + sigma * e
        xs.append(x)
        vs.append(v)
        costs.append(x * x + v * v + COST * a * a)
        x, v = x + DT * v, v + DT * a
    ahead = torch.stack(costs).flip(0).cumsum(0).flip(0)
    score = ahead * noise / (sigma * ENVIRONMENTS)
    gradient = torch.stack([(score * torch.stack(xs)).sum(), (score * torch.stack(vs)).sum()])
    spread = (ahead * (noise * noise - 1)).sum() / ENVIRONMENTS
    gain.sub_(RATE * gradient)
    log_sigma.sub_(RATE * spread)


def forms() -> dict[str, Form]:
    """From a stable gain."""
    torch.set_num_threads(torch_loops.THREADS)
    out = {}
    for label, function in {"eager": step, "compiled step": torch.compile(step, fullgraph=True)}.items():
        state = torch.tensor([-1.0, -1.5]), torch.tensor(-1.0)

        def call(function=function, state=state) -> None:
            with torch.no_grad():
                function(*state, torch.randn(TIMES, ENVIRONMENTS))

        out[f"PyTorch {label}"] = Form(call)
    return out
