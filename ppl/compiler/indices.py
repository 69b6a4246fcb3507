"""Computed and drawn indices: the condition that each lies in its axis, and what is computed with it.

`take` clamps its index, so that memory is safe whatever comes; a loss or a site that was computed with an index beyond
the ends is refused. Indices that are data as they stand are checked when they are bound (`checks.py`) instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ppl.distributions.bounds import bounds_of
from ppl.distributions.conditions import Condition, inside
from ppl.distributions.intervals import Interval
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.ir.seen import seen
from ppl.lang.trace import Guard, Index, Site, SiteKind, Trace

INDEX = "index"


def index_conditions(trace: Trace) -> Iterator[tuple[Index, Site, Condition]]:
    """Every index that is computed or drawn, a site that stands for its line, and its condition."""
    for index in trace.indices:
        node, last = index.node, index.length - 1
        if seen(node) is None:
            interval = Interval(0.0, float(last), False, False)
            good = inside(interval, ops.cast(node, "float"))
            site = Site(INDEX, SiteKind.DETERMINISTIC, node.type.axes, index.where)
            wanted = f"between 0 and {last}"
            proved = bounds_of(node).within(interval)
            yield index, site, Condition("an index", wanted, node, good, node.type.shape, proved)


def find_readers(trace: Trace, indices: Sequence[Index], costs: Iterable[Node]) -> None:
    """Note of every index whether `costs`, and which sites, are computed with what it reads."""
    if indices:
        used = _all_above(costs)
        sites = {name: _all_above([s.node, s.redrawn]) for name, s in trace.sites.items()}
        for index in indices:
            index.costs = id(index.read) in used
            index.sites = frozenset(name for name, above in sites.items() if id(index.read) in above)


def _all_above(nodes: Iterable[Node | None]) -> set[int]:
    return {id(n) for n in topological([n for n in nodes if n is not None])}


def concerned(guard: Guard, above: set[str], sites: Sequence[str] | None = None) -> bool:
    """Whether a guard belongs to the loss, or to a sample of `sites`; random nodes `above` are what these come from."""
    if guard.index is not None:
        return index_concerns(guard.index, sites)
    return guard.name in above if guard.drawn else sites is None


def index_concerns(index: Index, sites: Sequence[str] | None) -> bool:
    """Whether the loss, or one of `sites`, is computed with an index."""
    return index.costs if sites is None else not index.sites.isdisjoint(sites)
