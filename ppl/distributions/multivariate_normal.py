"""The multivariate normal distribution."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from ppl.arguments import dimensions
from ppl.distributions.base import Distribution
from ppl.distributions.domain.checks import check_constants, constant_value, parameter
from ppl.distributions.domain.conditions import Condition, conditions_of
from ppl.distributions.domain.correlations import positive_diagonal
from ppl.distributions.domain.guards import known_inside
from ppl.distributions.domain.intervals import POSITIVE
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import LOG_SQRT_2PI
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node

FACTORED = ("covariance_matrix", "precision_matrix")
FACTORED_WANTED = "that of a positive definite matrix"
REAL = {"loc": "real", "scale_tril": "real", "scale_diag": "positive"}


class MultivariateNormal(Distribution):
    """MultivariateNormal(loc, covariance_matrix=, precision_matrix=, scale_tril=, scale_diag=): support R^d.

    One unit is a vector. The sample is loc + L z with z standard normal and L = scale_tril, or the diagonal matrix of
    scale_diag. A covariance or precision matrix is factored: once if it is constant, else whenever the program runs.
    Of one that is not constant the lower triangle is read; where it is not positive definite, an error names the node.
    A learned matrix without a formula is best given by `scale_tril` (`constraint="lower_cholesky"`) or `scale_diag`.
    What stands above the diagonal of `scale_tril` does not count.
    `LowRankMultivariateNormal` has a covariance of low rank plus a diagonal.

    Parameters
    ----------
    loc : shape (…, d), finite; broadcasts with the matrix.
    covariance_matrix, precision_matrix : shape (…, d, d), symmetric and positive definite.
    scale_tril : shape (…, d, d), lower triangular with a positive diagonal.
    scale_diag : shape (…, d), positive standard deviations of independent entries.
    """

    reparameterized = True
    unit_rank = 1
    constraints: ClassVar[dict[str, str]] = REAL

    def __init__(
        self,
        loc: Any = 0.0,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        scale_diag: Any = None,
    ):
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        given = {k: v for k, v in (given | {"scale_diag": scale_diag}).items() if v is not None}
        if len(given) != 1:
            raise ModelError(
                "MultivariateNormal takes exactly one of covariance_matrix, precision_matrix, scale_tril and scale_diag"
            )
        ((name, matrix),) = given.items()
        self.given = name
        if name == "scale_diag":
            super().__init__(loc=loc, scale_diag=matrix)
            if not self.event_shape:
                raise ShapeError("MultivariateNormal: loc or scale_diag needs a last axis, got two scalars")
            return
        tril = _factor(name, parameter("MultivariateNormal", name, matrix))
        shape = tril.type.shape
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ShapeError(f"MultivariateNormal: {name} needs two equal last axes, got shape {shape}")
        where = parameter("MultivariateNormal", "loc", loc)
        check_constants("MultivariateNormal", {"loc": where, "scale_tril": tril}, self.constraints)
        try:
            lead = np.broadcast_shapes(where.type.shape, shape[:-1])
        except ValueError:
            raise ShapeError(f"MultivariateNormal: loc {where.type.shape} and {name} {shape} do not fit") from None
        if lead[-1] != shape[-1]:
            raise ShapeError(f"MultivariateNormal: loc {where.type.shape} and {name} {shape} do not fit")
        self.params = {"loc": ops.expand(where, (), lead), "scale_tril": ops.expand(tril, (), (*lead, lead[-1]))}
        self.event_mask = None

    def conditions(self) -> Iterator[Condition]:
        """Finite numbers, and a positive diagonal."""
        found = list(super().conditions())
        if not self.is_diagonal and constant_value(self.params["scale_tril"]) is None:
            diagonal = conditions_of(
                {"diagonal of scale_tril": self.diagonal()}, {"diagonal of scale_tril": "positive"}
            )
            found += [replace(c, shows=True) for c in diagonal]
        for c in found:
            factored = self.given in FACTORED and c.name.endswith("scale_tril")
            yield replace(c, name=f"the factor of {self.given}", wanted=FACTORED_WANTED) if factored else c

    @property
    def support(self) -> Support:
        """Vectors of real numbers."""
        return Support.REAL

    def expand(self, shape: tuple[int, ...]) -> Distribution:
        """Independent vectors of batch shape `shape`."""
        shape = dimensions(f"{type(self).__name__}.expand: shape", shape, ShapeError)
        d = self.event_shape[-1]
        loc, scale = self.params.values()
        square = (d,) if self.is_diagonal else (d, d)
        out = self.with_params((ops.expand(loc, (), (*shape, d)), ops.expand(scale, (), (*shape, *square))))
        if self.event_mask is not None:
            out.event_mask = ops.expand(self.event_mask, (), out.batch_of_units)
        return out

    @property
    def is_diagonal(self) -> bool:
        """Whether it was given by the standard deviations of independent entries."""
        return "scale_diag" in self.params

    def diagonal(self) -> Node:
        """The diagonal of L."""
        if self.is_diagonal:
            return self.params["scale_diag"]
        tril = self.params["scale_tril"]
        entries = ops.reduce_sum(ops.mul(tril, np.eye(self.event_shape[-1])), -1)
        return known_inside(entries, POSITIVE) if positive_diagonal(tril) else entries

    def lower(self) -> Node:
        """L: scale_tril without what stands above its diagonal."""
        if self.is_diagonal:
            return diagonal_matrix(self.params["scale_diag"])
        tril = self.params["scale_tril"]
        return ops.mul(tril, np.tril(np.ones(tril.type.shape[-2:])))

    def standardized(self, value: Node) -> Node:
        """L^-1 (x - loc): by the inverse of a constant factor, else by substitution."""
        loc, tril = self.params.values()
        rest = ops.sub(value, loc)
        if self.is_diagonal:
            return ops.div(rest, tril)
        constant = constant_value(tril)
        if constant is not None:
            return applied(ops.const(np.linalg.inv(np.tril(constant))), rest)
        if tril.op == "expand" and len(tril.args[0].type.shape) == 2 < len(tril.type.shape):  # one for all vectors
            rows = ops.reshape(rest, (math.prod(rest.type.shape[:-1]), rest.type.shape[-1]))
            return ops.reshape(ops.solve_lower(tril.args[0], rows), rest.type.shape)
        return ops.solve_lower(tril, rest)

    def unit_log_prob(self, value: Node) -> Node:
        """-|y|^2 / 2 - sum log diag(L) - d log(2 pi) / 2, y = L^-1 (x - loc)."""
        y = self.standardized(value)
        logs = ops.add(ops.mul(0.5, ops.mul(y, y)), ops.log(self.diagonal()))
        return ops.neg(ops.add(ops.reduce_sum(logs, -1), self.event_shape[-1] * LOG_SQRT_2PI))

    def draw(self, *u: Node) -> Node:
        """loc + L z."""
        z = ops.ndtri(u[0])
        moved = ops.mul(self.diagonal(), z) if self.is_diagonal else applied(self.lower(), z)
        return ops.add(self.params["loc"], moved)

    def node_mean(self) -> Node:
        """loc."""
        return self.params["loc"]

    def node_mode(self) -> Node:
        """loc."""
        return self.params["loc"]

    def unit_covariance(self) -> Node:
        """L L^T."""
        if self.is_diagonal:
            return diagonal_matrix(ops.mul(self.diagonal(), self.diagonal()))
        lower = self.lower()
        rank = len(lower.type.shape)
        return ops.matmul(lower, ops.transpose(lower, (*range(rank - 2), rank - 1, rank - 2)))

    def unit_entropy(self) -> Node:
        """sum log diag(L) + d (1 + log(2 pi)) / 2."""
        flat = self.event_shape[-1] * (0.5 + LOG_SQRT_2PI)
        return ops.add(ops.reduce_sum(ops.log(self.diagonal()), -1), flat)


def diagonal_matrix(entries: Node) -> Node:
    """Matrices with `entries` on their diagonals."""
    shape = entries.type.shape
    return ops.mul(ops.reshape(entries, (*shape, 1)), np.eye(shape[-1]))


def applied(matrix: Node, vector: Node) -> Node:
    """Matrix times vector over the last event dimensions."""
    if len(vector.type.shape) == 1 and len(matrix.type.shape) == 2:
        return ops.matmul(matrix, vector)
    rows = ops.reshape(vector, (*vector.type.shape[:-1], 1, vector.type.shape[-1]))
    return ops.reduce_sum(ops.mul(matrix, rows), -1)


def _factor(name: str, matrix: Node) -> Node:
    """The lower Cholesky factor of a covariance or precision; a given `scale_tril` is checked if constant."""
    value = constant_value(matrix)
    if name == "scale_tril":
        if value is not None and value.ndim >= 2 and not (np.diagonal(value, axis1=-2, axis2=-1) > 0).all():
            raise ModelError("MultivariateNormal: scale_tril must have a positive diagonal")
        return matrix
    shape = matrix.type.shape
    if value is None:
        if len(shape) < 2 or shape[-1] != shape[-2]:
            return matrix  # refused by its shape
        return ops.cholesky(matrix) if name == "covariance_matrix" else _factor_of_inverse(matrix)
    try:
        symmetric = bool(np.allclose(value, np.swapaxes(value, -1, -2), rtol=1e-6, atol=1e-9 * np.abs(value).max()))
        factor = np.linalg.cholesky(value if name == "covariance_matrix" else np.linalg.inv(value))
    except (np.linalg.LinAlgError, ValueError):
        symmetric = False
    if not symmetric:
        raise ModelError(f"MultivariateNormal: {name} must be symmetric and positive definite")
    return ops.const(factor)


def _factor_of_inverse(precision: Node) -> Node:
    """L with L L^T = P^-1, without the inverse: J C^-T J, with C C^T = J P J and J the order of entries reversed."""

    def turned(x: Node) -> Node:
        *lead, d, _ = x.type.shape
        return ops.window(x, (*((0, n, 1) for n in lead), (d - 1, d, -1), (d - 1, d, -1)))

    shape = precision.type.shape
    factor = ops.cholesky(turned(ops.flipped(precision)))
    return turned(ops.solve_lower(factor, ops.expand(ops.const(np.eye(shape[-1])), (), shape)))
