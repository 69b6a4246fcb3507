"""A variational autoencoder with categorical latents, trained by biased and unbiased gradient estimators.

p(x, z) = ∏ OneHot(zᵤ; uniform) ∏ Bernoulli(xᵢ | decoder(z)), q(z | x) = ∏ OneHot(zᵤ; softmax of logitsᵤ(x)): 20 units
of 8 classes, tanh layers of 128, KL divergence in closed form. Gumbel-softmax replaces z by softmax((logits + G) / τ)
and anneals τ through a `ppl.hyper` schedule; the hard version and straight-through keep true samples and bend the
derivative; REBAR, RELAX, DisARM for classes and leave-one-out are unbiased. All are judged by the same held-out bound
at true samples, `program.value`, which no relaxation enters.

Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017; Tucker et al. 2017; Grathwohl et al. 2018; Dong, Mnih & Tucker 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, OneHotCategorical, estimators
from ppl.errors import PplError
from ppl.models import common, data, pictures

UNITS, CLASSES, HIDDEN = 20, 8, 128
WARM, COLD = 1.0, 0.3


def choices() -> dict[str, tuple[Any, int]]:
    """Estimator and particles of every way to train; those with a temperature read the hyper-parameter `tau`."""
    tau: Any = ppl.hyper("tau", WARM)
    return {
        "gumbel-softmax": (estimators.Relaxed(temperature=tau), 1),
        "hard-gumbel-softmax": (estimators.Relaxed(temperature=tau, hard=True), 1),
        "straight-through": (estimators.StraightThrough(), 1),
        "rebar": (estimators.Rebar(temperature=tau), 1),
        "relax": (estimators.Relax(temperature=tau), 1),
        "disarm": (estimators.CategoricalDisARM(), 1),
        "leave-one-out": (estimators.ScoreFunction("leave_one_out"), 2),
    }


COMPARED = ("gumbel-softmax", "straight-through")
"""What the main compares by itself; `--estimator all` takes all of `choices`, each of which is a program to compile."""


@ppl.model
def generative(x: Any) -> None:
    """z → x."""
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", OneHotCategorical(logits=np.zeros((UNITS, CLASSES))))
        h = ppl.dense("decoder", z.reshape(UNITS * CLASSES), HIDDEN, activation="tanh")
        logits = ppl.dense("logits", h, x.shape[0])
        ppl.deterministic("pixels", ppl.sigmoid(logits))
        ppl.sample("x", Bernoulli(logits=logits), obs=x)


@ppl.model
def guide(x: Any) -> None:
    """x → z."""
    with ppl.plate("data", x) as x:
        h = ppl.dense("encoder", x, HIDDEN, activation="tanh")
        ppl.layers.chain(h, ppl.layers.CategoricalUnits(UNITS, CLASSES), names=["z"], params="classes")


def choice(name: str, particles: int) -> tuple[Any, int]:
    """The estimator and particles of a name of `choices` or of a class of `ppl.estimators`."""
    found = choices()
    if name in found:
        return found[name]
    try:
        return common.estimator(name), particles
    except PplError as error:
        raise PplError(f"{error}; or, with annealed temperatures, {', '.join(found)}") from None


def annealing(chosen: Any, steps: int) -> dict[str, Any] | None:
    """A schedule of `tau` from WARM to COLD over `steps` steps, for estimators that read it."""
    if isinstance(getattr(chosen, "temperature", 0.0), float):
        return None
    return {"tau": ppl.optim.exponential(WARM, COLD / WARM, max(steps, 1))}


def train(job: common.Job, name: str, rows: np.ndarray, held_out: np.ndarray) -> tuple[Any, Any]:
    """(program, fit) of one estimator."""
    chosen, particles = choice(name, job.options.particles)
    program = job.compile(ppl.elbo(generative, guide), data=rows, estimators=chosen, particles=particles)
    steps = job.options.epochs * -(-len(rows) // job.options.batch_size)
    hyper = annealing(chosen, steps)
    return program, job.fit(program, rows, label=name.replace(":", "-"), hyper=hyper, validation=held_out)


def main(argv: common.Arguments = None) -> int:
    """Train with several ways to estimate the gradient, or with the one named; compare the held-out bounds."""
    job = common.Job("categorical_vae", __doc__, argv, epochs=100, lr=2e-3, particles=2)
    rows, test_rows = data.digits()
    names = {"auto": COMPARED, "all": tuple(choices())}.get(job.options.estimator, (job.options.estimator,))
    fits, bounds = {}, {}
    for name in names:
        program, fits[name] = train(job, name, rows, test_rows)
        bounds[name] = common.per_row(program, fits[name].state, test_rows, particles=50)
        job.report(f"negative bound on held-out rows, {name}", *bounds[name], "nats per row")
    job.picture(draw(fits, bounds, job.options.seed))
    return job.finish()


def draw(fits: dict[str, Any], bounds: dict[str, tuple[float, float]], seed: int) -> Any:
    """Held-out bounds at true samples along training and at its end, and samples of the best model."""
    figure, axes = pictures.pyplot().subplots(1, 3, figsize=(15, 4.2))
    order = sorted(bounds, key=lambda name: bounds[name][0])
    for i, name in enumerate(order):
        curve = fits[name].history["validation"]
        axes[0].plot(np.arange(1, len(curve) + 1), curve, lw=1, color=f"C{i}")
        axes[1].plot(bounds[name][0], i, "o", color=f"C{i}")
        axes[1].text(bounds[name][0], i, f"   {bounds[name][0]:.2f}", va="center", fontsize=8)
    best = bounds[order[0]][0]
    axes[0].set(xlabel="epoch", ylabel="nats per row", title="held-out negative bound, true samples")
    axes[0].set_ylim(best - 0.5, best + 8)
    axes[1].set_yticks(range(len(order)), order, fontsize=8)
    axes[1].invert_yaxis()
    axes[1].set(xlabel="nats per row", title="at the end of training")
    axes[1].set_xlim(best - 0.2, max(b for b, _ in bounds.values()) + 0.4)
    axes[1].grid(axis="x", lw=0.3)
    pixels = common.prior_samples(generative, fits[order[0]].params, "pixels", 48, 64, seed)
    pictures.show_images(axes[2], pixels, 8, f"samples from the prior ({order[0]})")
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
