"""The LKJ distribution of correlation matrices, on their Cholesky factors."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ppl.arguments import shown
from ppl.distributions.base import KEY, Distribution, is_own_sample
from ppl.distributions.bounds import mark_inside
from ppl.distributions.intervals import POSITIVE
from ppl.distributions.support import Support, is_correlation_factor, known_correlation_factor
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node


class LKJCholesky(Distribution):
    """LKJCholesky(dim, concentration): lower Cholesky factors L of correlation matrices, L L^T of density det^(c - 1).

    The density of L, with respect to its entries below the diagonal, is proportional to the product over rows
    k = 2, ..., dim of L_kk^(dim - k + 2 (c - 1)). Rows are independent: the squared diagonal entry of row k is
    Beta(c + (dim - k) / 2, (k - 1) / 2), and what stands left of it has a uniform direction. They are sampled so (the
    onion method of Lewandowski, Kurowicka & Joe 2009), with a path in the concentration through the implicit
    derivatives of the gamma draws behind the beta variable (Figurnov, Mohamed & Mnih 2018).

    Parameters
    ----------
    dim : a whole number of at least 2.
    concentration : positive c; 1 makes correlation matrices uniform, larger values draw them to the identity.
    """

    reparameterized = True
    implicit = True
    unit_rank = 2
    constraints: ClassVar[dict[str, str]] = {"concentration": "positive"}

    def __init__(self, dim: int, concentration: Any = 1.0):
        super().__init__(concentration=concentration)
        if not isinstance(dim, (int, np.integer)) or dim < 2:
            raise ModelError(f"LKJCholesky: dim must be a whole number of at least 2, got {shown(dim)}")
        self.dim = int(dim)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of the concentration, and then that of a matrix."""
        return (*self.params["concentration"].type.shape, self.dim, self.dim)

    @property
    def support(self) -> Support:
        """Lower triangular matrices with a positive diagonal and rows of length 1."""
        return Support.CORRELATION_CHOLESKY

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A uniform per entry below the first row, and a noise key."""
        batch = self.event_shape[:-2]
        return ((*batch, self.dim - 1, self.dim), KEY)

    def halves(self) -> tuple[Node, np.ndarray]:
        """Both parameters of the squared diagonal entries of rows 2, ..., dim, the second without an axis of units."""
        c = self.params["concentration"]
        rows = np.arange(2.0, self.dim + 1)
        return ops.add(ops.reshape(c, (*c.type.shape, 1)), (self.dim - rows) / 2), (rows - 1) / 2

    def log_normalizer(self) -> Node:
        """The sum over rows of log gamma(b) - log gamma(a + b) + (k - 1) log(pi) / 2."""
        (b, a) = self.halves()
        logs = ops.sub(ops.lgamma(b), ops.lgamma(ops.add(b, a)))
        return ops.add(ops.reduce_sum(logs, -1), float(a.sum()) * math.log(math.pi))

    def powers(self) -> Node:
        """The exponents of the diagonal entries of rows 2, ..., dim: 2 b - 2."""
        return ops.mul(2.0, ops.sub(self.halves()[0], 1.0))

    def unit_log_prob(self, value: Node) -> Node:
        """The sum of exponents times log L_kk, less the normalizer."""
        if is_own_sample(self, value) or known_correlation_factor(value):
            return self._log_prob_inside(value)
        inside = is_correlation_factor(value)
        kept = ops.where(inside, value, np.eye(self.dim))
        return ops.where(ops.reshape(inside, inside.type.shape[:-2]), self._log_prob_inside(kept), -math.inf)

    def _log_prob_inside(self, value: Node) -> Node:
        diagonal = mark_inside(_diagonal_from_second_row(value), POSITIVE)
        return ops.sub(ops.reduce_sum(ops.mul(self.powers(), ops.log(diagonal)), -1), self.log_normalizer())

    def draw(self, *u: Node) -> Node:
        """Rows sqrt(1 - y) n / |n| and sqrt(y), y the beta draw and n normals left of the diagonal."""
        b, a = self.halves()
        odds = ops.sub(
            ops.loggamma_draw(b, u[1], 0), ops.loggamma_draw(ops.expand(ops.const(a), (), b.type.shape), u[1], 1)
        )
        left = np.tril(np.ones((self.dim - 1, self.dim)))
        n = ops.mul(ops.ndtri(u[0]), left)
        length = ops.sqrt(ops.reduce_sum(ops.mul(n, n), -1, keepdims=True))
        diagonal, rest = (ops.exp(ops.mul(-0.5, ops.softplus(x))) for x in (ops.neg(odds), odds))
        column = (*b.type.shape, 1)
        rows = ops.mul(ops.div(n, length), ops.reshape(rest, column))
        rows = ops.add(rows, ops.mul(ops.reshape(diagonal, column), np.eye(self.dim)[1:]))
        first = ops.expand(ops.const(np.eye(self.dim)[:1]), rows.type.axes, (*b.type.shape[:-1], 1, self.dim))
        return ops.concat([first, rows], len(b.type.shape) - 1)

    def node_mean(self) -> Node:
        """0 beside the diagonal, gamma(b + 1 / 2) gamma(a + b) / (gamma(b) gamma(a + b + 1 / 2)) on it, from row 2."""
        b, a = self.halves()
        total = ops.add(b, a)
        first = ops.sub(ops.lgamma(ops.add(b, 0.5)), ops.lgamma(b))
        second = ops.sub(ops.lgamma(ops.add(total, 0.5)), ops.lgamma(total))
        entries = ops.exp(ops.sub(first, second))
        shape = entries.type.shape
        rows = ops.mul(ops.reshape(entries, (*shape, 1)), np.eye(self.dim)[1:])
        return ops.concat(
            [ops.expand(ops.const(np.eye(self.dim)[:1]), (), (*shape[:-1], 1, self.dim)), rows], len(shape) - 1
        )

    def node_mode(self) -> Node:
        """The identity; NaN for a concentration below 1, whose density is unbounded at singular matrices."""
        c = self.params["concentration"]
        matrices = ops.reshape(c, (*c.type.shape, 1, 1))
        return ops.where(ops.less_equal(1.0, matrices), np.eye(self.dim), math.nan)

    def unit_entropy(self) -> Node:
        """The normalizer, less the sum of exponents times (digamma(b) - digamma(a + b)) / 2."""
        b, a = self.halves()
        logs = ops.mul(0.5, ops.sub(ops.polygamma(0, b), ops.polygamma(0, ops.add(b, a))))
        return ops.sub(self.log_normalizer(), ops.reduce_sum(ops.mul(self.powers(), logs), -1))


def _diagonal_from_second_row(value: Node) -> Node:
    """Diagonal entries of rows 2, ..., dim."""
    *lead, dim, _ = value.type.shape
    diagonal = ops.reduce_sum(ops.mul(value, np.eye(dim)), -1)
    return ops.window(diagonal, (*((0, n, 1) for n in lead), (1, dim - 1, 1)))
