"""The contract of a bijector."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import numpy as np

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.checks import checked_parameters
from ppl.distributions.domain.guards import contains, known_inside
from ppl.distributions.domain.intervals import REAL, Interval
from ppl.distributions.domain.support import Support
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.names import Keywords


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
            self.params = checked_parameters(type(self).__name__, params, self.constraints)

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
        x = known_inside(ops.noise("probe", 0, (), (2,) * self.rank), inside)
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
