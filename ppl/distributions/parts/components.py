"""The components of a mixture: what they have in common, the shapes of their units, formulas over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ppl.distributions.base import Distribution
from ppl.distributions.categorical import Categorical
from ppl.distributions.domain import intervals as iv
from ppl.distributions.domain.intervals import Interval
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.combinator import Combinator
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node


class Components(Combinator):
    """Components with weights, without densities and draws: see `Mixture`.

    `batched`: whether one distribution holds all of them, along an axis after the units; `joint`: how many trailing
    axes of units share one choice; `count`: how many components there are.
    """

    batched: bool
    joint: int
    count: int

    def _listed(self, components: Any) -> dict[str, Distribution]:
        """The components by the names of their parts, after checks of what they have in common."""
        if isinstance(components, Distribution):
            units = components.batch_of_units
            if len(units) < 1 + self.joint or units[-1 - self.joint] != self.count:
                raise ShapeError(
                    f"Mixture: {self.count} weights, but the components' units have shape {units}; axis "
                    f"{-1 - self.joint} numbers the components"
                )
            return {"components": components}
        if not isinstance(components, Sequence) or not all(isinstance(c, Distribution) for c in components):
            raise ModelError("Mixture: components must be a distribution or a sequence of distributions")
        if len(components) != self.count:
            raise ShapeError(f"Mixture: {self.count} weights, but {len(components)} components")
        kinds = {(c.discrete, c.dtype, c.unit_rank, bool(c.angular), unit_shape(c)) for c in components}
        if len(kinds) > 1 or len(components[0].batch_of_units) < self.joint:
            listed = ", ".join(map(repr, components))
            raise ModelError(f"Mixture: components must have samples of one kind and shape, got {listed}")
        return {f"component{k}": c for k, c in enumerate(components)}

    def _lead(self, component: Distribution) -> tuple[int, ...]:
        """Shape of the mixture's units as `component` has it."""
        units = component.batch_of_units
        return units[: len(units) - self.joint - self.batched]

    def _spread(self, component: Distribution, units: tuple[int, ...]) -> Distribution:
        """`component` for a mixture whose units have shape `units`."""
        own = component.batch_of_units
        return component.expand((*units, *own[len(own) - self.joint - self.batched :]))

    @property
    def mixing(self) -> Categorical:
        """The law of the choice."""
        return Categorical(probs=self.params.get("weights"), logits=self.params.get("logits"))

    @property
    def units(self) -> tuple[int, ...]:
        """Shape of the units."""
        return next(iter(self.params.values())).type.shape[:-1]

    @property
    def batch_of_units(self) -> tuple[int, ...]:
        """Shape of the units."""
        return self.units

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Units, joint axes, and the shape of a component's unit."""
        tail = self.part(next(iter(self.parts))).event_shape[len(self.units) + self.batched :]
        return (*self.units, *tail)

    @property
    def components(self) -> list[Distribution]:
        """The components as distributions: one that holds all of them, or each."""
        return [self.part(k) for k in self.parts]

    @property
    def support(self) -> Support:
        """That of a component which covers the others, else the real line."""
        found = [c.support for c in self.components]
        return next((s for s in found if all(t is s or t.within(s) for t in found)), Support.REAL)

    @property
    def bounds(self) -> Interval:
        """The hull of the components' bounds."""
        return iv.union(*(c.bounds for c in self.components))

    def over_components(self, formula: Callable[[Distribution, Node], Node], value: Node | None = None) -> Node:
        """`formula(component, value)` of every component, along a new axis after the units."""
        rank, found = len(self.units), []
        for component in self.components:
            given = ops.const(0.0) if value is None else value
            if value is not None and self.batched:
                aligned = ops.reshape(value, (*self.units, 1, *value.type.shape[rank:]))
                given = ops.expand(aligned, (), (*self.units, self.count, *value.type.shape[rank:]))
            out = formula(component, given)
            shape = out.type.shape
            found.append(out if self.batched else ops.reshape(out, (*shape[:rank], 1, *shape[rank:])))
        return ops.concat(found, rank)

    def weighted(self, values: Node) -> Node:
        """The mean over components of `values`, which have an axis of components after the units."""
        rank = len(self.units)
        probs = self.mixing.class_probs()
        aligned = ops.reshape(probs, (*probs.type.shape, *(1,) * (len(values.type.shape) - rank - 1)))
        return ops.reduce_sum(ops.mul(aligned, values), rank)


def unit_shape(dist: Distribution) -> tuple[int, ...]:
    """Shape of one unit."""
    return dist.event_shape[len(dist.batch_of_units) :]
