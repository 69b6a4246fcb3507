"""Exponential families: p(x) = h(x) exp(eta . u(x) - A(eta)), by which one table serves moments, entropy, KL and fits.

A `Family` states natural parameters, sufficient statistics and the log-partition function A in IR; the rest follows by
differentiation: grad A = E[u], its Hessian = Cov[u], the Fisher information. A and its derivatives are per unit: a
component of eta is a number per unit, or a vector along the last event dimension (`rank` 1).

Wainwright & Jordan, Graphical models, exponential families, and variational inference, 2008."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ppl.distributions.base import Distribution, apply_formula, wrap_in_model
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import Node
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.records import dataclass

Parts = tuple[Node, ...]


@dataclass(frozen=True)
class Family:
    """One exponential family.

    Parameters
    ----------
    natural : distribution to natural parameters, one node per component.
    statistics : value to sufficient statistics, one node per component.
    log_partition : natural parameters to A per unit.
    usual : natural parameters to keyword parameters of the class.
    rank : trailing event dimensions of every component (1 for vectors of class weights).
    log_carrier : E[log h(x)] from the mean parameters; None where it has no closed form (then there is no entropy).
    from_mean : mean parameters to keyword parameters in NumPy, where that is closed.
    start : mean parameters to keyword parameters in NumPy from which Newton's method sets out.
    fixed : distribution to parameters that are known and the same for all members, by name; `log_partition`, `usual`,
        `from_mean` and `start` take them as keywords.
    encode : data to what `statistics` takes (class numbers to one-hot rows).
    minimal : whether the statistics are linearly independent, so that the Fisher information is invertible.
    """

    natural: Callable[[Any], Parts]
    statistics: Callable[[Node], Parts]
    log_partition: Callable[..., Node]
    usual: Callable[..., dict[str, Node]]
    rank: int = 0
    log_carrier: Callable[..., Any] | None = lambda *mean: 0.0
    from_mean: Callable[..., dict[str, Any]] | None = None
    start: Callable[..., dict[str, Any]] | None = None
    minimal: bool = True
    encode: Callable[[np.ndarray], np.ndarray] | None = None
    fixed: Callable[[Any], dict[str, Node]] = lambda dist: {}


FAMILIES: dict[type[Distribution], Family] = {}


def family_of(cls: type[Distribution]) -> Family:
    """The family of a class.

    Raises
    ------
    ModelError
        Where the class is not registered as an exponential family.
    """
    if cls not in FAMILIES:
        raise ModelError(f"{cls.__name__} is not registered as an exponential family; there are {_family_names()}")
    return FAMILIES[cls]


def _family_names() -> str:
    return ", ".join(sorted(c.__name__ for c in FAMILIES))


def mark_natural(parts: Parts) -> Parts:
    """Natural parameters as nodes of their own, with respect to which A is differentiated."""
    return tuple(ops.mark(part, f"natural {i}") for i, part in enumerate(parts))


def moments(family: Family, eta: Parts, fixed: Mapping[str, Node]) -> Parts:
    """grad A = E[u]; `eta` must be marked."""
    return tuple(gradient(ops.reduce_sum(family.log_partition(*eta, **fixed)), list(eta)))


def has_same_fixed_parameters(p: Distribution, q: Distribution) -> bool:
    """Whether two distributions of one class lie in the same family: what is fixed is the same expression."""
    family = FAMILIES.get(type(p))
    return family is None or family.fixed(p) == family.fixed(q)


def inner_product(family: Family, a: Parts, b: Parts) -> Node:
    """The inner product of two tuples of components, per unit."""
    products = [ops.mul(x, y) for x, y in zip(a, b, strict=True)]
    summed = [ops.reduce_sum(p, -1) if family.rank else p for p in products]
    total = summed[0]
    for term in summed[1:]:
        total = ops.add(total, term)
    return total


def bregman_divergence(p: Distribution, q: Distribution) -> Node:
    """KL(p || q) = A(eta_q) - A(eta_p) - grad A(eta_p) . (eta_q - eta_p) per unit, for two members of one family."""
    family = family_of(type(p))
    own, other = mark_natural(family.natural(p)), family.natural(q)
    gap = tuple(ops.sub(b, a) for a, b in zip(own, other, strict=True))
    fixed = family.fixed(p)
    rise = ops.sub(family.log_partition(*other, **fixed), family.log_partition(*own, **fixed))
    return ops.sub(rise, inner_product(family, moments(family, own, fixed), gap))


def entropy_from_family(dist: Distribution) -> Node:
    """A(eta) - eta . grad A(eta) - E[log h] per unit."""
    family = family_of(type(dist))
    if family.log_carrier is None:
        raise ModelError(f"{type(dist).__name__}: the mean of its carrier's logarithm has no closed form")
    eta = mark_natural(family.natural(dist))
    mean = moments(family, eta, family.fixed(dist))
    flat = ops.sub(family.log_partition(*eta, **family.fixed(dist)), inner_product(family, eta, mean))
    return ops.sub(flat, ops.as_node(family.log_carrier(*mean)))


# public, symbolic or eager


def natural_parameters(dist: Distribution) -> tuple[Any, ...]:
    """eta, one entry per component."""
    family = family_of(type(dist))
    count = len(family.natural(dist))
    return tuple(apply_formula((dist,), lambda i=i: family.natural(dist)[i]) for i in range(count))


def mean_parameters(dist: Distribution) -> tuple[Any, ...]:
    """E[u(x)] = grad A(eta), one entry per component."""
    family = family_of(type(dist))
    count = len(family.natural(dist))

    def mean(i: int) -> Node:
        return moments(family, mark_natural(family.natural(dist)), family.fixed(dist))[i]

    return tuple(apply_formula((dist,), lambda i=i: mean(i)) for i in range(count))


def sufficient_statistics(cls: type[Distribution], x: Any) -> tuple[Any, ...]:
    """u(x), one entry per component, of `x` in NumPy or a node."""
    family = family_of(cls)
    if isinstance(x, Node):
        return family.statistics(x)
    x = np.asarray(x, np.float64)
    data = x if family.encode is None else family.encode(x)
    return tuple(evaluate(list(family.statistics(ops.const(data))), Env(dtype=np.float64)))


def log_partition(dist: Distribution) -> Any:
    """A(eta) per unit."""
    family = family_of(type(dist))
    return apply_formula((dist,), lambda: family.log_partition(*family.natural(dist), **family.fixed(dist)))


def log_partition_at(cls: type[Distribution], *eta: Any, **fixed: Any) -> Any:
    """A at natural parameters `eta` per unit, given those that are fixed: symbolic where one is, else an array."""
    found = family_of(cls).log_partition(*map(ops.as_node, eta), **_float_nodes(fixed))
    if any(isinstance(e, Node) or hasattr(e, "__ppl_node__") for e in (*eta, *fixed.values())):
        return wrap_in_model((), found)
    with np.errstate(all="ignore"):
        return evaluate([found], Env(dtype=np.float64))[0]


def from_natural(cls: type[Distribution], *eta: Any, **fixed: Any) -> Distribution:
    """The member with natural parameters `eta`, given those that are fixed (NumPy arrays or nodes).

    Raises
    ------
    ModelError
        Where the parameters lie outside the family.
    """
    family, nodes = family_of(cls), tuple(ops.as_node(e) for e in eta)
    usual: dict[str, Any] = dict(family.usual(*nodes, **_float_nodes(fixed)))
    if not any(isinstance(e, Node) or hasattr(e, "__ppl_node__") for e in (*eta, *fixed.values())):
        with np.errstate(all="ignore"):
            values = evaluate(list(usual.values()), Env(dtype=np.float64))
        usual = dict(zip(usual, values, strict=True))
    return cls(**usual)


def fixed_parameters(dist: Distribution) -> dict[str, Any]:
    """Parameters that all members of the family share, by name, such as the number of trials of a Binomial."""
    fixed = family_of(type(dist)).fixed
    return {name: apply_formula((dist,), lambda name=name: fixed(dist)[name]) for name in fixed(dist)}


def _float_nodes(fixed: Mapping[str, Any]) -> dict[str, Node]:
    return {name: ops.cast(ops.as_node(value), "float") for name, value in fixed.items()}
