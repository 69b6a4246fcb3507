"""Data of the models whose chains are compared, and what every library reports of them. Needs NumPy and ArviZ only."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

DRAWS, WARMUP, CHAINS = 1000, 1000, 4
EFFECTS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
GROUPS, EACH = 40, 25

Sampled = Mapping[str, np.ndarray]
"""Draws by name, of shape (chains, draws, ...)."""
Sampler = Callable[[int], Sampled]
"""Samples all chains with a seed."""


def mixed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, x and group of rows whose intercepts and slopes differ by group."""
    rng = np.random.default_rng(0)
    group, x = np.repeat(np.arange(GROUPS), EACH), rng.normal(size=GROUPS * EACH)
    effects = rng.multivariate_normal([1.0, -0.5], [[1.0, 0.4], [0.4, 0.5]], size=GROUPS)
    return effects[group, 0] + effects[group, 1] * x + 0.5 * rng.normal(size=len(x)), x, group


def least_ess(draws: Sampled) -> float:
    """The least effective sample size (bulk) of all entries that vary."""
    import arviz  # seconds to import

    found = []
    for x in draws.values():
        flat = np.asarray(x, np.float64).reshape(*x.shape[:2], -1)
        found += [float(arviz.ess(flat[:, :, i])) for i in range(flat.shape[2]) if np.ptp(flat[:, :, i]) > 0.0]
    return min(found)


def report(makers: Mapping[str, Callable[[], Sampler]], names: list[str], seed: int) -> None:
    """Print, as JSON, processor seconds until a first run has ended, of a second run, and what that has drawn."""
    out: dict[str, Any] = {}
    for name in names:
        began = time.process_time()
        sampler = makers[name]()
        sampler(seed + 100)
        first = time.process_time() - began
        began, clock = time.process_time(), time.perf_counter()
        draws = sampler(seed)
        spent, clock = time.process_time() - began, time.perf_counter() - clock
        out[name] = {"compile": max(first - spent, 0.0), "seconds": spent, "clock": clock, "ess": least_ess(draws)}
        out[name]["means"] = {k: np.asarray(x).mean((0, 1)).ravel()[:3].tolist() for k, x in draws.items()}
    print(json.dumps(out), file=sys.stdout)
