"""``python -m benchmarks [NAME...] [--peers jax,torch]``: run workloads, print tables, write results."""

from __future__ import annotations

import argparse
import datetime
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

import benchmarks.workloads
from benchmarks import machine, regret, suite, timing
from benchmarks.peer import Peers

PEERS = ("torch", "jax")
CHAINS = ("numpyro", "pymc")
"""Peers of the workload `mcmc`."""


def names() -> list[str]:
    """Return the workloads' names."""
    found = pkgutil.iter_modules(benchmarks.workloads.__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))


def measure(name: str, peers: Peers) -> dict[str, Any]:
    """Run one workload; return its record with the date and the machine."""
    module = importlib.import_module(f"benchmarks.workloads.{name}")
    record = {"name": name, **module.run(peers)}
    return {**record, "date": datetime.date.today().isoformat(), "machine": machine.info()}


def _split(words: Sequence[str]) -> list[str]:
    """Return what is between commas and spaces."""
    return [part for word in words for part in word.split(",") if part]


def _chosen(words: Sequence[str]) -> list[str]:
    """Return the workloads meant by names, codes and `suite`; all without any."""
    found: list[str] = []
    for word in _split(words) or names():
        found += suite.CODES.values() if word == "suite" else [suite.CODES.get(word, word)]
    return list(dict.fromkeys(found))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line; end with a message where a name is unknown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks.")
    parser.add_argument("names", metavar="NAME", nargs="*",
                        help="workloads to run, by name or code (W3), or `suite` (default: all)")  # fmt: skip
    parser.add_argument(
        "--peers", nargs="*", default=[], help="frameworks to compare with: jax, torch; numpyro, pymc for chains"
    )
    parser.add_argument(
        "--peer-python", default=sys.executable, help="the interpreter that has them (default: this one)"
    )
    parser.add_argument("--list", action="store_true", help="list the workloads and stop")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a promise is missed")
    parser.add_argument("--out", type=Path, default=timing.RESULTS, help="folder for the results")
    options = parser.parse_args(argv)
    options.names, options.peers = _chosen(options.names), _split(options.peers)
    if unknown := sorted(set(options.names) - set(names())):
        parser.error(f"no workload {', '.join(unknown)}; there are: {', '.join(names()) or 'none yet'}")
    if unknown := sorted(set(options.peers) - {*PEERS, *CHAINS}):
        parser.error(f"no peer {', '.join(unknown)}; there are: {', '.join(PEERS + CHAINS)}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line names; return the exit status. `regret` has a command line of its own."""
    given = sys.argv[1:] if argv is None else list(argv)
    if given[:1] == ["regret"]:
        return regret.main(given[1:])
    options = _options(argv)
    if options.list:
        print("\n".join(names()))
        return 0
    console = Console()
    peers = Peers(options.peers, options.peer_python).installed()
    records = []
    for name in options.names:
        record = measure(name, peers)
        console.print(Markdown(timing.markdown(record)))
        timing.write(record, options.out)
        records.append(record)
    if any("code" in record.get("details", {}) for record in records):
        suite.overview(options.out)
    return int(options.check and bool(timing.missed(records)))


if __name__ == "__main__":
    sys.exit(main())
