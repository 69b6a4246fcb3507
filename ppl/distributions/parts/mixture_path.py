"""The implicit path of a mixture: how a sample moves with weights and components though its component is chosen.

In one dimension dx/dtheta = -(dF/dtheta)(x) / p(x), F the mixture's cdf and p its density (Graves 2016; Figurnov,
Mohamed & Mnih 2018). A vector whose entries are independent given the component moves entry after entry: the same
formula with the conditional cdf of entry i given the entries before it, whose own motion is part of the derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.combinator import has, probe
from ppl.errors import EstimatorError, ModelError
from ppl.ir import ops
from ppl.ir.differentiate import vjp
from ppl.ir.node import Node, make

Rows = Callable[[Node], Node]
POINTS = 32
"""Points between the components at which it is tested whether samples lie there."""
MOST = 64  # entries up to which the conditional form is written out


def no_path(components: Sequence[Distribution], weights: Node, joint: int) -> str:
    """Why a mixture has no implicit path, or "" where it has one.

    Besides differentiable cdfs it takes one component whose density is positive wherever any other's is: across a gap
    the cdf moves with the weights, but no sample lies there to carry that share of the derivative.
    """
    for component in components:
        name = type(component).__name__
        if component.discrete:
            return f"{name} is discrete"
        if component.unit_rank:
            return f"units of {name} are vectors, which have no cdf to move by (independent entries: joint=1)"
        if component.angular:
            return f"samples of {name} are angles, whose cdf has no beginning"
        if not cdf_moves(component):
            return f"{name} has no cdf with a derivative in all of its parameters"
    if not covers(components, weights):
        return "no component covers the others: the samples would miss what moves across a gap"
    if joint > 1 or (joint and components[0].event_shape[-1] > MOST):
        return f"its conditional form is written out for one joint axis of at most {MOST} entries"
    return ""


def cdf_moves(dist: Distribution) -> bool:
    """Whether `dist` has a cdf that is differentiable in each of its parameters."""
    if not has(dist, "node_cdf"):
        return False
    leaves = [make("param", name=k, shape=n.type.shape, axes=(), dtype="float") for k, n in dist.params.items()]
    cdf = dist.with_params(tuple(leaves)).node_cdf(probe(dist))
    try:
        slopes = vjp([(ops.sum_axes(ops.reduce_sum(cdf), cdf.type.axes), ops.const(1.0))], leaves)
    except (EstimatorError, ModelError):
        return False
    return all(slope is not None for slope in slopes)


def covers(components: Sequence[Distribution], weights: Node) -> bool:
    """Whether the support of a component of positive weight holds all the others', whatever the parameters."""
    known = constant_value(weights)
    for k, component in enumerate(components):
        share = (
            bounds_of(weights).hi if known is None else known.reshape(-1, known.shape[-1])[:, k % known.shape[-1]].min()
        )
        whole = component.support is not Support.INTERVAL and share != 0 and share > -float("inf")
        if whole and all(other.support.within(component.support) for other in components):
            return True
    return False


def centre(component: Distribution) -> Node:
    """The median of a component, or its mean; a ModelError where it has neither in closed form."""
    if has(component, "node_icdf"):
        return component.node_icdf(ops.expand(ops.const(0.5), (), component.event_shape))
    return component.node_mean()


def points_between(centres: Node) -> tuple[Node, Node]:
    """Points between the outermost of the components' centres, which trail, and how far these are apart."""
    low, high = ops.neg(ops.reduce("amax", ops.neg(centres), -1)), ops.reduce("amax", centres, -1)
    length = ops.sub(high, low)
    shares = np.reshape((np.arange(POINTS) + 0.5) / POINTS, (POINTS, *(1,) * len(length.type.shape)))
    return ops.add(low, ops.mul(length, shares)), length


def relative_variance(shares: Node, cdfs: Node, log_density: Node, length: Node) -> Node:
    """max over k of the integral of d_k^2 / p over that of |d_k| squared, d_k = F_k - F: points lead, components trail.

    d_k / p is how far a sample moves with the share of component k, for a cost of slope 1.
    """
    gap = ops.sub(cdfs, ops.reduce_sum(ops.mul(shares, cdfs), -1, keepdims=True))
    density = ops.exp(ops.reshape(log_density, (*log_density.type.shape, 1)))
    square = ops.mul(gap, gap)
    second = ops.where(ops.equal(square, 0.0), 0.0, ops.div(square, density))
    second, first = (ops.div(ops.reduce_sum(m, 0), float(POINTS)) for m in (second, ops.absolute(gap)))
    scale = ops.mul(ops.reshape(length, (*length.type.shape, 1)), ops.mul(first, first))
    return ops.stop(ops.reduce("amax", ops.where(ops.less(0.0, scale), ops.div(second, scale), 0.0), -1))


def centred(shares: Node, cdfs: Node) -> Node:
    """Mean of the components' cdfs less its own value: 0, with the derivatives of the mean.

    Shares sum to 1, so that the constant moves nothing; without it the derivative in a share would be a difference of
    numbers near 1 over a small density, once the samples' contributions are added up.
    """
    mean = ops.stop(ops.reduce_sum(ops.mul(shares, cdfs), -1, keepdims=True))
    return ops.reduce_sum(ops.mul(shares, ops.sub(cdfs, mean)), -1)


def moving_scalar(value: Node, shares: Node, cdf: Rows, log_density: Rows) -> Node:
    """`value`, with the implicit derivative of a one-dimensional mixture; `cdf` gives one number per component."""
    fixed = ops.stop(value)
    moved = ops.div(centred(shares, cdf(fixed)), ops.stop(ops.exp(log_density(fixed))))
    return ops.graft(fixed, ops.neg(moved))


def moving_vector(value: Node, log_weights: Node, cdfs: Sequence[Rows], log_densities: Sequence[Rows]) -> Node:
    """`value`, whose last dimension holds the entries of a vector, moved entry after entry.

    `cdfs[i]` and `log_densities[i]` map entry i (the shape of the units) to one number per component (a trailing
    dimension); `log_weights` are those of the components.
    """
    lead = value.type.shape[:-1]
    log_shares, entries = log_weights, []
    for i, (cdf, log_density) in enumerate(zip(cdfs, log_densities, strict=True)):
        here = ops.window(value, [*((0, n, 1) for n in lead), (i, 1, 1)])
        fixed = ops.stop(ops.reshape(here, lead))
        conditional = centred(ops.softmax(log_shares), cdf(fixed))
        joint = ops.add(log_shares, log_density(fixed))
        density = ops.exp(ops.sub(ops.logsumexp(joint, -1), ops.logsumexp(log_shares, -1)))
        entry = ops.graft(fixed, ops.neg(ops.div(conditional, ops.stop(density))))
        log_shares = ops.add(log_shares, log_density(entry))
        entries.append(ops.reshape(entry, (*lead, 1)))
    return ops.concat(entries, len(lead))
