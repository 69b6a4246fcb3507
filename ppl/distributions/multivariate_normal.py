"""Gaussian vectors: the multivariate normal with a full or diagonal covariance, with one of low rank plus a diagonal,
and the Gaussian random walk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from ppl.arguments import dimensions, shown
from ppl.distributions.base import Distribution
from ppl.distributions.bounds import mark_inside
from ppl.distributions.constraints import Condition, check_constants, conditions_of, constant_value, parameter_node
from ppl.distributions.formulas import LOG_SQRT_2PI
from ppl.distributions.intervals import INF, POSITIVE, Interval
from ppl.distributions.support import Support, has_positive_diagonal
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node

FACTORED_MATRICES = ("covariance_matrix", "precision_matrix")

FACTOR_REQUIREMENT = "that of a positive definite matrix"

PARAMETER_CONSTRAINTS = {"loc": "real", "scale_tril": "real", "scale_diag": "positive"}


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
    constraints: ClassVar[dict[str, str]] = PARAMETER_CONSTRAINTS

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
        tril = _lower_factor(name, parameter_node("MultivariateNormal", name, matrix))
        shape = tril.type.shape
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ShapeError(f"MultivariateNormal: {name} needs two equal last axes, got shape {shape}")
        where = parameter_node("MultivariateNormal", "loc", loc)
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
            factored = self.given in FACTORED_MATRICES and c.name.endswith("scale_tril")
            yield replace(c, name=f"the factor of {self.given}", wanted=FACTOR_REQUIREMENT) if factored else c

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
        return mark_inside(entries, POSITIVE) if has_positive_diagonal(tril) else entries

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
            return matrix_vector(ops.const(np.linalg.inv(np.tril(constant))), rest)
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
        moved = ops.mul(self.diagonal(), z) if self.is_diagonal else matrix_vector(self.lower(), z)
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


def matrix_vector(matrix: Node, vector: Node) -> Node:
    """Matrix times vector over the last event dimensions."""
    if len(vector.type.shape) == 1 and len(matrix.type.shape) == 2:
        return ops.matmul(matrix, vector)
    rows = ops.reshape(vector, (*vector.type.shape[:-1], 1, vector.type.shape[-1]))
    return ops.reduce_sum(ops.mul(matrix, rows), -1)


def _lower_factor(name: str, matrix: Node) -> Node:
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
        return ops.cholesky(matrix) if name == "covariance_matrix" else _lower_factor_of_inverse(matrix)
    try:
        symmetric = bool(np.allclose(value, np.swapaxes(value, -1, -2), rtol=1e-6, atol=1e-9 * np.abs(value).max()))
        factor = np.linalg.cholesky(value if name == "covariance_matrix" else np.linalg.inv(value))
    except (np.linalg.LinAlgError, ValueError):
        symmetric = False
    if not symmetric:
        raise ModelError(f"MultivariateNormal: {name} must be symmetric and positive definite")
    return ops.const(factor)


def _lower_factor_of_inverse(precision: Node) -> Node:
    """L with L L^T = P^-1, without the inverse: J C^-T J, with C C^T = J P J and J the order of entries reversed."""

    def turned(x: Node) -> Node:
        *lead, d, _ = x.type.shape
        return ops.window(x, (*((0, n, 1) for n in lead), (d - 1, d, -1), (d - 1, d, -1)))

    shape = precision.type.shape
    factor = ops.cholesky(turned(ops.matrix_transpose(precision)))
    return turned(ops.solve_lower(factor, ops.expand(ops.const(np.eye(shape[-1])), (), shape)))


AT_LEAST_ONE = Interval(1.0, INF, False)

LARGEST_RANK = 32  # the largest rank, whose capacitance is factored by an unrolled algorithm


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
        nodes = {k: parameter_node(type(self).__name__, k, v) for k, v in given.items()}
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
        if not 1 <= factor[-1] <= LARGEST_RANK:
            raise ModelError(
                f"LowRankMultivariateNormal: the rank lies between 1 and {LARGEST_RANK} here, not at {factor[-1]}"
            )
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
        columns = [_matrix_column(scaled, i) for i in range(self.rank)]
        rows: list[list[Node]] = []
        for i in range(self.rank):
            row: list[Node] = []
            for j in range(i + 1):
                entry = ops.add(ops.reduce_sum(ops.mul(columns[i], columns[j]), -1), float(i == j))
                for m in range(j):
                    entry = ops.sub(entry, ops.mul(row[m], (row if i == j else rows[j])[m]))
                row.append(ops.sqrt(mark_inside(entry, AT_LEAST_ONE)) if i == j else ops.div(entry, rows[j][j]))
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
            entry = ops.reduce_sum(ops.mul(_matrix_column(scaled, i), y), -1)
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
        common, own = matrix_vector(factor, ops.ndtri(u[0])), ops.mul(ops.sqrt(diag), ops.ndtri(u[1]))
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


def _matrix_column(matrix: Node, i: int) -> Node:
    """Column `i` of matrices."""
    shape = matrix.type.shape
    column = ops.window(matrix, (*((0, n, 1) for n in shape[:-1]), (i, 1, 1)))
    return ops.reshape(column, shape[:-1])


class GaussianRandomWalk(Distribution):
    """GaussianRandomWalk(scale, steps, loc, drift): x_t = x_(t-1) + drift + scale z_t from x_0 = loc.

    One unit is a whole walk (x_1, ..., x_steps), a vector of real numbers. The path is linear in loc, drift and scale.

    Parameters
    ----------
    scale : positive, the standard deviation of a step.
    steps : how many steps, a whole number.
    loc : finite, where the walk starts; the start itself is not part of the sample.
    drift : finite mean of a step.
    """

    reparameterized = True
    unit_rank = 1
    constraints: ClassVar[dict[str, str]] = {"scale": "positive", "loc": "real", "drift": "real"}

    def __init__(self, scale: Any = 1.0, steps: int = 1, loc: Any = 0.0, drift: Any = 0.0):
        super().__init__(scale=scale, loc=loc, drift=drift)
        if not isinstance(steps, (int, np.integer)) or steps < 1:
            raise ModelError(f"GaussianRandomWalk: steps must be a whole number of at least 1, got {shown(steps)}")
        self.steps = int(steps)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of the parameters, and then the steps."""
        return (*self.params["scale"].type.shape, self.steps)

    @property
    def support(self) -> Support:
        """Vectors of real numbers."""
        return Support.REAL

    def column(self, name: str) -> Node:
        """A parameter with a last dimension of length 1."""
        node = self.params[name]
        return ops.reshape(node, (*node.type.shape, 1))

    def unit_log_prob(self, value: Node) -> Node:
        """The sum of the normal log-densities of the steps."""
        *lead, last = value.type.shape
        head = tuple((0, n, 1) for n in lead)
        first = ops.expand(self.column("loc"), (), (*lead, 1))
        before = ops.concat([first, ops.window(value, (*head, (0, last - 1, 1)))], len(lead)) if last > 1 else first
        moves = ops.sub(ops.sub(value, before), self.column("drift"))
        z = ops.div(moves, self.column("scale"))
        flat = ops.mul(float(last), ops.add(ops.log(self.params["scale"]), LOG_SQRT_2PI))
        return ops.sub(ops.mul(-0.5, ops.reduce_sum(ops.mul(z, z), -1)), flat)

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """One per step."""
        return (self.event_shape,)

    def draw(self, *u: Node) -> Node:
        """The mean, plus scale times the cumulative sum of standard normals."""
        z = ops.ndtri(u[0])
        walked = ops.matmul(z, np.triu(np.ones((self.steps, self.steps))))
        return ops.add(self.node_mean(), ops.mul(self.column("scale"), walked))

    def node_mean(self) -> Node:
        """loc + drift t."""
        return ops.add(self.column("loc"), ops.mul(self.column("drift"), np.arange(1.0, self.steps + 1)))

    def node_mode(self) -> Node:
        """The mean."""
        return self.node_mean()

    def unit_covariance(self) -> Node:
        """scale^2 min(s, t)."""
        t = np.arange(1.0, self.steps + 1)
        scale = self.column("scale")
        square = ops.reshape(ops.mul(scale, scale), (*scale.type.shape, 1))
        return ops.mul(square, np.minimum(t[:, None], t))

    def unit_entropy(self) -> Node:
        """steps (log scale + log sqrt(2 pi e))."""
        return ops.mul(float(self.steps), ops.add(ops.log(self.params["scale"]), LOG_SQRT_2PI + 0.5))
