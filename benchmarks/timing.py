"""Interleaved timing of several callables, the record a workload returns, and its JSON and Markdown form.

Callables take turns, so that a change of the machine's speed falls on all of them; what counts is medians
and their ratios. Between turns there is a pause and an untimed call: idle threads of one library may go on
spinning for some milliseconds and would be charged to the next.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

RESULTS = Path(__file__).parent / "results"


class Timing(NamedTuple):
    """Seconds of a call: median, quartiles and minimum over ``samples``, each a mean of ``inner`` calls."""

    median: float
    lower_quartile: float
    upper_quartile: float
    minimum: float
    samples: int
    inner: int


class Check(TypedDict):
    """A promise and what was measured; ``at_most`` says on which side of the limit it has to lie."""

    what: str
    measured: float
    limit: float
    unit: str
    at_most: bool


class Table(TypedDict):
    """A table of the Markdown page: heads of the columns, and rows of text."""

    columns: list[str]
    rows: list[list[str]]


class Record(TypedDict, total=False):
    """What a workload returns; every key is optional, and further ones are kept in the JSON.

    ``figure`` is a matplotlib figure: it becomes ``NAME.png`` and is shown on the page.
    """

    name: str
    title: str
    timings: dict[str, Timing]
    baseline: str
    checks: list[Check]
    tables: list[Table]
    notes: list[str]
    details: dict[str, Any]
    figure: Any


def interleave(
    functions: Mapping[str, Callable[[], object]],
    samples: int = 30,
    sample_seconds: float = 0.01,
    pause: float = 0.005,
) -> dict[str, Timing]:
    """Time the functions in turns.

    Parameters
    ----------
    functions : mapping of str to callable
        What to time, by label. A callable that starts work elsewhere must wait for it before it returns.
    samples : int
        Turns of each.
    sample_seconds : float
        About how long one turn lasts; short functions are called several times in it.
    pause : float
        Seconds of rest before each turn.

    Returns
    -------
    dict of str to Timing
        In the order given.
    """
    inner = {label: _calls_per_sample(function, sample_seconds) for label, function in functions.items()}
    seconds: dict[str, list[float]] = {label: [] for label in functions}
    for _ in range(samples):
        for label, function in functions.items():
            time.sleep(pause)
            function()
            seconds[label].append(_mean_seconds(function, inner[label]))
    return {label: summary(values, inner[label]) for label, values in seconds.items()}


def _mean_seconds(function: Callable[[], object], calls: int) -> float:
    """Return the mean seconds of ``calls`` calls in a row."""
    begin = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - begin) / calls


def _calls_per_sample(function: Callable[[], object], sample_seconds: float) -> int:
    """Return how many calls last about ``sample_seconds``, after two that may compile."""
    function()
    function()
    calls = 1
    while (taken := _mean_seconds(function, calls) * calls) < sample_seconds / 4:
        calls *= 4
    return max(1, round(calls * sample_seconds / taken))


def summary(values: list[float], inner: int) -> Timing:
    """Return the statistics of samples, each a mean of `inner` calls."""
    lower, median, upper = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return Timing(median, lower, upper, min(values), len(values), inner)


def check(what: str, measured: float, limit: float, unit: str = "s", at_most: bool = True) -> Check:
    """Return a promise with what was measured: ``measured`` at most (or at least) ``limit``."""
    return Check(what=what, measured=float(measured), limit=float(limit), unit=unit, at_most=at_most)


def passes(promise: Check) -> bool:
    """Return whether the promise is kept."""
    if promise["at_most"]:
        return promise["measured"] <= promise["limit"]
    return promise["measured"] >= promise["limit"]


def markdown(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page: a table of timings, a table of promises, notes, the machine."""
    lines = [f"# {record.get('title', record['name'])}", ""]
    lines += _timings_table(record)
    if record.get("checks"):
        lines += [
            "| promise | measured | limit | |",
            "|---|---|---|---|",
            *map(_check_row, record["checks"]),
            "",
        ]
    for table in record.get("tables", []):
        lines += ["| " + " | ".join(row) + " |" for row in (table["columns"], ["---"] * len(table["columns"]))]
        lines += ["| " + " | ".join(row) + " |" for row in table["rows"]] + [""]
    if "figure" in record:
        lines += [f"![{record.get('title', record['name'])}]({record['name']}.png)", ""]
    if record.get("notes"):
        lines += [*(f"- {note}" for note in record["notes"]), ""]
    if "machine" in record:
        machine = record["machine"]
        versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
        line = f"{machine['cpu']}, {machine['usable_cores']} cores, Python {machine['python']}, {versions}"
        lines += [f"Measured {record.get('date', '')} on {line}.", ""]
    return "\n".join(lines)


def _timings_table(record: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table of timings, with ratios to the baseline if there is one."""
    timings = {label: Timing(*values) for label, values in record.get("timings", {}).items()}
    if not timings:
        return []
    baseline = record.get("baseline") or next(iter(timings))
    lines = [f"| | median | quartiles | relative to {baseline} |", "|---|---|---|---|"]
    for label, timing in timings.items():
        quartiles = f"{duration(timing.lower_quartile)} to {duration(timing.upper_quartile)}"
        ratio = timing.median / timings[baseline].median
        lines.append(f"| {label} | {duration(timing.median)} | {quartiles} | {ratio:.2f} |")
    return [*lines, ""]


def _check_row(promise: Check) -> str:
    """Return a promise as a row of its table."""
    side = "≤" if promise["at_most"] else "≥"
    measured, limit = (_quantity(value, promise["unit"]) for value in (promise["measured"], promise["limit"]))
    return f"| {promise['what']} | {measured} | {side} {limit} | {'kept' if passes(promise) else 'MISSED'} |"


def _quantity(value: float, unit: str) -> str:
    """Return a value with its unit, seconds in a readable size."""
    return duration(value) if unit == "s" else f"{value:.4g} {unit}".strip()


def duration(seconds: float) -> str:
    """Return seconds in the unit that reads best, three digits."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def write(record: Mapping[str, Any], folder: Path = RESULTS) -> list[Path]:
    """Write ``NAME.json``, ``NAME.md`` and, of a figure, ``NAME.png`` into ``folder``; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    timings = {label: Timing(*values)._asdict() for label, values in record.get("timings", {}).items()}
    stem = folder / record["name"]
    data, page = stem.with_suffix(".json"), stem.with_suffix(".md")
    kept = {key: value for key, value in record.items() if key != "figure"}
    data.write_text(json.dumps({**kept, "timings": timings}, indent=2) + "\n", encoding="utf-8")
    page.write_text(markdown(record), encoding="utf-8")
    if "figure" not in record:
        return [data, page]
    picture = stem.with_suffix(".png")
    record["figure"].savefig(picture, dpi=120)
    return [data, page, picture]


def missed(records: Iterable[Mapping[str, Any]]) -> list[Check]:
    """Return the promises that were not kept."""
    return [promise for record in records for promise in record.get("checks", []) if not passes(promise)]
