"""`benchmarks/workloads/distribution_speed.py` in PyTorch: `torch.distributions` on expanded float32 parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributions as d

from benchmarks.distribution_cases import CLASSES, CONCENTRATION, COUNT, LAWS, LOGITS, values
from benchmarks.forms import Form

torch.set_num_threads(2)


def law(name: str) -> Any:
    """The distribution, without checks of its arguments."""
    kind, p = name.split("(")[0], {k: torch.tensor(float(v)) for k, v in LAWS[name].items()}
    if kind == "Categorical":
        return d.Categorical(logits=torch.tensor(LOGITS), validate_args=False)
    if kind == "Dirichlet":
        return d.Dirichlet(torch.tensor(CONCENTRATION), validate_args=False)
    return getattr(d, kind)(**p, validate_args=False)


def forms() -> dict[str, Form]:
    """One call draws COUNT values, or sums the log-density of COUNT values."""
    found = {}
    for name in LAWS:
        dist = law(name)
        shape = (COUNT // CLASSES,) if name.startswith("Dirichlet") else (COUNT,)
        x = torch.from_numpy(values(name)).float()
        found[f"sample {name}"] = Form(torch.no_grad()(lambda dist=dist, shape=shape: dist.sample(shape)))
        found[f"log_prob {name}"] = Form(torch.no_grad()(lambda dist=dist, x=x: dist.log_prob(x).sum()))
    return found
