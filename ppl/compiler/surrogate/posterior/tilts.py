"""What is added to a log-density so that its derivative is a posterior probability."""

from __future__ import annotations

from collections.abc import Iterable

from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis, sort_axes

Query = tuple[str, ...]
"""Nodes whose joint probabilities are asked for."""


def tilt(query: Query, axes: Iterable[Axis], shape: tuple[int, ...] = ()) -> Node:
    """Zeros over the states and rows of a query; in a loop a stack of all steps."""
    return ops.mark(ops.expand(ops.const(0.0), sort_axes(axes), shape), f"tilt of {', '.join(query)}")
