"""Loops over time: a policy gradient and a random walk against their peers, and what compiling a loop costs."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks import scans, suite
from benchmarks.timing import Check, Timing, check
from benchmarks.workloads import policy_step

GOALS = (suite.Goal(1 / 3, peer="JAX scan"), suite.Goal(1 / 3, peer="PyTorch compiled"))
CHAIN = suite.Goal(0.75, peer="JAX scan")
WALK, COMPILE, GROWTH = 0.25e-6, 4.0, 1.1
LENGTHS = (50, 10_000)


def run(peers: list[str]) -> dict[str, Any]:
    """Both races, then processes that compile a walk of either length."""
    policy, problems = suite.contest("policy_step", policy_step.forms, peers)
    walk, more = suite.contest("walk_step", scans.forms, peers)
    chain, others = suite.contest("hmm_step", scans.chains, peers)
    races = {"policy": policy, "walk": walk, "hidden Markov model": chain}
    timings = {f"{what}: {n}": t for what, found in races.items() for n, t in found.timings.items()}
    checks = [found for goal in GOALS if (found := goal.check(policy.timings)) is not None]
    checks += [found for found in [CHAIN.check(chain.timings)] if found is not None]
    seconds = {n: statistics.median(scans.compile_seconds(n) for _ in range(3)) for n in LENGTHS}
    return {
        "title": "Loops over time",
        "timings": timings,
        "baseline": "policy: JAX scan of 100" if "policy: JAX scan of 100" in timings else "",
        "checks": checks + walks(walk.timings) + compilation(seconds),
        "notes": [
            "Policy: one training step of W7, 1000 environments × 200 times. Walk: one walk of 50 steps of "
            f"{scans.WALKS}, value and gradient. Hidden Markov model: likelihood and gradient, "
            "16 states, 500 steps, 64 sequences. float32.",
            "Compilation: CPU seconds from `ppl.compile` to the first gradient of one walk, median of three processes "
            "with empty caches.",
            *problems, *more, *others,
        ],
        "details": {"compile_seconds": seconds},
    }  # fmt: skip


def walks(timings: dict[str, Timing]) -> list[Check]:
    """Seconds of a walk and thread."""
    return [
        check(f"a walk, {label} × threads", timings[f"{suite.OURS}, {label}"].median * threads, WALK)
        for label, threads in (("one thread", 1), ("two threads", 2))
    ]


def compilation(seconds: dict[int, float]) -> list[Check]:
    """CPU seconds at either length, and their ratio."""
    short, long = LENGTHS
    limits = [check(f"compilation, {n} steps, CPU seconds", seconds[n], COMPILE) for n in LENGTHS]
    return [*limits, check(f"compilation, {long} steps / {short}", seconds[long] / seconds[short], GROWTH, "×")]
