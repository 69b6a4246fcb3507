"""Bijectors: smooth invertible maps with the logarithm of their volume change, for `Transformed`.

A bijector maps entry by entry (`rank` 0), or vector by vector (`rank` 1) onto vectors or matrices. Formulas are written
at x, the argument of `forward`: from there they stay right in both tails. Parameters broadcast against the event that
is mapped."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ppl.arguments import array, shown
from ppl.distributions import intervals as iv
from ppl.distributions.bounds import bounds_of, contains, mark_inside
from ppl.distributions.constraints import constant_value, parameter_nodes
from ppl.distributions.formulas import frozen, log_odds_jacobian, logit
from ppl.distributions.intervals import POSITIVE, REAL, UNIT, Interval
from ppl.distributions.support import (
    Support,
    has_positive_diagonal,
    is_correlation_factor,
    known_correlation_factor,
    on_simplex,
    support_of,
)
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.names import Keywords
from ppl.records import dataclass

__all__ = [
    "Affine",
    "Bijector",
    "Chain",
    "CorrCholesky",
    "Coupling",
    "Exp",
    "Inverse",
    "InverseAutoregressive",
    "Log",
    "Logit",
    "Power",
    "Sigmoid",
    "Softplus",
    "StickBreaking",
    "Tanh",
]


class Bijector(Keywords):
    """Base class: an increasing map of `domain` onto `codomain`, entry by entry, unless a subclass says otherwise.

    Attributes
    ----------
    rank, value_rank : trailing event dimensions of an argument that are mapped together, and of their value.
    domain, codomain : the intervals of arguments and of values; `safe` is a number inside the codomain.
    shared : whether parameters belong to the map as a whole, instead of broadcasting with the event.
    support : what values of vectors or matrices lie in, None of numbers.
    """

    rank: ClassVar[int] = 0
    value_rank: ClassVar[int] = 0
    shared: bool = False
    support: Support | None = None
    constraints: ClassVar[dict[str, str]] = {}
    domain: Interval = REAL
    codomain: Interval = REAL
    safe: float = 0.5

    def __init__(self, **params: Any):
        self.params: dict[str, Node] = {}
        if params:
            self.params = parameter_nodes(type(self).__name__, params, self.constraints)

    def with_params(self, nodes: tuple[Node, ...]) -> Bijector:
        """The same bijector with other parameter nodes (in `params` order)."""
        out = copy.copy(self)
        out.params = dict(zip(self.params, nodes, strict=True))
        return out

    def same_map(self, other: Any) -> bool:
        """Whether `other` is the same map where its parameters are."""
        return type(other) is type(self)

    @property
    def increasing(self) -> bool:
        """Whether the map increases (else it decreases)."""
        return True

    def shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the value for an argument of event shape `event`."""
        return event

    def source(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the argument for a value of event shape `event`."""
        return event

    def image(self, inside: Interval) -> Interval:
        """The interval of the values of arguments in `inside`, as far as it is known without the parameters."""
        x = mark_inside(ops.noise("probe", 0, (), (2,) * self.rank), inside)
        found = bounds_of(self.forward(x))
        return found if found.within(self.codomain) else self.codomain

    def moves(self, inside: Interval) -> frozenset[str]:
        """Parameters that move the image of `inside`."""
        return frozenset()

    def outside(self, y: Node) -> Node | None:
        """Where y cannot be a value, truth values per entry, vector (then (…, 1)) or matrix; None for nowhere."""
        if self.codomain == REAL or bounds_of(y).within(self.codomain):
            return None
        return ops.logical_not(contains(self.codomain, y))

    def inside(self, y: Node) -> float | np.ndarray:
        """A value to read in place of y where that cannot be one."""
        return self.safe

    def forward(self, x: Node) -> Node:
        """The value at x."""
        raise NotImplementedError

    def inverse(self, y: Node) -> Node:
        """The x whose value is y."""
        raise NotImplementedError

    def log_det(self, x: Node) -> Node:
        """log |det dy/dx| at x, per entry (rank 0) or per vector."""
        raise NotImplementedError


OPEN_SIGNED_UNIT = Interval(-1.0, 1.0)


def is_positive_parameter(name: str, parameter: str, node: Node) -> bool:
    """Whether a parameter is positive (a symbolic one is taken to be); constants of mixed signs or 0 are refused."""
    value = constant_value(node)
    if value is None or bool((value > 0).all()):
        return True
    if not bool((value < 0).all()):
        raise ModelError(f"{name}: {parameter} must be all positive or all negative, got {value}")
    return False


class Affine(Bijector):
    """Affine(loc, scale): y = loc + scale x; a constant scale may be negative, a symbolic one is positive."""

    constraints: ClassVar[dict[str, str]] = {"loc": "real", "scale": "real"}

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0):
        super().__init__(loc=loc, scale=scale)
        self.positive = is_positive_parameter("Affine", "scale", self.params["scale"])

    @property
    def increasing(self) -> bool:
        """By the sign of the scale."""
        return self.positive

    def image(self, inside: Interval) -> Interval:
        """loc + scale * inside, a symbolic scale taken to be positive."""
        scale = bounds_of(self.params["scale"])
        if self.positive and not scale.within(POSITIVE):
            scale = Interval(0.0, scale.hi, True, scale.hi_open)
        return iv.add(bounds_of(self.params["loc"]), iv.mul(scale, inside))

    def moves(self, inside: Interval) -> frozenset[str]:
        """The loc moves any finite end, the scale one that is not 0."""
        ends = [end for end in (inside.lo, inside.hi) if math.isfinite(end)]
        return frozenset({"loc"} if ends else ()) | frozenset({"scale"} if any(ends) else ())

    def forward(self, x: Node) -> Node:
        """loc + scale * x."""
        return ops.add(self.params["loc"], ops.mul(self.params["scale"], x))

    def inverse(self, y: Node) -> Node:
        """(y - loc) / scale."""
        return ops.div(ops.sub(y, self.params["loc"]), self.params["scale"])

    def log_det(self, x: Node) -> Node:
        """log |scale|."""
        scale = self.params["scale"]
        return ops.add(ops.log(scale if self.positive else ops.neg(scale)), ops.mul(0.0, x))


class Exp(Bijector):
    """y = exp(x), from the real line onto y > 0."""

    codomain = POSITIVE
    safe = 1.0

    def forward(self, x: Node) -> Node:
        """exp(x)."""
        return ops.exp(x)

    def inverse(self, y: Node) -> Node:
        """log(y)."""
        return ops.log(y)

    def log_det(self, x: Node) -> Node:
        """x."""
        return x


class Sigmoid(Bijector):
    """y = 1 / (1 + exp(-x)), from the real line onto 0 < y < 1. Its inverse is `Logit`."""

    codomain = UNIT

    def forward(self, x: Node) -> Node:
        """sigmoid(x)."""
        return ops.sigmoid(x)

    def inverse(self, y: Node) -> Node:
        """log y - log(1 - y)."""
        return logit(y)

    def log_det(self, x: Node) -> Node:
        """log y + log(1 - y)."""
        return log_odds_jacobian(ops.sigmoid(x))


class Softplus(Bijector):
    """y = log(1 + exp(x)), from the real line onto y > 0."""

    codomain = POSITIVE
    safe = 1.0

    def forward(self, x: Node) -> Node:
        """softplus(x)."""
        return ops.softplus(x)

    def inverse(self, y: Node) -> Node:
        """y + log(1 - exp(-y))."""
        return ops.add(y, ops.log(ops.neg(ops.expm1(ops.neg(y)))))

    def log_det(self, x: Node) -> Node:
        """-softplus(-x)."""
        return ops.log_sigmoid(x)


class Tanh(Bijector):
    """y = tanh(x), from the real line onto -1 < y < 1."""

    codomain = OPEN_SIGNED_UNIT

    def forward(self, x: Node) -> Node:
        """tanh(x)."""
        return ops.tanh(x)

    def inverse(self, y: Node) -> Node:
        """(log(1 + y) - log(1 - y)) / 2."""
        return ops.mul(0.5, ops.sub(ops.log1p(y), ops.log1p(ops.neg(y))))

    def log_det(self, x: Node) -> Node:
        """log(1 - y^2), as 2 log 2 - 2 |x| - 2 log(1 + exp(-2 |x|)) in a form without a kink."""
        twice = ops.mul(2.0, x)
        return ops.sub(2 * math.log(2.0), ops.add(ops.softplus(twice), ops.softplus(ops.neg(twice))))


class Power(Bijector):
    """Power(exponent): y = x^exponent on x > 0; a constant exponent may be negative, a symbolic one is positive."""

    constraints: ClassVar[dict[str, str]] = {"exponent": "real"}
    domain = codomain = POSITIVE
    safe = 1.0

    def __init__(self, exponent: Any):
        super().__init__(exponent=exponent)
        self.positive = is_positive_parameter("Power", "exponent", self.params["exponent"])

    @property
    def increasing(self) -> bool:
        """By the sign of the exponent."""
        return self.positive

    def moves(self, inside: Interval) -> frozenset[str]:
        """The exponent moves an end other than 0, 1 and infinity."""
        fixed = (0.0, 1.0, math.inf)
        return frozenset() if inside.lo in fixed and inside.hi in fixed else frozenset({"exponent"})

    def forward(self, x: Node) -> Node:
        """exp(exponent * log x)."""
        return ops.exp(ops.mul(self.params["exponent"], ops.log(x)))

    def inverse(self, y: Node) -> Node:
        """exp(log y / exponent)."""
        return ops.exp(ops.div(ops.log(y), self.params["exponent"]))

    def log_det(self, x: Node) -> Node:
        """log |exponent| + (exponent - 1) log x."""
        p = self.params["exponent"]
        return ops.add(ops.log(p if self.positive else ops.neg(p)), ops.mul(ops.sub(p, 1.0), ops.log(x)))


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
        return ops.neg(_matrix_times(ops.softplus(a), np.tril(np.ones((n + 1, n)), -1)))

    def forward(self, x: Node) -> Node:
        """exp(log z_k + log of what is left)."""
        a = self._odds(x)
        last = np.zeros((*a.type.shape[:-1], 1))
        return ops.exp(ops.add(ops.concat([ops.log_sigmoid(a), last], len(a.type.shape) - 1), self._log_left(a)))

    def inverse(self, y: Node) -> Node:
        """log y_k - log of the sum of the later entries, uncentred."""
        n, lead = y.type.shape[-1], y.type.shape[:-1]
        later = _matrix_times(y, np.triu(np.ones((n, n)), 1)[:-1])
        later = mark_inside(later, POSITIVE) if support_of(y) is self.support else later
        first = ops.window(y, [*((0, m, 1) for m in lead), (0, n - 1, 1)])
        return ops.add(ops.sub(ops.log(first), ops.log(later)), np.log(np.arange(n - 1, 0.0, -1.0)))

    def log_det(self, x: Node) -> Node:
        """The sum of log z_k + log(1 - z_k) + log of what is left."""
        a = self._odds(x)
        n, lead = a.type.shape[-1], a.type.shape[:-1]
        left = ops.window(self._log_left(a), [*((0, m, 1) for m in lead), (0, n, 1)])
        return ops.reduce_sum(ops.sub(left, ops.add(ops.softplus(a), ops.softplus(ops.neg(a)))), -1)


def _matrix_times(x: Node, matrix: np.ndarray) -> Node:
    """matrix @ x over the last event dimension."""
    rows = ops.reshape(x, (*x.type.shape[:-1], 1, x.type.shape[-1]))
    return ops.reduce_sum(ops.mul(matrix, rows), -1)


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
        return None if known_correlation_factor(y) else ops.logical_not(is_correlation_factor(y))

    def inside(self, y: Node) -> np.ndarray:
        """The identity."""
        return np.eye(y.type.shape[-1])

    def forward(self, x: Node) -> Node:
        """Partial correlations times the roots of what is left of their rows."""
        matrix = _strictly_lower_matrix(x)
        n = matrix.type.shape[-1]
        logs = _half_log_remainder(matrix)
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
        length = ops.sqrt(mark_inside(later, POSITIVE) if has_positive_diagonal(y) else later)
        return _strictly_lower_entries(_arsinh(ops.div(ops.where(mask, y, 0.0), length)))

    def log_det(self, x: Node) -> Node:
        """The sum of the logarithms of 1 - z^2 and of the roots that z is multiplied with."""
        matrix = _strictly_lower_matrix(x)
        n = matrix.type.shape[-1]
        own = _log_cosh(matrix)  # log dz/dx = -2 log cosh x, and the root before an entry is `_log_left` plus `own`
        terms = ops.mul(ops.sub(_half_log_remainder(matrix), own), np.tril(np.ones((n, n)), -1))
        return ops.reduce_sum(terms, (-2, -1))


def _strictly_lower_matrix(x: Node) -> Node:
    """The entries of a vector below the diagonal of a matrix of zeros, row by row."""
    rank, count = len(x.type.shape), x.type.shape[-1]
    n = (1 + math.isqrt(1 + 8 * count)) // 2
    index = np.full((n, n), count)
    index[np.tril_indices(n, -1)] = np.arange(count)
    first = ops.transpose(x, [rank - 1, *range(rank - 1)])
    padded = ops.concat([first, np.zeros((1, *x.type.shape[:-1]))], 0)
    return ops.transpose(ops.take(padded, index), [*range(2, rank + 1), 0, 1])


def _strictly_lower_entries(matrix: Node) -> Node:
    """The entries below the diagonal as a vector, row by row."""
    *lead, n, _ = matrix.type.shape
    rank = len(lead) + 1
    flat = ops.transpose(ops.reshape(matrix, (*lead, n * n)), [rank - 1, *range(rank - 1)])
    rows, columns = np.tril_indices(n, -1)
    return ops.transpose(ops.take(flat, rows * n + columns), [*range(1, rank), 0])


def _log_cosh(x: Node) -> Node:
    """log cosh x, in a form without a kink."""
    return ops.sub(ops.mul(0.5, ops.add(ops.softplus(ops.mul(2.0, x)), ops.softplus(ops.mul(-2.0, x)))), math.log(2.0))


def _half_log_remainder(matrix: Node) -> Node:
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


class Flow(Bijector):
    """y = x exp(s(x)) + t(x), where s and t of an entry depend on entries before it only, in some order.

    (s, t) = tanh(x @ hidden_weight + hidden_bias) @ weight + bias, with weights that would break the order left out.
    The volume change is the sum of s. The inverse is found entry after entry: `passes` times.
    """

    rank: ClassVar[int] = 1
    value_rank: ClassVar[int] = 1
    shared = True
    constraints: ClassVar[dict[str, str]] = dict.fromkeys(("hidden_weight", "hidden_bias", "weight", "bias"), "real")
    passes: int

    def __init__(self, hidden_weight: Any, hidden_bias: Any, weight: Any, bias: Any):
        given = {"hidden_weight": hidden_weight, "hidden_bias": hidden_bias, "weight": weight, "bias": bias}
        self.params = {name: ops.cast(ops.as_node(value), "float") for name, value in given.items()}
        shapes = {name: node.type.shape for name, node in self.params.items()}
        first = shapes["hidden_weight"]
        self.size, self.units = first if len(first) == 2 else (0, 0)
        wanted = {"hidden_bias": (self.units,), "weight": (self.units, 2 * self.size), "bias": (2 * self.size,)}
        if not self.size or any(shapes[name] != shape for name, shape in wanted.items()):
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ShapeError(f"{type(self).__name__}: shapes do not fit (d, h), (h,), (h, 2 d), (2 d,): {listed}")

    def masks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which inputs a hidden unit reads, (d, h), which units an entry's shift and scale read, (h, d), and which
        entries have any, (d,)."""
        raise NotImplementedError

    def image(self, inside: Interval) -> Interval:
        """All reals."""
        return REAL

    def shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """The same."""
        if event[-1:] != (self.size,):
            raise ShapeError(f"{type(self).__name__} maps vectors of {self.size} entries, not events of shape {event}")
        return event

    def source(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """The same."""
        return self.shape(event)

    def network(self, x: Node) -> tuple[Node, Node]:
        """The logarithms of the scales, and the shifts."""
        first, second, moved = self.masks()
        hidden_weight, hidden_bias, weight, bias = self.params.values()
        rows = ops.reshape(x, (-(-x.type.event_size // self.size), self.size))
        hidden = ops.tanh(ops.add(ops.matmul(rows, ops.mul(hidden_weight, first)), hidden_bias))
        both = ops.add(
            ops.matmul(hidden, ops.mul(weight, np.hstack([second, second]))), ops.mul(bias, np.tile(moved, 2))
        )
        count = rows.type.shape[0]
        parts = (ops.window(both, ((0, count, 1), (i * self.size, self.size, 1))) for i in (0, 1))
        scales, shifts = (ops.reshape(part, x.type.shape) for part in parts)
        return scales, shifts

    def forward(self, x: Node) -> Node:
        """x exp(s(x)) + t(x)."""
        scales, shifts = self.network(x)
        return ops.add(ops.mul(x, ops.exp(scales)), shifts)

    def inverse(self, y: Node) -> Node:
        """(y - t(x)) exp(-s(x)), until all entries are right."""
        x = y
        for _ in range(self.passes):
            scales, shifts = self.network(x)
            x = ops.mul(ops.sub(y, shifts), ops.exp(ops.neg(scales)))
        return x

    def log_det(self, x: Node) -> Node:
        """The sum of s(x)."""
        return ops.reduce_sum(self.network(x)[0], -1)


class Coupling(Flow):
    """Coupling(passive, hidden_weight, hidden_bias, weight, bias): entries that `passive` names stay, and say how the
    others are scaled and shifted (Dinh, Sohl-Dickstein & Bengio 2017). Either direction is one pass.

    Parameters
    ----------
    passive : which of the d entries stay as they are: d truth values, neither all true nor all false.
    hidden_weight, hidden_bias, weight, bias : of shapes (d, h), (h,), (h, 2 d), (2 d,), the logarithms of scales first.

    Raises
    ------
    ModelError
        `passive` does not divide the entries in two parts.
    ShapeError
        Shapes do not fit.
    """

    passes = 1

    def __init__(self, passive: Sequence[bool], hidden_weight: Any, hidden_bias: Any, weight: Any, bias: Any):
        super().__init__(hidden_weight, hidden_bias, weight, bias)
        self.passive: np.ndarray = array("Coupling: passive", passive, ModelError).astype(bool)
        if self.passive.shape != (self.size,) or self.passive.all() or not self.passive.any():
            raise ModelError(
                f"Coupling: passive says for each of {self.size} entries whether it stays, some true, some not"
            )

    def same_map(self, other: Any) -> bool:
        """Whether the same entries stay."""
        return isinstance(other, Coupling) and np.array_equal(self.passive, other.passive)

    def masks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All units read the entries that stay; the others read all units."""
        first = np.repeat(self.passive[:, None], self.units, 1).astype(float)
        moved = 1.0 - self.passive
        return first, np.repeat(moved[None], self.units, 0), moved


class InverseAutoregressive(Flow):
    """InverseAutoregressive(hidden_weight, hidden_bias, weight, bias, reverse=False): every entry is scaled and shifted
    as those before it say, through a masked network (Kingma et al. 2016; Germain et al. 2015).

    `forward` is one pass, the inverse, which a density of a given value needs, one for every entry.

    Parameters
    ----------
    hidden_weight, hidden_bias, weight, bias : of shapes (d, h), (h,), (h, 2 d), (2 d,), the logarithms of scales first.
    reverse : whether "before" means later entries, for layers that follow each other.

    Raises
    ------
    ShapeError
        Shapes do not fit.
    """

    def __init__(self, hidden_weight: Any, hidden_bias: Any, weight: Any, bias: Any, reverse: bool = False):
        super().__init__(hidden_weight, hidden_bias, weight, bias)
        self.reverse, self.passes = reverse, self.size

    def same_map(self, other: Any) -> bool:
        """Whether the order is the same."""
        return isinstance(other, InverseAutoregressive) and self.reverse == other.reverse

    def masks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit u reads the first u mod (d - 1) + 1 entries; entries behind these read it."""
        order = np.arange(1, self.size + 1)
        order = order[::-1] if self.reverse else order
        degree = np.arange(self.units) % max(self.size - 1, 1) + 1
        first = (degree[None] >= order[:, None]).astype(float)
        return first, (order[None] > degree[:, None]).astype(float), np.ones(self.size)


class Inverse(Bijector):
    """The inverse of a bijector."""

    def __init__(self, bijector: Bijector):
        if not isinstance(bijector, Bijector):
            raise ModelError(f"Inverse: bijector must be a bijector, not {shown(bijector)}")
        self.bijector = bijector
        self.params = bijector.params
        vars(self).update(
            rank=bijector.value_rank, value_rank=bijector.rank, domain=bijector.codomain, codomain=bijector.domain,
            safe=1.0, shared=bijector.shared,
        )  # fmt: skip

    @property
    def _inner(self) -> Bijector:
        return self.bijector.with_params(tuple(self.params.values()))

    def same_map(self, other: Any) -> bool:
        """Whether `other` is the inverse of the same map."""
        return isinstance(other, Inverse) and self.bijector.same_map(other.bijector)

    @property
    def increasing(self) -> bool:
        """As the bijector."""
        return self.bijector.increasing

    def shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """That of the bijector's argument."""
        return self.bijector.source(event)

    def source(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """That of the bijector's value."""
        return self.bijector.shape(event)

    def moves(self, inside: Interval) -> frozenset[str]:
        """The parameters that move the bijector's image."""
        return self.bijector.moves(inside)

    def forward(self, x: Node) -> Node:
        """The bijector's inverse."""
        return self._inner.inverse(x)

    def inverse(self, y: Node) -> Node:
        """The bijector's forward."""
        return self._inner.forward(y)

    def log_det(self, x: Node) -> Node:
        """Minus the bijector's, at its own argument."""
        return ops.neg(self._inner.log_det(self._inner.inverse(x)))


def Log() -> Inverse:
    """y = log(x), from x > 0 onto the real line."""
    return Inverse(Exp())


def Logit() -> Inverse:
    """y = log x - log(1 - x), from 0 < x < 1 onto the real line."""
    return Inverse(Sigmoid())


@dataclass(frozen=True)
class Chain:
    """Bijectors one after another: Chain((f, g)) maps x to g(f(x)), a composition with a name of its own."""

    bijectors: tuple[Bijector | Chain, ...]

    @property
    def inverse(self) -> Chain:
        """The chain that leads back."""
        back = reversed(self.bijectors)
        return Chain(tuple(b.inverse if isinstance(b, Chain) else Inverse(b) for b in back))


def flatten_chains(bijectors: tuple[Bijector | Chain, ...]) -> dict[str, Bijector]:
    """The bijectors by names of their own ("affine", "exp", "affine2", …), chains taken apart."""
    listed: dict[str, Bijector] = {}
    for bijector in _without_chains(bijectors):
        kind = type(bijector).__name__.lower()
        count = sum(name.rstrip("0123456789") == kind for name in listed)
        listed[kind if not count else f"{kind}{count + 1}"] = bijector
    return listed


def _without_chains(bijectors: tuple[Bijector | Chain, ...]) -> list[Bijector]:
    found: list[Bijector] = []
    for b in bijectors:
        if isinstance(b, Chain):
            found += _without_chains(b.bijectors)
        else:
            found.append(b)
    return found
