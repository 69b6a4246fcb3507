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
from ppl.models import common

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


def train(
    rows: np.ndarray, epochs: int = 50, batch_size: int = 100, lr: float = 1e-3, seed: int = 0
) -> tuple[Any, Any]:
    """Compile and fit; returns (program, fit)."""
    program = ppl.compile(ppl.elbo(generative, guide), data=rows)
    optimizer = ppl.optim.Adam(lr)
    fit = ppl.fit(program, rows, epochs=epochs, batch_size=batch_size, optimizer=optimizer, seed=seed)
    return program, fit


def main(argv: common.Arguments = None) -> int:
    """Train, print the bound on held-out rows, draw reconstructions and prior samples."""
    options = common.parser(__doc__, epochs=50).parse_args(argv)
    rows, test_rows = common.digits()
    program, fit = train(rows, options.epochs, options.batch_size, options.lr, options.seed)
    print(program.explain())
    mean, error = common.bound(program, fit.state, test_rows, particles=100)
    print(f"negative bound on held-out rows: {mean:.2f} ± {error:.2f} nats per row")
    pixels = program.sample(fit.state, test_rows[:24], sites=["pixels"], seed=options.seed)["pixels"]
    prior = decode(program, fit.state, np.random.default_rng(options.seed).normal(size=(48, LATENT)))
    plt = common.pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    axes[0].plot(fit.history["step"], fit.history["loss"], lw=0.5)
    axes[0].set(xlabel="step", ylabel="negative bound (nats per row)", title="training")
    pairs = np.stack([test_rows[:24], pixels], 1).reshape(48, 64)
    common.show_images(axes[1], pairs, 8, "held-out digits and reconstructions, in pairs")
    common.show_images(axes[2], prior, 8, "samples from the prior")
    common.save(figure, options.out, "vae")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
