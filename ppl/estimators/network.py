"""The small network of learned baselines and control variates: one tanh layer, its weights auxiliary variables."""

from __future__ import annotations

from ppl.estimators.base import Auxiliary, NodeContext
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.init import glorot_uniform


class SmallNetwork:
    """x → w · tanh(x V + c), a scalar per row; w starts at 0, so that training starts from the plain estimator.

    The weights are auxiliary variables of the node, `network.weight`, `network.bias` and `network.output`, that follow
    `adapt` ("second_moment" or "fit").
    """

    def __init__(self, ctx: NodeContext, inputs: int, width: int, adapt: str, rate: float):
        def declare(key: str, init: object, shape: tuple[int, ...]) -> Node:
            return ctx.aux(f"network.{key}", Auxiliary(init, adapt, rate, shape))  # type: ignore[arg-type]

        self.weight = declare("weight", glorot_uniform(), (inputs, width))
        self.bias = declare("bias", 0.0, (width,))
        self.output = declare("output", 0.0, (width,))

    def __call__(self, x: Node) -> Node:
        """The output for a vector `x`."""
        return ops.matmul(ops.tanh(ops.add(ops.matmul(x, self.weight), self.bias)), self.output)


def ancestors(ctx: NodeContext) -> Node:
    """What a node's baseline may depend on, as one stopped vector: its distribution's parameters and its row's data.

    Entries of the data that are not finite (missing observations) count as 0.
    """
    data = [ops.where(ops.less(ops.absolute(x), float("inf")), x, 0.0) for x in ctx.inputs]
    return ops.stop(flat(*ctx.dist.params.values(), *data))


def flat(*values: Node) -> Node:
    """All entries of `values` as one vector."""
    return ops.concat([ops.reshape(v, (v.type.event_size,)) for v in values])
