"""A Gaussian variational autoencoder on 8×8 digits, with the KL divergence in closed form.

p(x, z) = N(z; 0, I) ∏ Bernoulli(xᵢ | decoder(z)), q(z | x) = N(μ(x), diag σ²(x)); tanh layers 64-128-16-128-64.
The compiler finds every path from z to the costs smooth and takes the pathwise gradient.

Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, Normal
from ppl.models import common, data, pictures

HIDDEN, LATENT = 128, 16


@ppl.model
def generative(x: Any) -> None:
    """z → x."""
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(np.zeros(LATENT), 1.0))
        h = ppl.dense("decoder", z, HIDDEN, activation="tanh")
        logits = ppl.dense("logits", h, 64)
        ppl.deterministic("pixels", ppl.sigmoid(logits))
        ppl.sample("x", Bernoulli(logits=logits), obs=x)


@ppl.model
def guide(x: Any) -> None:
    """x → z."""
    with ppl.plate("data", x) as x:
        h = ppl.dense("encoder", x, HIDDEN, activation="tanh")
        ppl.sample("z", Normal(ppl.dense("mu", h, LATENT), np.exp(ppl.dense("log_sigma", h, LATENT))))


def decode(program: Any, state: Any, z: np.ndarray) -> np.ndarray:
    """Pixel probabilities of latent rows z (n, LATENT): (n, 64)."""
    p = program.params(state)
    h = np.tanh(z @ p["decoder.weight"] + p["decoder.bias"])
    return 1 / (1 + np.exp(-(h @ p["logits.weight"] + p["logits.bias"])))


def main(argv: common.Arguments = None) -> int:
    """Train, print the bound on held-out rows, draw reconstructions and prior samples."""
    job = common.Job("vae", __doc__, argv, epochs=50)
    rows, test_rows = data.digits()
    program = job.compile(ppl.elbo(generative, guide), data=rows)
    fit = job.fit(program, rows)
    mean, error = common.per_row(program, fit.state, test_rows, particles=100)
    job.report("negative bound on held-out rows", mean, error, "nats per row")
    seed = job.options.seed
    pixels = program.sample(fit.state, test_rows[:24], sites=["pixels"], seed=seed)["pixels"]
    prior = decode(program, fit.state, np.random.default_rng(seed).normal(size=(48, LATENT)))
    figure, axes = pictures.pyplot().subplots(1, 3, figsize=(13, 4))
    pictures.show_training(axes[0], fit.history, "negative bound (nats per row)")
    pairs = np.stack([test_rows[:24], pixels], 1).reshape(48, 64)
    pictures.show_images(axes[1], pairs, 8, "held-out digits and reconstructions, in pairs")
    pictures.show_images(axes[2], prior, 8, "samples from the prior")
    job.picture(figure)
    return job.finish()


if __name__ == "__main__":
    raise SystemExit(main())
