"""Turns of several contestants, each after a look at the machine: what a slow moment measures is left out.

Virtual machines change speed for minutes at a time. Before and after every turn a calibration product is timed; turns
next to one slower than `SLOWEST` times the fastest of the race do not count, and the race goes on until enough do.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.forms import Form, calls_for, seconds_per_step
from benchmarks.peer import Peer
from benchmarks.timing import Timing, summary

SLOWEST, HOPELESS, FIRST = 1.25, 1.4, 3


@dataclass
class Contestant:
    """A form with its clock: `measure(calls)` gives seconds per step, `count(seconds)` the calls that last so long.

    Of the contestants of one `team` those far behind the fastest leave after some turns; no team, no leaving. `rest`
    is the pause around a turn in seconds, until threads that wait have stopped to spin.
    """

    measure: Callable[[int], float]
    count: Callable[[float], int]
    team: str = ""
    rest: float = 0.02
    calls: int = 0
    turns: list[tuple[float, float]] = field(default_factory=list)

    def median(self, limit: float) -> float:
        """Median seconds per step of the turns at a calibration of at most `limit`."""
        return summary(self.good(limit), self.calls).median

    def good(self, limit: float) -> list[float]:
        """Seconds per step of those turns; of all if there are none."""
        return [s for s, pace in self.turns if pace <= limit] or [s for s, _ in self.turns]


class Race(NamedTuple):
    """Timings by label, each of steps; fastest and median calibration; shares of turns left out; who left early."""

    timings: dict[str, Timing]
    fastest_pace: float
    median_pace: float
    left_out: dict[str, float]
    left: set[str]


def ours(form: Form, rest: float = 0.02) -> Contestant:
    """A form of this process."""

    def measure(calls: int) -> float:
        form.wait(form.call())
        return seconds_per_step(form, calls)

    return Contestant(measure, lambda seconds: calls_for(form, seconds), "", rest)


def theirs(peer: Peer, label: str) -> Contestant:
    """A form of a peer's process; all of a peer are one team."""
    return Contestant(
        lambda calls: peer.seconds_per_step(label, calls), lambda seconds: peer.calls_for(label, seconds), peer.module
    )


def race(
    contestants: Mapping[str, Contestant],
    pace: Callable[[], float],
    turns: int = 12,
    seconds: float = 0.1,
    patience: float = 40.0,
) -> Race:
    """Let all take turns in the order given, until each has `turns` good ones or `patience` is over.

    Parameters
    ----------
    contestants : by label.
    pace : seconds of the calibration product, measured now.
    turns : good turns of each that are wanted.
    seconds : about how long a turn lasts.
    patience : seconds after which no new round begins; there are at least `FIRST` rounds.
    """
    for contestant in contestants.values():
        contestant.calls = contestant.count(seconds)
    paces: list[float] = []
    left: set[str] = set()
    end = time.monotonic() + patience
    for number in itertools.count():
        for label, contestant in contestants.items():
            if label not in left:
                _turn(contestant, pace, paces)
        limit = SLOWEST * min(paces)
        if number + 1 == FIRST:
            left = hopeless(contestants, limit)
        running = [c for label, c in contestants.items() if label not in left]
        enough = all(sum(p <= limit for _, p in c.turns) >= turns for c in running)
        if number + 1 >= FIRST and (enough or time.monotonic() > end):
            break
    limit = SLOWEST * min(paces)
    shares = {label: sum(p > limit for _, p in c.turns) / len(c.turns) for label, c in contestants.items()}
    found = {label: summary(c.good(limit), c.calls) for label, c in contestants.items()}
    return Race(found, min(paces), sorted(paces)[len(paces) // 2], shares, left)


def hopeless(contestants: Mapping[str, Contestant], limit: float) -> set[str]:
    """Labels of those slower than `HOPELESS` times the fastest of their team."""
    best: dict[str, float] = {}
    for contestant in contestants.values():
        median = contestant.median(limit)
        best[contestant.team] = min(median, best.get(contestant.team, median))
    return {n for n, c in contestants.items() if c.team and c.median(limit) > HOPELESS * best[c.team]}


def _turn(contestant: Contestant, pace: Callable[[], float], paces: list[float]) -> None:
    """One turn between two calibrations; the slower one counts."""
    time.sleep(contestant.rest)
    before = pace()
    seconds = contestant.measure(contestant.calls)
    time.sleep(contestant.rest)
    after = pace()
    paces += [before, after]
    contestant.turns.append((seconds, max(before, after)))
