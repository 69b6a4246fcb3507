"""``python -m benchmarks regret [GRAPH...] [--minutes M] [--processes N]``: what choices cost beside the best one.

For every graph: variance of the gradient × seconds of a training step in the compiled loop of `ppl.fit`, of the
automatic plan (with one particle, and with `particles="auto"`), of what `ppl.tune` takes, and of every unbiased
candidate, with particles. Regret is the ratio to the least of them. Graphs that `regret.json` has are not searched
again unless they are named, so that the table grows over several runs, or with --all. With --torch, PyTorch's programs
of the graphs are measured, and nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numba

from benchmarks import timing
from benchmarks.regret import work
from benchmarks.regret.graphs import GRAPHS
from benchmarks.regret.table import summary, write

STORE = timing.RESULTS / "regret.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is missing, or named, until the time is over; write the table. 1 where a graph failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks regret", description=__doc__)
    parser.add_argument("graphs", metavar="GRAPH", nargs="*", help=f"of {', '.join(GRAPHS)} (default: those missing)")
    parser.add_argument("--all", action="store_true", help="all graphs again, those first that took longest")
    parser.add_argument("--minutes", type=float, default=240.0, help="no graph is begun after so many")
    parser.add_argument(
        "--choices", action="store_true", help="take the choices of all graphs again, not the candidates"
    )
    parser.add_argument("--tune", action="store_true", help="with --choices: those of ppl.tune, too")
    parser.add_argument("--torch", action="store_true", help="PyTorch on graphs that have records (needs torch)")
    parser.add_argument("--processes", type=int, default=1, help="graphs measured at once, each on a core of its own")
    parser.add_argument("--out", type=Path, help="write the record of one GRAPH to this file, and nothing else")
    given = parser.parse_args(argv)
    options = work.Options.of(given)
    numba.set_num_threads(1)
    if given.out:
        return _child(given.graphs[0], given.out, options)
    began = time.monotonic()
    names, until = given.graphs or (_longest_first() if given.all else _default(options)), began + 60 * given.minutes
    if given.processes > 1:
        command = work.child_command(options)
        failed = work.in_children(names, given.processes, command, partial(_keep, options), until)
    else:
        failed = []
        for name in names:
            if time.monotonic() > until:
                break
            try:
                _keep(options, {name: work.measured(name, work.read(STORE).get(name), options)})
            except work.WorkError as error:
                print(f"{name}: {error}", flush=True)
                failed.append(name)
    if given.all and not (given.graphs or given.choices or given.torch or failed) and time.monotonic() < until:
        work.keep(STORE, {}, _whole_run(given.processes, began))
    records = work.read(STORE)
    write({n: records[n] for n in GRAPHS if n in records}, work.last_run(STORE))
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


def _default(options: work.Options) -> list[str]:
    """The graphs that are meant where none is named."""
    records = work.read(STORE)
    if options.torch:
        from benchmarks.regret.peers import PEERS  # needs torch

        return [n for n in GRAPHS if n in records and n in PEERS]
    return [n for n in GRAPHS if options.choices or n not in records]


def _longest_first() -> list[str]:
    """All graphs: those that have no record, then by the seconds that they took."""
    records = work.read(STORE)
    return sorted(GRAPHS, key=lambda n: -records.get(n, {}).get("seconds", float("inf")))


def _whole_run(processes: int, began: float) -> dict[str, Any]:
    minutes = (time.monotonic() - began) / 60
    return {"graphs": len(GRAPHS), "processes": processes, "minutes": minutes, "date": str(datetime.date.today())}


def _child(name: str, out: Path, options: work.Options) -> int:
    """Measure one graph for the process that asked."""
    try:
        record = work.measured(name, work.read(STORE).get(name), options)
    except work.WorkError as error:
        print(f"{name}: {error}", flush=True)
        return 1
    out.write_text(json.dumps({name: record}, default=float))
    return 0


def _keep(options: work.Options, found: Mapping[str, Any]) -> None:
    """Add records to the file, and say what they have."""
    work.keep(STORE, found)
    for name, record in found.items():
        print(f"{name}: {summary(record, options.torch)}", flush=True)
