"""Bijectors: smooth invertible maps with the logarithm of their volume change, for `Transformed`.

A bijector maps entry by entry (`rank` 0) or vector by vector (`rank` 1). Formulas are written at x, the argument of
`forward`: from there they stay right in both tails. Parameters broadcast against the event that is mapped.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ppl.arguments import shown
from ppl.distributions.domain import intervals as iv
from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.checks import ROW_TOLERANCE, checked_parameters, constant_value
from ppl.distributions.domain.guards import contains, known_inside
from ppl.distributions.domain.intervals import POSITIVE, REAL, UNIT, Interval
from ppl.distributions.domain.support import Support, support_of
from ppl.distributions.parts.formulas import log_odds_jacobian, logit
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node

SIGNED_UNIT = Interval(-1.0, 1.0)


class Bijector:
    """Base class: an increasing map of `domain` onto `codomain`, entry by entry, unless a subclass says otherwise.

    Attributes
    ----------
    rank : trailing event dimensions that are mapped together.
    domain, codomain : the intervals of arguments and of values; `safe` is a number inside the codomain.
    """

    rank: ClassVar[int] = 0
    constraints: ClassVar[dict[str, str]] = {}
    domain: Interval = REAL
    codomain: Interval = REAL
    safe: float = 0.5

    def __init__(self, **params: Any):
        self.params: dict[str, Node] = {}
        if params:
            self.params = checked_parameters(type(self).__name__, params, self.constraints)

    def with_params(self, nodes: tuple[Node, ...]) -> Bijector:
        """The same bijector with other parameter nodes (in `params` order)."""
        out = copy.copy(self)
        out.params = dict(zip(self.params, nodes, strict=True))
        return out

    @property
    def increasing(self) -> bool:
        """Whether the map increases (else it decreases)."""
        return True

    def shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the value for an argument of event shape `event`."""
        return event

    def image(self, inside: Interval) -> Interval:
        """The interval of the values of arguments in `inside`, as far as it is known without the parameters."""
        x = known_inside(ops.noise("probe", 0, (), (2,) if self.rank else ()), inside)
        found = bounds_of(self.forward(x))
        return found if found.within(self.codomain) else self.codomain

    def moves(self, inside: Interval) -> frozenset[str]:
        """Parameters that move the image of `inside`."""
        return frozenset()

    def outside(self, y: Node) -> Node | None:
        """Where y cannot be a value, truth values per mapped entry or per vector (then (…, 1)); None for nowhere."""
        if self.codomain == REAL or bounds_of(y).within(self.codomain):
            return None
        return ops.logical_not(contains(self.codomain, y))

    def forward(self, x: Node) -> Node:
        """The value at x."""
        raise NotImplementedError

    def inverse(self, y: Node) -> Node:
        """The x whose value is y."""
        raise NotImplementedError

    def log_det(self, x: Node) -> Node:
        """log |det dy/dx| at x, per entry (rank 0) or per vector."""
        raise NotImplementedError


def one_sign(name: str, parameter: str, node: Node) -> bool:
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
        self.positive = one_sign("Affine", "scale", self.params["scale"])

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

    codomain = SIGNED_UNIT

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
        self.positive = one_sign("Power", "exponent", self.params["exponent"])

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
    codomain = UNIT

    def shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """One entry more."""
        if not event:
            raise ShapeError("StickBreaking maps vectors; its argument has no last axis")
        return (*event[:-1], event[-1] + 1)

    def outside(self, y: Node) -> Node | None:
        """Rows that are not positive or do not sum to 1."""
        if support_of(y) is Support.SIMPLEX:
            return None
        low = ops.neg(ops.reduce("amax", ops.neg(y), -1, keepdims=True))
        miss = ops.absolute(ops.sub(ops.reduce_sum(y, -1, keepdims=True), 1.0))
        return ops.logical_not(ops.logical_and(ops.less(0.0, low), ops.less_equal(miss, ROW_TOLERANCE)))

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


class Inverse(Bijector):
    """The inverse of a bijector."""

    def __init__(self, bijector: Bijector):
        if not isinstance(bijector, Bijector):
            raise ModelError(f"Inverse: bijector must be a bijector, not {shown(bijector)}")
        self.bijector = bijector
        self.params = bijector.params
        vars(self).update(rank=bijector.rank, domain=bijector.codomain, codomain=bijector.domain, safe=1.0)

    @property
    def _inner(self) -> Bijector:
        return self.bijector.with_params(tuple(self.params.values()))

    @property
    def increasing(self) -> bool:
        """As the bijector."""
        return self.bijector.increasing

    def shape(self, event: tuple[int, ...]) -> tuple[int, ...]:
        """One entry less where the bijector makes one more."""
        more = self.bijector.shape(event)
        return tuple(2 * a - b for a, b in zip(event, more, strict=True))

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


def flat(bijectors: tuple[Bijector | Chain, ...]) -> dict[str, Bijector]:
    """The bijectors by names of their own ("affine", "exp", "affine2", …), chains taken apart."""
    listed: dict[str, Bijector] = {}
    for bijector in _steps(bijectors):
        kind = type(bijector).__name__.lower()
        count = sum(name.rstrip("0123456789") == kind for name in listed)
        listed[kind if not count else f"{kind}{count + 1}"] = bijector
    return listed


def _steps(bijectors: tuple[Bijector | Chain, ...]) -> list[Bijector]:
    found: list[Bijector] = []
    for b in bijectors:
        if isinstance(b, Chain):
            found += _steps(b.bijectors)
        else:
            found.append(b)
    return found
