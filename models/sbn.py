"""A two-layer sigmoid belief network on 8×8 digits, trained through its binary units.

p(x, h¹, h²) = p(h²) p(h¹ | h²) p(x | h¹) with Bernoulli units throughout; an inference network of binary layers
q(h¹ | x) q(h² | h¹) bounds log p(x). No path to the parameters of q is differentiable, so the choice of the gradient
estimator is everything: the compiler chooses one per layer and says why.

Neal 1992; Mnih & Gregor 2014; Tucker et al. 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli
from ppl.models import common, data, pictures

LOWER, UPPER = 64, 32


@ppl.model
def generative(x: Any) -> None:
    """h² → h¹ → x."""
    prior = ppl.param("prior", 0.0, shape=(UPPER,))
    with ppl.plate("data", x) as x:
        h2 = ppl.sample("h/1", Bernoulli(logits=prior))
        h1 = ppl.sample("h/0", Bernoulli(logits=ppl.dense("down/1", h2, LOWER)))
        ppl.sample("x", Bernoulli(logits=ppl.dense("down/0", h1, 64)), obs=x)


@ppl.model
def guide(x: Any) -> None:
    """x → h¹ → h²."""
    with ppl.plate("data", x) as x:
        ppl.layers.chain(x, ppl.layers.BinaryUnits(LOWER), ppl.layers.BinaryUnits(UPPER), name="h", params="up")


def images(program: Any, state: Any, count: int, seed: int) -> np.ndarray:
    """Pixel probabilities of `count` ancestral samples: (count, 64)."""
    params = program.params(state)
    rng = np.random.default_rng(seed)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    h2 = rng.random((count, UPPER)) < sigmoid(params["prior"])
    h1 = rng.random((count, LOWER)) < sigmoid(h2 @ params["down/1.weight"] + params["down/1.bias"])
    return sigmoid(h1 @ params["down/0.weight"] + params["down/0.bias"])


def main(argv: common.Arguments = None) -> int:
    """Train, print the bound on held-out rows, draw samples."""
    job = common.Job("sbn", __doc__, argv, epochs=150, lr=3e-3, particles=2)
    rows, test_rows = data.digits()
    program = job.compile(ppl.elbo(generative, guide), data=rows)
    fit = job.fit(program, rows)
    for name, part in (("training", rows), ("held-out", test_rows)):
        mean, error = common.per_row(program, fit.state, part)
        job.report(f"negative bound on {name} rows", mean, error, "nats per row")
    figure, (left, middle, right) = pictures.pyplot().subplots(1, 3, figsize=(13, 4))
    pictures.show_training(left, fit.history, "negative bound (nats per row)")
    left.set_ylim(None, 45)
    pictures.show_images(middle, test_rows[:48], 8, "held-out digits")
    pictures.show_images(right, images(program, fit.state, 48, job.options.seed), 8, "samples (pixel probabilities)")
    job.picture(figure)
    return job.finish()


if __name__ == "__main__":
    raise SystemExit(main())
