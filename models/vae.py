"""A Gaussian variational autoencoder on 8×8 digits, with the KL divergence in closed form.

p(x, z) = N(z; 0, I) ∏ Bernoulli(xᵢ | decoder(z)), q(z | x) = N(μ(x), diag σ²(x)); tanh layers 64-128-16-128-64.
The compiler finds every path from z to the costs smooth and takes the pathwise gradient. The picture shows what single
latent units do to a digit; with `--latent 2` it shows the plane of latents: where the classes lie, and what each place
decodes to.

Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, Normal
from ppl.models import common, data, pictures

HIDDEN, LATENT = 128, 16


@ppl.model
def generative(x: Any, *, latent: int = LATENT, hidden: int = HIDDEN) -> None:
    """z → x."""
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(np.zeros(latent), 1.0))
        h = ppl.dense("decoder", z, hidden, activation="tanh")
        logits = ppl.dense("logits", h, x.shape[0])
        ppl.deterministic("pixels", ppl.sigmoid(logits))
        ppl.sample("x", Bernoulli(logits=logits), obs=x)


@ppl.model
def guide(x: Any, *, latent: int = LATENT, hidden: int = HIDDEN) -> None:
    """x → z."""
    with ppl.plate("data", x) as x:
        h = ppl.dense("encoder", x, hidden, activation="tanh")
        mu = ppl.deterministic("mean", ppl.dense("mu", h, latent))
        ppl.sample("z", Normal(mu, np.exp(ppl.dense("log_sigma", h, latent))))


def decode(program: Any, state: Any, z: np.ndarray) -> np.ndarray:
    """Pixel probabilities of latent rows z (n, latent): (n, 64)."""
    p = program.params(state)
    h = np.tanh(z @ p["decoder.weight"] + p["decoder.bias"])
    return 1 / (1 + np.exp(-(h @ p["logits.weight"] + p["logits.bias"])))


def encode(program: Any, state: Any, rows: np.ndarray) -> np.ndarray:
    """Means of q(z | x): (n, latent)."""
    return program.sample(state, rows, sites=["mean"])["mean"]


def traversal(program: Any, state: Any, row: np.ndarray, units: int, steps: int, reach: float = 2.5) -> np.ndarray:
    """Decoded digits while one latent unit at a time runs from -reach to reach, the others at q's mean.

    Units that the decoder leaves idle come last: they are ordered by the norms of its weights. Shape
    (units · steps, 64).
    """
    order = np.argsort(-np.linalg.norm(program.params(state)["decoder.weight"], axis=1))[:units]
    z = np.repeat(encode(program, state, row[None]), len(order) * steps, axis=0)
    z[np.arange(len(z)), np.repeat(order, steps)] = np.tile(np.linspace(-reach, reach, steps), len(order))
    return decode(program, state, z)


def plane(program: Any, state: Any, side: int) -> np.ndarray:
    """Decoded digits on a grid of the quantiles of a two-dimensional prior: (side², 64), first row at the top."""
    at = np.array([NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)])
    return decode(program, state, np.array([(a, b) for b in at[::-1] for a in at]))


def main(argv: common.Arguments = None) -> int:
    """Train, print the bound on held-out rows, draw reconstructions, prior samples and the latent space."""
    job = common.Job("vae", __doc__, argv, epochs=50, latent=LATENT, hidden=HIDDEN, images="")
    options = job.options
    rows, test_rows = data.binary_images(options.images or None)
    sizes = {"latent": options.latent, "hidden": options.hidden}
    program = job.compile(ppl.elbo(generative.bind(**sizes), guide.bind(**sizes)), data=rows)
    fit = job.fit(program, rows)
    mean, error = common.per_row(program, fit.state, test_rows, particles=100)
    job.report("negative bound on held-out rows", mean, error, "nats per row")
    labels = None if options.images else data.digit_labels()[1]
    job.picture(draw(program, fit, test_rows, labels, options))
    return job.finish()


def draw(program: Any, fit: Any, rows: np.ndarray, labels: np.ndarray | None, options: Any) -> Any:
    """Reconstructions, prior samples, and either traversals or the plane of two latents."""
    figure, axes = pictures.pyplot().subplots(2, 2, figsize=(10, 9.5))
    state, seed = fit.state, options.seed
    pixels = program.sample(state, rows[:24], sites=["pixels"], seed=seed)["pixels"]
    pairs = np.stack([rows[:24], pixels], 1).reshape(48, -1)
    pictures.show_images(axes[0, 1], pairs, 8, "held-out digits and reconstructions, in pairs")
    if options.latent == 2:
        z = encode(program, state, rows)
        dots = axes[0, 0].scatter(*z.T, c=labels, cmap="tab10", s=14, vmin=-0.5, vmax=9.5)
        axes[0, 0].set(title="held-out digits, means of q(z | x)", xlabel="z₁", ylabel="z₂")
        if labels is not None:
            figure.colorbar(dots, ax=axes[0, 0], ticks=range(10))
        pictures.show_images(axes[1, 0], plane(program, state, 12), 12, "decoded plane, at quantiles of the prior")
    else:
        pictures.show_training(axes[0, 0], fit.history, "negative bound (nats per row)")
        steps = traversal(program, state, rows[2], units=8, steps=9)
        pictures.show_images(axes[1, 0], steps, 9, "one latent from -2.5 to 2.5 in each row")
    prior = decode(program, state, np.random.default_rng(seed).normal(size=(64, options.latent)))
    pictures.show_images(axes[1, 1], prior, 8, "samples from the prior")
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
