"""The Gaussian random walk."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ppl.arguments import shown
from ppl.distributions.base import Distribution
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import LOG_SQRT_2PI
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node


class GaussianRandomWalk(Distribution):
    """GaussianRandomWalk(scale, steps, loc, drift): x_t = x_(t-1) + drift + scale z_t from x_0 = loc.

    One unit is a whole walk (x_1, ..., x_steps), a vector of real numbers. The path is linear in loc, drift and scale.

    Parameters
    ----------
    scale : positive, the standard deviation of a step.
    steps : how many steps, a whole number.
    loc : finite, where the walk starts; the start itself is not part of the sample.
    drift : finite mean of a step.
    """

    reparameterized = True
    unit_rank = 1
    constraints: ClassVar[dict[str, str]] = {"scale": "positive", "loc": "real", "drift": "real"}

    def __init__(self, scale: Any = 1.0, steps: int = 1, loc: Any = 0.0, drift: Any = 0.0):
        super().__init__(scale=scale, loc=loc, drift=drift)
        if not isinstance(steps, (int, np.integer)) or steps < 1:
            raise ModelError(f"GaussianRandomWalk: steps must be a whole number of at least 1, got {shown(steps)}")
        self.steps = int(steps)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of the parameters, and then the steps."""
        return (*self.params["scale"].type.shape, self.steps)

    @property
    def support(self) -> Support:
        """Vectors of real numbers."""
        return Support.REAL

    def column(self, name: str) -> Node:
        """A parameter with a last dimension of length 1."""
        node = self.params[name]
        return ops.reshape(node, (*node.type.shape, 1))

    def unit_log_prob(self, value: Node) -> Node:
        """The sum of the normal log-densities of the steps."""
        *lead, last = value.type.shape
        head = tuple((0, n, 1) for n in lead)
        first = ops.expand(self.column("loc"), (), (*lead, 1))
        before = ops.concat([first, ops.window(value, (*head, (0, last - 1, 1)))], len(lead)) if last > 1 else first
        moves = ops.sub(ops.sub(value, before), self.column("drift"))
        z = ops.div(moves, self.column("scale"))
        flat = ops.mul(float(last), ops.add(ops.log(self.params["scale"]), LOG_SQRT_2PI))
        return ops.sub(ops.mul(-0.5, ops.reduce_sum(ops.mul(z, z), -1)), flat)

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """One per step."""
        return (self.event_shape,)

    def draw(self, *u: Node) -> Node:
        """The mean, plus scale times the cumulative sum of standard normals."""
        z = ops.ndtri(u[0])
        walked = ops.matmul(z, np.triu(np.ones((self.steps, self.steps))))
        return ops.add(self.node_mean(), ops.mul(self.column("scale"), walked))

    def node_mean(self) -> Node:
        """loc + drift t."""
        return ops.add(self.column("loc"), ops.mul(self.column("drift"), np.arange(1.0, self.steps + 1)))

    def node_mode(self) -> Node:
        """The mean."""
        return self.node_mean()

    def unit_covariance(self) -> Node:
        """scale^2 min(s, t)."""
        t = np.arange(1.0, self.steps + 1)
        scale = self.column("scale")
        square = ops.reshape(ops.mul(scale, scale), (*scale.type.shape, 1))
        return ops.mul(square, np.minimum(t[:, None], t))

    def unit_entropy(self) -> Node:
        """steps (log scale + log sqrt(2 pi e))."""
        return ops.mul(float(self.steps), ops.add(ops.log(self.params["scale"]), LOG_SQRT_2PI + 0.5))
