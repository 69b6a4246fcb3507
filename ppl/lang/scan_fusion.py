"""Scan fusion: a model's loop that reads the samples of its guide's loop step by step becomes part of that loop, its
leader.

Both then share the step number, and a value that the leader hands out in a step is read in the same step. So the cost
to go of a guide's sample has only costs of the same and later steps, and chains of the guide are eliminated together
with what the model computes from them."""

from __future__ import annotations

from ppl.ir.node import Node, topological
from ppl.lang.loops import Scan, leader_of, resolve_alias
from ppl.lang.trace import Trace


def fuse_scans(trace: Trace) -> None:
    """Make loops of `trace` part of earlier ones wherever that changes nothing but the order of work."""
    kept: list[Scan] = []
    for scan in trace.scans:
        leader = next((other for other in kept if _can_fuse(scan, other)), None)
        if leader is None:
            kept.append(scan)
        else:
            _fuse(trace, scan, leader)
    trace.scans[:] = kept


def _can_fuse(scan: Scan, leader: Scan) -> bool:
    """Whether `scan` reads what `leader` hands out, step by step, and nothing else that comes of it."""
    same = (scan.length, scan.reverse, scan.remat, scan.outer) == (
        leader.length,
        leader.reverse,
        leader.remat,
        leader.outer,
    )
    if not same or any(out.op == "stopped" for out in (*scan.outs, *leader.outs)):
        return False
    sources = [resolve_alias(stack) for stack in scan.slices.values()]
    direct = [s for s in sources if _is_result_of(s, leader)]
    others = [*scan.inits, *(s for s in sources if not _is_result_of(s, leader))]
    outer = [n for n in topological(_visible_values(scan)) if n.op in ("stacked", "final") and leader_of(n) is leader]
    return bool(direct) and not outer and not any(_is_result_of(n, leader) for n in topological(others))


def _visible_values(scan: Scan) -> list[Node]:
    """The values of a loop's body that are seen from outside of it."""
    return [*scan.outs, *scan.exposed]


def _is_result_of(node: Node, leader: Scan) -> bool:
    return node.op in ("stacked", "final") and leader_of(node) is leader


def _fuse(trace: Trace, scan: Scan, leader: Scan) -> None:
    scan.fused_into, scan.carry_offset = leader, len(leader.carries)
    leader.inits += scan.inits
    leader.carries += scan.carries
    leader.outs += scan.outs
    leader.aliases[scan.index] = leader.index
    for step_input, stack in scan.slices.items():
        source = resolve_alias(stack)
        if _is_result_of(source, leader) and source.op == "stacked":
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
