"""The Cauchy distribution."""

from __future__ import annotations

import math

from ppl.distributions.parts.formulas import frozen, log1p_square
from ppl.distributions.parts.location_scale import LocationScale
from ppl.ir import ops
from ppl.ir.node import Node


class Cauchy(LocationScale):
    """Cauchy(loc, scale): density 1 / (pi scale (1 + z^2)), z = (x - loc) / scale, on the real line.

    It has neither mean nor variance. The path is the inverse cdf loc + scale * tan(pi (u - 1/2)), in the tails
    from the cotangent of the nearer end.

    Parameters
    ----------
    loc : real, the median and mode.
    scale : positive, half the distance of the quartiles.
    """

    log_normalizer = math.log(math.pi)
    standard_mean = None
    standard_variance = None
    standard_entropy = math.log(4 * math.pi)

    @staticmethod
    def exponent(z: Node) -> Node:
        """-log(1 + z^2)."""
        return ops.neg(log1p_square(z))

    @staticmethod
    def quantile(p: Node) -> Node:
        """tan(pi (p - 1/2)); the outer quarters are minus or plus 1 / tan(pi min(p, 1 - p))."""
        fixed = frozen(p)
        low = ops.less(fixed, 0.5)
        edge = ops.where(low, p, ops.sub(1.0, p))
        outer = ops.less(frozen(edge), 0.25)
        slope = ops.tan(ops.mul(math.pi, ops.where(outer, edge, ops.sub(p, 0.5))))
        return ops.where(outer, ops.div(ops.where(low, -1.0, 1.0), slope), slope)

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """1/2 + atan(z) / pi, below -1 atan(-1 / z) / pi, which keeps its relative accuracy."""
        far = ops.less(frozen(z), -1.0)
        angle = ops.atan(ops.where(far, ops.div(-1.0, ops.where(far, z, -1.0)), z))
        return ops.add(ops.where(far, 0.0, 0.5), ops.div(angle, math.pi))
