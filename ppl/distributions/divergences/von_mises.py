"""Closed KL divergence of two von Mises laws."""

from __future__ import annotations

from ppl.distributions.divergences.registry import register_kl
from ppl.distributions.parts.formulas import one_minus_cos
from ppl.distributions.von_mises import VonMises
from ppl.ir import ops
from ppl.ir.node import Node


@register_kl(VonMises, VonMises)
def _von_mises(p: VonMises, q: VonMises) -> Node:
    """log I0(b) - log I0(a) + A(a) (a - b cos(gap)) for concentrations a, b, A = I1 / I0, gap of the locs.

    Without cancellation, in l = log(I0 exp(-x)) with l' = A - 1:
    l(b) - l(a) + a l'(a) + b (1 - cos(gap) - l'(a) cos(gap)).
    """
    (loc_p, a), (loc_q, b) = p.params.values(), q.params.values()
    normalizers = ops.sub(ops.log_i0e(b), ops.log_i0e(a))
    gap, slope = ops.sub(loc_p, loc_q), ops.log_i0e(a, 1)
    apart = ops.sub(one_minus_cos(gap), ops.mul(slope, ops.cos(gap)))
    return ops.add(ops.add(normalizers, ops.mul(a, slope)), ops.mul(b, apart))
