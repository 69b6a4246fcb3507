"""The multivariate normal distribution whose covariance is of low rank plus a diagonal."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ppl.arguments import dimensions
from ppl.distributions.base import Distribution
from ppl.distributions.domain.checks import check_constants, parameter
from ppl.distributions.domain.guards import known_inside
from ppl.distributions.domain.intervals import INF, Interval
from ppl.distributions.domain.support import Support
from ppl.distributions.multivariate_normal import applied, diagonal_matrix
from ppl.distributions.parts.formulas import LOG_SQRT_2PI
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node

AT_LEAST_ONE = Interval(1.0, INF, False)
MOST = 32  # the largest rank, whose capacitance is factored by an unrolled algorithm


class LowRankMultivariateNormal(Distribution):
    """LowRankMultivariateNormal(loc, cov_factor = W, cov_diag = D): covariance W W^T + diag(D); support R^d.

    One unit is a vector. The sample is loc + W z + sqrt(D) z' of standard normals z in R^k and z' in R^d. The density
    costs O(d k^2): the quadratic form and the determinant come from the capacitance I + W^T D^-1 W of k x k numbers
    (Woodbury 1950). All parameters may be learned; the rank is at most 32.

    Parameters
    ----------
    loc : shape (…, d), finite.
    cov_factor : shape (…, d, k).
    cov_diag : shape (…, d), positive variances.
    """

    reparameterized = True
    unit_rank = 1
    constraints: ClassVar[dict[str, str]] = {"loc": "real", "cov_factor": "real", "cov_diag": "positive"}

    def __init__(self, loc: Any, cov_factor: Any, cov_diag: Any):
        given = {"loc": loc, "cov_factor": cov_factor, "cov_diag": cov_diag}
        nodes = {k: parameter(type(self).__name__, k, v) for k, v in given.items()}
        check_constants(type(self).__name__, nodes, self.constraints)
        shapes = {k: n.type.shape for k, n in nodes.items()}
        factor = shapes["cov_factor"]
        try:
            lead = np.broadcast_shapes(shapes["loc"], factor[:-1], shapes["cov_diag"])
        except ValueError:
            lead = ()
        if len(factor) < 2 or lead[-1:] != factor[-2:-1]:
            listed = ", ".join(f"{k} {v}" for k, v in shapes.items())
            raise ShapeError(f"LowRankMultivariateNormal: shapes do not fit (…, d), (…, d, k), (…, d): {listed}")
        if not 1 <= factor[-1] <= MOST:
            raise ModelError(f"LowRankMultivariateNormal: the rank lies between 1 and {MOST} here, not at {factor[-1]}")
        shapes = {"loc": lead, "cov_factor": (*lead, factor[-1]), "cov_diag": lead}
        self.params = {k: ops.expand(n, (), shapes[k]) for k, n in nodes.items()}
        self.event_mask = None

    @property
    def rank(self) -> int:
        """Number k of columns of the factor."""
        return self.params["cov_factor"].type.shape[-1]

    @property
    def support(self) -> Support:
        """Vectors of real numbers."""
        return Support.REAL

    def expand(self, shape: tuple[int, ...]) -> Distribution:
        """Independent vectors of batch shape `shape`."""
        shape = dimensions(f"{type(self).__name__}.expand: shape", shape, ShapeError)
        lead = (*shape, self.event_shape[-1])
        loc, factor, diag = self.params.values()
        expanded = (ops.expand(loc, (), lead), ops.expand(factor, (), (*lead, self.rank)), ops.expand(diag, (), lead))
        out = self.with_params(expanded)
        if self.event_mask is not None:
            out.event_mask = ops.expand(self.event_mask, (), out.batch_of_units)
        return out

    def scaled(self) -> Node:
        """D^-1/2 W."""
        _, factor, diag = self.params.values()
        return ops.div(factor, ops.sqrt(ops.reshape(diag, (*diag.type.shape, 1))))

    def capacitance(self) -> list[list[Node]]:
        """Rows of the lower Cholesky factor of I + W^T D^-1 W, of numbers per unit."""
        scaled = self.scaled()
        columns = [_column(scaled, i) for i in range(self.rank)]
        rows: list[list[Node]] = []
        for i in range(self.rank):
            row: list[Node] = []
            for j in range(i + 1):
                entry = ops.add(ops.reduce_sum(ops.mul(columns[i], columns[j]), -1), float(i == j))
                for m in range(j):
                    entry = ops.sub(entry, ops.mul(row[m], (row if i == j else rows[j])[m]))
                row.append(ops.sqrt(known_inside(entry, AT_LEAST_ONE)) if i == j else ops.div(entry, rows[j][j]))
            rows.append(row)
        return rows

    def log_determinant(self, rows: list[list[Node]]) -> Node:
        """Half the logarithm of the covariance's determinant."""
        total = ops.mul(0.5, ops.reduce_sum(ops.log(self.params["cov_diag"]), -1))
        for i, row in enumerate(rows):
            total = ops.add(total, ops.log(row[i]))
        return total

    def unit_log_prob(self, value: Node) -> Node:
        """-(|y|^2 - |C^-1 W^T D^-1/2 y|^2) / 2 - log det / 2 - d log(2 pi) / 2, y = D^-1/2 (x - loc)."""
        y = ops.div(ops.sub(value, self.params["loc"]), ops.sqrt(self.params["cov_diag"]))
        rows, scaled = self.capacitance(), self.scaled()
        solved: list[Node] = []
        for i, row in enumerate(rows):
            entry = ops.reduce_sum(ops.mul(_column(scaled, i), y), -1)
            for m in range(i):
                entry = ops.sub(entry, ops.mul(row[m], solved[m]))
            solved.append(ops.div(entry, row[i]))
        square = ops.reduce_sum(ops.mul(y, y), -1)
        for entry in solved:
            square = ops.sub(square, ops.mul(entry, entry))
        flat = ops.add(self.log_determinant(rows), self.event_shape[-1] * LOG_SQRT_2PI)
        return ops.sub(ops.mul(-0.5, square), flat)

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """k and d uniforms."""
        return ((*self.event_shape[:-1], self.rank), self.event_shape)

    def draw(self, *u: Node) -> Node:
        """loc + W z + sqrt(D) z'."""
        loc, factor, diag = self.params.values()
        common, own = applied(factor, ops.ndtri(u[0])), ops.mul(ops.sqrt(diag), ops.ndtri(u[1]))
        return ops.add(loc, ops.add(common, own))

    def node_mean(self) -> Node:
        """loc."""
        return self.params["loc"]

    def node_mode(self) -> Node:
        """loc."""
        return self.params["loc"]

    def unit_covariance(self) -> Node:
        """W W^T + diag(D)."""
        factor = self.params["cov_factor"]
        n = len(factor.type.shape)
        product = ops.matmul(factor, ops.transpose(factor, (*range(n - 2), n - 1, n - 2)))
        return ops.add(product, diagonal_matrix(self.params["cov_diag"]))

    def unit_entropy(self) -> Node:
        """Half the logarithm of the determinant, and d (1 + log(2 pi)) / 2."""
        return ops.add(self.log_determinant(self.capacitance()), self.event_shape[-1] * (0.5 + LOG_SQRT_2PI))


def _column(matrix: Node, i: int) -> Node:
    """Column `i` of matrices."""
    shape = matrix.type.shape
    column = ops.window(matrix, (*((0, n, 1) for n in shape[:-1]), (i, 1, 1)))
    return ops.reshape(column, shape[:-1])
