"""A random walk whose steps depend on where it is: the derivative of an expectation through discrete jumps.

X' = X + 1 with probability exp(-X/p), else X - 1, from X = 0; the cost is the square of the place after n steps. The
walk drifts outwards near 0 and back beyond p log 2, and never falls below 0. No path can be differentiated; the score
function's mean is exact nevertheless:

    d/dp E[X²] = E[X² Σₜ d/dp log P(step t)].

The distribution of X after n steps is n + 1 numbers, so the expectation and its derivative follow by dynamic
programming, in one pass each. Arya et al. 2022.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli
from ppl.models import common, pictures

SCALE, STEPS, WALKS = 100.0, 50, 1000


@ppl.model
def walk(*, steps: int = STEPS, walks: int = 1, start: float = SCALE) -> None:
    """The square of the place where a walk ends, averaged over independent ones."""
    p = ppl.param("p", start)
    with ppl.plate("walks", walks):

        def step(x: Any, _: Any) -> tuple[Any, Any]:
            up = ppl.sample("up", Bernoulli(probs=np.exp(-x / p)))
            x = x + 2.0 * up - 1.0
            return x, x

        x, places = ppl.scan(step, 0.0, length=steps)
        ppl.deterministic("places", places)
        ppl.cost("square", x**2 / walks)


def law(p: float, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    """P(X = 0 … n) after n steps, and its derivative in p."""
    x = np.arange(steps + 1)
    up = np.exp(-x / p)
    slope = up * x / p**2
    mass, change = np.eye(steps + 1)[0], np.zeros(steps + 1)
    for _ in range(steps):
        rise, fall = mass * up, mass * (1 - up)
        gain, loss = change * up + mass * slope, change * (1 - up) - mass * slope
        mass, change = (np.append(0.0, a[:-1]) + np.append(b[1:], 0.0) for a, b in ((rise, fall), (gain, loss)))
    return mass, change


def exact(p: float, steps: int = STEPS) -> tuple[float, float]:
    """E[X²] after n steps, and its derivative in p."""
    square = np.arange(steps + 1.0) ** 2
    mass, change = law(p, steps)
    return float(mass @ square), float(change @ square)


def main(argv: common.Arguments = None) -> int:
    """Compare mean and derivative with the exact ones for several p, draw walks and both."""
    extras: dict[str, Any] = {"walks": WALKS, "steps": 200, "particles": 2}
    job = common.Job("walk", __doc__, argv, epochs=None, batch_size=None, lr=0.0, **extras)
    options = job.options
    name = "ScoreFunction:leave_one_out" if options.estimator == "auto" else options.estimator
    program = job.compile(walk.bind(walks=options.walks), dtype="float64", estimators=common.estimator(name))
    scales = np.array([30.0, 60.0, 100.0, 200.0])
    found = [measured(program, p, options.steps, options.seed) for p in scales]
    for p, (mean, slope, errors) in zip(scales, found, strict=True):
        value, derivative = exact(p)
        job.report(f"E[X²] at p = {p:.0f}", mean, errors[0])
        job.report(f"E[X²] at p = {p:.0f}, exact", value)
        job.report(f"d/dp E[X²] at p = {p:.0f}", slope, errors[1])
        job.report(f"d/dp E[X²] at p = {p:.0f}, exact", derivative)
    job.picture(draw(program, scales, found, options.seed))
    return job.finish()


def measured(program: Any, p: float, repeats: int, seed: int) -> tuple[float, float, tuple[float, float]]:
    """Mean of X², mean of its derivative's estimate, and the standard errors of both."""
    state = program.init(seed, params={"p": p})
    pairs = [program.value_and_grad(state, seed=seed + i) for i in range(repeats)]
    values, slopes = (np.array(x, np.float64) for x in ([v for v, _ in pairs], [g["p"] for _, g in pairs]))
    errors = [float(x.std(ddof=1) / np.sqrt(repeats)) for x in (values, slopes)]
    return float(values.mean()), float(slopes.mean()), (errors[0], errors[1])


def draw(program: Any, scales: np.ndarray, found: list[Any], seed: int) -> Any:
    """Some walks over the exact law of their places, and mean and derivative against the exact curves."""
    figure, (left, middle, right) = pictures.pyplot().subplots(1, 3, figsize=(13, 3.8))
    places = program.sample(program.init(seed), sites=["places"], particles=1, seed=seed)["places"][0]
    times = np.arange(STEPS + 1)
    law_of = np.array([np.pad(law(SCALE, t)[0], (0, STEPS - t)) for t in range(STEPS + 1)])
    left.imshow(np.sqrt(law_of.T), origin="lower", cmap="Greys", aspect="auto", extent=(-0.5, STEPS + 0.5) * 2)
    left.plot(times, np.column_stack([np.zeros(8), places[:8]]).T, lw=0.8)
    left.set(xlabel="step", ylabel="X", title=f"8 walks, p = {SCALE:.0f}; grey: exact law", ylim=(0, STEPS))
    fine = np.linspace(20, 220, 100)
    curves = np.array([exact(p) for p in fine]).T
    for i, (ax, what) in enumerate(((middle, "E[X²]"), (right, "d/dp E[X²]"))):
        ax.plot(fine, curves[i], "k", lw=0.8, label="dynamic programming")
        errors = [2 * e[i] for *_, e in found]
        ax.errorbar(scales, [row[i] for row in found], errors, fmt="C3o", ms=4, label="sampled, 2 standard errors")
        ax.set(xlabel="p", title=f"{what} after {STEPS} steps")
        ax.legend(fontsize=8)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
