"""The smallest stochastic optimisation: min E[z²], z ~ N(aθ + b, 1), by score function and by pathwise gradients.

With a = 2, b = 3 and m = aθ + b the objective is m² + 1, so θ* = -b/a = -1.5. Both estimators have the mean 2am:

    score function  z² a (z - m),   variance a² (m⁴ + 14 m² + 15)
    pathwise        2 a z,          variance 4 a²

Under SGD with a constant rate α the mean of θ - θ* shrinks by ρ = 1 - 2a²α a step under *any* unbiased estimator; what
differs is the spread of single runs around it. For the pathwise one it is v ← ρ² v + 4a²α². Every run here is one row
of a plate, so that thousands of independent runs are one program. Williams 1992; Kingma & Welling 2014.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Normal, estimators
from ppl.models import common, pictures

A, B, START = 2.0, 3.0, 0.0
OPTIMUM = -B / A
DECREASING = (0.25, 50.0, 1.0)  # Robbins-Monro rates 0.25 / (50 + t)
CHOICES: dict[str, Any] = {"score function": estimators.ScoreFunction(), "pathwise": estimators.Pathwise()}
EXACT = "moments"
"""`Analytic()` beside them: z² is a polynomial of degree 2, so that mean and variance of z give the exact gradient."""


@ppl.model
def quadratic(*, runs: int = 1) -> None:
    """z² for z ~ N(aθ + b, 1), with one θ of its own for every run."""
    theta = ppl.param("theta", START, shape=(runs,))
    with ppl.plate("runs", runs) as run:
        z = ppl.sample("z", Normal(A * theta[run] + B, 1.0))
        ppl.cost("z squared", z**2)


def exact_variance(name: str, theta: Any) -> Any:
    """The variance of one gradient at θ under an estimator of `CHOICES`, by Gaussian moments."""
    m = A * np.asarray(theta) + B
    return A**2 * (m**4 + 14 * m**2 + 15) if name == "score function" else 4 * A**2 + 0 * m


def exact_path(steps: int, lr: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean of θ after 0 … steps steps of SGD (any unbiased estimator), and its pathwise standard deviation."""
    rho = 1 - 2 * A**2 * lr
    decay = rho ** np.arange(steps + 1)
    variance = 4 * A**2 * lr**2 * (1 - decay**2) / (1 - rho**2)
    return OPTIMUM + (START - OPTIMUM) * decay, np.sqrt(variance)


def limit_spread(name: str, steps: int) -> float:
    """Standard deviation of θ after many steps at rates c/(b + t): c² V / ((4a²c - 1)(b + t)), V the variance at θ*."""
    c, b, _ = DECREASING
    return float(np.sqrt(c**2 * exact_variance(name, OPTIMUM) / ((4 * A**2 * c - 1) * (b + steps))))


def paths(estimator: Any, runs: int, steps: int, rate: Any, seed: int, target: str = "cpu") -> np.ndarray:
    """θ of every run after 0 … steps steps of SGD: (steps + 1, runs). `rate` is a number or a schedule."""
    program = ppl.compile(quadratic.bind(runs=runs), estimators=estimator, dtype="float64", target=target)
    state = program.init(seed)
    found = [state.params["theta"]]
    optimizer = ppl.optim.SGD(rate)
    for _ in range(steps):
        state, _ = program.update(state, optimizer=optimizer)
        found.append(state.params["theta"])
    return np.array(found)


def measured_variance(estimator: Any, theta: np.ndarray, repeats: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of single gradients at every θ of an array, measured; one θ a row."""
    program = ppl.compile(quadratic.bind(runs=len(theta)), estimators=estimator, dtype="float64")
    state = program.init(seed, params={"theta": theta})
    found = program.diagnose(state, repeats=repeats, seed=seed, timing=False)["theta"]
    return found.mean, found.variance


def main(argv: common.Arguments = None) -> int:
    """Run thousands of independent descents with both estimators, compare them with the formulas, draw them."""
    extras: dict[str, Any] = {"steps": 300, "runs": 2000}
    job = common.Job("quadratic", __doc__, argv, epochs=None, batch_size=None, lr=5e-3, **extras)
    options, chosen = job.options, {**CHOICES, EXACT: estimators.Analytic()}
    if options.estimator != "auto":
        chosen[options.estimator] = common.estimator(options.estimator)
    job.compile(quadratic.bind(runs=1), estimators="auto")
    steps, runs, seed = options.steps, options.runs, options.seed
    mean, pathwise_spread = exact_path(steps, options.lr)
    found = {name: descents(job, name, e, "constant", options.lr) for name, e in chosen.items()}
    job.report(f"mean of θ after {steps} steps, formula", mean[-1])
    for name, theta in found.items():
        job.report(f"mean of θ after {steps} steps, {name}", theta[-1].mean(), theta[-1].std() / np.sqrt(runs))
        job.report(f"spread of θ after {steps} steps, {name}", theta[-1].std(), theta[-1].std() / np.sqrt(2 * runs))
    job.report("spread of θ, pathwise, formula", pathwise_spread[-1])
    rate = ppl.optim.robbins_monro(*DECREASING)
    for name, estimator in chosen.items():
        last = descents(job, name, estimator, "decreasing", rate)[-1]
        job.report(f"spread of θ under Robbins-Monro, {name}", last.std(), last.std() / np.sqrt(2 * runs))
        if name in CHOICES:
            job.report(f"spread of θ under Robbins-Monro, {name}, formula", limit_spread(name, steps))
    job.picture(draw(found, chosen, mean, pathwise_spread, seed))
    return job.finish()


def descents(job: common.Job, name: str, estimator: Any, label: str, rate: Any) -> np.ndarray:
    """`paths` under the options; with `--resume`, those of the folder."""
    o, label = job.options, f"{name}-{label}"
    kept = job.kept(label)
    same = kept and len(kept["theta"]) == o.steps + 1
    theta = kept["theta"] if same else paths(estimator, o.runs, o.steps, rate, o.seed, o.target)
    job.keep(label, theta=theta)
    return theta


def draw(found: dict[str, np.ndarray], chosen: dict[str, Any], mean: np.ndarray, spread: np.ndarray, seed: int) -> Any:
    """Runs of every estimator, their spread, and the variance of single gradients against the formulas."""
    figure, axes = pictures.pyplot().subplots(1, len(found) + 1, figsize=(4 * len(found) + 3, 3.8))
    noisy = [name for name in found if name != EXACT]
    axes[-2].plot(found[EXACT].std(1), color="0.5", label=f"{EXACT} (exact)")
    for i, (ax, name) in enumerate(zip(axes, noisy, strict=False)):
        theta = found[name]
        ax.plot(theta[:, :30], color=f"C{i}", lw=0.4, alpha=0.6)
        ax.plot(mean, color="k", lw=1.2, label="mean, formula")
        ax.axhline(OPTIMUM, color="k", ls=":", lw=0.8, label="θ* = -1.5")
        ax.set(xlabel="step", ylabel="θ", title=f"30 runs, {name}", ylim=(-2.6, 0.9))
        axes[-2].plot(theta.std(1), color=f"C{i}", label=name)
    axes[0].legend(fontsize=8)
    axes[-2].plot(spread, "k--", lw=0.9, label="pathwise, formula")
    axes[-2].set(xlabel="step", ylabel="standard deviation of θ", title="spread over runs", ylim=(-0.01, None))
    axes[-2].legend(fontsize=8)
    theta, fine = np.linspace(-3.5, 0.5, 17), np.linspace(-3.5, 0.5, 200)
    for i, name in enumerate(noisy):
        axes[-1].semilogy(theta, measured_variance(chosen[name], theta, 4000, seed)[1], f"C{i}o", ms=4, label=name)
        if name in CHOICES:
            axes[-1].semilogy(fine, exact_variance(name, fine), f"C{i}", lw=0.8)
    axes[-1].set(xlabel="θ", title="variance of one gradient", ylim=(5, None))
    axes[-1].legend(fontsize=8, title="lines: formulas", title_fontsize=8)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
