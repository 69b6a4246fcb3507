"""Costs that are declared in steps of loops over time."""

from __future__ import annotations

from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis
from ppl.lang.time.record import Scan, total
from ppl.lang.trace import Cost


def step_cost(
    name: str, value: Node, where: str, axes: tuple[Axis, ...], scan: Scan | None, active: Node | None
) -> Cost:
    """The cost of `value`, one number a row and step of `scan`; rows that have stopped cost nothing."""
    if active is not None:
        value = ops.where(active, value, 0.0)
    return Cost(name, total(value, scan), where, axes, step=value, scan=scan)
