"""Which values of observed sites a walk replaces by draws."""

from __future__ import annotations

from typing import Literal

from ppl.ir.node import Node
from ppl.lang.trace import Trace

Redraw = Literal["", "missing", "all"]
"""What is redrawn of observations: nothing, the entries that a mask drops, or all."""


def replaced(trace: Trace, redraw: Redraw) -> dict[int, Node]:
    """What stands for traced values of observations, by id."""
    sites = trace.sites.values()
    if redraw == "all":
        return {id(s.returned): s.fresh for s in sites if s.fresh is not None}
    return {id(s.node): s.redrawn for s in sites if s.redrawn is not None} if redraw else {}
