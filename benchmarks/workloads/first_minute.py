"""The first minute: import to first training step of twelve models, new, edited and with empty caches, against JAX.

Every figure is of a process of its own. What is *new* finds the machine code of kernels, but none of its program;
*edited* likewise, after a change that a user might make; *cold* finds nothing, byte code aside; a *second* process
finds all. JAX keeps nothing.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.first_steps import MODELS
from benchmarks.peer import PeerError, Peers, environment
from benchmarks.timing import duration

ROOT = Path(__file__).parents[2]
ROUNDS = 1
KINDS = ("JAX", "new", "edited", "cold", "second")
OURS = "import ppl\nfrom benchmarks.first_steps import first_step\nfirst_step({name!r}, {edited})"
JAX = "from benchmarks.peers.first_steps_jax import first_step\nfirst_step({name!r})"
TIMED = """import time
start, cpu = time.perf_counter(), time.process_time()
{code}
print(time.perf_counter() - start, time.process_time() - cpu)"""


class Spent(NamedTuple):
    """Seconds of the clock and of the processor."""

    wall: float
    cpu: float


def spent(code: str, python: str, cache: Path) -> Spent:
    """What `code` takes in a process of its own, once Python runs, with its caches in `cache`."""
    own = {"PPL_CACHE_DIR": f"{cache}/ppl", "NUMBA_CACHE_DIR": f"{cache}/numba", "PYTHONPYCACHEPREFIX": f"{cache}/pyc"}
    env = {k: v for k, v in environment().items() if k != "PYTHONDONTWRITEBYTECODE"} | own
    (cache / "ppl").mkdir(mode=0o700, exist_ok=True)
    done = subprocess.run([python, "-c", TIMED.format(code=code)], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise PeerError(done.stderr.strip().splitlines()[-1])
    wall, cpu = done.stdout.split()[-2:]
    return Spent(float(wall), float(cpu))


def forget_programs(cache: Path) -> None:
    """Remove programs and their machine code; that of kernels stays."""
    for path in cache.rglob("ppl_program_*"):
        if path.is_file():
            path.unlink()


def least(code: str, python: str, cache: Path, before: Any = None) -> Spent:
    """The least of some rounds, which is the least disturbed."""
    found = []
    for _ in range(ROUNDS):
        if before is not None:
            before(cache)
        found.append(spent(code, python, cache))
    return min(found)


def measured(name: str, peers: Peers) -> dict[str, Spent]:
    """The figures of one model, JAX's between ours."""
    new, edited = (OURS.format(name=name, edited=e) for e in (False, True))
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        spent("import ppl, numba", sys.executable, cache)  # byte code
        found = {"cold": spent(new, sys.executable, cache), "second": spent(new, sys.executable, cache)}
        found["edited"] = least(edited, sys.executable, cache, forget_programs)
        if "jax" in peers:
            spent(JAX.format(name=name), peers.python, cache)  # byte code
            found["JAX"] = least(JAX.format(name=name), peers.python, cache)
        found["new"] = least(new, sys.executable, cache, forget_programs)
    return found


def table(found: dict[str, dict[str, Spent]], clock: str) -> dict[str, Any]:
    """Seconds by the wall's clock or the processor's, with their ratios to JAX's."""

    def cell(name: str, what: str) -> str:
        spent = found[name]
        if what not in spent:
            return "–"
        seconds = getattr(spent[what], clock)
        over = what != "JAX" and "JAX" in spent
        return duration(seconds) + (f" ({seconds / getattr(spent['JAX'], clock):.1f} ×)" if over else "")

    head = {"wall": "seconds", "cpu": "processor seconds"}[clock]
    columns = [head, *KINDS]
    return {"columns": columns, "rows": [[name, *(cell(name, what) for what in KINDS)] for name in found]}


def ratio(found: dict[str, dict[str, Spent]], what: str, clock: str) -> float:
    """The geometric mean of ratios to JAX."""
    return statistics.geometric_mean(getattr(f[what], clock) / getattr(f["JAX"], clock) for f in found.values())


def record(found: dict[str, dict[str, Spent]], load: float) -> dict[str, Any]:
    """The workload's record of what was measured at a load of the machine."""
    notes = [
        f"The machine's load was {load:.1f} at the start, so that seconds of the clock are those of a busy machine.",
        f"*new*, *edited* and JAX are the least of {ROUNDS} processes, the others of one.",
    ]
    if all("JAX" in f for f in found.values()):
        notes.append("JAX's `belief_network` and `autoencoder` also draw the suite's 10,000 rows, which takes 0.04 s.")
        for what in ("new", "edited", "cold"):
            wall, cpu = (ratio(found, what, clock) for clock in ("wall", "cpu"))
            notes.append(f"Geometric mean of {what} over JAX: {wall:.2f}; of processor time: {cpu:.2f}.")
    notes.append(
        "ppl is imported before NumPy. The other way round a thread of NumPy's OpenBLAS keeps a second core busy for"
        " 0.1 s more, which the clock does not see."
    )
    second = found["belief_network"]["second"].cpu
    notes.append(f"W3, second process: {second:.2f} s of processor time from import to first step.")
    notes += [f"`{name}`: {str(build.__doc__).strip()}" for name, build in MODELS.items()]
    return {
        "title": "The first minute: import to first training step",
        "tables": [table(found, "wall"), table(found, "cpu")],
        "notes": notes,
        "details": {"load": load, **{name: {k: v._asdict() for k, v in f.items()} for name, f in found.items()}},
    }


def run(peers: Peers) -> dict[str, Any]:
    """All models, one after the other."""
    beside = next(ROOT.glob("kernels/**/*.nbc"), None)
    if beside is not None:
        raise PeerError(f"{beside}: cold processes would find machine code beside the sources; remove it first")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return record({name: measured(name, peers) for name in MODELS}, load)
