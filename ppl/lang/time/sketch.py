"""How many steps of every loop a sketch writes out, so that every way from a value to another is in it."""

from __future__ import annotations

from ppl.ir.node import topological
from ppl.lang.context import LEAST_STEPS
from ppl.lang.time.record import Scan
from ppl.lang.trace import Trace


def steps_of_sketch(trace: Trace) -> dict[tuple[str, str], int]:
    """Steps of each loop of a trace, by its name and line.

    A way from a node to a cost enters a carry, goes round, takes one edge between two carries, and goes round to the
    carry that the cost reads: that takes twice the longest detour between two carries.
    """
    found: dict[tuple[str, str], int] = {}
    for scan in trace.scans:
        key = scan.name, scan.where
        found[key] = max(found.get(key, LEAST_STEPS), 2 * _detour(scan) + LEAST_STEPS)
    return found


def _detour(scan: Scan) -> int:
    """The largest number of steps that one carry takes to reach another one, over those that it reaches."""
    feeds = []
    for out in scan.outs:
        above = set(topological([out]))
        feeds.append({i for i, carry in enumerate(scan.carries) if carry in above})
    longest = 0
    for start in range(len(scan.carries)):
        reached, frontier, steps = {start}, {start}, 0
        while frontier:
            frontier = {i for i, sources in enumerate(feeds) if sources & frontier} - reached
            steps += bool(frontier)
            reached |= frontier
        longest = max(longest, steps)
    return longest
