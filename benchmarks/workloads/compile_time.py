"""Compile time of the belief-network step: cold, and import to first gradient in a process that finds the cache."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import check

ROOT = Path(__file__).parents[2]
GRADIENT = """
import numpy as np
from benchmarks.workloads.sbn_step import compile_program
program = compile_program()
x = np.zeros((100, 784), np.float32)
program.value_and_grad(program.init(0, x), x)
"""


def _seconds(code: str, cache: str) -> float:
    """Wall seconds of a Python process that runs `code` with its caches in `cache`."""
    environment = {**os.environ, "PPL_CACHE_DIR": f"{cache}/ppl", "NUMBA_CACHE_DIR": f"{cache}/numba"}
    Path(cache, "ppl").mkdir(mode=0o700, exist_ok=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
    return time.perf_counter() - start


def run(peers: list[str]) -> dict[str, Any]:
    """One cold process with empty caches, then warm ones in turns with `import numba`."""
    with tempfile.TemporaryDirectory() as cache:
        cold = _seconds(GRADIENT, cache)
        pairs = [(_seconds(GRADIENT, cache), _seconds("import numba", cache)) for _ in range(5)]
    warm, numba = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    ratio = statistics.median(a / b for a, b in pairs)
    return {
        "title": "Compile time of the belief-network step (whole processes)",
        "checks": [
            check("cold: start to first gradient, empty caches", cold, 20.0),
            check("second process: start to first gradient / import numba", ratio, 8.0, "×"),
        ],
        "details": {"cold_seconds": cold, "warm_seconds": warm, "import_numba_seconds": numba},
        "notes": [f"Second process: {warm:.2f} s to the first gradient; `import numba` alone takes {numba:.2f} s."],
    }
