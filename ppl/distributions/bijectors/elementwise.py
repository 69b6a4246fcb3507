"""Bijectors of numbers, entry by entry."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.bijectors.base import Bijector
from ppl.distributions.domain import intervals as iv
from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.domain.intervals import POSITIVE, UNIT, Interval
from ppl.distributions.parts.formulas import log_odds_jacobian, logit
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node

SIGNED_UNIT = Interval(-1.0, 1.0)


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
