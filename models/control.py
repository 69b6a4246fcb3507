"""Linear-quadratic control by policy gradients, score function and path side by side, against Riccati's solution.

A mass on a line, pushed by a policy that sees place and speed: x' = A x + B a + noise, a ~ N(-k · x, σ²), with costs
xᵀQx + R a² at every time and xᵀPx at the end. P solves Riccati's equation, so the best gains are the same at all times,

    P = Q + Aᵀ P (A - B k*),   k* = (R + Bᵀ P B)⁻¹ Bᵀ P A,

whatever σ is. For any gains the expected cost follows from xᵀ Sₜ x + cₜ by a recursion backwards, and its gradient from
differences of that. Environments are rows that begin at different places. The path goes through the dynamics, at the
price of a model that can be differentiated; the score function asks for none. Fazel et al. 2018.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import ppl
from ppl import Normal, estimators
from ppl.models import common, pictures

DT, EFFORT, SIGMA, JOLT = 0.1, 0.1, 0.3, 0.05
A = np.array([[1.0, DT], [0.0, 1.0]])
B = np.array([0.0, DT])
START = np.array([0.5, 0.5])
ENVIRONMENTS, STEPS = 200, 100
CHOICES: dict[str, tuple[Any, int]] = {
    "score function": (estimators.ScoreFunction("leave_one_out"), 4),
    "pathwise": (estimators.Pathwise(), 1),
}
"""Estimators, and the trajectories of each environment."""


@cache
def places(environments: int) -> np.ndarray:
    """Where the environments begin: place and speed, (environments, 2)."""
    return np.random.default_rng(0).normal(size=(environments, 2))


@cache
def riccati() -> tuple[np.ndarray, np.ndarray]:
    """P (2, 2) and the best gains k* (2,)."""
    value, gain = np.eye(2), np.zeros(2)
    for _ in range(2000):
        gain = (value @ B) @ A / (EFFORT + B @ value @ B)
        value = np.eye(2) + A.T @ value @ (A - np.outer(B, gain))
    return value, gain


@ppl.model
def control(*, environments: int = ENVIRONMENTS, steps: int = STEPS) -> None:
    """Every environment's trajectory under gains that all share."""
    gain = ppl.param("gain", START)
    end, _ = riccati()
    with ppl.plate("environments", places(environments)) as start:

        def step(state: Any, _: Any) -> tuple[Any, None]:
            x, v = state
            a = ppl.sample("action", Normal(-gain[0] * x - gain[1] * v, SIGMA))
            ppl.cost("cost", (x**2 + v**2 + EFFORT * a**2) / environments)
            jolt = ppl.sample("jolt", Normal(0.0, JOLT))
            return (x + DT * v, v + DT * a + jolt), None

        (x, v), _ = ppl.scan(step, (start[0], start[1]), length=steps)
        ppl.cost("end", (end[0, 0] * x**2 + 2 * end[0, 1] * x * v + end[1, 1] * v**2) / environments)


def expected_cost(gain: np.ndarray, environments: int = ENVIRONMENTS, steps: int = STEPS) -> float:
    """The expected cost of an environment under gains, exactly."""
    value, constant = riccati()[0], 0.0
    closed = A - np.outer(B, gain)
    for _ in range(steps):
        constant += SIGMA**2 * (EFFORT + B @ value @ B) + JOLT**2 * value[1, 1]
        value = np.eye(2) + EFFORT * np.outer(gain, gain) + closed.T @ value @ closed
    x = places(environments)
    return float(np.einsum("ni,ij,nj->", x, value, x) / environments + constant)


def exact_gradient(gain: np.ndarray, environments: int = ENVIRONMENTS, steps: int = STEPS) -> np.ndarray:
    """The gradient of `expected_cost` in the gains, by central differences of fourth order."""
    h, out = 1e-3, np.zeros(2)
    for i, unit in enumerate(np.eye(2)):
        one, two = (
            expected_cost(gain + n * h * unit, environments, steps)
            - expected_cost(gain - n * h * unit, environments, steps)
            for n in (1, 2)
        )
        out[i] = (8 * one - two) / (12 * h)
    return out


def main(argv: common.Arguments = None) -> int:
    """Learn the gains with both estimators, compare them with the best ones, draw both descents."""
    job = common.Job("control", __doc__, argv, epochs=None, batch_size=None, lr=0.1, steps=2000)
    options, chosen = job.options, dict(CHOICES)
    if options.estimator != "auto":
        chosen = {options.estimator: (common.estimator(options.estimator), 4)}
    best = riccati()[1]
    optimum = expected_cost(best)
    job.report("expected cost of the best gains", optimum)
    job.report("expected cost at the start", expected_cost(START))
    paths: dict[str, np.ndarray] = {}
    spreads: dict[str, float] = {}
    for name, (estimator, particles) in chosen.items():
        pinned = {"action": estimator}
        program = job.compile(control, dtype="float64", estimators=pinned, particles=particles)
        found = program.diagnose(program.init(options.seed), repeats=200, timing=False)["gain"]
        away = np.abs(found.mean - exact_gradient(START)) / found.standard_error
        job.report(f"largest deviation of the mean gradient, {name}", away.max(), unit="standard errors")
        spreads[name] = float(np.sqrt(found.trace))
        job.report(f"spread of one gradient, {name}", spreads[name])
        paths[name] = descent(job, program, name)
        gain = paths[name][-1]
        job.report(f"expected cost above the optimum, {name}", expected_cost(gain) - optimum)
        job.report(f"distance from the best gains, {name}", float(np.linalg.norm(gain - best)))
    job.picture(draw(paths, best, optimum))
    return job.finish()


def descent(job: common.Job, program: Any, name: str) -> np.ndarray:
    """The gains before, after every tenth step of `ppl.fit`, and at its end."""
    found: list[np.ndarray] = [START]

    def keep(step: int, state: Any, metrics: Any) -> None:
        if step % 10 == 0:
            found.append(state.params["gain"])

    rate = ppl.optim.Adam(ppl.optim.exponential(job.options.lr, 0.998))
    fit = job.fit(program, steps=job.options.steps, optimizer=rate, callback=keep, label=name.replace(" ", "-"))
    return np.array([*found, fit.params["gain"]])


def draw(paths: dict[str, np.ndarray], best: np.ndarray, optimum: float) -> Any:
    """Expected costs above the optimum during learning, and the gains' way over the exact cost."""
    figure, (left, right) = pictures.pyplot().subplots(1, 2, figsize=(11, 4))
    for name, path in paths.items():
        left.semilogy(10 * np.arange(len(path)), [expected_cost(k) - optimum for k in path], label=name)
        right.plot(*path.T, ".-", ms=3, lw=0.8, label=name)
    left.set(xlabel="step", ylabel="expected cost above the optimum (exact)", title="learning")
    left.legend(fontsize=8)
    ends = np.concatenate([*paths.values(), best[None]])
    low, high = ends.min(0) - 0.3, ends.max(0) + 0.3
    grid = [np.linspace(a, b, 25) for a, b in zip(low, high, strict=True)]
    above = np.array([[expected_cost(np.array([x, v])) - optimum for x in grid[0]] for v in grid[1]])
    lines = right.contour(*grid, above, levels=np.geomspace(1e-3, above.max(), 12), colors="0.7", linewidths=0.6)
    right.clabel(lines, fontsize=6, fmt="%.2g")
    right.plot(*best, "k*", ms=10, label="Riccati")
    right.set(xlabel="gain on the place", ylabel="gain on the speed", title="gains; lines: cost above the optimum")
    right.legend(fontsize=8)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
