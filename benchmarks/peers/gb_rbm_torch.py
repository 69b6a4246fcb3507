"""A Gaussian-Bernoulli RBM in PyTorch: the figure that ``ppl.models.gb_rbm`` has to match.

64x16 with learned sigma on scikit-learn's grey 8x8 digits, dequantised and standardised (1500 training rows, the last
297 held out): PCD-5 with 100 chains, Adam 0.03 falling linearly to 0, batches of 100, 200 epochs. Weights start
Normal(0, 0.01), biases 0, sigma 1. The figure is the exact log-likelihood, log Z summed over 2^16 hidden states.

It needs torch, numpy and scikit-learn, and nothing of ppl::

    python benchmarks/peers/gb_rbm_torch.py --out benchmarks/results/gb_rbm_torch.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

PIXELS, UNITS, CHAINS, GIBBS, BATCH, RATE = 64, 16, 100, 5, 100, 0.03


def digits() -> tuple[Tensor, Tensor]:
    """Return standardised training and held-out rows; the noise that dequantises them is fixed."""
    levels = load_digits().data
    pixels = (levels + np.random.default_rng(0).random(levels.shape)) / 17
    rows = ((pixels - pixels[:1500].mean(0)) / pixels[:1500].std(0)).astype(np.float32)
    return torch.from_numpy(rows[:1500]), torch.from_numpy(rows[-297:])


class Machine(nn.Module):
    """E(v, h) = sum (v - b)^2 / (2 sigma^2) - c.h - (v / sigma) W h."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(PIXELS, UNITS, generator=generator))
        self.visible = nn.Parameter(torch.zeros(PIXELS))
        self.hidden = nn.Parameter(torch.zeros(UNITS))
        self.log_sigma = nn.Parameter(torch.zeros(PIXELS))

    def free_energy(self, v: Tensor) -> Tensor:
        """Return F(v) of every row."""
        sigma = self.log_sigma.exp()
        inputs = self.hidden + (v / sigma) @ self.weight
        return (((v - self.visible) / sigma) ** 2).sum(-1) / 2 - nn.functional.softplus(inputs).sum(-1)

    @torch.no_grad()
    def gibbs(self, v: Tensor, generator: torch.Generator) -> Tensor:
        """Return v after one update of h and one of v."""
        sigma = self.log_sigma.exp()
        on = torch.sigmoid(self.hidden + (v / sigma) @ self.weight)
        h = (torch.rand(on.shape, generator=generator) < on).float()
        return self.visible + sigma * (h @ self.weight.T + torch.randn(v.shape, generator=generator))

    @torch.no_grad()
    def log_likelihood(self, rows: Tensor) -> float:
        """Return the exact mean over rows."""
        exact = Machine(torch.Generator()).double()
        exact.load_state_dict({k: v.double() for k, v in self.state_dict().items()})
        number = torch.arange(1 << UNITS)
        h = (number[:, None] >> torch.arange(UNITS) & 1).double()
        a = h @ exact.weight.T
        weights = h @ exact.hidden + a @ (exact.visible / exact.log_sigma.exp()) + (a**2).sum(-1) / 2
        log_z = torch.logsumexp(weights, 0) + exact.log_sigma.sum() + PIXELS / 2 * math.log(2 * math.pi)
        return float(-exact.free_energy(rows.double()).mean() - log_z)


def train(seed: int, epochs: int) -> dict[str, float]:
    """Train one machine; return its log-likelihoods in nats per row."""
    generator = torch.Generator().manual_seed(seed)
    rows, test = digits()
    machine = Machine(generator)
    chains = torch.randn(CHAINS, PIXELS, generator=generator)
    updates = epochs * (len(rows) // BATCH)
    optimizer = torch.optim.Adam(machine.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / updates)
    begin = time.perf_counter()
    for _ in range(epochs):
        for batch in torch.randperm(len(rows), generator=generator).split(BATCH):
            for _ in range(GIBBS):
                chains = machine.gibbs(chains, generator)
            optimizer.zero_grad()
            (machine.free_energy(rows[batch]).mean() - machine.free_energy(chains).mean()).backward()
            optimizer.step()
            schedule.step()
    seconds = time.perf_counter() - begin
    return {
        "seed": seed,
        "held_out_log_likelihood": machine.log_likelihood(test),
        "training_log_likelihood": machine.log_likelihood(rows),
        "training_seconds": seconds,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the record as JSON, and write it to ``--out`` if given."""
    parser = argparse.ArgumentParser(
        description="Exact held-out log-likelihood of a Gaussian-Bernoulli RBM in PyTorch."
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args(argv)
    runs = [train(seed, options.epochs) for seed in options.seeds]
    found = np.array([run["held_out_log_likelihood"] for run in runs])
    record = {
        "name": "gb_rbm_torch",
        "date": datetime.date.today().isoformat(),
        "settings": f"64x16, PCD-{GIBBS}, {CHAINS} chains, Adam {RATE} to 0, batch {BATCH}, {options.epochs} epochs",
        "unit": "nats per row, exact log-likelihood",
        "mean": float(found.mean()),
        "standard_error_of_mean": float(found.std(ddof=1) / len(found) ** 0.5) if len(found) > 1 else None,
        "runs": runs,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
    }
    text = json.dumps(record, indent=2) + "\n"
    sys.stdout.write(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
