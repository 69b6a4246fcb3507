"""Baselines of score functions: constants, moving averages, the other particles' mean, and a small network.

The network has one tanh layer; its weights are auxiliary variables. Learned control variates use it too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import EstimatorError
from ppl.estimators.base import Advantages, Auxiliary, Hyper, NodeContext
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.init import Initializer, glorot_uniform

DECAY = 0.99

Baseline = str | float | Hyper | None


def check_baseline(owner: str, baseline: Any, known: Sequence[str | None]) -> Baseline:
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


def baseline_of_cost(ctx: NodeContext, baseline: Baseline, cost: Node, per_step: bool = False) -> Node:
    """The baseline that `cost` has less to be an advantage: nothing, a constant, or what other costs say."""
    if isinstance(baseline, (float, Hyper)):
        return ctx.option(baseline)
    if baseline == "moving_average":
        mean = Auxiliary(0.0, lambda a, old: update_moving_average(a, old, a.costs[0]), per_step=per_step, decay=DECAY)
        return ctx.aux("baseline", mean)
    if baseline == "leave_one_out":
        return ops.div(sum_over_other_particles(cost, ctx), ops.sub(ops.size(ctx.particles), 1.0))
    return ops.const(0.0)


def update_moving_average(advantages: Advantages, old: Node, signal: Node) -> Node:
    """The exponential mean `old` after one more mean over rows of `signal`."""
    return ops.add(ops.mul(DECAY, old), ops.mul(1 - DECAY, advantages.mean_over_rows(signal)))


def sum_over_other_particles(x: Node, ctx: NodeContext) -> Node:
    """The sum of `x` over the other particles."""
    x = ops.expand(x, (ctx.particles,))
    return ops.sub(ops.sum_axes(x, (ctx.particles,)), x)


class SmallNetwork:
    """(x, y, …) → w · tanh(x V + y U + … + c), a scalar per row; w starts at 0, that is from the plain estimator.

    The weights are auxiliary variables of the node that follow `adapt` ("second_moment" or "fit"): `network.output`,
    `network.bias`, and one matrix for each argument, so that what two calls share is computed once.
    """

    def __init__(self, ctx: NodeContext, arguments: Mapping[str, int], width: int, adapt: str, rate: float):
        def declare(key: str, init: float | Initializer, *shape: int) -> Node:
            return ctx.aux(f"network.{key}", Auxiliary(init, adapt, rate, shape))

        self.weights = [declare(key, glorot_uniform(), size, width) for key, size in arguments.items()]
        self.bias = declare("bias", 0.0, width)
        self.output = declare("output", 0.0, width)

    def __call__(self, *values: Node) -> Node:
        """The output for one vector per argument."""
        total = self.bias
        for value, weight in zip(values, self.weights, strict=True):
            total = ops.add(total, ops.matmul(value, weight))
        return ops.matmul(ops.tanh(total), self.output)


def baseline_inputs(ctx: NodeContext) -> Node:
    """What a node's baseline may depend on, as one stopped vector: its distribution's parameters and its row's data.

    Entries that are not finite (missing observations, logits of -inf) count as 0.
    """
    values = [*ctx.dist.params.values(), *ctx.inputs]
    return ops.stop(concat_flat(*(ops.where(ops.less(ops.absolute(x), float("inf")), x, 0.0) for x in values)))


def concat_flat(*values: Node) -> Node:
    """All entries of `values` as one vector."""
    return ops.concat([ops.reshape(v, (v.type.event_size,)) for v in values])
