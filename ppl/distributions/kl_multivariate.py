"""The closed KL divergence of a full Gaussian from independent ones."""

from __future__ import annotations

from ppl.distributions.kl import register_kl
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.distributions.normal import Normal
from ppl.ir import ops
from ppl.ir.node import Node


@register_kl(MultivariateNormal, Normal)
def _full_against_independent(p: MultivariateNormal, q: Normal) -> Node:
    """Sum over i of ((sum_j L_ij^2 + (loc_p - loc_q)_i^2) / scale_i^2 - 1) / 2 + log scale_i - log L_ii."""
    lower, scale = p.lower(), q.params["scale"]
    shift = ops.sub(p.params["loc"], q.params["loc"])
    squares = ops.add(ops.reduce_sum(ops.mul(lower, lower), -1), ops.mul(shift, shift))
    quadratic = ops.mul(0.5, ops.sub(ops.div(squares, ops.mul(scale, scale)), 1.0))
    return ops.reduce_sum(ops.add(quadratic, ops.sub(ops.log(scale), ops.log(p.diagonal()))), -1)
