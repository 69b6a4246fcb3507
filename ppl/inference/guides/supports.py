"""Bijectors from the reals onto the supports of distributions."""

from __future__ import annotations

import math

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.bijectors import Affine, Bijector, CorrCholesky, Exp, Sigmoid, StickBreaking
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.domain.support import Support
from ppl.distributions.pareto import Pareto
from ppl.distributions.transformed import Transformed
from ppl.distributions.truncated import Truncated
from ppl.distributions.truncated_normal import TruncatedNormal
from ppl.distributions.uniform import Uniform
from ppl.ir import ops
from ppl.ir.node import Node

Bijectors = tuple[Bijector, ...]

FIXED: dict[Support, Bijectors] = {
    Support.REAL: (),
    Support.POSITIVE: (Exp(),),
    Support.NONNEGATIVE: (Exp(),),
    Support.UNIT_INTERVAL: (Sigmoid(),),
    Support.CIRCLE: (Sigmoid(), Affine(-math.pi, 2 * math.pi)),
    Support.SIMPLEX: (StickBreaking(),),
    Support.CORRELATION_CHOLESKY: (CorrCholesky(),),
}
"""Of supports that no parameter moves."""


def bijectors_of(dist: Distribution) -> Bijectors | None:
    """Bijectors that lead from the reals onto the support of a continuous law, in order; None where none are known."""
    found = FIXED.get(dist.support)
    if found is not None:
        return found
    if isinstance(dist, Transformed):
        inner = bijectors_of(dist.base)
        return None if inner is None else (*inner, *dist.bijectors)
    low, high = _ends(dist)
    return None if low is None and high is None else _between(low, high)


def _ends(dist: Distribution) -> tuple[Node | None, Node | None]:
    """The ends of an interval; None for an infinite one. Both None where they are not known."""
    if isinstance(dist, Pareto):
        return dist.params["scale"], None
    base_is_real = isinstance(dist, Truncated) and dist.base.support is Support.REAL
    if isinstance(dist, (Uniform, TruncatedNormal)) or base_is_real:
        low, high = dist.params["low"], dist.params["high"]
        return (None if _infinite(low) else low), (None if _infinite(high) else high)
    if isinstance(dist, Truncated) and dist.base.support in (Support.POSITIVE, Support.UNIT_INTERVAL):
        return _clipped(dist)
    return None, None


def _clipped(dist: Truncated) -> tuple[Node | None, Node | None]:
    """The ends of a law on the half line or the unit interval between bounds."""
    inside, low, high = dist.base.bounds, dist.params["low"], dist.params["high"]
    low = ops.maximum(low, inside.lo)
    if math.isfinite(inside.hi):
        return low, ops.minimum(high, inside.hi)
    return low, None if _infinite(high) else high


def _infinite(end: Node) -> bool:
    value = constant_value(end)
    return value is not None and bool(np.isinf(value).all())


def _between(low: Node | None, high: Node | None) -> Bijectors:
    """Onto low < y < high, where either may be missing."""
    if low is not None and high is not None:
        return Sigmoid(), Affine(low, ops.sub(high, low))
    return (Exp(), Affine(low, 1.0)) if low is not None else (Exp(), Affine(high, -1.0))


def source_shape(bijectors: Bijectors, event: tuple[int, ...]) -> tuple[int, ...]:
    """Event shape of the reals that lead to an event."""
    for bijector in reversed(bijectors):
        event = bijector.source(event)
    return event


def forward(bijectors: Bijectors, x: Node) -> tuple[Node, Node]:
    """The value at reals x, and the logarithm of the volume change of the whole event."""
    total = ops.const(0.0)
    for bijector in bijectors:
        total = ops.add(total, ops.reduce_sum(bijector.log_det(x)))
        x = bijector.forward(x)
    return x, total
