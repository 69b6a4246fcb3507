"""Vectors of reals as Cholesky factors of correlation matrices."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from ppl.distributions.bijectors.base import Bijector
from ppl.distributions.domain.correlations import drawn_factor, is_factor, positive_diagonal
from ppl.distributions.domain.guards import known_inside
from ppl.distributions.domain.intervals import POSITIVE, Interval
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import frozen
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node


class CorrCholesky(Bijector):
    """From vectors of n (n - 1) / 2 reals onto lower Cholesky factors of correlation matrices of n at least 2 rows.

    The reals stand for the entries below the diagonal, row by row: their hyperbolic tangents are partial correlations
    z, and L_ij = z_ij times the root of what the row's squared entries before column j leave of 1; the diagonal entry
    is the root of what is left at the end (Lewandowski, Kurowicka & Joe 2009; the parametrisation of Stan). x = 0 is
    the identity. The volume is that of the entries below the diagonal.
    """

    rank: ClassVar[int] = 1
    value_rank: ClassVar[int] = 2
    support = Support.CORRELATION_CHOLESKY
    codomain = Interval(-1.0, 1.0, False, False)

    def shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """A matrix in place of the vector."""
        n = (1 + math.isqrt(1 + 8 * event[-1])) // 2 if event else 0
        if n < 2 or n * (n - 1) // 2 != event[-1]:
            raise ShapeError(f"CorrCholesky maps vectors of n (n - 1) / 2 entries, n at least 2, not of shape {event}")
        return (*event[:-1], n, n)

    def source(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """A vector in place of the matrix."""
        if len(event) < 2 or event[-1] != event[-2] or event[-1] < 2:
            raise ShapeError(f"CorrCholesky makes square matrices of at least 2 rows, not events of shape {event}")
        return (*event[:-2], event[-1] * (event[-1] - 1) // 2)

    def image(self, inside: Interval) -> Interval:
        """Entries between -1 and 1."""
        return self.codomain

    def outside(self, y: Node) -> Node | None:
        """Matrices that are not lower triangular with a positive diagonal and rows of length 1, shape (..., 1, 1)."""
        return None if drawn_factor(y) else ops.logical_not(is_factor(y))

    def inside(self, y: Node) -> np.ndarray:
        """The identity."""
        return np.eye(y.type.shape[-1])

    def forward(self, x: Node) -> Node:
        """Partial correlations times the roots of what is left of their rows."""
        matrix = _below(x)
        n = matrix.type.shape[-1]
        logs = _log_left(matrix)
        left = ops.exp(ops.add(logs, _log_cosh(matrix)))  # before each entry
        return ops.add(ops.mul(ops.tanh(matrix), left), ops.mul(ops.exp(logs), np.eye(n)))

    def inverse(self, y: Node) -> Node:
        """The inverse hyperbolic sine of an entry over the length of the later ones of its row."""
        *lead, n, _ = y.type.shape
        squares = ops.mul(ops.mul(y, y), np.tril(np.ones((n, n))))
        columns = ops.reshape(squares, (*lead, n, 1, n))
        later = ops.reduce_sum(ops.mul(columns, np.triu(np.ones((n, n)), 1)), -1)
        below = np.tril(np.ones((n, n), bool), -1)
        mask = ops.expand(ops.const(below), (), y.type.shape)
        later = ops.where(mask, later, 1.0)
        length = ops.sqrt(known_inside(later, POSITIVE) if positive_diagonal(y) else later)
        return _entries(_arsinh(ops.div(ops.where(mask, y, 0.0), length)))

    def log_det(self, x: Node) -> Node:
        """The sum of the logarithms of 1 - z^2 and of the roots that z is multiplied with."""
        matrix = _below(x)
        n = matrix.type.shape[-1]
        own = _log_cosh(matrix)  # log dz/dx = -2 log cosh x, and the root before an entry is `_log_left` plus `own`
        terms = ops.mul(ops.sub(_log_left(matrix), own), np.tril(np.ones((n, n)), -1))
        return ops.reduce_sum(terms, (-2, -1))


def _below(x: Node) -> Node:
    """The entries of a vector below the diagonal of a matrix of zeros, row by row."""
    rank, count = len(x.type.shape), x.type.shape[-1]
    n = (1 + math.isqrt(1 + 8 * count)) // 2
    index = np.full((n, n), count)
    index[np.tril_indices(n, -1)] = np.arange(count)
    first = ops.transpose(x, [rank - 1, *range(rank - 1)])
    padded = ops.concat([first, np.zeros((1, *x.type.shape[:-1]))], 0)
    return ops.transpose(ops.take(padded, index), [*range(2, rank + 1), 0, 1])


def _entries(matrix: Node) -> Node:
    """The entries below the diagonal as a vector, row by row."""
    *lead, n, _ = matrix.type.shape
    rank = len(lead) + 1
    flat = ops.transpose(ops.reshape(matrix, (*lead, n * n)), [rank - 1, *range(rank - 1)])
    rows, columns = np.tril_indices(n, -1)
    return ops.transpose(ops.take(flat, rows * n + columns), [*range(1, rank), 0])


def _log_cosh(x: Node) -> Node:
    """log cosh x, in a form without a kink."""
    return ops.sub(ops.mul(0.5, ops.add(ops.softplus(ops.mul(2.0, x)), ops.softplus(ops.mul(-2.0, x)))), math.log(2.0))


def _log_left(matrix: Node) -> Node:
    """Half the logarithm of what a row leaves of 1 after each entry: minus the sum of log cosh up to it."""
    n = matrix.type.shape[-1]
    logs = ops.mul(_log_cosh(matrix), np.tril(np.ones((n, n)), -1))
    return ops.neg(ops.cumsum(logs))


def _arsinh(y: Node) -> Node:
    """log(y + sqrt(1 + y^2)), computed at |y|."""
    negative = ops.less(frozen(y), 0.0)
    size = ops.where(negative, ops.neg(y), y)
    root = ops.sqrt(ops.add(1.0, ops.mul(size, size)))
    found = ops.log1p(ops.add(size, ops.mul(size, ops.div(size, ops.add(1.0, root)))))
    return ops.where(negative, ops.neg(found), found)
