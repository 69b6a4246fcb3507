"""Loops over time that are timed: the random walk by number of threads, and what its compilation costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numba
import numpy as np

import ppl
from benchmarks.forms import Form
from ppl.estimators import ScoreFunction
from ppl.models.hmm import hidden
from ppl.models.walk import walk

ROOT = Path(__file__).parents[1]
WALKS = 10_000
STATES, LENGTH, SEQUENCES = 16, 500, 64
COMPILE = """
import sys, time
from benchmarks.scans import program
start = time.process_time()
found = program(walks=1, steps=int(sys.argv[1]))
found.value_and_grad(found.init(0))
print(time.process_time() - start)
"""


def program(walks: int = WALKS, steps: int = 50) -> Any:
    """The mean of X² and its derivative by the score function."""
    return ppl.compile(walk.bind(walks=walks, steps=steps), estimators=ScoreFunction())


def forms() -> dict[str, Form]:
    """`value_and_grad` of all walks, on one thread and on two; a step is one walk."""
    found = program()
    state, seeds = found.init(0), iter(range(1 << 62))

    def call(threads: int) -> None:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        found.value_and_grad(state, seed=next(seeds))

    return {
        "one thread": Form(lambda: call(1), WALKS),
        "two threads": Form(lambda: call(2), WALKS),
    }


def chains() -> dict[str, Form]:
    """Likelihood and gradient of sequences of a hidden Markov model, on one thread and on two."""
    y = np.random.default_rng(0).normal(size=(SEQUENCES, LENGTH)).astype(np.float32)
    found = ppl.compile(ppl.likelihood(hidden.bind(states=STATES), marginalize=["z"]), data=y)
    state = found.init(0, y)

    def call(threads: int) -> None:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        found.value_and_grad(state, y)

    return {"one thread": Form(lambda: call(1)), "two threads": Form(lambda: call(2))}


def compile_seconds(steps: int) -> float:
    """CPU seconds to compile a walk of so many steps and take its first gradient, with empty caches."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PPL_CACHE_DIR": folder, "NUMBA_CACHE_DIR": folder, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", COMPILE, str(steps)]
        done = subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    return float(done.stdout.split()[-1])
