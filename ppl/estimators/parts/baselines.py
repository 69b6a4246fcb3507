"""Baselines of score functions that need nothing but the costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import EstimatorError
from ppl.estimators.base import Advantages, Auxiliary, Hyper, NodeContext
from ppl.ir import ops
from ppl.ir.node import Node

DECAY = 0.99

Baseline = str | float | Hyper | None


def checked(owner: str, baseline: Any, known: Sequence[str | None]) -> Baseline:
    """A baseline by name, a constant as a float, or a `ppl.hyper(...)` as a Hyper record."""
    node = getattr(baseline, "__ppl_node__", None)
    if node is not None and node.op == "hyper":
        return Hyper(node.attrs["name"], baseline.default)
    if isinstance(baseline, Hyper):
        return baseline
    if isinstance(baseline, Real) and not isinstance(baseline, (bool, np.bool_)):
        if not math.isfinite(baseline):
            raise EstimatorError(f"{owner}: a constant baseline must be finite, not {baseline}")
        return float(baseline)
    if baseline is None or (isinstance(baseline, str) and baseline in known):
        return baseline
    raise EstimatorError(f"unknown baseline {shown(baseline)}; known: {known}, a number, or ppl.hyper(...)")


def of_costs(ctx: NodeContext, baseline: Baseline, cost: Node, per_step: bool = False) -> Node:
    """The baseline that `cost` has less to be an advantage: nothing, a constant, or what other costs say."""
    if isinstance(baseline, (float, Hyper)):
        return ctx.option(baseline)
    if baseline == "moving_average":
        mean = Auxiliary(0.0, lambda a, old: decayed(a, old, a.costs[0]), per_step=per_step, decay=DECAY)
        return ctx.aux("baseline", mean)
    if baseline == "leave_one_out":
        return ops.div(others(cost, ctx), ops.sub(ops.size(ctx.particles), 1.0))
    return ops.const(0.0)


def decayed(advantages: Advantages, old: Node, signal: Node) -> Node:
    """The exponential mean `old` after one more mean over rows of `signal`."""
    return ops.add(ops.mul(DECAY, old), ops.mul(1 - DECAY, advantages.mean_over_rows(signal)))


def others(x: Node, ctx: NodeContext) -> Node:
    """The sum of `x` over the other particles."""
    x = ops.expand(x, (ctx.particles,))
    return ops.sub(ops.sum_axes(x, (ctx.particles,)), x)
