"""The small network of learned baselines and control variates: one tanh layer, its weights auxiliary variables."""

from __future__ import annotations

from collections.abc import Mapping

from ppl.estimators.base import Auxiliary, NodeContext
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.blocks.init import Initializer, glorot_uniform


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


def ancestors(ctx: NodeContext) -> Node:
    """What a node's baseline may depend on, as one stopped vector: its distribution's parameters and its row's data.

    Entries that are not finite (missing observations, logits of -inf) count as 0.
    """
    values = [*ctx.dist.params.values(), *ctx.inputs]
    return ops.stop(flat(*(ops.where(ops.less(ops.absolute(x), float("inf")), x, 0.0) for x in values)))


def flat(*values: Node) -> Node:
    """All entries of `values` as one vector."""
    return ops.concat([ops.reshape(v, (v.type.event_size,)) for v in values])
