"""Thresholds of `ppl.tuning` timed: times around a number, which one they speak for, the file's lines."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.timing import Table, duration, interleave
from ppl import tuning
from ppl.compiler.lower import target as targets

SLACK = 0.08
"""A number stays unless another takes so much less time: in logarithms, of all sizes together."""

SAMPLES, SAMPLE_SECONDS = 40, 1e-3
"""Many short turns: the least time of some falls between the turns of other programs."""


class Sweep(NamedTuple):
    """Seconds of one piece of work with some values of a number; `shared` is whether several threads do it."""

    name: str
    what: str
    seconds: Mapping[int, float]
    shared: bool = False

    def regret(self, value: float) -> float:
        """How much longer the work takes than with the best value, as a logarithm."""
        nearest = min(self.seconds, key=lambda v: abs(math.log(v / value)))
        return math.log(self.seconds[nearest] / min(self.seconds.values()))

    def table(self) -> Table:
        """The times, a column for each value."""
        return {
            "columns": [f"`{self.name}`: {self.what}", *(f"{v:,}" for v in self.seconds)],
            "rows": [["", *map(duration, self.seconds.values())]],
        }


class Crossover(NamedTuple):
    """Seconds of two ways, the one below a number and the one from it on, for work of some sizes."""

    name: str
    what: str
    seconds: Mapping[int, tuple[float, float]]
    shared: bool = False

    def regret(self, value: float) -> float:
        """How much longer all sizes take, by the ways that a number chooses, than by the best ways; a logarithm."""
        return sum(math.log(pair[size >= value] / min(pair)) for size, pair in self.seconds.items())

    def table(self) -> Table:
        """The times, a column for each size."""
        below, above = zip(*self.seconds.values(), strict=True)
        return {
            "columns": [f"`{self.name}`: {self.what}", *(f"{size:,}" for size in self.seconds)],
            "rows": [["below", *map(duration, below)], ["from it on", *map(duration, above)]],
        }


Question = Sweep | Crossover

Way = Callable[[], object]


def present(name: str) -> int:
    """The number that `ppl.tuning` has."""
    return int(getattr(tuning, name))


def around(name: str, *factors: float) -> list[int]:
    """Values around the present one."""
    return [round(present(name) * f) for f in factors or (0.25, 0.5, 1, 2, 4)]


def suggested(question: Question, busy: bool = False) -> int:
    """The value that the times speak for: the present one, unless another is clearly better.

    On a busy machine several threads wait for one another, and their times say nothing.
    """
    now, sizes = present(question.name), list(question.seconds)
    if question.shared and busy:
        return now
    values = [now, *sizes, *([2 * sizes[-1]] if isinstance(question, Crossover) else [])]
    best = min(values, key=question.regret)
    return now if question.regret(now) <= question.regret(best) + SLACK else best


def seconds(ways: Mapping[Any, Way]) -> list[float]:
    """The least time of each, in turns."""
    timed = interleave(ways, SAMPLES, SAMPLE_SECONDS, 1e-3)
    return [t.minimum for t in timed.values()]


def sweep(name: str, what: str, work: Callable[[int], Way], values: Sequence[int], shared: bool = False) -> Sweep:
    """Time `work(value)()` for each value."""
    found = seconds({v: work(v) for v in values})
    return Sweep(name, what, dict(zip(values, found, strict=True)), shared)


def crossover(
    name: str, what: str, ways: Callable[[int], tuple[Way, Way]], sizes: Sequence[int], shared: bool = False
) -> Crossover:
    """Time both of `ways(size)` for each size."""
    found = {}
    for size in sizes:
        below, above = seconds(dict(enumerate(ways(size))))
        found[size] = below, above
    return Crossover(name, what, found, shared)


@contextmanager
def assumed(**groups: Mapping[str, Any]) -> Iterator[None]:
    """Let programs be compiled for a CPU whose record has other values: of `rewrites`, `buffers` or `sharing`."""
    known = targets.TARGETS
    cpu = known["cpu"]
    changed: dict[str, Any] = {group: replace(getattr(cpu, group), **values) for group, values in groups.items()}
    targets.TARGETS = {**known, "cpu": replace(cpu, **changed)}
    try:
        yield
    finally:
        targets.TARGETS = known


def lines(found: Mapping[str, int]) -> list[str]:
    """The lines of `ppl/tuning.py` that set the names in `found`, with the values there; changed ones say so."""
    text = Path(tuning.__file__).read_text(encoding="utf-8")
    out = []
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign):
            continue
        names, values = _pairs(statement)
        if not found.keys() & set(names):
            continue
        was = {n: ast.get_source_segment(text, v) or "" for n, v in zip(names, values, strict=True)}
        changed = {n for n in names if n in found and found[n] != present(n)}
        now = {n: _text(found[n]) if n in changed else old for n, old in was.items()}
        note = "" if not changed else f"  # was {', '.join(was.values())}"
        out.append(f"{', '.join(names)} = {', '.join(now.values())}{note}")
    return out


def _text(value: int) -> str:
    """A number as the file has it: powers of two from 2¹⁴ on as such."""
    return f"1 << {value.bit_length() - 1}" if value >= 1 << 14 and value & (value - 1) == 0 else str(value)


def _pairs(statement: ast.Assign) -> tuple[list[str], list[ast.expr]]:
    """Names and values of an assignment, of several names to as many values too."""
    target, value = statement.targets[0], statement.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return [ast.unparse(x) for x in target.elts], value.elts
    return [ast.unparse(target)], [value]
