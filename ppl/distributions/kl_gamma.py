"""Closed KL divergences of the gamma family: Gamma, Beta and Dirichlet pairs."""

from __future__ import annotations

from ppl.distributions.beta import Beta
from ppl.distributions.dirichlet import Dirichlet
from ppl.distributions.gamma import Gamma
from ppl.distributions.kl import register_kl
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node


def _moved(a: Node, b: Node) -> Node:
    """(a - b) digamma(a)."""
    return ops.mul(ops.sub(a, b), ops.polygamma(0, a))


@register_kl(Gamma, Gamma)
def gamma_divergence(p: Gamma, q: Gamma) -> Node:
    """(a - b) digamma(a) - log gamma(a) + log gamma(b) + b log(rate_p / rate_q) + a (rate_q / rate_p - 1)."""
    (a, rate_p), (b, rate_q) = p.params.values(), q.params.values()
    shape = ops.add(_moved(a, b), ops.sub(ops.lgamma(b), ops.lgamma(a)))
    logs = ops.mul(b, ops.sub(ops.log(rate_p), ops.log(rate_q)))
    return ops.add(ops.add(shape, logs), ops.mul(a, ops.sub(ops.div(rate_q, rate_p), 1.0)))


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Node:
    """log B_q - log B_p + the sum of (a - b) digamma(a), less the same of the totals."""
    (a1, a0), (b1, b0) = p.params.values(), q.params.values()
    normalizers = ops.sub(q.log_normalizer(), p.log_normalizer())
    each = ops.add(_moved(a1, b1), _moved(a0, b0))
    return ops.sub(ops.add(normalizers, each), _moved(ops.add(a1, a0), ops.add(b1, b0)))


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Node:
    """log B_q - log B_p + the sum of (a_i - b_i) digamma(a_i), less the same of the totals."""
    a, b = p.params["concentration"], q.params["concentration"]
    if a.type.shape != b.type.shape:
        raise ShapeError(f"KL of {p!r} and {q!r}: event shapes differ")
    normalizers = ops.sub(q.log_normalizer(), p.log_normalizer())
    total = _moved(ops.reduce_sum(a, -1), ops.reduce_sum(b, -1))
    return ops.sub(ops.add(normalizers, ops.reduce_sum(_moved(a, b), -1)), total)
