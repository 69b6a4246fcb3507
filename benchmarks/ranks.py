"""``mpiexec -n R python -m benchmarks.ranks W4 [--comm] ``: seconds of a step on R ranks, minibatches cut equally.

Rank 0 prints them as JSON: the difference between a long and a short fit, over the steps between, for every sample.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from typing import Any

import numpy as np
from mpi4py import MPI

import ppl
from benchmarks import suite
from benchmarks.data import bits

SHORT = 10


def program_of(code: str) -> Any:
    """The program of a workload of the suite on rows of bits."""
    module = importlib.import_module(f"benchmarks.workloads.{suite.CODES[code]}")
    if hasattr(module, "compile_program"):
        return module.compile_program()
    sizes = {"latent": module.LATENT, "hidden": module.HIDDEN}
    objective = ppl.elbo(module.vae.generative.bind(**sizes), module.vae.guide.bind(**sizes))
    return ppl.compile(objective, data=ppl.spec((None, module.PIXELS), np.float32))


def measure(code: str, with_comm: bool, steps: int, samples: int) -> dict[str, list[float]]:
    """Seconds of a step of each sample: "plain", "comm", or of one rank both, in turns.

    Every second turn goes backwards, so that neither always follows the other.
    """
    world, program, data = MPI.COMM_WORLD, program_of(code), bits()
    options: dict[str, Any] = {"batch_size": 100, "optimizer": ppl.optim.Adam(1e-3), "seed": 0, "progress": False}
    ways = {"plain": program, "comm": program.on(world, replicated=True)}
    taken = ["plain"] * (world.size == 1) + ["comm"] * with_comm

    def seconds(way: str, count: int) -> float:
        began = time.perf_counter()
        ppl.fit(ways[way], data, steps=count, **options)
        return time.perf_counter() - began

    found: dict[str, list[float]] = {way: [] for way in taken}
    for way in taken:
        seconds(way, SHORT)
    for turn in range(samples):
        for way in taken[:: -1 if turn % 2 else 1]:
            short = seconds(way, SHORT)
            found[way].append((seconds(way, SHORT + steps) - short) / steps)
    return found


def main() -> None:
    """Measure, and print on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("code")
    parser.add_argument("--comm", action="store_true")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--samples", type=int, default=7)
    options = parser.parse_args()
    found = measure(options.code, options.comm, options.steps, options.samples)
    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
