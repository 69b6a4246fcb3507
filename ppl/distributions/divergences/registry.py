"""Closed Kullback-Leibler divergences, one registered function per pair of distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ppl.distributions.base import Distribution, require_distribution
from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.categorical import Categorical
from ppl.distributions.exponential import Exponential
from ppl.distributions.families.family import FAMILIES, same_fixed, unit_bregman
from ppl.distributions.lognormal import LogNormal
from ppl.distributions.normal import Normal
from ppl.distributions.onehot import OneHotCategorical
from ppl.distributions.parts.classes import Classes
from ppl.distributions.parts.eager import present
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node

Formula = Callable[[Any, Any], Node]
F = TypeVar("F", bound=Formula)
KL_PAIRS: dict[tuple[type[Distribution], type[Distribution]], Formula] = {}


def register_kl(p: type[Distribution], q: type[Distribution]) -> Callable[[F], F]:
    """Register a function of (p, q) that gives KL(p || q) per unit, event shape `batch_of_units`."""

    def register(function: F) -> F:
        KL_PAIRS[p, q] = function
        return function

    return register


def closed_form(p: type[Distribution], q: type[Distribution]) -> Formula | None:
    """The registered formula of a pair; for two laws of one exponential family, that of its log-partition function."""
    return KL_PAIRS.get((p, q)) or (unit_bregman if p is q and p in FAMILIES else None)


def kl_divergence(p: Distribution, q: Distribution) -> Node | None:
    """KL(p || q) = E_p[log p - log q] summed over units: a scalar per row; None where no closed form is
    known.

    With masks it is the sum over units that count, and closed only where both sides have the same mask. Counts of
    different numbers of trials have none.
    """
    formula = closed_form(type(p), type(q))
    if formula is None or (type(p) is type(q) and not same_fixed(p, q)) or p.event_mask is not q.event_mask:
        return None
    if p.event_shape != q.event_shape:
        raise ShapeError(f"KL of {p!r} and {q!r}: event shapes differ")
    return p.masked_sum(formula(p, q))


def kl(p: Distribution, q: Distribution) -> Any:
    """KL(p || q), symbolic inside a model and a number outside.

    Raises
    ------
    ModelError
        Where no closed form is registered for the pair, or the masks differ.
    """

    require_distribution("kl: p", p)
    require_distribution("kl: q", q)

    def formula() -> Node:
        found = kl_divergence(p, q)
        if found is None:
            raise ModelError(f"KL({type(p).__name__} || {type(q).__name__}) has no closed form here")
        return found

    return present((p, q), formula)


@register_kl(Normal, Normal)
@register_kl(LogNormal, LogNormal)
def _normal(p: Normal | LogNormal, q: Normal | LogNormal) -> Node:
    """(r^2 - 1) / 2 - log r + (shift / scale_q)^2 / 2, r = scale_p / scale_q; exp changes nothing."""
    scale_p, scale_q = p.params["scale"], q.params["scale"]
    ratio = ops.div(scale_p, scale_q)
    shift = ops.div(ops.sub(p.params["loc"], q.params["loc"]), scale_q)
    squares = ops.sub(ops.add(ops.mul(ratio, ratio), ops.mul(shift, shift)), 1.0)
    return ops.add(ops.mul(0.5, squares), ops.sub(ops.log(scale_q), ops.log(scale_p)))


@register_kl(Bernoulli, Bernoulli)
def bernoulli_kl(p: Bernoulli, q: Bernoulli) -> Node:
    """Sum over both outcomes of P (log P - log Q)."""
    outcomes = p.outcome_probs()
    return ops.sub(p.expected_log_prob(*outcomes), q.expected_log_prob(*outcomes))


@register_kl(Categorical, Categorical)
@register_kl(OneHotCategorical, OneHotCategorical)
def classes_kl(p: Classes, q: Classes) -> Node:
    """Sum over classes of P (log P - log Q)."""
    if p.count != q.count:
        raise ShapeError(f"KL of {p!r} and {q!r}: {p.count} and {q.count} classes")
    probs = p.class_probs()
    return ops.sub(p.expected_log_prob(probs), q.expected_log_prob(probs))


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Node:
    """log(rate_p / rate_q) + rate_q / rate_p - 1."""
    rate_p, rate_q = p.params["rate"], q.params["rate"]
    return ops.sub(ops.add(ops.sub(ops.log(rate_p), ops.log(rate_q)), ops.div(rate_q, rate_p)), 1.0)
