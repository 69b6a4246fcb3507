"""One Bernoulli unit: minimise E[(b - 0.499)²] with every admissible gradient estimator.

b ~ Bernoulli(σ(θ)). The exact gradient is p(1-p)(1-2t) = 0.002 p(1-p): two hundred times smaller than the spread of
the plain score function, so that estimators part company. One sample per step.

Tucker et al. 2017; Grathwohl et al. 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, estimators
from ppl.models import common, pictures

TARGET = 0.499


@ppl.model
def toy() -> None:
    """(b - target)² for b ~ Bernoulli(σ(θ))."""
    logit = ppl.param("logit", 0.0)
    b = ppl.sample("b", Bernoulli(logits=logit))
    ppl.cost("loss", (b - TARGET) ** 2)


CHOICES: dict[str, tuple[Any, int]] = {
    "exact": (estimators.Enumerate(), 1),
    "score function": (estimators.ScoreFunction(), 1),
    "moving average": (estimators.ScoreFunction("moving_average"), 1),
    "leave-one-out, 2 particles": (estimators.ScoreFunction("leave_one_out"), 2),
    "REBAR": (estimators.Rebar(), 1),
    "relaxed (biased)": (estimators.Relaxed(), 1),
    "straight-through (biased)": (estimators.StraightThrough(), 1),
}


def expected_loss(logit: np.ndarray) -> np.ndarray:
    """E[(b - target)²] as a function of θ."""
    p = 1 / (1 + np.exp(-np.asarray(logit, np.float64)))
    return p * (1 - TARGET) ** 2 + (1 - p) * TARGET**2


def curve(name: str, steps: int, lr: float, seed: int) -> np.ndarray:
    """θ after every step of training with one estimator."""
    estimator, particles = CHOICES[name]
    program = ppl.compile(toy, estimators=estimator, particles=particles)
    path: list[float] = []
    ppl.fit(
        program,
        steps=steps,
        optimizer=ppl.optim.Adam(lr),
        seed=seed,
        progress=False,
        callback=lambda step, state, metrics: path.append(float(state.params["logit"])),
    )
    return np.array(path)


def main(argv: common.Arguments = None) -> int:
    """Train with every estimator, print where each ends, draw the learning curves side by side."""
    job = common.Job("toy", __doc__, argv, epochs=None, batch_size=None, estimator=None, lr=1e-2, steps=5000)
    options = job.options
    print(ppl.compile(toy).explain())
    figure, ax = pictures.pyplot().subplots(figsize=(8, 5))
    for name in CHOICES:
        losses = expected_loss(curve(name, options.steps, options.lr, options.seed))
        job.report(f"expected loss after {options.steps} steps, {name}", losses[-1])
        ax.plot(losses, label=name, lw=1)
    ax.axhline(expected_loss(np.array(-50.0)), color="k", ls=":", lw=0.8, label="minimum")
    ax.set(xlabel="step", ylabel="expected loss", title=f"E[(b - {TARGET})²], Adam {options.lr:g}, seed {options.seed}")
    ax.legend(fontsize=8)
    job.picture(figure)
    return job.finish()


if __name__ == "__main__":
    raise SystemExit(main())
