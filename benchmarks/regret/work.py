"""Measuring one graph, here or in a process of its own, and the file of records."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.regret.choices import add_choices
from benchmarks.regret.search import Search

Record = dict[str, Any]

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}

WAIT = 0.1
"""Seconds between looks at the children."""


class WorkError(RuntimeError):
    """A graph cannot be measured as was asked."""


class Options(NamedTuple):
    """What is measured of a graph: candidates and choices; or only choices, or only PyTorch."""

    choices: bool = False
    tune: bool = False
    torch: bool = False

    @classmethod
    def of(cls, given: argparse.Namespace) -> Options:
        """Those of a command line."""
        return cls(given.choices, given.tune, given.torch)

    @property
    def words(self) -> list[str]:
        """As a command line has them."""
        return [f"--{name}" for name, value in self._asdict().items() if value]


def measured(name: str, record: Record | None, options: Options) -> Record:
    """A graph's record with what was measured.

    Raises
    ------
    WorkError : PyTorch is asked for, and the graph has no record or no program in PyTorch.
    """
    if options.torch:
        if record is None:
            raise WorkError("no record yet: measure it without --torch first")
        from benchmarks.regret.beside import add_torch  # needs torch
        from benchmarks.regret.peers import PEERS

        if name not in PEERS:
            raise WorkError("no program in PyTorch")
        add_torch(name, record)
        return record
    began = time.monotonic()
    if record is not None and options.choices:
        add_choices(name, record, options.tune)
        return record
    found = Search(name).run()
    add_choices(name, found, tune=True)
    return {**found, "seconds": time.monotonic() - began}


def read(store: Path) -> dict[str, Record]:
    """All records."""
    return dict(_contents(store)["graphs"])


def last_run(store: Path) -> dict[str, Any] | None:
    """The last run over all graphs in one go: `graphs`, `processes`, `minutes` and `date`; None where there is none."""
    return _contents(store).get("run")


def _contents(store: Path) -> dict[str, Any]:
    return dict(json.loads(store.read_text())) if store.exists() else {"graphs": {}}


def keep(store: Path, found: Mapping[str, Record], run: Mapping[str, Any] | None = None) -> dict[str, Record]:
    """Add records, and what there is to say of a whole run, to the file, which is replaced as a whole; return all."""
    had = _contents(store)
    records = {**had["graphs"], **found}
    text = {"graphs": records, "machine": machine.info(), "run": run or had.get("run")}
    handle, path = tempfile.mkstemp(dir=store.parent, prefix=store.name)
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(text, indent=1, default=float))
    os.chmod(path, 0o644)
    os.replace(path, store)
    return records


def in_children(
    names: Iterable[str],
    processes: int,
    command: Callable[[str, Path], list[str]],
    keep: Callable[[Mapping[str, Record]], None],
    until: float,
) -> list[str]:
    """Measure graphs in children, so many at once, each on a core of its own; return the graphs that failed.

    Parameters
    ----------
    command : of a graph and the file into which the child writes {graph: record}.
    keep : takes each child's records when it has ended.
    until : the monotonic clock's time after which no graph is begun.
    """
    waiting, failed = list(names), []
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    running: dict[int, tuple[str, Path, subprocess.Popen[bytes]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            while running or (waiting and time.monotonic() < until):
                for place in range(processes):
                    if place not in running and waiting and time.monotonic() < until:
                        name = waiting.pop(0)
                        out = Path(folder) / f"{name}.json"
                        running[place] = name, out, _child(command(name, out), cores[place : place + 1])
                time.sleep(WAIT)
                for place, (name, out, child) in list(running.items()):
                    if child.poll() is None:
                        continue
                    del running[place]
                    if child.returncode or not out.exists():
                        failed.append(name)
                    else:
                        keep(json.loads(out.read_text()))
        finally:
            for _, _, child in running.values():
                child.kill()
                child.wait()
    return failed


def _child(command: list[str], cores: list[int]) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(command, env={**os.environ, **ONE_THREAD})
    if cores:
        os.sched_setaffinity(child.pid, cores)
    return child


def child_command(options: Options) -> Callable[[str, Path], list[str]]:
    """The command of a child, by graph and file."""
    return lambda name, out: [
        sys.executable, "-m", "benchmarks", "regret", name, "--out", str(out), *options.words,
    ]  # fmt: skip
