"""The exponential families among the package's distributions: natural parameters, statistics, log-partition function.

The number of trials, or of failures to wait for, of counts is known: `Family.fixed`. The natural parameters of a normal
vector x of d numbers are one vector of d + d (d + 1) / 2: those of the entries, P loc with P the precision matrix, and
those of the products x_i x_j, i <= j: -P_ii / 2 on the diagonal, -P_ij beside it. Mean parameters are E[x_i] and E[x_i
x_j]. A is made from an unrolled factorisation of P, so that d is at most 32."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.beta import Beta, Dirichlet
from ppl.distributions.binomial import Binomial, Geometric, NegativeBinomial
from ppl.distributions.categorical import Categorical, OneHotCategorical
from ppl.distributions.exponential import Exponential
from ppl.distributions.families.family import FAMILIES, Family
from ppl.distributions.gamma import Chi2, Gamma, InverseGamma
from ppl.distributions.half_distributions import HalfNormal
from ppl.distributions.location_scale import Normal
from ppl.distributions.lognormal import LogNormal
from ppl.distributions.multinomial import Multinomial
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.distributions.poisson import Poisson
from ppl.distributions.von_mises import VonMises
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node

Parts = tuple[Node, ...]

LOG_TWO_PI = math.log(2 * math.pi)


def _normal_natural(dist: Any) -> Parts:
    precision = ops.div(1.0, ops.mul(dist.params["scale"], dist.params["scale"]))
    return ops.mul(dist.params["loc"], precision), ops.mul(-0.5, precision)


def _normal_partition(a: Node, b: Node) -> Node:
    """-a^2 / (4 b) - log(-2 b) / 2."""
    quadratic = ops.div(ops.mul(a, a), ops.mul(4.0, b))
    return ops.neg(ops.add(quadratic, ops.mul(0.5, ops.log(ops.mul(-2.0, b)))))


def _normal_usual(a: Node, b: Node) -> dict[str, Node]:
    variance = ops.div(-0.5, b)
    return {"loc": ops.mul(a, variance), "scale": ops.sqrt(variance)}


def _normal_fit(first: Any, second: Any) -> dict[str, Any]:
    return {"loc": first, "scale": np.sqrt(second - np.square(first))}


def _value_and_square(x: Node) -> Parts:
    return x, ops.mul(x, x)


def _gamma_start(mean_log: Any, mean: Any) -> dict[str, Any]:
    """Minka's approximation of the shape (Estimating a gamma distribution, 2002)."""
    gap = np.log(mean) - mean_log
    shape = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    return {"concentration": shape, "rate": shape / mean}


def _inverse_gamma_start(mean_log: Any, mean_inverse: Any) -> dict[str, Any]:
    found = _gamma_start(-mean_log, mean_inverse)
    return {"concentration": found["concentration"], "scale": found["rate"]}


def _gamma_partition(a: Node, b: Node) -> Node:
    """log gamma(a + 1) - (a + 1) log(-b)."""
    shape = ops.add(a, 1.0)
    return ops.sub(ops.lgamma(shape), ops.mul(shape, ops.log(ops.neg(b))))


def _beta_partition(a: Node, b: Node) -> Node:
    """log B(a, b)."""
    return ops.sub(ops.add(ops.lgamma(a), ops.lgamma(b)), ops.lgamma(ops.add(a, b)))


def _simplex_start(log_mean: Any) -> dict[str, Any]:
    """Proportions by the geometric means, with the total that their deficit from 1 suggests."""
    geometric = np.exp(log_mean)
    total, count = geometric.sum(-1, keepdims=True), geometric.shape[-1]
    return {"concentration": geometric / total * np.maximum(0.5 * (count - 1) / -np.log(total), 0.1 * count)}


def _beta_start(log_one: Any, log_zero: Any) -> dict[str, Any]:
    both = _simplex_start(np.stack([log_one, log_zero], -1))["concentration"]
    return {"concentration1": both[..., 0], "concentration0": both[..., 1]}


def _vector_norm(a: Node, b: Node) -> Node:
    return ops.sqrt(ops.add(ops.mul(a, a), ops.mul(b, b)))


def _vector_angle(a: Node, b: Node) -> Node:
    """The direction of (a, b): twice the arctangent of b / (length + a), or of (length - a) / b where a < 0."""
    length, left = _vector_norm(a, b), ops.less(a, 0.0)
    over = ops.where(left, ops.sub(length, a), b)
    under = ops.where(left, ops.where(ops.equal(b, 0.0), 1e-300, b), ops.add(length, a))
    return ops.mul(2.0, ops.atan(ops.div(over, under)))


def _von_mises_natural(dist: Any) -> Parts:
    loc, concentration = dist.params["loc"], dist.params["concentration"]
    return ops.mul(concentration, ops.cos(loc)), ops.mul(concentration, ops.sin(loc))


def _von_mises_partition(a: Node, b: Node) -> Node:
    """log(2 pi I0(length))."""
    length = _vector_norm(a, b)
    return ops.add(ops.add(ops.log_i0e(length), length), LOG_TWO_PI)


def _von_mises_start(c: Any, s: Any) -> dict[str, Any]:
    """The direction and the concentration by Best & Fisher's approximation (1981)."""
    r = np.minimum(np.hypot(c, s), 1 - 1e-9)
    return {"loc": np.arctan2(s, c), "concentration": r * (2 - r * r) / (1 - r * r)}


def _class_logits(dist: Any) -> Parts:
    return (dist.log_probs(),)


def _named_parameter(name: str) -> Any:
    return lambda mean: {name: mean}


def _value_statistic(x: Node) -> Parts:
    return (ops.cast(x, "float"),)


NORMAL_FAMILY = Family(_normal_natural, _value_and_square, _normal_partition, _normal_usual,
                log_carrier=lambda *mean: -0.5 * LOG_TWO_PI, from_mean=_normal_fit)  # fmt: skip

CLASS_FAMILY = Family(_class_logits, _value_statistic, lambda a: ops.logsumexp(a, -1), lambda a: {"logits": a},
                 rank=1, from_mean=_named_parameter("probs"), minimal=False)  # fmt: skip

FAMILIES.update({
    Normal: NORMAL_FAMILY,
    LogNormal: Family(_normal_natural, lambda x: _value_and_square(ops.log(x)), _normal_partition, _normal_usual,
                      log_carrier=lambda first, second: ops.sub(-0.5 * LOG_TWO_PI, first), from_mean=_normal_fit),
    HalfNormal: Family(
        lambda d: (ops.div(-0.5, ops.mul(d.params["scale"], d.params["scale"])),),
        lambda x: (ops.mul(x, x),),
        lambda a: ops.mul(-0.5, ops.log(ops.mul(-2.0, a))),
        lambda a: {"scale": ops.sqrt(ops.div(-0.5, a))},
        log_carrier=lambda mean: 0.5 * math.log(2 / math.pi),
        from_mean=lambda mean: {"scale": np.sqrt(mean)},
    ),
    Bernoulli: Family(lambda d: (d.logits,), _value_statistic, ops.softplus, _named_parameter("logits"),
                       from_mean=_named_parameter("probs")),
    Categorical: replace(CLASS_FAMILY, encode=lambda x: np.eye(int(x.max()) + 1)[x.astype(int)]),
    OneHotCategorical: CLASS_FAMILY,
    Exponential: Family(
        lambda d: (ops.neg(d.params["rate"]),), _value_statistic, lambda a: ops.neg(ops.log(ops.neg(a))),
        lambda a: {"rate": ops.neg(a)}, from_mean=lambda mean: {"rate": 1 / mean},
    ),
    Gamma: Family(
        lambda d: (ops.sub(d.params["concentration"], 1.0), ops.neg(d.params["rate"])),
        lambda x: (ops.log(x), x), _gamma_partition,
        lambda a, b: {"concentration": ops.add(a, 1.0), "rate": ops.neg(b)}, start=_gamma_start,
    ),
    InverseGamma: Family(
        lambda d: (ops.neg(ops.add(d.params["concentration"], 1.0)), ops.neg(d.params["scale"])),
        lambda x: (ops.log(x), ops.div(1.0, x)),
        lambda a, b: _gamma_partition(ops.sub(-2.0, a), b),
        lambda a, b: {"concentration": ops.sub(-1.0, a), "scale": ops.neg(b)}, start=_inverse_gamma_start,
    ),
    Chi2: Family(
        lambda d: (ops.sub(ops.mul(0.5, d.params["df"]), 1.0),), lambda x: (ops.log(x),),
        lambda a: _gamma_partition(a, ops.as_node(-0.5)),
        lambda a: {"df": ops.mul(2.0, ops.add(a, 1.0))},
        log_carrier=None, start=lambda mean_log: {"df": np.exp(mean_log) + 1.0},
    ),
    Beta: Family(
        lambda d: tuple(d.params.values()), lambda x: (ops.log(x), ops.log1p(ops.neg(x))), _beta_partition,
        lambda a, b: {"concentration1": a, "concentration0": b},
        log_carrier=lambda one, zero: ops.neg(ops.add(one, zero)), start=_beta_start,
    ),
    Dirichlet: Family(
        lambda d: (d.params["concentration"],), lambda x: (ops.log(x),),
        lambda a: ops.sub(ops.reduce_sum(ops.lgamma(a), -1), ops.lgamma(ops.reduce_sum(a, -1))),
        lambda a: {"concentration": a}, rank=1,
        log_carrier=lambda mean: ops.neg(ops.reduce_sum(mean, -1)), start=_simplex_start,
    ),
    Poisson: Family(
        lambda d: (ops.log(d.params["rate"]),), _value_statistic, ops.exp, lambda a: {"rate": ops.exp(a)},
        log_carrier=None, from_mean=_named_parameter("rate"),
    ),
    VonMises: Family(
        _von_mises_natural, lambda x: (ops.cos(x), ops.sin(x)), _von_mises_partition,
        lambda a, b: {"loc": _vector_angle(a, b), "concentration": _vector_norm(a, b)}, start=_von_mises_start,
    ),
})  # fmt: skip

CountParts = tuple[Node, ...]


def _count_statistic(x: Node) -> CountParts:
    return (ops.cast(x, "float"),)


def _total_count(dist: Any) -> dict[str, Node]:
    return {"total_count": dist.params["total_count"]}


def _log_success(dist: Any) -> CountParts:
    return (ops.neg(ops.softplus(ops.neg(dist.logits))) if dist.in_logits else ops.log(dist.params["probs"]),)


FAMILIES.update({
    Geometric: Family(
        lambda d: (d.log_failure(),), _count_statistic, lambda a: ops.neg(ops.log1mexp(a)),
        lambda a: {"probs": ops.neg(ops.expm1(a))}, from_mean=lambda mean: {"probs": 1 / (1 + mean)},
    ),
    Binomial: Family(
        lambda d: (d.logits,), _count_statistic, lambda a, total_count: ops.mul(total_count, ops.softplus(a)),
        lambda a, total_count: {"total_count": total_count, "logits": a}, log_carrier=None,
        from_mean=lambda mean, total_count: {"total_count": total_count, "probs": mean / total_count},
        fixed=_total_count,
    ),
    NegativeBinomial: Family(
        _log_success, _count_statistic, lambda a, total_count: ops.neg(ops.mul(total_count, ops.log1mexp(a))),
        lambda a, total_count: {"total_count": total_count, "probs": ops.exp(a)}, log_carrier=None,
        from_mean=lambda mean, total_count: {"total_count": total_count, "probs": mean / (total_count + mean)},
        fixed=_total_count,
    ),
    Multinomial: Family(
        lambda d: (d.log_probs(),), _count_statistic, lambda a, total_count: ops.mul(total_count, ops.logsumexp(a, -1)),
        lambda a, total_count: {"total_count": total_count, "logits": a}, rank=1, log_carrier=None,
        from_mean=lambda mean, total_count: {"total_count": total_count, "probs": mean / total_count[..., None]},
        minimal=False, fixed=lambda d: {"total_count": d.total},
    ),
})  # fmt: skip

LOG_2PI = math.log(2 * math.pi)

MOST_DIMENSIONS = 32


def _vector_length(parameters: int) -> int:
    return (math.isqrt(9 + 8 * parameters) - 3) // 2


def _first_axis_last(x: Node) -> Node:
    """The first event dimension moved to the end."""
    rank = len(x.type.shape)
    return ops.transpose(x, (*range(1, rank), 0))


def _gaussian_natural(dist: Any) -> tuple[Node, ...]:
    loc, d = dist.params["loc"], dist.event_shape[-1]
    i, j = np.triu_indices(d)
    scale = next(node for name, node in dist.params.items() if name != "loc")
    centred = dist.with_params((ops.expand(ops.const(0.0), (), loc.type.shape), scale))
    units = np.eye(d).reshape(d, *(1,) * len(dist.batch_of_units), d)
    law = centred.expand((d, *dist.batch_of_units))
    white = law.standardized(ops.expand(ops.const(units), (), law.event_shape))  # L^-1 e_i along the first dimension
    first = ops.reduce_sum(ops.mul(white, centred.standardized(loc)), -1)
    products = ops.reduce_sum(ops.mul(ops.take(white, i), ops.take(white, j)), -1)
    pairs = ops.mul(_first_axis_last(products), np.where(i == j, -0.5, -1.0))
    return (ops.concat([_first_axis_last(first), pairs], -1),)


def _gaussian_statistics(x: Node) -> tuple[Node, ...]:
    i, j = np.triu_indices(x.type.shape[-1])
    front = ops.transpose(x, (len(x.type.shape) - 1, *range(len(x.type.shape) - 1)))
    return (ops.concat([x, _first_axis_last(ops.mul(ops.take(front, i), ops.take(front, j)))], -1),)


def _covariance_factor(eta: Node) -> tuple[list[Node], list[list[Node]]]:
    """The first d entries, and the rows of the lower Cholesky factor L of the inverse of P.

    P = U U^T with U upper triangular, from the last column on; L is the transpose of the inverse of U.
    """
    d = _vector_length(eta.type.shape[-1])
    if d > MOST_DIMENSIONS:
        raise ModelError(
            f"MultivariateNormal: natural parameters are taken up to {MOST_DIMENSIONS} dimensions, not {d}"
        )
    lead = tuple((0, n, 1) for n in eta.type.shape[:-1])
    entry = [ops.reshape(ops.window(eta, (*lead, (k, 1, 1))), eta.type.shape[:-1]) for k in range(eta.type.shape[-1])]
    at = {pair: d + k for k, pair in enumerate(zip(*map(np.ndarray.tolist, np.triu_indices(d)), strict=True))}
    upper: dict[tuple[int, int], Node] = {}
    for j in reversed(range(d)):
        for i in reversed(range(j + 1)):
            rest = ops.mul(-2.0 if i == j else -1.0, entry[at[i, j]])
            for k in range(j + 1, d):
                rest = ops.sub(rest, ops.mul(upper[i, k], upper[j, k]))
            upper[i, j] = ops.sqrt(rest) if i == j else ops.div(rest, upper[j, j])
    inverse: dict[tuple[int, int], Node] = {}
    for j in range(d):
        inverse[j, j] = ops.div(1.0, upper[j, j])
        for i in range(j):
            total = _inner_product([inverse[i, k] for k in range(i, j)], [upper[k, j] for k in range(i, j)])
            inverse[i, j] = ops.neg(ops.mul(inverse[j, j], total))
    return entry[:d], [[inverse[i, j] for i in range(j + 1)] for j in range(d)]


def _inner_product(a: list[Node], b: list[Node]) -> Node:
    total = ops.mul(a[0], b[0])
    for x, y in zip(a[1:], b[1:], strict=True):
        total = ops.add(total, ops.mul(x, y))
    return total


def _whitened_mean(first: list[Node], lower: list[list[Node]]) -> list[Node]:
    """L^T P loc."""
    d = len(first)
    return [_inner_product([lower[j][i] for j in range(i, d)], first[i:]) for i in range(d)]


def _gaussian_partition(eta: Node) -> Node:
    """|L^T P loc|^2 / 2 + sum log diag(L)."""
    first, lower = _covariance_factor(eta)
    y = _whitened_mean(first, lower)
    total = ops.mul(0.5, _inner_product(y, y))
    for j, row in enumerate(lower):
        total = ops.add(total, ops.log(row[j]))
    return total


def _gaussian_usual(eta: Node) -> dict[str, Node]:
    first, lower = _covariance_factor(eta)
    y, d = _whitened_mean(first, lower), len(first)
    loc = [_inner_product(row, y[: len(row)]) for row in lower]
    zero = ops.mul(0.0, first[0])
    rows = [_stack_last([*row, *(zero for _ in range(d - len(row)))]) for row in lower]
    return {"loc": _stack_last(loc), "scale_tril": _stack_last(rows, -2)}


def _stack_last(nodes: list[Node], dim: int = -1) -> Node:
    """Nodes stacked along a new last dimension, or one before that."""
    shape = nodes[0].type.shape
    at = len(shape) + 1 + dim
    return ops.concat([ops.reshape(n, (*shape[:at], 1, *shape[at:])) for n in nodes], at)


def _gaussian_fit(mean: Any) -> dict[str, Any]:
    d = _vector_length(mean.shape[-1])
    loc, pairs = mean[..., :d], np.empty((*mean.shape[:-1], d, d))
    i, j = np.triu_indices(d)
    pairs[..., i, j] = pairs[..., j, i] = mean[..., d:]
    return {"loc": loc, "covariance_matrix": pairs - loc[..., :, None] * loc[..., None, :]}


FAMILIES[MultivariateNormal] = Family(
    _gaussian_natural, _gaussian_statistics, _gaussian_partition, _gaussian_usual, rank=1, from_mean=_gaussian_fit,
    log_carrier=lambda mean: -0.5 * LOG_2PI * _vector_length(mean.type.shape[-1]),
)  # fmt: skip
