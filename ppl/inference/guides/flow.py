"""Guides by a normalizing flow: a normal, bent by masked networks."""

from __future__ import annotations

import numpy as np

from ppl.distributions.bijectors import InverseAutoregressive
from ppl.distributions.normal import Normal
from ppl.inference.guides.joint import Joint
from ppl.inference.guides.parameters import PREFIX, SCALE
from ppl.inference.guides.placed import Placed
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.blocks import init
from ppl.lang.params import param
from ppl.lang.sites import sample
from ppl.lang.value import Value

LAYERS = 2
"""Layers, in turns from the first entry to the last and back."""
UNITS = 8
"""Hidden units of a layer, at least; else two for each entry."""


class FlowNormal(Joint):
    """Standard normals through inverse autoregressive layers, then scaled and shifted entry by entry.

    Layers begin as the identity: the guide starts with independent normals.
    """

    def vector(self, start: np.ndarray) -> Value:
        """The bent vector, whose density is that of the normals less the volume changes."""
        size = len(start)
        x = sample(f"{PREFIX}.noise", Normal(np.zeros(size), 1.0), aux=True).node
        total: Node = ops.const(0.0)
        for i in range(LAYERS):
            layer = _layer(f"{PREFIX}/layer{i}", size, i % 2 == 1)
            total, x = ops.add(total, layer.log_det(x)), layer.forward(x)
        scale = param(f"{PREFIX}/scale", np.full(size, SCALE), constraint="positive").node
        x = ops.add(param(f"{PREFIX}/loc", start).node, ops.mul(scale, x))
        total = ops.add(total, ops.reduce_sum(ops.log(scale)))
        return sample(PREFIX, Placed(x, Normal(np.zeros(size), 1.0), ops.neg(total)), aux=True)


def _layer(name: str, size: int, reverse: bool) -> InverseAutoregressive:
    units = max(UNITS, 2 * size)
    return InverseAutoregressive(
        param(f"{name}/hidden_weight", init.glorot_normal(), (size, units)),
        param(f"{name}/hidden_bias", np.zeros(units)),
        param(f"{name}/weight", np.zeros((units, 2 * size))),
        param(f"{name}/bias", np.zeros(2 * size)),
        reverse=reverse,
    )
