"""Closed KL divergences of the gamma family, of Poisson too: without cancellation, see `gamma_formulas`."""

from __future__ import annotations

from ppl.distributions.beta import Beta
from ppl.distributions.chi2 import Chi2
from ppl.distributions.dirichlet import Dirichlet
from ppl.distributions.divergences.registry import register_kl
from ppl.distributions.gamma import Gamma
from ppl.distributions.inverse_gamma import InverseGamma
from ppl.distributions.parts.gamma_formulas import deviance, shape_divergence
from ppl.distributions.poisson import Poisson
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node


@register_kl(Gamma, Gamma)
def gamma_divergence(p: Gamma, q: Gamma) -> Node:
    """(a - b) digamma(a) - log gamma(a) + log gamma(b) + b log(rate_p / rate_q) + a (rate_q / rate_p - 1).

    It is the deviance of b from m = a rate_q / rate_p, and what the shapes differ by besides.
    """
    (a, rate_p), (b, rate_q) = p.params.values(), q.params.values()
    return _gammas(a, ops.div(rate_q, rate_p), ops.sub(ops.log(rate_q), ops.log(rate_p)), b)


def _gammas(a: Node, ratio: Node, log_ratio: Node, b: Node) -> Node:
    """KL from concentration a and rate 1 to concentration b and rate `ratio`."""
    means = deviance(ops.mul(a, ratio), ops.add(ops.log(a), log_ratio), b)
    return ops.add(means, shape_divergence(a, b))


@register_kl(InverseGamma, InverseGamma)
def _inverse_gamma(p: InverseGamma, q: InverseGamma) -> Node:
    """That of the reciprocals."""
    (a, scale_p), (b, scale_q) = p.params.values(), q.params.values()
    return _gammas(a, ops.div(scale_q, scale_p), ops.sub(ops.log(scale_q), ops.log(scale_p)), b)


@register_kl(Chi2, Chi2)
def _chi2(p: Chi2, q: Chi2) -> Node:
    """That of the gamma laws."""
    return gamma_divergence(p.original(), q.original())


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Node:
    """rate_p log(rate_p / rate_q) + rate_q - rate_p."""
    return deviance(q.params["rate"], ops.log(q.params["rate"]), p.params["rate"])


def _classes(a: list[Node], b: list[Node], total_a: Node, total_b: Node) -> list[Node]:
    """The terms of the KL divergence from Dirichlet concentrations a to b, less that of their totals.

    The deviances are of b_i from a_i times the ratio of the totals, whose differences sum to 0.
    """
    ratio = ops.div(total_b, total_a)
    log_ratio = ops.sub(ops.log(total_b), ops.log(total_a))
    return [
        ops.add(deviance(ops.mul(x, ratio), ops.add(ops.log(x), log_ratio), y), shape_divergence(x, y))
        for x, y in zip(a, b, strict=True)
    ]


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Node:
    """log B_q - log B_p + the sum of (a - b) digamma(a), less the same of the totals."""
    a, b = list(p.params.values()), list(q.params.values())
    totals = ops.add(*a), ops.add(*b)
    return ops.sub(ops.add(*_classes(a, b, *totals)), shape_divergence(*totals))


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Node:
    """log B_q - log B_p + the sum of (a_i - b_i) digamma(a_i), less the same of the totals."""
    a, b = p.params["concentration"], q.params["concentration"]
    if a.type.shape != b.type.shape:
        raise ShapeError(f"KL of {p!r} and {q!r}: event shapes differ")
    total_a, total_b = (ops.reduce_sum(c, -1, keepdims=True) for c in (a, b))
    (each,) = _classes([a], [b], total_a, total_b)
    whole = shape_divergence(total_a, total_b)
    return ops.sub(ops.reduce_sum(each, -1), ops.reshape(whole, whole.type.shape[:-1]))
