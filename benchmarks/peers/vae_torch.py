"""The digits VAE in PyTorch: the figure that ``ppl.models.vae`` has to match.

A Gaussian VAE on scikit-learn's 8x8 digits, binarised at > 7 (values 0 to 16): 64-128-16-128-64 with tanh
hidden layers, Bernoulli likelihood, analytic KL, Adam 1e-3, batches of 100, 50 epochs, the first 1500 rows
for training and the last 297 held out. Weights start Glorot-uniform, U(-sqrt(6/(in+out)),
sqrt(6/(in+out))), biases at zero. The loss of a batch is the negative ELBO per row with one sample of z per
row.

The mean over seeds 0 to 4 is the figure to match. Seeds differ by about 0.1 nat, so that a mean over five
is itself uncertain by about 0.05; the mean over the 20 seeds after them is recorded as a steadier one.

It needs torch, numpy and scikit-learn, and nothing of ppl::

    python benchmarks/peers/vae_torch.py --out benchmarks/results/vae_torch.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

PIXELS, HIDDEN, LATENT = 64, 128, 16
TRAIN_ROWS, TEST_ROWS = 1500, 297


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


class VAE(nn.Module):
    """Gaussian latent variables, Bernoulli pixels, one tanh layer on each side."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = linear(PIXELS, HIDDEN)
        self.mu = linear(HIDDEN, LATENT)
        self.log_sigma = linear(HIDDEN, LATENT)
        self.decoder = linear(LATENT, HIDDEN)
        self.logits = linear(HIDDEN, PIXELS)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and log standard deviation of q(z | x), each (..., 16)."""
        hidden = torch.tanh(self.encoder(x))
        return self.mu(hidden), self.log_sigma(hidden)

    def negative_elbo(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a one-sample estimate of the negative ELBO of each row, in nats."""
        mu, log_sigma = self.encode(x)
        noise = torch.randn(mu.shape, generator=generator)
        z = mu + torch.exp(log_sigma) * noise
        logits = self.logits(torch.tanh(self.decoder(z)))
        misfit = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        kl = 0.5 * (mu**2 + torch.exp(2 * log_sigma) - 2 * log_sigma - 1).sum(-1)
        return misfit + kl


def batches(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the rows in a fresh random order, a short last batch included."""
    order = torch.randperm(len(rows), generator=generator)
    for start in range(0, len(rows), size):
        yield rows[order[start : start + size]]


@torch.no_grad()
def held_out(model: VAE, rows: Tensor, samples: int, generator: torch.Generator) -> tuple[float, float]:
    """Return the mean negative ELBO per row over ``samples`` draws of z, and its standard error."""
    draws = torch.stack([model.negative_elbo(rows, generator).double().mean() for _ in range(samples)])
    return draws.mean().item(), (draws.std() / samples**0.5).item()


def train(seed: int, epochs: int, batch_size: int, samples: int) -> dict[str, float]:
    """Train one model; return its bounds in nats per row."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 1000)
    train_rows, test_rows = digits()
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    begin = time.perf_counter()
    for _ in range(epochs):
        for batch in batches(train_rows, batch_size, generator):
            optimizer.zero_grad()
            model.negative_elbo(batch, generator).mean().backward()
            optimizer.step()
    seconds = time.perf_counter() - begin
    test, error = held_out(model, test_rows, samples, generator)
    training, _ = held_out(model, train_rows, max(1, samples // 10), generator)
    return {
        "seed": seed,
        "held_out_negative_elbo": test,
        "standard_error": error,
        "training_negative_elbo": training,
        "training_seconds": seconds,
    }


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def summary(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return mean, spread over seeds and standard error of the runs' held-out bounds."""
    bounds = np.array([run["held_out_negative_elbo"] for run in runs])
    spread = float(bounds.std(ddof=1)) if len(bounds) > 1 else float("nan")
    return {
        "mean": float(bounds.mean()),
        "standard_deviation_over_seeds": spread,
        "standard_error_of_mean": spread / len(bounds) ** 0.5,
    }


def record(options: argparse.Namespace) -> dict[str, object]:
    """Train one model per seed; return settings, bounds, versions and machine."""

    def runs_of(seeds: Sequence[int]) -> list[dict[str, float]]:
        return [train(seed, options.epochs, options.batch_size, options.samples) for seed in seeds]

    runs = runs_of(options.seeds)
    more = runs_of(range(max(options.seeds) + 1, max(options.seeds) + 1 + options.more_seeds))
    return {
        "name": "vae_torch",
        "date": datetime.date.today().isoformat(),
        "settings": {
            "architecture": "64-128-16-128-64 tanh",
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "optimizer": "Adam 1e-3",
            "initialisation": "Glorot uniform, zero biases",
            "train_rows": TRAIN_ROWS,
            "test_rows": TEST_ROWS,
            "samples_per_row": options.samples,
        },
        "unit": "nats per row, negative ELBO",
        **summary(runs),
        "runs": runs,
        "more_seeds": {**summary(more), "runs": more} if more else None,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "machine": {"cpu": cpu_model(), "threads": torch.get_num_threads()},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the record as JSON, and write it to ``--out`` if given."""
    parser = argparse.ArgumentParser(description="Held-out bound of the digits VAE in PyTorch.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--more-seeds", type=int, default=20, help="further seeds for a steadier mean")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--samples", type=int, default=200, help="draws of z per held-out row")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args(argv)
    text = json.dumps(record(options), indent=2) + "\n"
    sys.stdout.write(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
