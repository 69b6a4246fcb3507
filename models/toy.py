"""One Bernoulli unit: minimise E[(b - 0.499)²] with gradient estimators side by side.

b ~ Bernoulli(σ(θ)). The exact gradient is p(1-p)(1-2t) = 0.002 p(1-p): two hundred times smaller than the spread of
the plain score function, so that estimators part company. One sample per step. f(0) ≈ f(1) ≈ ¼: what helps is a
baseline, or to see f(1) - f(0) at once.

Tucker et al. 2017; Grathwohl et al. 2018; Dong et al. 2020.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import ppl
from ppl import Bernoulli, estimators
from ppl.models import common, pictures

TARGET = 0.499
REPEATS = 1000


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
    "DisARM": (estimators.DisARM(), 1),
    "REBAR": (estimators.Rebar(), 1),
    "RELAX": (estimators.Relax(), 1),
    "relaxed (biased)": (estimators.Relaxed(), 1),
    "straight-through (biased)": (estimators.StraightThrough(), 1),
}


class Run(NamedTuple):
    """θ after every step; the variance of one gradient after the steps `at`."""

    logits: np.ndarray
    at: np.ndarray
    variance: np.ndarray


def expected_loss(logit: Any) -> Any:
    """E[(b - target)²] as a function of θ."""
    p = 1 / (1 + np.exp(-np.asarray(logit, np.float64)))
    return p * (1 - TARGET) ** 2 + (1 - p) * TARGET**2


def train(choice: tuple[Any, int], steps: int, lr: float, seed: int, points: int = 0, target: str = "cpu") -> Run:
    """Adam with one estimator and number of particles; the variance is measured at `points` steps."""
    estimator, particles = choice
    program = ppl.compile(toy, estimators=estimator, particles=particles, target=target)
    path: list[float] = []
    at, variance = np.unique(np.geomspace(1, steps, points).astype(int)), []

    def watch(step: int, state: Any, metrics: Any) -> None:
        path.append(float(state.params["logit"]))
        if len(path) in at:
            found = program.diagnose(state, repeats=REPEATS, seed=seed, timing=False, backend="interpreter")
            variance.append(found.total.trace)

    ppl.fit(program, steps=steps, optimizer=ppl.optim.Adam(lr), seed=seed, progress=False, callback=watch)
    return Run(np.array(path), at, np.array(variance))


def main(argv: common.Arguments = None) -> int:
    """Train with every estimator, print where each ends, draw losses and variances side by side."""
    job = common.Job("toy", __doc__, argv, epochs=None, batch_size=None, lr=1e-2, steps=5000)
    options, chosen = job.options, dict(CHOICES)
    job.compile(toy, estimators="auto")
    if options.estimator != "auto":
        chosen[options.estimator] = (common.estimator(options.estimator), 2)
    least = expected_loss(-np.inf)
    figure, (left, right) = pictures.pyplot().subplots(1, 2, figsize=(13, 4.8))
    for i, (name, choice) in enumerate(chosen.items()):
        kept = job.kept(name)
        settings = (options.steps, options.lr, options.seed, 24, options.target)
        run = Run(**kept) if kept and len(kept["logits"]) == options.steps else train(choice, *settings)
        job.keep(name, **run._asdict())
        losses = expected_loss(run.logits)
        job.report(f"expected loss after {options.steps} steps, {name}", losses[-1])
        job.report(f"above the minimum, {name}", losses[-1] - least)
        style = ":" if "biased" in name else "-"
        left.plot(losses, style, color=f"C{i}", lw=1.1, label=name)
        right.loglog(run.at, np.where(run.variance > 0, run.variance, np.nan), f"C{i}.{style}", lw=1, label=name)
    left.axhline(least, color="k", ls="--", lw=0.8, label="minimum")
    left.set(
        xlabel="step", ylabel="expected loss", title=f"E[(b - {TARGET})²], Adam {options.lr:g}, seed {options.seed}"
    )
    handles, labels = left.get_legend_handles_labels()
    right.legend(handles, labels, fontsize=8, loc=(0.02, 0.3))
    right.set(xlabel="step", title="variance of one gradient (exact: 0)")
    figure.tight_layout()
    job.picture(figure)
    return job.finish()


if __name__ == "__main__":
    raise SystemExit(main())
