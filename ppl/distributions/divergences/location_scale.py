"""Closed KL divergences of families that are not exponential, and of an exponential law from a gamma law."""

from __future__ import annotations

import math

from ppl.distributions.cauchy import Cauchy
from ppl.distributions.divergences.gamma import gamma_divergence
from ppl.distributions.divergences.registry import register_kl
from ppl.distributions.exponential import Exponential
from ppl.distributions.gamma import Gamma
from ppl.distributions.gumbel import Gumbel
from ppl.distributions.half_cauchy import HalfCauchy
from ppl.distributions.laplace import Laplace
from ppl.distributions.pareto import Pareto
from ppl.distributions.parts.formulas import EULER
from ppl.distributions.uniform import Uniform
from ppl.distributions.weibull import Weibull
from ppl.ir import ops
from ppl.ir.node import Node


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Node:
    """log(b_q / b_p) + (b_p exp(-gap / b_p) + gap) / b_q - 1, gap = |loc_p - loc_q|."""
    (loc_p, own), (loc_q, other) = p.params.values(), q.params.values()
    gap = ops.absolute(ops.sub(loc_p, loc_q))
    spread = ops.add(ops.mul(own, ops.exp(ops.neg(ops.div(gap, own)))), gap)
    return ops.add(ops.sub(ops.log(other), ops.log(own)), ops.sub(ops.div(spread, other), 1.0))


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Node:
    """log of the ratio of lengths, infinite where the first interval leaves the second."""
    (low_p, high_p), (low_q, high_q) = p.params.values(), q.params.values()
    inside = ops.logical_and(ops.less_equal(low_q, low_p), ops.less_equal(high_p, high_q))
    ratio = ops.sub(ops.log(ops.sub(high_q, low_q)), ops.log(ops.sub(high_p, low_p)))
    return ops.where(inside, ratio, math.inf)


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Node:
    """log(b_q / b_p) + euler (r - 1) + gap + exp(-gap) gamma(r + 1) - 1, r = b_p / b_q, gap = (loc_p - loc_q) / b_q."""
    (loc_p, own), (loc_q, other) = p.params.values(), q.params.values()
    ratio, gap = ops.div(own, other), ops.div(ops.sub(loc_p, loc_q), other)
    power = ops.exp(ops.sub(ops.lgamma(ops.add(ratio, 1.0)), gap))
    flat = ops.add(ops.neg(ops.log(ratio)), ops.mul(EULER, ops.sub(ratio, 1.0)))
    return ops.add(flat, ops.add(gap, ops.sub(power, 1.0)))


def _cauchies(own: Node, other: Node, gap: Node) -> Node:
    """log of ((b_p + b_q)^2 + gap^2) / (4 b_p b_q) (Chyzak & Nielsen 2019)."""
    apart, shift = ops.sub(own, other), ops.div(gap, ops.mul(2.0, ops.mul(ops.sqrt(own), ops.sqrt(other))))
    scaled = ops.div(apart, ops.mul(2.0, ops.mul(ops.sqrt(own), ops.sqrt(other))))
    return ops.log1p(ops.add(ops.mul(scaled, scaled), ops.mul(shift, shift)))


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Node:
    """See `_cauchies`."""
    return _cauchies(p.params["scale"], q.params["scale"], ops.sub(p.params["loc"], q.params["loc"]))


@register_kl(HalfCauchy, HalfCauchy)
def _half_cauchy(p: HalfCauchy, q: HalfCauchy) -> Node:
    """That of the Cauchy laws they are halves of."""
    return _cauchies(p.params["scale"], q.params["scale"], ops.as_node(0.0))


@register_kl(Weibull, Weibull)
def _weibull(p: Weibull, q: Weibull) -> Node:
    """That of -log x, whose laws are Gumbel(-log scale, 1 / concentration)."""
    first, second = (
        Gumbel(ops.neg(ops.log(d.params["scale"])), ops.div(1.0, d.params["concentration"])) for d in (p, q)
    )
    return _gumbel(first, second)


@register_kl(Pareto, Pareto)
def _pareto(p: Pareto, q: Pareto) -> Node:
    """b log(scale_p / scale_q) + log(a / b) + b / a - 1, infinite where the first support leaves the second."""
    (low_p, a), (low_q, b) = p.params.values(), q.params.values()
    shape = ops.add(ops.sub(ops.log(a), ops.log(b)), ops.sub(ops.div(b, a), 1.0))
    found = ops.add(ops.mul(b, ops.sub(ops.log(low_p), ops.log(low_q))), shape)
    return ops.where(ops.less_equal(low_q, low_p), found, math.inf)


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Exponential, q: Gamma) -> Node:
    """That of Gamma(1, rate)."""
    return gamma_divergence(Gamma(1.0, p.params["rate"]), q)


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Gamma, q: Exponential) -> Node:
    """That from Gamma(1, rate)."""
    return gamma_divergence(p, Gamma(1.0, q.params["rate"]))
