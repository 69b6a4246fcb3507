"""Closed KL divergences of counts made of binary or categorical trials: that of one trial times their expected number.

They are those of the exponential families, also where a probability is 0 or 1. The fixed count must be the same.
"""

from __future__ import annotations

from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.binomial import Binomial
from ppl.distributions.divergences.registry import bernoulli_kl, classes_kl, register_kl
from ppl.distributions.geometric import Geometric
from ppl.distributions.multinomial import Multinomial
from ppl.distributions.negative_binomial import NegativeBinomial
from ppl.distributions.parts.odds import Odds
from ppl.ir import ops
from ppl.ir.node import Node


def _trial(dist: Odds) -> Bernoulli:
    return Bernoulli(**{name: node for name, node in dist.params.items() if name in ("probs", "logits")})


def _of_trial(p: Odds, q: Odds) -> Node:
    return bernoulli_kl(_trial(p), _trial(q))


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> Node:
    """n KL of a trial."""
    return ops.mul(p.params["total_count"], _of_trial(p, q))


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Node:
    """KL of a trial over the probability of success."""
    return ops.div(_of_trial(p, q), p.outcome_probs()[0])


@register_kl(NegativeBinomial, NegativeBinomial)
def _negative_binomial(p: NegativeBinomial, q: NegativeBinomial) -> Node:
    """r KL of a trial over the probability of failure."""
    return ops.div(ops.mul(p.params["total_count"], _of_trial(p, q)), p.outcome_probs()[1])


@register_kl(Multinomial, Multinomial)
def _multinomial(p: Multinomial, q: Multinomial) -> Node:
    """n KL of a draw."""
    return ops.mul(p.total, classes_kl(p, q))
