"""Computed and drawn indices: the condition that each lies in its axis, and what is computed with it.

`take` clamps its index, so that memory is safe whatever comes; a loss or a site that was computed with an index beyond
the ends is refused. Indices that are data as they stand are checked when they are bound (`checks.py`) instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.conditions import Condition, inside
from ppl.distributions.domain.intervals import Interval
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.seen import seen
from ppl.lang.trace import Guard, Index, Site, SiteKind, Trace, Use

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


def find_readers(
    trace: Trace, readers: Sequence[Index | Use], costs: Iterable[Node], closed: Set[int] = frozenset()
) -> None:
    """Note of every reader whether `costs`, and which sites, are computed with what it reads.

    What they are computed with through a branch of a `where` in `closed` alone does not count.
    """
    if readers:
        used = _all_above(costs, closed)
        sites = {name: _all_above([s.node, s.redrawn], closed) for name, s in trace.sites.items()}
        for reader in readers:
            reader.costs = id(reader.read) in used
            reader.sites = frozenset(name for name, above in sites.items() if id(reader.read) in above)


def _all_above(nodes: Iterable[Node | None], closed: Set[int]) -> set[int]:
    """The ids of all nodes that `nodes` are computed with, those in the branches of closed `where` left out."""
    found: set[int] = set()
    stack = [n for n in nodes if n is not None]
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found.add(id(node))
            stack += node.args[:1] if id(node) in closed else node.args
    return found


def concerned(guard: Guard, above: set[str], sites: Sequence[str] | None = None) -> bool:
    """Whether a guard belongs to the loss, or to a sample of `sites`; random nodes `above` are what these come from."""
    if guard.reader is not None:
        return reader_concerns(guard.reader, sites)
    return guard.name in above if guard.drawn else sites is None


def reader_concerns(reader: Index | Use, sites: Sequence[str] | None) -> bool:
    """Whether the loss, or one of `sites`, is computed with what an index or a formula reads."""
    return reader.costs if sites is None else not reader.sites.isdisjoint(sites)
