"""The digits belief network in PyTorch: the figure that ``ppl.models.sbn`` has to match.

A sigmoid belief network on scikit-learn's 8x8 digits, binarised at > 7 (values 0 to 16): Bernoulli layers 64-32-16
(pixels first), the guide q(h1 | x) q(h2 | h1), leave-one-out score function with 4 particles for every layer of the
guide, Adam 1e-3, batches of 100, 100 epochs, the first 1500 rows for training and the last 297 held out. Weights start
Glorot-uniform, biases and the logits of the top layer at zero. The loss of a batch is the negative ELBO per row,
averaged over particles, every term sampled.

It needs torch, numpy and scikit-learn, and nothing of ppl::

    python benchmarks/peers/sbn_torch.py --out benchmarks/results/sbn_torch.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

PIXELS, TRAIN_ROWS, TEST_ROWS = 64, 1500, 297


def digits() -> tuple[Tensor, Tensor]:
    """Return the binarised training and held-out rows, each (rows, 64)."""
    images = (load_digits().data > 7).astype(np.float32)
    return torch.from_numpy(images[:TRAIN_ROWS]), torch.from_numpy(images[-TEST_ROWS:])


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return an affine layer with Glorot-uniform weights and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def log_prob(logits: Tensor, value: Tensor) -> Tensor:
    """Return the Bernoulli log-probability, summed over units."""
    return -nn.functional.binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)


class BeliefNet(nn.Module):
    """Layers of Bernoulli units and a guide of the same layers upwards."""

    def __init__(self, layers: Sequence[int]) -> None:
        super().__init__()
        sizes = [PIXELS, *layers]
        pairs = list(pairwise(sizes))
        self.up = nn.ModuleList(linear(below, above) for below, above in pairs)
        self.down = nn.ModuleList(linear(above, below) for below, above in pairs)
        self.prior = nn.Parameter(torch.zeros(layers[-1]))

    def forward(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return log p(x | h1), and log p and log q of every layer at a sample of the guide: each (..., rows)."""
        states, log_q = [x], []
        for layer in self.up:
            logits = layer(states[-1])
            shape = logits.shape
            sample = (torch.rand(shape, generator=generator) < torch.sigmoid(logits)).float()
            log_q.append(log_prob(logits, sample))
            states.append(sample)
        triples = zip(self.down, states[1:], states, strict=False)
        log_p = [log_prob(layer(above), below) for layer, above, below in triples]
        top = log_prob(self.prior.expand_as(states[-1]), states[-1])
        return log_p[0], [*log_p[1:], top], log_q

    def negative_elbo(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the sampled negative ELBO of every particle and row."""
        likelihood, log_p, log_q = self(x, generator)
        return -likelihood - sum(log_p) + sum(log_q)

    def surrogate(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a scalar whose gradient is the leave-one-out estimate; x is (particles, rows, pixels).

        The signal of layer l is the part of the loss that its sample can reach: its own log q, log p of the layer
        below given it, and everything above.
        """
        likelihood, log_p, log_q = self(x, generator)
        loss = (-likelihood - sum(log_p) + sum(log_q)).mean()
        below = [likelihood, *log_p[:-1]]
        signal = -log_p[-1].detach()
        for layer in reversed(range(len(log_q))):
            signal = signal + log_q[layer].detach() - below[layer].detach()
            particles = len(signal)
            others = (signal.sum(0) - signal) / (particles - 1)
            loss = loss + ((signal - others) * log_q[layer]).mean()
        return loss


def batches(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the rows in a fresh random order, a short last batch included."""
    order = torch.randperm(len(rows), generator=generator)
    for start in range(0, len(rows), size):
        yield rows[order[start : start + size]]


@torch.no_grad()
def held_out(model: BeliefNet, rows: Tensor, samples: int, generator: torch.Generator) -> float:
    """Return the mean negative ELBO per row over ``samples`` draws."""
    return float(np.mean([model.negative_elbo(rows, generator).double().mean().item() for _ in range(samples)]))


def train(seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train one model; return its bounds in nats per row."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 1000)
    train_rows, test_rows = digits()
    model = BeliefNet(options.layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    begin = time.perf_counter()
    for _ in range(options.epochs):
        for batch in batches(train_rows, options.batch_size, generator):
            optimizer.zero_grad()
            model.surrogate(batch.expand(options.particles, *batch.shape), generator).backward()
            optimizer.step()
    seconds = time.perf_counter() - begin
    return {
        "seed": seed,
        "held_out_negative_elbo": held_out(model, test_rows, options.samples, generator),
        "training_negative_elbo": held_out(model, train_rows, max(1, options.samples // 10), generator),
        "training_seconds": seconds,
    }


def record(options: argparse.Namespace) -> dict[str, object]:
    """Train one model per seed; return settings, bounds and versions."""
    runs = [train(seed, options) for seed in options.seeds]
    bounds = np.array([run["held_out_negative_elbo"] for run in runs])
    spread = float(bounds.std(ddof=1)) if len(bounds) > 1 else float("nan")
    return {
        "name": "sbn_torch",
        "date": datetime.date.today().isoformat(),
        "settings": {
            "layers": [PIXELS, *options.layers],
            "estimator": f"leave-one-out, {options.particles} particles",
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "optimizer": "Adam 1e-3",
            "initialisation": "Glorot uniform, zero biases",
            "train_rows": TRAIN_ROWS,
            "test_rows": TEST_ROWS,
            "samples_per_row": options.samples,
        },
        "unit": "nats per row, negative ELBO",
        "mean": float(bounds.mean()),
        "standard_deviation_over_seeds": spread,
        "standard_error_of_mean": spread / len(bounds) ** 0.5,
        "runs": runs,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the record as JSON, and write it to ``--out`` if given."""
    parser = argparse.ArgumentParser(description="Held-out bound of the digits belief network in PyTorch.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--layers", type=int, nargs="+", default=[32, 16], help="units above the 64 pixels")
    parser.add_argument("--particles", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--samples", type=int, default=200, help="draws per held-out row")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args(argv)
    text = json.dumps(record(options), indent=2) + "\n"
    sys.stdout.write(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
