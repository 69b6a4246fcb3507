"""The multivariate normal distribution."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.checks import check_constants, constant_value
from ppl.distributions.formulas import LOG_SQRT_2PI
from ppl.distributions.support import Support
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node

REAL = {"loc": "real", "scale_tril": "real"}
MOST = 64  # dimensions up to which a learned factor is solved by unrolled substitution


class MultivariateNormal(Distribution):
    """MultivariateNormal(loc, covariance_matrix=, precision_matrix=, scale_tril=): support R^d, one unit per vector.

    The sample is loc + L z with z standard normal and L = scale_tril. A covariance or precision matrix must be
    constant, and is factored once; `scale_tril` may be learned (`constraint="lower_cholesky"`), up to 64 dimensions.
    What stands above its diagonal does not count.

    Parameters
    ----------
    loc : shape (…, d), finite; broadcasts with the matrix.
    covariance_matrix, precision_matrix : shape (…, d, d), symmetric and positive definite constants.
    scale_tril : shape (…, d, d), lower triangular with a positive diagonal.
    """

    reparameterized = True
    unit_rank = 1

    def __init__(
        self, loc: Any = 0.0, covariance_matrix: Any = None, precision_matrix: Any = None, scale_tril: Any = None
    ):
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        given = {k: v for k, v in given.items() if v is not None}
        if len(given) != 1:
            raise ModelError(
                "MultivariateNormal takes exactly one of covariance_matrix, precision_matrix and scale_tril"
            )
        ((name, matrix),) = given.items()
        tril = _factor(name, ops.cast(ops.as_node(matrix), "float"))
        shape = tril.type.shape
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ShapeError(f"MultivariateNormal: {name} needs two equal last axes, got shape {shape}")
        where = ops.cast(ops.as_node(loc), "float")
        check_constants("MultivariateNormal", {"loc": where, "scale_tril": tril}, REAL)
        try:
            lead = np.broadcast_shapes(where.type.shape, shape[:-1])
        except ValueError:
            raise ShapeError(f"MultivariateNormal: loc {where.type.shape} and {name} {shape} do not fit") from None
        if lead[-1] != shape[-1]:
            raise ShapeError(f"MultivariateNormal: loc {where.type.shape} and {name} {shape} do not fit")
        self.params = {"loc": ops.expand(where, (), lead), "scale_tril": ops.expand(tril, (), (*lead, lead[-1]))}
        self.event_mask = None

    @property
    def support(self) -> Support:
        """Vectors of real numbers."""
        return Support.REAL

    def expand(self, shape: tuple[int, ...]) -> Distribution:
        """Independent vectors of batch shape `shape`."""
        d = self.event_shape[-1]
        loc, tril = self.params.values()
        out = self.with_params((ops.expand(loc, (), (*shape, d)), ops.expand(tril, (), (*shape, d, d))))
        if self.event_mask is not None:
            out.event_mask = ops.expand(self.event_mask, (), out.batch_of_units)
        return out

    def diagonal(self) -> Node:
        """The diagonal of L."""
        return ops.reduce_sum(ops.mul(self.params["scale_tril"], np.eye(self.event_shape[-1])), -1)

    def lower(self) -> Node:
        """L: scale_tril without what stands above its diagonal."""
        tril = self.params["scale_tril"]
        return ops.mul(tril, np.tril(np.ones(tril.type.shape[-2:])))

    def standardized(self, value: Node) -> Node:
        """L^-1 (x - loc): by the inverse of a constant factor, else by substitution, column after column."""
        loc, tril = self.params.values()
        rest, d = ops.sub(value, loc), self.event_shape[-1]
        constant = constant_value(tril)
        if constant is not None:
            return _applied(ops.const(np.linalg.inv(np.tril(constant))), rest)
        if d > MOST:
            raise ModelError(f"MultivariateNormal: a learned scale_tril has at most {MOST} dimensions here, not {d}")
        found = []
        for i in range(d):
            column = ops.reduce_sum(ops.mul(tril, np.eye(d)[i]), -1)
            unit = ops.div(_entry(rest, i), _entry(column, i))
            found.append(unit)
            rest = ops.sub(rest, ops.mul(column, unit))
        return ops.concat(found, len(self.event_shape) - 1)

    def unit_log_prob(self, value: Node) -> Node:
        """-|y|^2 / 2 - sum log diag(L) - d log(2 pi) / 2, y = L^-1 (x - loc)."""
        y = self.standardized(value)
        logs = ops.add(ops.mul(0.5, ops.mul(y, y)), ops.log(self.diagonal()))
        return ops.neg(ops.add(ops.reduce_sum(logs, -1), self.event_shape[-1] * LOG_SQRT_2PI))

    def draw(self, *u: Node) -> Node:
        """loc + L z."""
        return ops.add(self.params["loc"], _applied(self.lower(), ops.ndtri(u[0])))

    def node_mean(self) -> Node:
        """loc."""
        return self.params["loc"]

    def node_mode(self) -> Node:
        """loc."""
        return self.params["loc"]

    def unit_covariance(self) -> Node:
        """L L^T."""
        lower = self.lower()
        rank = len(lower.type.shape)
        return ops.matmul(lower, ops.transpose(lower, (*range(rank - 2), rank - 1, rank - 2)))

    def unit_entropy(self) -> Node:
        """sum log diag(L) + d (1 + log(2 pi)) / 2."""
        flat = self.event_shape[-1] * (0.5 + LOG_SQRT_2PI)
        return ops.add(ops.reduce_sum(ops.log(self.diagonal()), -1), flat)


def _entry(x: Node, i: int) -> Node:
    """Entry `i` of the last event dimension, kept as a dimension of length 1."""
    return ops.window(x, [*((0, n, 1) for n in x.type.shape[:-1]), (i, 1, 1)])


def _applied(matrix: Node, vector: Node) -> Node:
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
    if value is None:
        raise ModelError(f"MultivariateNormal: {name} must be constant; a learned factor goes into scale_tril=")
    try:
        symmetric = bool(np.allclose(value, np.swapaxes(value, -1, -2), rtol=1e-6, atol=1e-9 * np.abs(value).max()))
        factor = np.linalg.cholesky(value if name == "covariance_matrix" else np.linalg.inv(value))
    except (np.linalg.LinAlgError, ValueError):
        symmetric = False
    if not symmetric:
        raise ModelError(f"MultivariateNormal: {name} must be symmetric and positive definite")
    return ops.const(factor)
