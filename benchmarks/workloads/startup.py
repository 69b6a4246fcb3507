"""Start-up: cold compiles, and in a second process `import ppl` and the first gradient in multiples of `import numba`.

Every figure is of a process of its own. A second process finds machine code and byte code in caches.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import check

ROOT = Path(__file__).parents[2]
ROUNDS = 7
W1 = """
import numpy as np, ppl
@ppl.model
def jump():
    mu = ppl.param("mu", 0.3)
    z = ppl.sample("z", ppl.Normal(mu, 1.0))
    ppl.cost("hit", np.where(z > 0.5, 1.0, 0.0))
program = ppl.compile(jump)
program.value_and_grad(program.init(0))
"""
W3 = """
import numpy as np
from benchmarks.workloads.sbn_step import compile_program
x = np.zeros((100, 784), np.float32)
program = compile_program()
program.value_and_grad(program.init(0, x), x)
"""
LIMITS = {"import ppl": 1.5, "first gradient of W1": 3.5, "first gradient of W3": 5.0}


def seconds(code: str, cache: str) -> float:
    """Seconds that `code` takes in a process of its own, once Python runs, with its caches in `cache`."""
    own = {"PPL_CACHE_DIR": f"{cache}/ppl", "NUMBA_CACHE_DIR": f"{cache}/numba", "PYTHONPYCACHEPREFIX": f"{cache}/pyc"}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | own
    Path(cache, "ppl").mkdir(mode=0o700, exist_ok=True)
    timed = f"import time\nstart = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    command = [sys.executable, "-c", timed]
    done = subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def run(peers: list[str]) -> dict[str, Any]:
    """Processes without machine code in their caches, then warm ones in turns with `import numba`."""
    codes = dict(zip(LIMITS, ("import ppl", W1, W3), strict=True))
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as cache:
        for folder in (first, cache):
            seconds("import ppl, numba", folder)  # byte code
        cold = {"W1": seconds(W1, first), "W3": seconds(W3, cache)}
        seconds(W1, cache)
        rounds = [{n: seconds(c, cache) for n, c in {"numba": "import numba", **codes}.items()} for _ in range(ROUNDS)]
    ratios = {name: statistics.median(r[name] / r["numba"] for r in rounds) for name in codes}
    medians = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    return {
        "title": "Start-up (processes of their own)",
        "checks": [
            check("cold: import to first gradient of W1", cold["W1"], 3.0),
            check("cold: import to first gradient of W3", cold["W3"], 10.0),
            *(
                check(f"second process: {name} / import numba", ratios[name], limit, "×")
                for name, limit in LIMITS.items()
            ),
        ],
        "details": {**{f"cold_{name}": t for name, t in cold.items()}, **medians},
        "notes": [f"`import numba` alone takes {medians['numba']:.2f} s."],
    }
