"""Loops that run step by step beside another one: a model's loop that reads the samples of its guide's.

Such a loop becomes part of the other one, its leader: they share the number of the step, and what the one hands out in
a step the other reads in the same step. So costs of the model's steps lie ahead of the guide's earlier samples only,
and chains of the guide are summed out together with what the model makes of them.
"""

from __future__ import annotations

from ppl.ir.node import Node, topological
from ppl.lang.time.record import Scan, leader_of, resolved
from ppl.lang.trace import Trace


def join_loops(trace: Trace) -> None:
    """Make loops of `trace` part of earlier ones wherever that changes nothing but the order of work."""
    kept: list[Scan] = []
    for scan in trace.scans:
        leader = next((other for other in kept if _joinable(scan, other)), None)
        if leader is None:
            kept.append(scan)
        else:
            _join(trace, scan, leader)
    trace.scans[:] = kept


def _joinable(scan: Scan, leader: Scan) -> bool:
    """Whether `scan` reads what `leader` hands out, step by step, and nothing else that comes of it."""
    same = (scan.length, scan.reverse, scan.remat, scan.outer) == (
        leader.length,
        leader.reverse,
        leader.remat,
        leader.outer,
    )
    if not same or any(out.op == "stopped" for out in (*scan.outs, *leader.outs)):
        return False
    sources = [resolved(stack) for stack in scan.slices.values()]
    direct = [s for s in sources if _hands_out(s, leader)]
    others = [*scan.inits, *(s for s in sources if not _hands_out(s, leader))]
    outer = [n for n in topological(_inside(scan)) if n.op in ("stacked", "final") and leader_of(n) is leader]
    return bool(direct) and not outer and not any(_hands_out(n, leader) for n in topological(others))


def _inside(scan: Scan) -> list[Node]:
    """The values of a loop's body that are seen from outside of it."""
    return [*scan.outs, *scan.shown]


def _hands_out(node: Node, leader: Scan) -> bool:
    return node.op in ("stacked", "final") and leader_of(node) is leader


def _join(trace: Trace, scan: Scan, leader: Scan) -> None:
    scan.joined, scan.offset = leader, len(leader.carries)
    leader.inits += scan.inits
    leader.carries += scan.carries
    leader.outs += scan.outs
    leader.aliases[scan.index] = leader.index
    for step_input, stack in scan.slices.items():
        source = resolved(stack)
        if _hands_out(source, leader) and source.op == "stacked":
            leader.aliases[step_input] = source.args[0]
        else:
            leader.slices[step_input] = stack
    for inner in trace.scans:
        if inner.outer is scan:
            inner.outer = leader
    for site in (*trace.sites.values(), *trace.scored.values()):
        if site.scan is scan:
            site.scan = leader
    for cost in trace.costs.values():
        if cost.scan is scan:
            cost.scan = leader
