"""Sigmoid belief networks on 8×8 digits: one to three layers of binary units, linear or with tanh layers between.

p(x, h¹ … hᴸ) = p(hᴸ) ∏ p(hˡ | hˡ⁺¹) p(x | h¹) with Bernoulli units throughout; an inference network of binary layers
q(h¹ | x) ∏ q(hˡ⁺¹ | hˡ) bounds log p(x). No path to the parameters of q is differentiable, so the choice of the
gradient estimator is everything: the compiler chooses one per layer and says why. Small nets report the exact
log-likelihood by enumeration, others the importance-weighted bound with K samples and an importance-sampled likelihood.

Neal 1992; Mnih & Gregor 2014; Burda, Grosse & Salakhutdinov 2016; Tucker et al. 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli
from ppl.errors import PplError
from ppl.models import common, data, pictures

LAYERS = (64, 32)
EXACT_STATES = 4096
LIKELIHOOD_SAMPLES = 500


def logits(name: str, x: Any, units: int, nonlinear: bool) -> Any:
    """Logits of `units` units: affine in `x`, or through two tanh layers of as many units."""
    if nonlinear:
        x = ppl.dense(f"{name}/tanh/0", x, units, activation="tanh")
        x = ppl.dense(f"{name}/tanh/1", x, units, activation="tanh")
    return ppl.dense(name, x, units)


@ppl.model
def generative(x: Any, *, layers: tuple[int, ...] = LAYERS, nonlinear: bool = False) -> None:
    """hᴸ → … → h¹ → x; the node of hˡ is `h/l-1`."""
    prior = ppl.param("prior", 0.0, shape=(layers[-1],))
    with ppl.plate("data", x) as x:
        h = ppl.sample(f"h/{len(layers) - 1}", Bernoulli(logits=prior))
        for i in reversed(range(1, len(layers))):
            below = logits(f"down/{i}", h, layers[i - 1], nonlinear)
            h = ppl.sample(f"h/{i - 1}", Bernoulli(logits=below))
        pixels = logits("down/0", h, x.shape[0], nonlinear)
        ppl.deterministic("pixels", ppl.sigmoid(pixels))
        ppl.sample("x", Bernoulli(logits=pixels), obs=x)


@ppl.model
def guide(x: Any, *, layers: tuple[int, ...] = LAYERS, nonlinear: bool = False) -> None:
    """x → h¹ → … → hᴸ."""
    with ppl.plate("data", x) as x:
        h = x
        for i, units in enumerate(layers):
            h = ppl.sample(f"h/{i}", Bernoulli(logits=logits(f"up/{i}", h, units, nonlinear)))


def network(layers: tuple[int, ...] = LAYERS, nonlinear: bool = False) -> tuple[Any, Any]:
    """(model, guide) of an architecture: units per stochastic layer, the one next to the pixels first."""
    if not 1 <= len(layers) <= 3 or min(layers) < 1:
        raise PplError(f"a belief network here has one to three layers of units, not {layers}")
    static = {"layers": layers, "nonlinear": nonlinear}
    return generative.bind(**static), guide.bind(**static)


def importance_bound(nets: tuple[Any, Any], params: Any, rows: np.ndarray, samples: int) -> tuple[float, float]:
    """Negative importance-weighted bound per row with `samples` samples, and its standard error over rows.

    It falls to -log p(x) as `samples` grows.
    """
    bound = ppl.compile(ppl.iwae(*nets, particles=samples), data=rows, estimators=ppl.estimators.ScoreFunction())
    return common.per_row(bound, common.share(bound, params), rows, particles=1)


def exact_likelihood(model: Any, params: Any, rows: np.ndarray) -> tuple[float, float]:
    """-log p(x) per row by summing over all joint states of the hidden units, and its standard error over rows."""
    names = [f"h/{i}" for i in range(len(model.static["layers"]))]
    program = ppl.compile(ppl.likelihood(model, marginalize=names), data=rows)
    return common.per_row(program, common.share(program, params), rows, particles=1)


def images(model: Any, params: Any, count: int, seed: int) -> np.ndarray:
    """Pixel probabilities of `count` ancestral samples: (count, pixels)."""
    return common.prior_samples(model, params, "pixels", count, params["down/0.bias"].shape[0], seed)


def evaluate(job: common.Job, nets: tuple[Any, Any], params: Any, rows: np.ndarray) -> None:
    """Report how close to log p(x) more samples come, and log p(x) itself where it can be enumerated."""
    for samples, label in (
        (50, "negative 50-sample bound on held-out rows"),
        (LIKELIHOOD_SAMPLES, f"negative log-likelihood of held-out rows, {LIKELIHOOD_SAMPLES} importance samples"),
    ):
        job.report(label, *importance_bound(nets, params, rows, samples), "nats per row")
    if 2 ** sum(nets[0].static["layers"]) <= EXACT_STATES:
        exact = exact_likelihood(nets[0], params, rows)
        job.report("exact negative log-likelihood of held-out rows", *exact, "nats per row")


def main(argv: common.Arguments = None) -> int:
    """Train, print the bounds on held-out rows, draw samples."""
    defaults = {"layers": "64-32", "nonlinear": False, "importance": 1, "images": ""}
    job = common.Job("sbn", __doc__, argv, epochs=150, lr=3e-3, particles=2, **defaults)
    options = job.options
    nets = network(tuple(int(n) for n in options.layers.split("-")), options.nonlinear)
    rows, test_rows = data.binary_images(options.images or None)
    single = options.importance == 1
    program = job.compile(ppl.elbo(*nets) if single else ppl.iwae(*nets, particles=options.importance), data=rows)
    fit = job.fit(program, rows)
    kind = "negative bound" if single else f"negative {options.importance}-sample bound"
    for name, part in (("training", rows), ("held-out", test_rows)):
        job.report(f"{kind} on {name} rows", *common.per_row(program, fit.state, part), "nats per row")
    evaluate(job, nets, fit.params, test_rows)
    job.picture(draw(fit, nets, program, test_rows, options.seed))
    return job.finish()


def draw(fit: Any, nets: tuple[Any, Any], program: Any, rows: np.ndarray, seed: int) -> Any:
    """Training curve, held-out digits with their reconstructions, samples of the model."""
    figure, axes = pictures.pyplot().subplots(1, 3, figsize=(13, 4))
    pictures.show_training(axes[0], fit.history, "negative bound (nats per row)")
    losses = fit.history["loss"]
    axes[0].set_ylim(np.min(losses) - 0.3, np.quantile(losses, 0.98))
    params = program.params(fit.state)
    guided = ppl.compile(ppl.elbo(*nets), data=rows)
    pixels = guided.sample(common.share(guided, params), rows[:24], sites=["pixels"], seed=seed)["pixels"]
    pairs = np.stack([rows[:24], pixels], 1).reshape(48, -1)
    pictures.show_images(axes[1], pairs, 8, "held-out digits and reconstructions, in pairs")
    pictures.show_images(axes[2], images(nets[0], params, 48, seed), 8, "samples (pixel probabilities)")
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
