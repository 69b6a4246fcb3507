"""The multivariate normal as an exponential family.

The natural parameters of a vector x of d numbers are one vector of d + d (d + 1) / 2: those of the entries, P loc with
P the precision matrix, and those of the products x_i x_j, i <= j: -P_ii / 2 on the diagonal, -P_ij beside it. Mean
parameters are E[x_i] and E[x_i x_j]. A is made from an unrolled factorisation of P, so that d is at most 32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppl.distributions.families.family import FAMILIES, Family
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node

LOG_TWO_PI = math.log(2 * math.pi)
MOST = 32


def _dimension(parameters: int) -> int:
    return (math.isqrt(9 + 8 * parameters) - 3) // 2


def _to_last(x: Node) -> Node:
    """The first event dimension moved to the end."""
    rank = len(x.type.shape)
    return ops.transpose(x, (*range(1, rank), 0))


def _natural(dist: Any) -> tuple[Node, ...]:
    loc, d = dist.params["loc"], dist.event_shape[-1]
    i, j = np.triu_indices(d)
    scale = next(node for name, node in dist.params.items() if name != "loc")
    centred = dist.with_params((ops.expand(ops.const(0.0), (), loc.type.shape), scale))
    units = np.eye(d).reshape(d, *(1,) * len(dist.batch_of_units), d)
    law = centred.expand((d, *dist.batch_of_units))
    white = law.standardized(ops.expand(ops.const(units), (), law.event_shape))  # L^-1 e_i along the first dimension
    first = ops.reduce_sum(ops.mul(white, centred.standardized(loc)), -1)
    products = ops.reduce_sum(ops.mul(ops.take(white, i), ops.take(white, j)), -1)
    pairs = ops.mul(_to_last(products), np.where(i == j, -0.5, -1.0))
    return (ops.concat([_to_last(first), pairs], -1),)


def _statistics(x: Node) -> tuple[Node, ...]:
    i, j = np.triu_indices(x.type.shape[-1])
    front = ops.transpose(x, (len(x.type.shape) - 1, *range(len(x.type.shape) - 1)))
    return (ops.concat([x, _to_last(ops.mul(ops.take(front, i), ops.take(front, j)))], -1),)


def _factor(eta: Node) -> tuple[list[Node], list[list[Node]]]:
    """The first d entries, and the rows of the lower Cholesky factor L of the inverse of P.

    P = U U^T with U upper triangular, from the last column on; L is the transpose of the inverse of U.
    """
    d = _dimension(eta.type.shape[-1])
    if d > MOST:
        raise ModelError(f"MultivariateNormal: natural parameters are taken up to {MOST} dimensions, not {d}")
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
            total = _dot([inverse[i, k] for k in range(i, j)], [upper[k, j] for k in range(i, j)])
            inverse[i, j] = ops.neg(ops.mul(inverse[j, j], total))
    return entry[:d], [[inverse[i, j] for i in range(j + 1)] for j in range(d)]


def _dot(a: list[Node], b: list[Node]) -> Node:
    total = ops.mul(a[0], b[0])
    for x, y in zip(a[1:], b[1:], strict=True):
        total = ops.add(total, ops.mul(x, y))
    return total


def _turned(first: list[Node], lower: list[list[Node]]) -> list[Node]:
    """L^T P loc."""
    d = len(first)
    return [_dot([lower[j][i] for j in range(i, d)], first[i:]) for i in range(d)]


def _partition(eta: Node) -> Node:
    """|L^T P loc|^2 / 2 + sum log diag(L)."""
    first, lower = _factor(eta)
    y = _turned(first, lower)
    total = ops.mul(0.5, _dot(y, y))
    for j, row in enumerate(lower):
        total = ops.add(total, ops.log(row[j]))
    return total


def _usual(eta: Node) -> dict[str, Node]:
    first, lower = _factor(eta)
    y, d = _turned(first, lower), len(first)
    loc = [_dot(row, y[: len(row)]) for row in lower]
    zero = ops.mul(0.0, first[0])
    rows = [_last([*row, *(zero for _ in range(d - len(row)))]) for row in lower]
    return {"loc": _last(loc), "scale_tril": _last(rows, -2)}


def _last(nodes: list[Node], dim: int = -1) -> Node:
    """Nodes stacked along a new last dimension, or one before that."""
    shape = nodes[0].type.shape
    at = len(shape) + 1 + dim
    return ops.concat([ops.reshape(n, (*shape[:at], 1, *shape[at:])) for n in nodes], at)


def _fit(mean: Any) -> dict[str, Any]:
    d = _dimension(mean.shape[-1])
    loc, pairs = mean[..., :d], np.empty((*mean.shape[:-1], d, d))
    i, j = np.triu_indices(d)
    pairs[..., i, j] = pairs[..., j, i] = mean[..., d:]
    return {"loc": loc, "covariance_matrix": pairs - loc[..., :, None] * loc[..., None, :]}


FAMILIES[MultivariateNormal] = Family(
    _natural, _statistics, _partition, _usual, rank=1, from_mean=_fit,
    log_carrier=lambda mean: -0.5 * LOG_TWO_PI * _dimension(mean.type.shape[-1]),
)  # fmt: skip
