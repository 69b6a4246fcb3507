"""Regret from the records of graphs, as a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.regret import peer_table
from benchmarks.regret.measure import COPIES
from benchmarks.regret.picture import draw
from benchmarks.regret.products import best, products
from benchmarks.regret.search import LOOKING, SEARCHING

CHOICES = {"auto": "`auto`, one particle", "particles": '`auto`, `particles="auto"`', "tune": "`tune`"}
GOALS = {"particles": (1.3, 3.0), "tune": (1.1, 1.5)}
"""Regret on nine graphs of ten, and on every one, that is asked of a choice."""
GAIN = 1.05
"""Factor above which a kind of estimator counts as needed: without it the best of a graph is so much worse."""
ADDED = {
    "Combine": r"\bCombine\(",
    "Enumerate(units=)": "units=",
    "Enumerate(categories=)": "categories=",
    'ScoreFunction("optimal")': "'optimal'",
    'ScoreFunction("learned")': "'learned'",
    "Rebar": r"\bRebar\(",
    "Relax": r"\bRelax\(",
    "MeasureValued": r"\bMeasureValued\(",
    "BonnetPrice": r"\bBonnetPrice\(",
    "Analytic": r"\bAnalytic\(",
    "StickingTheLanding": r"\bStickingTheLanding\(",
    "DisARM": r"\bDisARM\(",
    "CategoricalDisARM": r"\bCategoricalDisARM\(",
    'ScoreFunction("leave_one_out")': r"^ScoreFunction\(baseline='leave_one_out'",
    'ScoreFunction("moving_average")': r"^ScoreFunction\(baseline='moving_average'",
}
"""Kinds of estimators, and patterns of their labels."""
NOT_SEEN = "unseen"
"""The group of graphs that were written when the rules were finished, and are only measured."""
Records = Mapping[str, Any]
HEAD = f"""# Regret of choices

Variance of the whole gradient × seconds of a training step, over the least of all unbiased candidates of at most
{COPIES} copies with 1, 2, 4, 8 or 16 particles. `auto` chooses estimators by the decision table for one particle;
with `particles="auto"` it weighs estimators and particles by interpreted gradients at the initial parameters and by
prices; `tune` measures (its budget as it is by default). Both try up to 64 copies, so their regret may be below 1,
and 0 where it finds what is exact. ± is one standard error from the variances. Graphs with "trained" are measured after
some hundred steps of Adam. Graphs with a star were looked at when the rules of `particles="auto"` and `tune` were made;
the others were not looked at for that.

Seconds are those of a step in the compiled loop of `ppl.fit` (Adam, all rows, one thread, float32), as processor
time of this process, in turns. A call of `program.step` from Python takes 10 to 20 µs more, which would make
particles look free.

Of the candidates of a graph only those are compiled that are near the best as interpreted, at most four at a time, and
none is looked at after {LOOKING:g} s of processor time or compiled after {SEARCHING:g} s; the column "candidates"
counts all. What a first look of some tens of gradients misses is missing here, too.

The column "PyTorch" has the best of PyTorch's estimators over the best of ours, the latter with any number of copies:
variance × seconds, or seconds alone where both are exact (inf: only ours is; 0: only PyTorch's). The programs
(`benchmarks/regret/peers`) are written as a user of PyTorch would write them, with `torch.distributions`, particles as
a batch, closed divergences and costs only where they depend on a draw: `rsample` (with RLOO for nodes that have none),
RLOO, DisARM, REBAR (weight 1, temperature ½), VIMCO, and sums over the values of one node ("sum"); networks also
without closed divergences ("log q drawn"). At the same parameters, on the same data, float32, one thread, with fused
Adam; eager, so that on small graphs nearly all of a step is the overhead of calls. Means of gradients and losses are
compared with ours in every run; "differs" where they do not agree. PyTorch's seconds may be those of an earlier day.

![Share of graphs by regret](regret.png)

"""


def regret(record: Mapping[str, Any], choice: str) -> tuple[float, float] | None:
    """A choice's variance × seconds over the least, and the standard error that the variances give it."""
    taken = record.get(choice)
    if taken is None:
        return None
    if not taken["plan"]:
        return 1.0, 0.0
    least = best(record)
    mine = [p for p in products(record, 64) if p.plan == taken["plan"] and p.particles == taken["particles"]]
    if not mine:
        return None
    found = min(mine, key=lambda p: p.order)
    if least.product == 0:
        return (found.seconds / least.seconds if found.product == 0 else float("inf")), 0.0
    error = 0.0 if found.plan == least.plan else float(np.hypot(found.relative_error, least.relative_error))
    return found.product / least.product, found.product / least.product * error


def summary(record: Mapping[str, Any], torch: bool = False) -> str:
    """One line; of PyTorch alone with `torch`."""
    if torch:
        return f"PyTorch {peer_table.cell(record)}, {record['torch']['seconds']:.0f} s"
    least = best(record)
    said = [f"{key} {found[0]:.3g} ± {found[1]:.1g}" for key in CHOICES if (found := regret(record, key))]
    return f"{', '.join(said)}; best {words(least.plan)}, {least.particles}"


def words(plan: Mapping[str, str]) -> str:
    """A plan in short: labels, and nodes where they differ."""
    short = {n: re.sub(r"baseline=|\(\)", "", e) for n, e in plan.items()}
    labels = list(dict.fromkeys(short.values()))
    return labels[0] if len(labels) == 1 else ", ".join(f"{n}: {e}" for n, e in short.items())


def _cell(record: Mapping[str, Any], choice: str) -> str:
    found = regret(record, choice)
    if found is None:
        return "-"
    taken = record[choice]
    plan = f"{words(taken['plan'])}, {taken['particles']}" if taken["plan"] else "no random choice"
    error = f" ± {found[1]:.1g}" if found[1] else ""
    return f"**{found[0]:.3g}**{error} ({plan})"


def page(records: Records, run: Mapping[str, Any] | None = None) -> str:
    """The results as Markdown; `run` says how long the last run over all graphs took."""
    lines = [
        "| graph | auto, one particle | auto with particles | tune | best | candidates | PyTorch |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in records.values():
        least = best(r)
        tried = len(r["candidates"]) + len(r["given_up"])
        cells = [
            r["title"] + ("" if r["group"] == NOT_SEEN else "*"),
            *(_cell(r, choice) for choice in CHOICES),
            f"{words(least.plan)}, {least.particles}",
            str(tried),
            peer_table.cell(r),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    head = [*_goals(records), *peer_table.lines(records), _seconds(records, run), ""]
    return HEAD + "\n".join([*head, *lines, "", *_needed(records), ""])


def _seconds(records: Records, run: Mapping[str, Any] | None) -> str:
    """How long it all took."""
    if run is None:
        known = [r["seconds"] for r in records.values() if "seconds" in r]
        return (
            f"\nSearching {len(known)} graphs, in several runs, took {sum(known) / 60:.0f} minutes of a core."
            if known
            else ""
        )
    how = "one at a time" if run["processes"] == 1 else f"{run['processes']} at a time"
    later = [r["date"] for r in records.values() if r["date"] > run["date"]]
    again = f" {len(later)} of them were searched again later." if later else ""
    took = f"{run['minutes']:.0f} minutes ({run['date']})"
    return f"\nSearching all {run['graphs']} graphs in one go, {how}, took {took}.{again}"


def _goals(records: Records) -> list[str]:
    """How many graphs lie within what is asked."""
    lines = [
        "| choice | graphs | median | within 1.1 | within 1.3 | above 1.5 | above 3 | goal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    new = {n: r for n, r in records.items() if r["group"] == NOT_SEEN}
    asked = [(key, name, records) for key, name in CHOICES.items()]
    asked += [(key, f"{CHOICES[key]}, graphs without a star", new) for key in GOALS]
    for key, name, among in asked:
        found = np.array([pair[0] for r in among.values() if (pair := regret(r, key))])
        if not len(found):
            continue
        shares = [np.mean(found <= 1.1), np.mean(found <= 1.3), np.mean(found > 1.5), np.mean(found > 3)]
        goal = "-"
        if key in GOALS:
            usual, most = GOALS[key]
            kept = np.mean(found <= usual) >= 0.9 and found.max() <= most
            goal = f"{usual} on 90 %, {most:g} on all: {'kept' if kept else 'missed'}"
        lines.append(
            f"| {name} | {len(found)} | {np.median(found):.3g} | {' | '.join(f'{s:.0%}' for s in shares)} | {goal} |"
        )
    return lines


def needed(records: Records) -> dict[str, list[tuple[str, float]]]:
    """By kind of estimator the graphs whose best is worse without it, and by what factor."""
    found: dict[str, list[tuple[str, float]]] = {kind: [] for kind in ADDED}
    for name, r in records.items():
        listed = products(r)
        least = best(r)
        for kind, text in ADDED.items():
            rest = [p for p in listed if not any(re.search(text, e) for e in p.plan.values())]
            if len(rest) == len(listed):
                continue
            without = min((p.product for p in rest), default=float("inf"))
            factor = without / least.product if least.product else (float("inf") if without else 1.0)
            if factor > GAIN:
                found[kind].append((name, factor))
    return found


def _needed(records: Records) -> list[str]:
    """Which kinds are needed somewhere, and which nowhere."""
    lines = ["## Which estimators are needed", "",
             f"Graphs on which the best choice without a kind of estimator is more than {GAIN - 1:.0%} worse:", "",
             "| kind | graphs | worse by a factor of, at most | for example |", "|---|---|---|---|"]  # fmt: skip
    found = needed(records)
    for kind, graphs in sorted(found.items(), key=lambda kv: -len(kv[1])):
        if graphs:
            name, most = max(graphs, key=lambda g: g[1])
            lines.append(f"| `{kind}` | {len(graphs)} | {most:.3g} | {records[name]['title']} |")
    never = [f"`{kind}`" for kind, graphs in found.items() if not graphs]
    return [*lines, "", f"Needed on none of these graphs: {', '.join(never) or 'no kind'}."]


def write(records: Records, run: Mapping[str, Any] | None) -> None:
    """Write page and picture."""
    (timing.RESULTS / "regret.md").write_text(page(records, run))
    curves = {
        name.replace("`", ""): [pair[0] for r in records.values() if (pair := regret(r, key))]
        for key, name in CHOICES.items()
    }
    for folder in (timing.RESULTS, timing.RESULTS.parents[1] / "docs" / "pictures"):
        draw({k: v for k, v in curves.items() if v}, folder / "regret.png")
