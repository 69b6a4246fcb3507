"""``python -m benchmarks [NAME...] [--peers torch jax]``: run workloads, print tables, write results."""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

import benchmarks.workloads
from benchmarks import machine, timing

PEERS = ("torch", "jax")


def names() -> list[str]:
    """Return the workloads' names."""
    found = pkgutil.iter_modules(benchmarks.workloads.__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))


def available(peers: Sequence[str]) -> list[str]:
    """Return the peers that are installed, and say which are not."""
    found = [peer for peer in peers if importlib.util.find_spec(peer) is not None]
    for peer in sorted(set(peers) - set(found)):
        print(f"benchmarks: {peer} is not installed and is left out", file=sys.stderr)
    return found


def measure(name: str, peers: list[str]) -> dict[str, Any]:
    """Run one workload; return its record with the date and the machine."""
    module = importlib.import_module(f"benchmarks.workloads.{name}")
    record = {"name": name, **module.run(peers)}
    return {**record, "date": datetime.date.today().isoformat(), "machine": machine.info()}


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line; end with a message where a name is unknown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="workloads to run (default: all)")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[], help="frameworks to compare with")
    parser.add_argument("--list", action="store_true", help="list the workloads and stop")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a promise is missed")
    parser.add_argument("--out", type=Path, default=timing.RESULTS, help="folder for the results")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are: {', '.join(names()) or 'none yet'}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line names; return the exit status."""
    options = _options(argv)
    if options.list:
        print("\n".join(names()))
        return 0
    console = Console()
    peers = available(options.peers)
    records = []
    for name in options.names or names():
        record = measure(name, peers)
        console.print(Markdown(timing.markdown(record)))
        timing.write(record, options.out)
        records.append(record)
    return int(options.check and bool(timing.missed(records)))


if __name__ == "__main__":
    sys.exit(main())
