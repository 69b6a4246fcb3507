"""``python -m benchmarks regret [GRAPH...] [--minutes M]``: what choices cost beside the best one.

For every graph: variance of the gradient × seconds of a training step in the compiled loop of `ppl.fit`, of the
automatic plan (with one particle, and with `particles="auto"`), of what `ppl.tune` takes, and of every unbiased
candidate, with particles. Regret is the ratio to the least of them. Graphs that `regret.json` has are not searched
again unless they are named, so that the table grows over several runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import numba

from benchmarks import machine, timing
from benchmarks.regret.choices import add_choices
from benchmarks.regret.graphs import GRAPHS
from benchmarks.regret.search import Search
from benchmarks.regret.table import summary, write

STORE = timing.RESULTS / "regret.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is missing, or named, until the time is over; write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks regret", description=__doc__)
    parser.add_argument("graphs", metavar="GRAPH", nargs="*", help=f"of {', '.join(GRAPHS)} (default: those missing)")
    parser.add_argument("--minutes", type=float, default=240.0, help="no graph is begun after so many")
    parser.add_argument(
        "--choices", action="store_true", help="take the choices of all graphs again, not the candidates"
    )
    parser.add_argument("--tune", action="store_true", help="with --choices: those of ppl.tune, too")
    options = parser.parse_args(argv)
    numba.set_num_threads(1)
    records = json.loads(STORE.read_text())["graphs"] if STORE.exists() else {}
    until = time.monotonic() + 60 * options.minutes
    listed = options.graphs or [n for n in GRAPHS if options.choices or n not in records]
    for name in listed:
        if time.monotonic() > until:
            break
        began = time.monotonic()
        anew = not (options.choices and name in records)
        if anew:
            records[name] = Search(name).run()
        add_choices(name, records[name], options.tune or anew)
        took = time.monotonic() - began
        if anew:
            records[name]["seconds"] = took
        print(f"{name}: {summary(records[name])} ({took:.0f} s)", flush=True)
        STORE.write_text(json.dumps({"graphs": records, "machine": machine.info()}, indent=1, default=float))
    write({n: records[n] for n in GRAPHS if n in records})
    return 0
