"""Uniforms and normals per second and thread, through `program.sample` of a wide node."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import ppl
from benchmarks.timing import check, interleave
from ppl import Normal, Uniform

UNITS = 1 << 20


@ppl.model
def uniform():
    """A wide uniform node."""
    ppl.sample("u", Uniform(np.zeros(UNITS), 1.0))
    ppl.cost("none", 0.0)


@ppl.model
def normal():
    """A wide Normal node."""
    ppl.sample("z", Normal(np.zeros(UNITS), 1.0))
    ppl.cost("none", 0.0)


def run(peers: list[str]) -> dict[str, Any]:
    """Time one draw of each on one thread, next to NumPy's generator."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        programs = {"uniforms": ppl.compile(uniform), "normals": ppl.compile(normal)}
        states = {name: p.init(seed=0) for name, p in programs.items()}
        rng = np.random.default_rng(0)
        timings = interleave(
            {
                "uniforms": lambda: programs["uniforms"].sample(states["uniforms"]),
                "normals": lambda: programs["normals"].sample(states["normals"]),
                "NumPy uniforms": lambda: rng.random(UNITS, dtype=np.float32),
                "NumPy normals": lambda: rng.standard_normal(UNITS, dtype=np.float32),
            }
        )
    finally:
        numba.set_num_threads(threads)
    return {
        "title": f"Samples of a node of {UNITS} units, float32, one thread",
        "timings": timings,
        "checks": [
            check("uniforms", UNITS / timings["uniforms"].median / 1e9, 1.5, "G/s", at_most=False),
            check("normals", UNITS / timings["normals"].median / 1e9, 0.5, "G/s", at_most=False),
        ],
    }
