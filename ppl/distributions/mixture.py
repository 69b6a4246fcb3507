"""Mixtures: a component is chosen by its weight, and the sample comes from it."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar, cast

import numpy as np

from ppl.arguments import integer
from ppl.distributions.base import Distribution
from ppl.distributions.domain.checks import checked_parameters
from ppl.distributions.parts.combinator import expanded, select
from ppl.distributions.parts.components import Components
from ppl.distributions.parts.formulas import frozen
from ppl.distributions.parts.mixture_path import (
    POINTS,
    centre,
    moving_scalar,
    moving_vector,
    no_path,
    points_between,
    relative_variance,
)
from ppl.distributions.parts.probabilities import always_positive, log_total
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node


class Mixture(Components):
    """Mixture(weights, components) or Mixture(logits=..., components=...): density sum_k weights[k] p_k(x).

    The log-density is the marginal one, by log-sum-exp; the component is no random node of its own. A sample takes a
    component by Gumbel-max and then a draw from it. If every component has a cdf that is differentiable in its
    parameters and one component covers the others, the sample has the implicit derivative -dF / p, with F the cdf of
    the mixture (Graves 2016; Figurnov, Mohamed & Mnih 2018); else it has none. The automatic choice does not take that
    path: between components that are far apart F changes with the weights, but few samples lie there. `SumComponents`
    sums over the choice instead.

    Parameters
    ----------
    weights : shape (…, K), non-negative, rows sum to 1 (computed ones are divided by their sum); or
        `logits`, finite or -inf.
    components : one distribution whose units have shape (…, K), or a sequence of K distributions of the same event
        shape and dtype; leading axes broadcast with those of the weights.
    joint : how many trailing axes of units share the choice of their component. With `joint=1` a row of independent
        scalars, Normal(loc of shape (K, d), scale), is a mixture of diagonal normals of dimension d, one unit a row;
        its path takes the conditional cdf entry after entry.

    Raises
    ------
    ModelError, ShapeError
        Components that differ in kind of sample, shapes that do not fit, or a masked component.
    """

    constraints: ClassVar[dict[str, str]] = {"weights": "simplex", "logits": "class_logits"}

    def __init__(self, weights: Any = None, components: Any = None, logits: Any = None, joint: int = 0):
        if (weights is None) == (logits is None):
            raise ModelError("Mixture takes exactly one of weights and logits")
        joint = integer("Mixture: joint", joint, 0, error=ModelError)
        given = {"logits": logits} if weights is None else {"weights": weights}
        own = checked_parameters("Mixture", given, self.constraints)
        ((name, node),) = own.items()
        if not node.type.shape or not node.type.shape[-1]:
            raise ShapeError(
                f"Mixture: {name} needs a last axis of at least one component, got shape {node.type.shape}"
            )
        self.joint, self.count = joint, node.type.shape[-1]
        self.batched = isinstance(components, Distribution)
        listed = self._listed(components)
        first = next(iter(listed.values()))
        lead = node.type.shape[:-1]
        try:
            units = np.broadcast_shapes(lead, *(self._lead(c) for c in listed.values()))
        except ValueError:
            shapes = [c.event_shape for c in listed.values()]
            raise ShapeError(
                f"Mixture: {name} of {node.type.shape} and components of events {shapes} do not fit"
            ) from None
        rank = len(lead)
        self.gather({name: expanded(node, rank, units)}, {k: self._spread(c, units) for k, c in listed.items()})
        why = no_path(self.components, node, joint)
        self.take_traits(
            discrete=first.discrete, dtype=first.dtype, unit_rank=first.unit_rank + joint,
            reparameterized=not why, implicit=not why, no_path=why, through_cdf=not why and self.count > 1,
            moving=frozenset(f"{k}.{p}" for k, c in listed.items() for p in c.moving),
            angular=frozenset(f"{k}.{p}" for k, c in listed.items() for p in c.angular),
        )  # fmt: skip

    def _component_log_prob(self, value: Node) -> Node:
        """Log-densities of the components, joint axes summed: shape (*units, K)."""
        rank = len(self.units)
        each = self.over_components(lambda c, x: c.unit_log_prob(x), value)
        return ops.reduce_sum(each, tuple(range(rank + 1, rank + 1 + self.joint))) if self.joint else each

    def _component_cdf(self, value: Node) -> Node:
        """Cdfs of the components, scalars: shape (*units, K)."""
        return self.over_components(lambda c, x: c.node_cdf(x), value)

    def unit_log_prob(self, value: Node) -> Node:
        """log sum_k weights[k] p_k(x); -inf with no derivative where no component has density."""
        each = self._component_log_prob(value)
        if "weights" in self.params and not always_positive(self.mixing.class_probs()):
            return log_total(self.mixing.class_probs(), each)
        total = ops.add(self.mixing.log_probs(), each)
        dead = ops.equal(frozen(ops.reduce("amax", total, -1, keepdims=True)), -math.inf)
        alive = ops.logsumexp(ops.where(dead, 0.0, total), -1)
        return ops.where(ops.reshape(dead, alive.type.shape), -math.inf, alive)

    def unit_prob(self, value: Node) -> Node:
        """Mean over components of their probabilities."""
        return self.weighted(self.over_components(lambda c, x: c.unit_prob(x), value))

    def _picked(self, chosen: Node) -> Distribution:
        """The chosen component of a batch: its parameters where `chosen` (truth values over components) is true."""
        (whole,), rank = self.components, len(self.units)
        return whole.with_params(tuple(select(chosen, n, rank) for n in whole.params.values()))

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """One uniform for the choice, then those of the chosen one, or of all that are listed."""
        first: tuple[tuple[int, ...] | None, ...] = self.mixing.uniforms()
        if self.batched:
            return first + self._picked(ops.const(np.ones((*self.units, self.count), bool))).uniforms()
        return first + tuple(shape for c in self.components for shape in c.uniforms())

    @property
    def choice(self) -> Distribution:
        """The law of the component."""
        return self.mixing

    @property
    def no_path_inside(self) -> str:
        """Why a component has no path of its own."""
        for component in self.components:
            if not component.reparameterized:
                return component.no_path or f"{type(component).__name__} has none"
            if component.through_cdf:
                return f"a component is a {type(component).__name__} moved by its cdf"
        return ""

    def draw_inside(self, choice: Node, *u: Node) -> Node:
        """A draw of the component that is chosen."""
        chosen = ops.equal(ops.reshape(choice, (*self.units, 1)), np.arange(self.count))
        return self._picked(chosen).draw(*u[1:]) if self.batched else self._drawn(chosen, list(u[1:]))

    def draw(self, *u: Node) -> Node:
        """A draw of the chosen component, moved implicitly."""
        value = self.draw_inside(self.mixing.draw(u[0]), *u)
        return self._moved(value) if self.reparameterized else ops.stop(value)

    def _drawn(self, chosen: Node, u: list[Node]) -> Node:
        rank, draws = len(self.units), []
        for component in self.components:
            taken, u = u[: len(component.uniforms())], u[len(component.uniforms()) :]
            x = component.draw(*taken)
            draws.append(ops.reshape(x, (*x.type.shape[:rank], 1, *x.type.shape[rank:])))
        return select(chosen, ops.concat(draws, rank), rank)

    def _moved(self, value: Node) -> Node:
        if not self.joint:
            return moving_scalar(value, self.mixing.class_probs(), self._component_cdf, self.unit_log_prob)
        entries = [self._entry(i) for i in range(self.event_shape[-1])]
        return moving_vector(
            value,
            self.mixing.log_probs(),
            [e._component_cdf for e in entries],
            [e._component_log_prob for e in entries],
        )

    def crossing(self) -> tuple[frozenset[str], Node | None]:
        """The weights; all parameters where entries move one after another, since those before an entry weigh it."""
        own = frozenset(self.params if self.joint else set(self.params) & set(self.constraints))
        try:
            centres = self.over_components(lambda c, _: centre(c))
        except ModelError:
            return own, None
        if not self.joint:
            return own, self._spread_between(centres)
        rank, found = len(self.units), []
        for i in range(self.event_shape[-1]):
            spread = self._entry(i)._spread_between(_taken(centres, rank + 1, i))
            found.append(ops.reshape(spread, (*spread.type.shape, 1)))
        return own, ops.reduce("amax", ops.concat(found, rank), -1)

    def _spread_between(self, centres: Node) -> Node:
        """`relative_variance` of scalar units, between the outermost centres."""
        x, length = points_between(centres)
        many = cast(Mixture, self.expand((POINTS, *self.units)))
        return relative_variance(many.mixing.class_probs(), many._component_cdf(x), many.unit_log_prob(x), length)

    def _entry(self, i: int) -> Mixture:
        """The mixture of entry `i` of the joint axis."""
        out, axis = copy.copy(self), len(self.units) + self.batched
        vars(out).update(joint=0, unit_rank=self.unit_rank - 1)
        out.params = {k: n if k in self.constraints else _taken(n, axis, i) for k, n in self.params.items()}
        return out

    def node_cdf(self, value: Node) -> Node:
        """Mean over components of their cdfs."""
        if self.unit_rank:
            raise ModelError("Mixture of vectors has no cdf")
        return self.weighted(self._component_cdf(value))

    def node_sf(self, value: Node) -> Node:
        """Mean over components of their survival functions."""
        if self.unit_rank:
            raise ModelError("Mixture of vectors has no survival function")
        return self.weighted(self.over_components(lambda c, x: c.node_sf(x), value))

    def node_mean(self) -> Node:
        """Mean over components of their means."""
        if self.angular:
            raise ModelError("Mixture of angles has no mean in closed form")
        return self.weighted(self.over_components(lambda c, _: c.node_mean()))

    def unit_covariance(self) -> Node:
        """Mean of the components' covariances, and the covariance of their means."""
        if self.unit_rank > 1 or self.angular:
            raise ModelError("Mixture has no covariance in closed form here")
        within = self.over_components(lambda c, _: c.unit_covariance())
        mean, means = self.node_mean(), self.over_components(lambda c, _: c.node_mean())
        gap = ops.sub(means, ops.reshape(mean, (*self.units, 1, *mean.type.shape[len(self.units) :])))
        if not self.unit_rank:
            return self.weighted(ops.add(within, ops.mul(gap, gap)))
        shape = gap.type.shape
        if self.joint:
            within = ops.mul(ops.reshape(within, (*shape, 1)), np.eye(shape[-1]))
        outer = ops.mul(ops.reshape(gap, (*shape, 1)), ops.reshape(gap, (*shape[:-1], 1, shape[-1])))
        return self.weighted(ops.add(within, outer))

    def unit_support(self) -> np.ndarray | None:
        """That of the components, where they have the same finite one."""
        found = [c.unit_support() for c in self.components]
        first = found[0]
        if self.joint or first is None or any(s is None or not np.array_equal(s, first) for s in found):
            return None
        return first


def _taken(node: Node, axis: int, i: int) -> Node:
    """Entry `i` of an event dimension, which is dropped."""
    shape = node.type.shape
    picked = ops.window(node, [(i, 1, 1) if d == axis else (0, n, 1) for d, n in enumerate(shape)])
    return ops.reshape(picked, (*shape[:axis], *shape[axis + 1 :]))
