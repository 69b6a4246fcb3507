"""Constraints of parameters: maps between unconstrained arrays, which are optimised, and constrained values.

Each has its forward map in IR and in NumPy, and its inverse in NumPy for initial values. No Jacobian is ever
added. positive is exp, unit_interval is sigmoid, simplex is softmax over the last axis, and lower_cholesky is
a lower triangular matrix whose diagonal is exp of the first n of n(n+1)/2 unconstrained entries.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Constraint:
    """A constraint: shape of the unconstrained array, forward map (IR, NumPy), inverse, test of values."""

    raw_shape: Callable[[Shape], Shape]
    forward: Callable[[Node, Shape], Node]
    value: Callable[[np.ndarray, Shape], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]
    holds: Callable[[np.ndarray], bool]
    wanted: str


def _same(shape: Shape) -> Shape:
    return shape


def _needs_axis(shape: Shape) -> Shape:
    if not shape:
        raise ShapeError("constraint 'simplex' needs at least one axis")
    return shape


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _triangle_shape(shape: Shape) -> Shape:
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ShapeError(f"constraint 'lower_cholesky' needs a square matrix, not shape {shape}")
    return (*shape[:-2], shape[-1] * (shape[-1] + 1) // 2)


def _triangle_index(n: int) -> np.ndarray:
    """Where each matrix entry lies in [diagonal, below it, one zero]."""
    index = np.full((n, n), n * (n + 1) // 2)
    index[np.diag_indices(n)] = np.arange(n)
    index[np.tril_indices(n, -1)] = np.arange(n, n * (n + 1) // 2)
    return index


def _triangle(raw: Node, shape: Shape) -> Node:
    n, rank = shape[-1], len(shape) - 1
    flat = ops.transpose(raw, [rank - 1, *range(rank - 1)])
    rest = tuple((0, m, 1) for m in shape[:-2])
    count = raw.type.shape[-1]
    parts = [ops.exp(ops.window(flat, [(0, n, 1), *rest])), ops.const(np.zeros((1, *shape[:-2])))]
    if count > n:
        parts.insert(1, ops.window(flat, [(n, count - n, 1), *rest]))
    matrix = ops.take(ops.concat(parts, 0), _triangle_index(n))
    return ops.transpose(matrix, [*range(2, rank + 1), 0, 1])


def _triangle_value(raw: np.ndarray, shape: Shape) -> np.ndarray:
    n = shape[-1]
    padded = np.concatenate([np.exp(raw[..., :n]), raw[..., n:], np.zeros((*raw.shape[:-1], 1))], -1)
    return padded[..., _triangle_index(n)]


def _triangle_inverse(value: np.ndarray) -> np.ndarray:
    rows, columns = np.tril_indices(value.shape[-1], -1)
    return np.concatenate([np.log(np.diagonal(value, axis1=-2, axis2=-1)), value[..., rows, columns]], -1)


CONSTRAINTS: dict[str, Constraint] = {
    "positive": Constraint(
        _same,
        lambda x, s: ops.exp(x),
        lambda x, s: np.exp(x),
        np.log,
        lambda v: bool(np.all(v > 0)),
        "numbers above 0",
    ),
    "unit_interval": Constraint(
        _same,
        lambda x, s: ops.sigmoid(x),
        lambda x, s: 1 / (1 + np.exp(-x)),
        lambda v: np.log(v) - np.log1p(-v),
        lambda v: bool(np.all((v > 0) & (v < 1))),
        "numbers strictly between 0 and 1",
    ),
    "simplex": Constraint(
        _needs_axis,
        lambda x, s: ops.softmax(x),
        lambda x, s: _softmax(x),
        np.log,
        lambda v: bool(np.all(v > 0) and np.allclose(v.sum(-1), 1, atol=1e-5)),
        "positive numbers that sum to 1 over the last axis",
    ),
    "lower_cholesky": Constraint(
        _triangle_shape,
        _triangle,
        _triangle_value,
        _triangle_inverse,
        lambda v: bool(np.all(np.triu(v, 1) == 0) and np.all(np.diagonal(v, axis1=-2, axis2=-1) > 0)),
        "a lower triangular matrix with positive diagonal",
    ),
}
