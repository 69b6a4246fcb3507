"""`python -m tests.oracle`: random and hand-written graphs against the oracle, and a summary of all of them.

python -m tests.oracle --seeds 0:1000 --compiled 0:100 --write benchmarks/results/random_graphs.md
"""

from __future__ import annotations

import argparse
import os
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.oracle.graphs import WRITTEN
from tests.oracle.graphs.generate import random_graph
from tests.oracle.graphs.loops import random_loop
from tests.oracle.run import Record, run

OUTCOMES = ("agrees", "weak", "refused", "wrong")


def _range(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last))


def summary(records: list[Record], crashed: list[str], cpu: float, told: str) -> str:
    """The counts of a run as Markdown."""
    states = Counter(r.state for r in records)
    outcomes: Counter[tuple[str, str]] = sum((r.outcomes for r in records), Counter())
    pairs: Counter[str] = sum((r.pairs for r in records), Counter())
    lines = ["# Random graphs against the oracle", "", told, ""]
    lines += [f"{len(records)} graphs in {cpu:.0f} s of CPU: " + ", ".join(f"{n} {k}" for k, n in states.most_common())]
    lines += ["", f"Wrong: {sum(len(r.wrong) for r in records)} plans. Crashed: {len(crashed)}.", ""]
    lines += [f"Nodes by estimator that admits them: {sum(pairs.values())} pairs.", ""]
    lines += ["| plan | pairs | " + " | ".join(OUTCOMES) + " |", "|---" * (2 + len(OUTCOMES)) + "|"]
    for name in sorted({k for k, _ in outcomes}):
        counts = " | ".join(str(outcomes[name, o]) for o in OUTCOMES)
        lines.append(f"| {name} | {pairs[name]} | {counts} |")
    wrong = [f"- {r.name}: {len(r.wrong)}" for r in records if r.wrong]
    return "\n".join([*lines, *(["", "Wrong graphs:", "", *wrong] if wrong else [])]) + "\n"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=_range, default=range(0), help="random graphs, first:last")
    parser.add_argument("--loops", type=_range, default=range(0), help="random graphs with loops over time, first:last")
    parser.add_argument("--compiled", type=_range, default=range(0), help="of those, compiled too")
    parser.add_argument("--written", default=None, help="hand-written graphs whose names contain this ('' for all)")
    parser.add_argument("--few", action="store_true", help="the automatic plan and one at random, not every plan")
    parser.add_argument("--most", type=int, default=20_000, help="samples of a plan, over its rows")
    parser.add_argument("--write", type=Path, default=None, help="where the summary goes")
    options = parser.parse_args()
    os.environ.setdefault("PPL_VERIFY", "1")
    texts = {f"seed {i}": (random_graph(i), i) for i in options.seeds}
    texts |= {f"loop {i}": (random_loop(i), i) for i in options.loops}
    if options.written is not None:
        texts |= {k: (v, 0) for k, v in WRITTEN.items() if options.written in k}
    records, crashed, began = [], [], time.process_time()
    for name, (text, seed) in texts.items():
        compiled = 2 if name.startswith(("seed", "loop")) and seed in options.compiled else 0
        try:
            record = run(name, text, not options.few, seed, options.most, compiled)
        except Exception:
            crashed.append(name)
            print(f"# {name} crashed\n{text}\n{traceback.format_exc()}", flush=True)
            continue
        records.append(record)
        if record.wrong:
            print(record.report(), flush=True)
    plans = "the automatic plan and one at random" if options.few else "every plan"
    told = f"Seeds {options.seeds.start} to {options.seeds.stop - 1}, {plans} interpreted; "
    told += f"{len(options.loops)} graphs with loops over time; " if options.loops else ""
    told += f"{len(options.compiled)} graphs compiled; float64."
    if options.written is not None:
        told += (
            f" Hand-written graphs that contain {options.written!r}."
            if options.written
            else " All hand-written graphs."
        )
    text = summary(records, crashed, time.process_time() - began, told)
    print(text)
    if options.write:
        options.write.write_text(text)


if __name__ == "__main__":
    main()
