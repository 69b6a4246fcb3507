"""A peer library in a process of its own, stopped while it is not its turn.

Threads of one library that spin while they wait would take a core from the other, hence the stop (SIGSTOP, where the
system has it).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
THREADS = 2


class PeerError(RuntimeError):
    """A peer's process failed; the message is its traceback."""


class Peers(list[str]):
    """Names of the frameworks to compare with, and the interpreter that has them."""

    def __init__(self, names: Sequence[str] = (), python: str = sys.executable):
        super().__init__(names)
        self.python = python

    def installed(self) -> Peers:
        """Those that the interpreter finds; says which are left out."""
        code = "import importlib.util, sys; print(*(n for n in sys.argv[1:] if importlib.util.find_spec(n)))"
        found = subprocess.run([self.python, "-c", code, *self], check=True, capture_output=True, text=True)
        names = found.stdout.split()
        for name in sorted(set(self) - set(names)):
            print(f"benchmarks: {name} is not installed and is left out", file=sys.stderr)
        return Peers([name for name in self if name in names], self.python)


class Peer:
    """The process of one file of ``benchmarks/peers``, by its module's name.

    Raises
    ------
    PeerError
        The module cannot be imported, a form fails, or the process ends.
    """

    def __init__(self, module: str, python: str = sys.executable):
        self.module = module
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.serve", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(),
        )  # fmt: skip
        try:
            self.labels: list[str] = self._read()["labels"]
        except PeerError:
            self.close()
            raise
        self._signal("SIGSTOP")

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def calls_for(self, label: str, seconds: float) -> int:
        """How many calls of a form last about `seconds`."""
        return int(self._ask({"label": label, "seconds": seconds})["calls"])

    def seconds_per_step(self, label: str, calls: int) -> float:
        """Mean seconds of a step of a form over `calls` calls, after one that is not timed."""
        return float(self._ask({"label": label, "calls": calls})["seconds"])

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self._signal("SIGCONT")
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self._signal("SIGCONT")
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return self._read()
        finally:
            self._signal("SIGSTOP")

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        reply = json.loads(line) if line else {"error": f"its process ended, status {self.process.wait()}"}
        if "error" in reply:
            raise PeerError(f"{self.module}: {reply['error']}")
        return dict(reply)

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and self.process.poll() is None:
            self.process.send_signal(getattr(signal, name))


def environment() -> dict[str, str]:
    """The environment of a peer: two threads in whatever it uses."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **{name: str(THREADS) for name in names}, "JAX_PLATFORMS": "cpu"}


def two_cores() -> set[int]:
    """Keep this process, and those it starts, on two cores, where the system can; return those it had."""
    if not hasattr(os, "sched_setaffinity"):
        return set()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:THREADS])
    return set(before)
