"""Exponential families of counts. The number of trials, or of failures to wait for, is known: `Family.fixed`."""

from __future__ import annotations

from typing import Any

from ppl.distributions.binomial import Binomial
from ppl.distributions.families.family import FAMILIES, Family
from ppl.distributions.geometric import Geometric
from ppl.distributions.multinomial import Multinomial
from ppl.distributions.negative_binomial import NegativeBinomial
from ppl.ir import ops
from ppl.ir.node import Node

Parts = tuple[Node, ...]


def _first(x: Node) -> Parts:
    return (ops.cast(x, "float"),)


def _total(dist: Any) -> dict[str, Node]:
    return {"total_count": dist.params["total_count"]}


def _log_success(dist: Any) -> Parts:
    return (ops.neg(ops.softplus(ops.neg(dist.logits))) if dist.in_logits else ops.log(dist.params["probs"]),)


FAMILIES.update({
    Geometric: Family(
        lambda d: (d.log_failure(),), _first, lambda a: ops.neg(ops.log1mexp(a)),
        lambda a: {"probs": ops.neg(ops.expm1(a))}, from_mean=lambda mean: {"probs": 1 / (1 + mean)},
    ),
    Binomial: Family(
        lambda d: (d.logits,), _first, lambda a, total_count: ops.mul(total_count, ops.softplus(a)),
        lambda a, total_count: {"total_count": total_count, "logits": a}, log_carrier=None,
        from_mean=lambda mean, total_count: {"total_count": total_count, "probs": mean / total_count}, fixed=_total,
    ),
    NegativeBinomial: Family(
        _log_success, _first, lambda a, total_count: ops.neg(ops.mul(total_count, ops.log1mexp(a))),
        lambda a, total_count: {"total_count": total_count, "probs": ops.exp(a)}, log_carrier=None,
        from_mean=lambda mean, total_count: {"total_count": total_count, "probs": mean / (total_count + mean)},
        fixed=_total,
    ),
    Multinomial: Family(
        lambda d: (d.log_probs(),), _first, lambda a, total_count: ops.mul(total_count, ops.logsumexp(a, -1)),
        lambda a, total_count: {"total_count": total_count, "logits": a}, rank=1, log_carrier=None,
        from_mean=lambda mean, total_count: {"total_count": total_count, "probs": mean / total_count[..., None]},
        minimal=False, fixed=lambda d: {"total_count": d.total},
    ),
})  # fmt: skip
