"""Users' simulators in the graph beside loops written by hand: 10⁵ rows of 100 steps, float64, two threads."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import ppl
from benchmarks import timing
from benchmarks.peer import Peers

ROWS, STEPS, DRIFT = 100_000, 100, 0.5


@numba.njit
def smooth(drift: float, x: float) -> float:
    """An ordinary differential equation by Euler's rule; returns an integral along the path."""
    total, y = 0.0, x
    for _ in range(STEPS):
        y += 0.01 * (drift - y * y * y)
        total += y * y
    return total


@numba.njit
def noisy(key: int, drift: float, x: float) -> float:
    """The same with an exponential waiting time of rate `drift` in each step."""
    total, y = 0.0, x
    for i in range(STEPS):
        y += 0.01 * (-np.log(ppl.random.uniform(key, i)) / drift - y)
        total += y * y
    return total


@numba.njit
def scored(key: int, drift: float, x: float) -> tuple[float, float, float]:
    """The same with its score."""
    total, y, score = 0.0, x, 0.0
    for i in range(STEPS):
        wait = -np.log(ppl.random.uniform(key, i)) / drift
        y += 0.01 * (wait - y)
        total += y * y
        score += 1 / drift - wait
    return total, score, 0.0


@numba.njit(parallel=True)
def smooth_by_hand(x: np.ndarray, out: np.ndarray) -> float:
    """What one would write without ppl."""
    for i in numba.prange(x.size):
        out[i] = smooth(DRIFT, x[i])
    return out.sum()


@numba.njit(parallel=True)
def noisy_by_hand(keys: np.ndarray, x: np.ndarray, out: np.ndarray) -> float:
    """What one would write without ppl, with keys that are there already."""
    for i in numba.prange(x.size):
        out[i] = noisy(keys[i], DRIFT, x[i])
    return out.sum()


def program_of(fn: Any, x: np.ndarray, **options: Any) -> Any:
    """A program whose cost is what a simulator returns."""

    @ppl.model
    def model(x: Any) -> None:
        with ppl.plate("data", x) as x:
            drift = ppl.param("drift", DRIFT)
            drift = drift if options.get("score") else ppl.stop_gradient(drift)
            ppl.cost("total", ppl.external(fn, drift, x, **options))

    return ppl.compile(model, dtype="float64", data=x)


def run(peers: Peers) -> timing.Record:
    """Time values, and a step with the score function, beside the loops."""
    rng = np.random.default_rng(0)
    x, out = rng.normal(size=ROWS), np.empty(ROWS)
    keys = rng.integers(0, 2**63, ROWS).astype(np.uint64)
    plain, drawn, score = program_of(smooth, x), program_of(noisy, x, key=True), program_of(scored, x, score=True)
    states = [p.init(0) for p in (plain, drawn, score)]
    np.testing.assert_allclose(plain.value(states[0], x), smooth_by_hand(x, out), rtol=1e-9)
    timings = timing.interleave(
        {
            "without noise: prange by hand": lambda: smooth_by_hand(x, out),
            "without noise: ppl, value": lambda: plain.value(states[0], x),
            "with noise: prange by hand": lambda: noisy_by_hand(keys, x, out),
            "with noise: ppl, value": lambda: drawn.value(states[1], x),
            "with its score: ppl, step": lambda: score.step(states[2], x),
        },
        sample_seconds=0.2,
    )
    loops, values, noisy_loops, noisy_values, steps = (t.median for t in timings.values())
    return timing.Record(
        title="Simulators in the graph: 10⁵ rows of 100 steps",
        timings=timings,
        baseline="with noise: prange by hand",
        checks=[
            timing.check("without noise: ppl / prange by hand", values / loops, 1.1, "×"),
            timing.check("with noise: ppl / prange by hand", noisy_values / noisy_loops, 1.1, "×"),
            timing.check("a step with the score / one plain simulation", steps / noisy_values, 1.2, "×"),
        ],
        notes=["The step takes all gradients by the score function with a moving average, and makes its keys."],
    )
