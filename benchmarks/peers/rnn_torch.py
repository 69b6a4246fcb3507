"""The stochastic recurrent network on digit strips in PyTorch: the figure that ``ppl.models.rnn`` has to match.

Eight binary units, rows of 8x8 digits (binarised at > 7) from top to bottom: h_t from h_{t-1} and x_{t-1},
x_t from h_t, the guide's h_t from h_{t-1} and x_t. Leave-one-out score function with 4 particles and costs to go, Adam
3e-3, batches of 100, 50 epochs, 1500 rows for training and the last 297 held out. Weights start Glorot-uniform, biases
at zero.

It needs torch, numpy and scikit-learn, and nothing of ppl::

    python benchmarks/peers/rnn_torch.py --out benchmarks/results/rnn_torch.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

UNITS, SIDE, PARTICLES, EPOCHS, BATCH = 8, 8, 4, 50, 100


def strips() -> tuple[Tensor, Tensor]:
    """Training and held-out pictures, (pictures, 8, 8)."""
    images = torch.from_numpy((load_digits().data > 7).astype(np.float32)).reshape(-1, SIDE, SIDE)
    return images[:1500], images[-297:]


def linear(inputs: int, outputs: int) -> nn.Linear:
    """An affine layer with Glorot-uniform weights and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def log_prob(logits: Tensor, value: Tensor) -> Tensor:
    """The Bernoulli log-probability, summed over units."""
    return -nn.functional.binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)


class Network(nn.Module):
    """Model and guide."""

    def __init__(self) -> None:
        super().__init__()
        self.recur, self.read, self.write = linear(UNITS, UNITS), linear(SIDE, UNITS), linear(UNITS, SIDE)
        self.guide_recur, self.guide_read = linear(UNITS, UNITS), linear(SIDE, UNITS)

    def forward(self, x: Tensor, particles: int) -> tuple[Tensor, Tensor]:
        """Costs log q - log p and log q of every step at samples of the guide: (steps, particles, rows) each."""
        x = x.expand(particles, *x.shape)
        h, above = torch.zeros(*x.shape[:2], UNITS), torch.zeros_like(x[:, :, 0])
        costs, scores = [], []
        for t in range(SIDE):
            row = x[:, :, t]
            logits = self.guide_recur(h) + self.guide_read(row)
            new = torch.bernoulli(torch.sigmoid(logits.detach()))
            score = log_prob(logits, new)
            log_p = log_prob(self.recur(h) + self.read(above), new) + log_prob(self.write(new), row)
            costs.append(score - log_p)
            scores.append(score)
            h, above = new, row
        return torch.stack(costs), torch.stack(scores)


def surrogate(network: Network, x: Tensor) -> Tensor:
    """A loss whose gradient is that of the negative bound per row."""
    costs, scores = network(x, PARTICLES)
    to_go = costs.detach().flip(0).cumsum(0).flip(0)
    advantage = (to_go - to_go.mean(1, keepdim=True)) * PARTICLES / (PARTICLES - 1)
    return (costs + scores * advantage).sum(0).mean()


def held_out(seed: int) -> tuple[float, float]:
    """Negative bound per held-out row from 200 samples of each, and seconds of training."""
    torch.manual_seed(seed)
    rows, test = strips()
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    start = time.perf_counter()
    for _ in range(EPOCHS):
        for part in torch.randperm(len(rows)).split(BATCH):
            optimizer.zero_grad()
            surrogate(network, rows[part]).backward()
            optimizer.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        return float(network(test, 200)[0].sum(0).mean()), seconds


def main() -> None:
    """Three seeds; write mean and standard error."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(2)
    runs = [held_out(seed) for seed in range(options.seeds)]
    bounds = np.array([bound for bound, _ in runs])
    record = {
        "name": "rnn_torch",
        "date": datetime.date.today().isoformat(), "torch": torch.__version__, "bounds": bounds.tolist(),
        "mean": float(bounds.mean()), "standard_error_of_mean": float(bounds.std(ddof=1) / np.sqrt(len(bounds))),
        "seconds": [seconds for _, seconds in runs],
    }  # fmt: skip
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
