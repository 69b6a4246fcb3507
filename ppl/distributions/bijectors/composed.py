"""Bijectors made of others: inverses, and chains."""

from __future__ import annotations

from typing import Any

from ppl.arguments import shown
from ppl.distributions.bijectors.base import Bijector
from ppl.distributions.bijectors.elementwise import Exp, Sigmoid
from ppl.distributions.domain.intervals import Interval
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass


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
