"""Vectors of reals as points of a simplex."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ppl.distributions.bijectors.base import Bijector
from ppl.distributions.domain.guards import known_inside
from ppl.distributions.domain.intervals import POSITIVE, UNIT
from ppl.distributions.domain.simplex import on_simplex
from ppl.distributions.domain.support import Support, support_of
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node


class StickBreaking(Bijector):
    """From vectors of K - 1 reals onto the simplex of K: y_k = z_k times what is left.

    z_k = sigmoid(x_k - log(K - 1 - k)); x = 0 is the centre of the simplex (the parametrisation of Stan).
    """

    rank: ClassVar[int] = 1
    value_rank: ClassVar[int] = 1
    support = Support.SIMPLEX
    codomain = UNIT

    def shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """One entry more."""
        if not event:
            raise ShapeError("StickBreaking maps vectors; its argument has no last axis")
        return (*event[:-1], event[-1] + 1)

    def source(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """One entry less."""
        if not event or event[-1] < 1:
            raise ShapeError(f"StickBreaking makes vectors of at least one entry, not events of shape {event}")
        return (*event[:-1], event[-1] - 1)

    def inside(self, y: Node) -> float:
        """The centre."""
        return 1.0 / y.type.shape[-1]

    def outside(self, y: Node) -> Node | None:
        """Rows that are not positive or do not sum to 1."""
        if support_of(y) is Support.SIMPLEX:
            return None
        return ops.logical_not(on_simplex(y, True))

    def _odds(self, x: Node) -> Node:
        return ops.sub(x, np.log(np.arange(x.type.shape[-1], 0.0, -1.0)))

    def _log_left(self, a: Node) -> Node:
        """log of what is left before entry k, for k = 0 to K - 1."""
        n = a.type.shape[-1]
        return ops.neg(_rows(ops.softplus(a), np.tril(np.ones((n + 1, n)), -1)))

    def forward(self, x: Node) -> Node:
        """exp(log z_k + log of what is left)."""
        a = self._odds(x)
        last = np.zeros((*a.type.shape[:-1], 1))
        return ops.exp(ops.add(ops.concat([ops.log_sigmoid(a), last], len(a.type.shape) - 1), self._log_left(a)))

    def inverse(self, y: Node) -> Node:
        """log y_k - log of the sum of the later entries, uncentred."""
        n, lead = y.type.shape[-1], y.type.shape[:-1]
        later = _rows(y, np.triu(np.ones((n, n)), 1)[:-1])
        later = known_inside(later, POSITIVE) if support_of(y) is self.support else later
        first = ops.window(y, [*((0, m, 1) for m in lead), (0, n - 1, 1)])
        return ops.add(ops.sub(ops.log(first), ops.log(later)), np.log(np.arange(n - 1, 0.0, -1.0)))

    def log_det(self, x: Node) -> Node:
        """The sum of log z_k + log(1 - z_k) + log of what is left."""
        a = self._odds(x)
        n, lead = a.type.shape[-1], a.type.shape[:-1]
        left = ops.window(self._log_left(a), [*((0, m, 1) for m in lead), (0, n, 1)])
        return ops.reduce_sum(ops.sub(left, ops.add(ops.softplus(a), ops.softplus(ops.neg(a)))), -1)


def _rows(x: Node, matrix: np.ndarray) -> Node:
    """matrix @ x over the last event dimension."""
    rows = ops.reshape(x, (*x.type.shape[:-1], 1, x.type.shape[-1]))
    return ops.reduce_sum(ops.mul(matrix, rows), -1)
