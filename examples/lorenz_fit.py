"""The parameters of a Lorenz system from noisy paths: Runge-Kutta in an external function, with its own reverse pass.

Simulator and vector-Jacobian product are plain loops of yours. ppl compares one with differences of the other when it
compiles the model, and differentiates everything around them. Lorenz 1963.
Run: python examples/lorenz_fit.py
"""

import numba
import numpy as np

import ppl
from ppl import Normal
from ppl.models import pictures

TRUE, STEP, STEPS, NOISE = np.array([10.0, 28.0, 8 / 3]), 0.02, 40, 0.5
RULE, OWN = ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)), np.eye(3, 6, 3)


@numba.njit
def step(p, y):
    """A Runge-Kutta step from y, and its Jacobian in (σ, ρ, β) and y."""
    k, dk, end, slope = np.zeros(3), np.zeros((3, 6)), y.copy(), OWN.copy()
    for ahead, weight in RULE:
        a, da = y + STEP * ahead * k, OWN + STEP * ahead * dk
        k = np.array([p[0] * (a[1] - a[0]), a[0] * (p[1] - a[2]) - a[1], a[0] * a[1] - p[2] * a[2]])
        dk = np.array([[-p[0], p[0], 0.0], [p[1] - a[2], -1.0, -a[0]], [a[1], a[0], -p[2]]]) @ da
        dk[:, :3] += np.diag(np.array([a[1] - a[0], a[0], -a[2]]))
        end, slope = end + STEP * weight * k, slope + STEP * weight * dk
    return end, slope


@numba.njit
def lorenz(p, start):
    """The path from `start`, shape (STEPS, 3)."""
    path = np.empty((STEPS, 3))
    for t in range(STEPS):
        path[t] = step(p, path[t - 1] if t else start)[0]
    return path


@numba.njit
def lorenz_vjp(p, start, g):
    """Cotangents of parameters and start, given that of the path: back through the steps."""
    path, both = lorenz(p, start), np.zeros(6)
    for t in range(STEPS - 1, -1, -1):
        slope = step(p, path[t - 1] if t else start)[1]
        both = np.concatenate((both[:3], np.zeros(3))) + (both[3:] + g[t]) @ slope
    return both[:3], both[3:]


@ppl.model
def model(start, seen):
    """Noisy paths from known starts."""
    parameters = ppl.param("p", TRUE * 0.8)
    with ppl.plate("paths", start, seen) as (start, seen):
        path = ppl.external(lorenz, parameters, start, shape=(STEPS, 3), gradient=lorenz_vjp)
        ppl.sample("seen", Normal(path, NOISE), obs=seen)


def main(steps=400, paths=10):
    """Fit; draws a path, and the parameters over the steps; returns these, starts and what was seen."""
    rng = np.random.default_rng(0)
    starts = rng.normal(size=(paths, 3)) * 8 + np.array([0.0, 0.0, 25.0])
    seen = np.array([lorenz(TRUE, start) for start in starts]) + NOISE * rng.normal(size=(paths, STEPS, 3))
    program = ppl.compile(ppl.likelihood(model), dtype="float64", data=(starts, seen))
    state, adam, followed = program.init(seed=0), ppl.optim.Adam(lambda t: 0.2 / (1 + t / 50)), []
    for _ in range(steps):
        state, _ = program.update(state, starts, seen, optimizer=adam)
        followed.append(program.params(state)["p"] / TRUE)
    figure, axes = pictures.pyplot().subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    axes[0].plot(lorenz(TRUE * followed[-1], starts[0]))
    axes[0].plot(seen[0], ".", color="gray", ms=3)
    axes[1].plot(followed, label=["σ", "ρ", "β"])
    axes[1].legend(title="parameters over the true ones")
    pictures.save(figure, "outputs", "lorenz_fit")
    return np.array(followed), starts, seen


if __name__ == "__main__":
    main()
