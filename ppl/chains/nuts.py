"""Chains of NUTS by nutpie, on a compiled log-density: no Python runs between the draws.

Chains run in threads of nutpie's. The caller's thread waits and looks around, so that Ctrl-C and other signals reach
it, and the line of what is waited for tells how many draws there are."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

from ppl.chains.log_density import CompiledDensity
from ppl.errors import NonFiniteError, SimulatorError
from ppl.extras import require_package
from ppl.progress import line
from ppl.records import dataclass

POLL_SECONDS = 0.05
"""Seconds between two looks at chains that run."""

MOST_STARTS = 100
"""Points that are tried for the start of a chain."""

START_JITTER = 1.0
"""Reals of a start are as far as this from the point that they are drawn around."""

ARVIZ_NAMES = {
    "depth": "tree_depth",
    "maxdepth_reached": "reached_max_treedepth",
    "logp": "lp",
    "mean_tree_accept": "acceptance_rate",
}
"""What ArviZ calls nutpie's statistics."""


@dataclass(frozen=True)
class NutsSettings:
    """What `ppl.mcmc` is asked for."""

    draws: int
    warmup: int
    chains: int
    seed: int
    cores: int
    target_accept: float
    max_treedepth: int


@dataclass(frozen=True)
class Chains:
    """Draws of the reals, of shape (chains, draws, reals), statistics by name, and the time that both took."""

    reals: np.ndarray
    stats: dict[str, np.ndarray]
    seconds: float
    interrupted: bool = False


def count_cores(chains: int, cores: int | None) -> int:
    """Return how many chains run at a time."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(chains, there if cores is None else cores)


def find_start(density: CompiledDensity, seed: int) -> tuple[np.ndarray, bool]:
    """Return where a chain starts, and whether its log-density and gradient are finite there.

    The start of a parameter of guides (a mean, a median, or where the reals are 0), moved by up to `START_JITTER`.
    """
    rng, centre = np.random.default_rng(seed), density.start[: density.size]
    for _ in range(MOST_STARTS):
        point = centre + rng.uniform(-START_JITTER, START_JITTER, density.size)
        if density.value(point)[0] == 0 or density.raised_at is not None:
            return point, True
    return point, False


def run_chains(density: CompiledDensity, settings: NutsSettings, progress: bool = True) -> Chains:
    """Draw from all chains; after Ctrl-C, as many draws as all chains have.

    Raises
    ------
    NonFiniteError
        No point was found from which a chain can start.
    SimulatorError
        A user's function raised an exception, at `density.raised_at`.
    KeyboardInterrupt
        Ctrl-C was pressed before all chains had draws.
    """
    nutpie = require_package("nutpie", "ppl.mcmc", "mcmc")
    lost: list[np.ndarray] = []

    def begin(seed: int) -> np.ndarray:
        point, finite = find_start(density, seed)
        if not finite:
            lost.append(point)
        return point

    began = time.perf_counter()
    sampler = nutpie.sample(
        _nutpie_model(density, begin),
        draws=settings.draws,
        tune=settings.warmup,
        chains=settings.chains,
        cores=settings.cores,
        seed=settings.seed,
        progress_bar=False,
        blocking=False,
        target_accept=settings.target_accept,
        maxdepth=settings.max_treedepth,
    )
    total = settings.chains * (settings.draws + settings.warmup)
    with line.during(lambda: f"sampling {density.counter[0]} of {total} draws") if progress else nullcontext():
        try:
            found, interrupted = _wait_for(sampler, density), False
        except KeyboardInterrupt:
            found, interrupted = sampler.abort(), True
        except BaseException:
            _stop_chains(sampler)
            if lost:
                raise NoFiniteStart(lost[0]) from None
            raise
    return _read_chains(found, time.perf_counter() - began, interrupted)


class NoFiniteStart(NonFiniteError):
    """No start was found; `point` is the last one that was tried."""

    def __init__(self, point: np.ndarray):
        super().__init__("mcmc: no start with a finite log-density was found")
        self.point = point


def _wait_for(sampler: Any, density: CompiledDensity) -> Any:
    """Return the result of chains, once there is one."""
    while True:
        if density.raised_at is not None:
            raise SimulatorError("a user's function raised an exception")
        try:
            found = sampler.wait(timeout=POLL_SECONDS)
        except TimeoutError:
            continue  # handlers of signals have had their turn
        if density.raised_at is None:
            return found


def _stop_chains(sampler: Any) -> None:
    """End chains that run, and wait for their threads: they read memory that is about to go."""
    try:
        sampler.abort()
    except BaseException:  # they have ended with the error that is being raised; panics of Rust are no Exceptions
        return


def _nutpie_model(density: CompiledDensity, begin: Any) -> Any:
    """Make the model that nutpie samples: addresses of C functions."""
    kind = require_package("nutpie.compile_pymc", "ppl.mcmc", "mcmc").CompiledPyMCModel
    shape = (density.size,)
    return kind(
        dims={}, compiled_logp_func=SimpleNamespace(address=density.logp),
        compiled_expand_func=SimpleNamespace(address=density.keep), initial_point_func=begin, shared_data={},
        user_data=np.zeros(1), n_expanded=density.size, shape_info=(["reals"], [slice(0, density.size)], [shape]),
        logp_func=density, expand_func=density, _n_dim=density.size, _shapes={"reals": shape}, _coords={},
    )  # fmt: skip


def _read_chains(found: Any, seconds: float, interrupted: bool) -> Chains:
    """Return the draws and statistics of nutpie's result.

    Raises
    ------
    KeyboardInterrupt
        The chains were interrupted when one had no draws yet.
    """
    draws, stats = np.asarray(found.posterior["reals"]), _read_stats(found.sample_stats)
    if interrupted:  # chains that are behind are filled with NaN
        count = int(np.isfinite(draws).all(-1).sum(1).min(initial=draws.shape[1]))
        if not count:
            raise KeyboardInterrupt
        draws, stats = draws[:, :count], {name: x[:, :count] for name, x in stats.items()}
    return Chains(draws, stats, seconds, interrupted)


def _read_stats(group: Any) -> dict[str, np.ndarray]:
    """Return statistics of shape (chains, draws) by the names that ArviZ has for them."""
    return {ARVIZ_NAMES.get(str(k), str(k)): np.asarray(v) for k, v in group.data_vars.items() if v.ndim == 2}
