"""What distributions made of other distributions share: their parameters side by side under prefixed names."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ppl.arguments import dimensions
from ppl.distributions.base import Distribution
from ppl.distributions.bijectors import Bijector
from ppl.distributions.constraints import BoundaryValue, Condition, conditions_of, prefix_names
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind


class Part(Protocol):
    """A distribution or a bijector: named parameters that can be replaced."""

    params: dict[str, Node]

    def with_params(self, nodes: tuple[Node, ...]) -> Any:
        """The same with other parameter nodes."""


class Combinator(Distribution):
    """Base class. `params` holds the combinator's own parameters and those of its parts, as "part.name".

    Every parameter is led by the axes of the units. The parts are rebuilt from `params` whenever they are asked for, so
    that `with_params` and `expand` reach them.
    """

    parts: dict[str, Part]

    def gather(self, own: Mapping[str, Node], parts: Mapping[str, Part]) -> None:
        """Set `params` from own parameters and parts."""
        for name, part in parts.items():
            if isinstance(part, Distribution) and part.event_mask is not None:
                raise ModelError(f"{type(self).__name__}: {name} has a mask; mask the whole instead")
        self.parts = dict(parts)
        self.params = dict(own)
        for name, part in parts.items():
            self.params.update({f"{name}.{key}": node for key, node in part.params.items()})
        self.event_mask = None

    def conditions(self) -> Iterator[Condition]:
        """Its own, and those of its parts under prefixed names."""
        yield from super().conditions()
        for name in self.parts:
            part = self.part(name)
            whole = isinstance(part, Distribution)
            yield from prefix_names(name, part.conditions() if whole else conditions_of(part.params, part.constraints))

    def edges(self) -> Iterator[BoundaryValue]:
        """Its own, and those of its parts under prefixed names."""
        yield from super().edges()
        for name in self.parts:
            part = self.part(name)
            if isinstance(part, Distribution):
                yield from (replace(e, name=f"{name}.{e.name}") for e in part.edges())

    def set_traits(self, **traits: Any) -> None:
        """Set class attributes of the contract for this instance: they follow from its parts."""
        vars(self).update(traits)

    def part(self, name: str) -> Any:
        """A part with the current parameters."""
        part = self.parts[name]
        return part.with_params(tuple(self.params[f"{name}.{key}"] for key in part.params))

    def same_law(self, other: Distribution) -> bool:
        """Whether `other` has the same parts, by their kinds, and the same parameters."""
        if not super().same_law(other) or not isinstance(other, Combinator):
            return False
        return tuple(self.parts) == tuple(other.parts) and all(
            _same_part(self.part(name), other.part(name)) for name in self.parts
        )

    def expand(self, shape: tuple[int, ...]) -> Distribution:
        """The distribution of units of shape `shape`, by broadcasting the parameters."""
        shape = dimensions(f"{type(self).__name__}.expand: shape", shape, ShapeError)
        rank, out = len(self.batch_of_units), copy.copy(self)
        shared = {name for name, part in self.parts.items() if getattr(part, "shared", False)}
        whole = {k for k in self.params if k.partition(".")[0] in shared}
        out.params = {k: n if k in whole else expand_leading(n, rank, shape) for k, n in self.params.items()}
        if self.event_mask is not None:
            out.event_mask = ops.expand(self.event_mask, (), shape)
        return out


def _same_part(a: Part, b: Part) -> bool:
    if isinstance(a, Distribution) and isinstance(b, Distribution):
        return a.same_law(b)
    return a.same_map(b) if isinstance(a, Bijector) else type(a) is type(b)


def expand_leading(node: Node, rank: int, shape: tuple[int, ...]) -> Node:
    """`node` with its `rank` leading event dimensions broadcast to `shape`."""
    lead, tail = node.type.shape[:rank], node.type.shape[rank:]
    padded = ops.reshape(node, (*(1,) * (len(shape) - rank), *lead, *tail))
    return ops.expand(padded, (), (*shape, *tail))


def has_formula(dist: Distribution, formula: str) -> bool:
    """Whether `dist` has a formula ("node_cdf", "node_icdf", …) of one argument."""
    try:
        getattr(dist, formula)(probe_value(dist))
    except ModelError:
        return False
    return True


def probe_value(dist: Distribution) -> Node:
    """A stand-in for a value of `dist`, of its event shape."""
    return ops.noise("probe", 0, (Axis("probe", Kind.PLATE, 1),), dist.event_shape)


def select_entries(chosen: Node, values: Node, dim: int) -> Node:
    """Entries of `values` where `chosen` (truth values, one per position of dimension `dim`) is true."""
    shape, rank = values.type.shape, len(chosen.type.shape)
    aligned = ops.reshape(chosen, (*chosen.type.shape, *(1,) * (len(shape) - rank)))
    zero = 0.0 if values.type.dtype == "float" else 0
    return ops.reduce_sum(ops.where(ops.expand(aligned, (), shape), values, zero), dim)


def first_true_index(bad: np.ndarray) -> tuple[int, ...] | None:
    """Index of the first true entry, or None."""
    found = np.argwhere(bad)
    return tuple(found[0].tolist()) if len(found) else None
