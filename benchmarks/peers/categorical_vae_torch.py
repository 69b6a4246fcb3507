"""The categorical VAE in PyTorch: the figures that ``ppl.models.categorical_vae`` has to match.

20 one-hot units of 8 classes, tanh layers of 128 on both sides, uniform prior, analytic KL, Bernoulli pixels, on
scikit-learn's 8x8 digits binarised at > 7: Gumbel-softmax (soft and hard) with a temperature falling exponentially
from 1 to 0.3, and straight-through. Adam 2e-3, batches of 100, 100 epochs; Glorot-uniform weights, zero biases. The
bound is that of true samples.

It needs torch, numpy and scikit-learn, and nothing of ppl::

    python benchmarks/peers/categorical_vae_torch.py --out benchmarks/results/categorical_vae_torch.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

UNITS, CLASSES, HIDDEN, WARM, COLD = 20, 8, 128, 1.0, 0.3
ESTIMATORS = ("gumbel-softmax", "hard-gumbel-softmax", "straight-through")


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return an affine layer with Glorot-uniform weights and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def one_hot(logits: Tensor) -> Tensor:
    """Return a true sample as indicators."""
    return F.one_hot(torch.distributions.Categorical(logits=logits).sample(), CLASSES).float()


class VAE(nn.Module):
    """Categorical latents between two tanh networks."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(linear(64, HIDDEN), nn.Tanh(), linear(HIDDEN, UNITS * CLASSES))
        self.decoder = nn.Sequential(linear(UNITS * CLASSES, HIDDEN), nn.Tanh(), linear(HIDDEN, 64))

    def loss(self, x: Tensor, estimator: str, temperature: float) -> Tensor:
        """Return the negative ELBO of each row; the empty estimator takes true samples."""
        logits = self.encoder(x).view(-1, UNITS, CLASSES)
        log_q = F.log_softmax(logits, -1)
        if estimator.endswith("gumbel-softmax"):
            z = F.gumbel_softmax(logits, tau=temperature, hard=estimator.startswith("hard"))
        else:
            z = one_hot(logits)
            if estimator == "straight-through":
                z = z + log_q.exp() - log_q.exp().detach()
        kl = (log_q.exp() * (log_q + math.log(CLASSES))).sum((-1, -2))
        pixels = self.decoder(z.flatten(1))
        return kl + F.binary_cross_entropy_with_logits(pixels, x, reduction="none").sum(-1)


def train(estimator: str, seed: int, epochs: int) -> float:
    """Return the held-out bound after training, with 50 true samples per row."""
    torch.manual_seed(seed)
    images = torch.from_numpy((load_digits().data > 7).astype(np.float32))
    rows, test = images[:1500], images[-297:]
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    step, steps = 0, epochs * 15
    for _ in range(epochs):
        for batch in torch.randperm(len(rows)).split(100):
            optimizer.zero_grad()
            model.loss(rows[batch], estimator, WARM * (COLD / WARM) ** (step / steps)).mean().backward()
            optimizer.step()
            step += 1
    with torch.no_grad():
        return float(np.mean([model.loss(test, "", 1.0).mean().item() for _ in range(50)]))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the record as JSON, and write it to ``--out`` if given."""
    parser = argparse.ArgumentParser(description="Held-out bounds of the categorical VAE in PyTorch.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args(argv)
    results = {}
    for name in ESTIMATORS:
        bounds = [train(name, seed, options.epochs) for seed in options.seeds]
        error = float(np.std(bounds, ddof=1) / len(bounds) ** 0.5) if len(bounds) > 1 else float("nan")
        results[name] = {"mean": float(np.mean(bounds)), "standard_error_of_mean": error, "seeds": bounds}
    record = {
        "name": "categorical_vae_torch",
        "date": datetime.date.today().isoformat(),
        "settings": {"seeds": options.seeds, "epochs": options.epochs, "optimizer": "Adam 2e-3", "batch_size": 100},
        "unit": "nats per row, negative ELBO",
        "results": results,
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    text = json.dumps(record, indent=2) + "\n"
    sys.stdout.write(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
