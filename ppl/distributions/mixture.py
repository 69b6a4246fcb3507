"""Mixtures: a component is chosen by its weight, and the sample comes from it.

`MixtureComponents` holds the components. If every component has a differentiable cdf, a sample has an implicit path,
though its component is chosen: in one dimension dx/dtheta = -(dF/dtheta)(x) / p(x), F the mixture's cdf and p its
density (Graves 2016; Figurnov, Mohamed & Mnih 2018). A vector whose entries are independent given the component moves
entry after entry: the same formula with the conditional cdf of entry i given the entries before it, whose own motion is
part of the derivative."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from ppl.arguments import integer
from ppl.distributions import intervals as iv
from ppl.distributions.base import Distribution
from ppl.distributions.bounds import bounds_of
from ppl.distributions.categorical import Categorical
from ppl.distributions.combinator import Combinator, expand_leading, has_formula, probe_value, select_entries
from ppl.distributions.constraints import constant_value, parameter_nodes
from ppl.distributions.formulas import frozen, is_always_positive, log_weighted_sum
from ppl.distributions.intervals import Interval
from ppl.distributions.support import Support
from ppl.errors import EstimatorError, ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.differentiate import vjp
from ppl.ir.node import Node, make


class MixtureComponents(Combinator):
    """Components with weights, without densities and draws: see `Mixture`.

    `batched`: whether one distribution holds all of them, along an axis after the units; `joint`: how many trailing
    axes of units share one choice; `count`: how many components there are.
    """

    batched: bool
    joint: int
    count: int

    def _components_by_name(self, components: Any) -> dict[str, Distribution]:
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

    def _units_of_component(self, component: Distribution) -> tuple[int, ...]:
        """Shape of the mixture's units as `component` has it."""
        units = component.batch_of_units
        return units[: len(units) - self.joint - self.batched]

    def _expand_component(self, component: Distribution, units: tuple[int, ...]) -> Distribution:
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


ComponentFormula = Callable[[Node], Node]

GAP_POINTS = 32
"""Points between the components at which it is tested whether samples lie there."""

MOST_JOINT_ENTRIES = 64  # entries up to which the conditional form is written out


def obstacle_to_path(components: Sequence[Distribution], weights: Node, joint: int) -> str:
    """Why a mixture has no implicit path, or "" where it has one.

    Besides differentiable cdfs it takes one component whose density is positive wherever any other's is: across a gap
    the cdf moves with the weights, but no sample lies there to carry that share of the derivative.
    """
    for component in components:
        name = type(component).__name__
        if component.discrete:
            return f"{name} is discrete"
        if component.unit_rank:
            return f"units of {name} are vectors, which have no cdf to move by (independent entries: joint=1)"
        if component.angular:
            return f"samples of {name} are angles, whose cdf has no beginning"
        if not has_differentiable_cdf(component):
            return f"{name} has no cdf with a derivative in all of its parameters"
    if not one_covers_others(components, weights):
        return "no component covers the others: the samples would miss what moves across a gap"
    if joint > 1 or (joint and components[0].event_shape[-1] > MOST_JOINT_ENTRIES):
        return f"its conditional form is written out for one joint axis of at most {MOST_JOINT_ENTRIES} entries"
    return ""


def has_differentiable_cdf(dist: Distribution) -> bool:
    """Whether `dist` has a cdf that is differentiable in each of its parameters."""
    if not has_formula(dist, "node_cdf"):
        return False
    leaves = [make("param", name=k, shape=n.type.shape, axes=(), dtype="float") for k, n in dist.params.items()]
    cdf = dist.with_params(tuple(leaves)).node_cdf(probe_value(dist))
    try:
        slopes = vjp([(ops.sum_axes(ops.reduce_sum(cdf), cdf.type.axes), ops.const(1.0))], leaves)
    except (EstimatorError, ModelError):
        return False
    return all(slope is not None for slope in slopes)


def one_covers_others(components: Sequence[Distribution], weights: Node) -> bool:
    """Whether the support of a component of positive weight holds all the others', whatever the parameters."""
    known = constant_value(weights)
    for k, component in enumerate(components):
        share = (
            bounds_of(weights).hi if known is None else known.reshape(-1, known.shape[-1])[:, k % known.shape[-1]].min()
        )
        whole = component.support is not Support.INTERVAL and share != 0 and share > -float("inf")
        if whole and all(other.support.within(component.support) for other in components):
            return True
    return False


def component_centre(component: Distribution) -> Node:
    """The median of a component, or its mean; a ModelError where it has neither in closed form."""
    if has_formula(component, "node_icdf"):
        return component.node_icdf(ops.expand(ops.const(0.5), (), component.event_shape))
    return component.node_mean()


def points_between_centres(centres: Node) -> tuple[Node, Node]:
    """Points between the outermost of the components' centres, which trail, and how far these are apart."""
    low, high = ops.neg(ops.reduce("amax", ops.neg(centres), -1)), ops.reduce("amax", centres, -1)
    length = ops.sub(high, low)
    shares = np.reshape((np.arange(GAP_POINTS) + 0.5) / GAP_POINTS, (GAP_POINTS, *(1,) * len(length.type.shape)))
    return ops.add(low, ops.mul(length, shares)), length


def relative_path_variance(shares: Node, cdfs: Node, log_density: Node, length: Node) -> Node:
    """max over k of the integral of d_k^2 / p over that of |d_k| squared, d_k = F_k - F: points lead, components trail.

    d_k / p is how far a sample moves with the share of component k, for a cost of slope 1.
    """
    gap = ops.sub(cdfs, ops.reduce_sum(ops.mul(shares, cdfs), -1, keepdims=True))
    density = ops.exp(ops.reshape(log_density, (*log_density.type.shape, 1)))
    square = ops.mul(gap, gap)
    second = ops.where(ops.equal(square, 0.0), 0.0, ops.div(square, density))
    second, first = (ops.div(ops.reduce_sum(m, 0), float(GAP_POINTS)) for m in (second, ops.absolute(gap)))
    scale = ops.mul(ops.reshape(length, (*length.type.shape, 1)), ops.mul(first, first))
    return ops.stop(ops.reduce("amax", ops.where(ops.less(0.0, scale), ops.div(second, scale), 0.0), -1))


def centred_mean_cdf(shares: Node, cdfs: Node) -> Node:
    """Mean of the components' cdfs less its own value: 0, with the derivatives of the mean.

    Shares sum to 1, so that the constant moves nothing; without it the derivative in a share would be a difference of
    numbers near 1 over a small density, once the samples' contributions are added up.
    """
    mean = ops.stop(ops.reduce_sum(ops.mul(shares, cdfs), -1, keepdims=True))
    return ops.reduce_sum(ops.mul(shares, ops.sub(cdfs, mean)), -1)


def implicit_scalar(value: Node, shares: Node, cdf: ComponentFormula, log_density: ComponentFormula) -> Node:
    """`value`, with the implicit derivative of a one-dimensional mixture; `cdf` gives one number per component."""
    fixed = ops.stop(value)
    moved = ops.div(centred_mean_cdf(shares, cdf(fixed)), ops.stop(ops.exp(log_density(fixed))))
    return ops.graft(fixed, ops.neg(moved))


def implicit_vector(
    value: Node, log_weights: Node, cdfs: Sequence[ComponentFormula], log_densities: Sequence[ComponentFormula]
) -> Node:
    """`value`, whose last dimension holds the entries of a vector, moved entry after entry.

    `cdfs[i]` and `log_densities[i]` map entry i (the shape of the units) to one number per component (a trailing
    dimension); `log_weights` are those of the components.
    """
    lead = value.type.shape[:-1]
    log_shares, entries = log_weights, []
    for i, (cdf, log_density) in enumerate(zip(cdfs, log_densities, strict=True)):
        here = ops.window(value, [*((0, n, 1) for n in lead), (i, 1, 1)])
        fixed = ops.stop(ops.reshape(here, lead))
        conditional = centred_mean_cdf(ops.softmax(log_shares), cdf(fixed))
        joint = ops.add(log_shares, log_density(fixed))
        density = ops.exp(ops.sub(ops.logsumexp(joint, -1), ops.logsumexp(log_shares, -1)))
        entry = ops.graft(fixed, ops.neg(ops.div(conditional, ops.stop(density))))
        log_shares = ops.add(log_shares, log_density(entry))
        entries.append(ops.reshape(entry, (*lead, 1)))
    return ops.concat(entries, len(lead))


class Mixture(MixtureComponents):
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
        own = parameter_nodes("Mixture", given, self.constraints)
        ((name, node),) = own.items()
        if not node.type.shape or not node.type.shape[-1]:
            raise ShapeError(
                f"Mixture: {name} needs a last axis of at least one component, got shape {node.type.shape}"
            )
        self.joint, self.count = joint, node.type.shape[-1]
        self.batched = isinstance(components, Distribution)
        listed = self._components_by_name(components)
        first = next(iter(listed.values()))
        lead = node.type.shape[:-1]
        try:
            units = np.broadcast_shapes(lead, *(self._units_of_component(c) for c in listed.values()))
        except ValueError:
            shapes = [c.event_shape for c in listed.values()]
            raise ShapeError(
                f"Mixture: {name} of {node.type.shape} and components of events {shapes} do not fit"
            ) from None
        rank = len(lead)
        self.gather(
            {name: expand_leading(node, rank, units)}, {k: self._expand_component(c, units) for k, c in listed.items()}
        )
        why = obstacle_to_path(self.components, node, joint)
        self.set_traits(
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
        if "weights" in self.params and not is_always_positive(self.mixing.class_probs()):
            return log_weighted_sum(self.mixing.class_probs(), each)
        total = ops.add(self.mixing.log_probs(), each)
        dead = ops.equal(frozen(ops.reduce("amax", total, -1, keepdims=True)), -math.inf)
        alive = ops.logsumexp(ops.where(dead, 0.0, total), -1)
        return ops.where(ops.reshape(dead, alive.type.shape), -math.inf, alive)

    def unit_prob(self, value: Node) -> Node:
        """Mean over components of their probabilities."""
        return self.weighted(self.over_components(lambda c, x: c.unit_prob(x), value))

    def _chosen_component(self, chosen: Node) -> Distribution:
        """The chosen component of a batch: its parameters where `chosen` (truth values over components) is true."""
        (whole,), rank = self.components, len(self.units)
        return whole.with_params(tuple(select_entries(chosen, n, rank) for n in whole.params.values()))

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """One uniform for the choice, then those of the chosen one, or of all that are listed."""
        first: tuple[tuple[int, ...] | None, ...] = self.mixing.uniforms()
        if self.batched:
            return first + self._chosen_component(ops.const(np.ones((*self.units, self.count), bool))).uniforms()
        return first + tuple(shape for c in self.components for shape in c.uniforms())

    @property
    def choice(self) -> Distribution:
        """The law of the component."""
        return self.mixing

    @property
    def no_path_given_choice(self) -> str:
        """Why a component has no path of its own."""
        for component in self.components:
            if not component.reparameterized:
                return component.no_path or f"{type(component).__name__} has none"
            if component.through_cdf:
                return f"a component is a {type(component).__name__} moved by its cdf"
        return ""

    def draw_given_choice(self, choice: Node, *u: Node) -> Node:
        """A draw of the component that is chosen."""
        chosen = ops.equal(ops.reshape(choice, (*self.units, 1)), np.arange(self.count))
        return self._chosen_component(chosen).draw(*u[1:]) if self.batched else self._draw_chosen(chosen, list(u[1:]))

    def draw(self, *u: Node) -> Node:
        """A draw of the chosen component, moved implicitly."""
        value = self.draw_given_choice(self.mixing.draw(u[0]), *u)
        return self._with_implicit_path(value) if self.reparameterized else ops.stop(value)

    def _draw_chosen(self, chosen: Node, u: list[Node]) -> Node:
        rank, draws = len(self.units), []
        for component in self.components:
            taken, u = u[: len(component.uniforms())], u[len(component.uniforms()) :]
            x = component.draw(*taken)
            draws.append(ops.reshape(x, (*x.type.shape[:rank], 1, *x.type.shape[rank:])))
        return select_entries(chosen, ops.concat(draws, rank), rank)

    def _with_implicit_path(self, value: Node) -> Node:
        if not self.joint:
            return implicit_scalar(value, self.mixing.class_probs(), self._component_cdf, self.unit_log_prob)
        entries = [self._entry(i) for i in range(self.event_shape[-1])]
        return implicit_vector(
            value,
            self.mixing.log_probs(),
            [e._component_cdf for e in entries],
            [e._component_log_prob for e in entries],
        )

    def path_between_components(self) -> tuple[frozenset[str], Node | None]:
        """The weights; all parameters where entries move one after another, since those before an entry weigh it."""
        own = frozenset(self.params if self.joint else set(self.params) & set(self.constraints))
        try:
            centres = self.over_components(lambda c, _: component_centre(c))
        except ModelError:
            return own, None
        if not self.joint:
            return own, self._spread_between(centres)
        rank, found = len(self.units), []
        for i in range(self.event_shape[-1]):
            spread = self._entry(i)._spread_between(_drop_axis(centres, rank + 1, i))
            found.append(ops.reshape(spread, (*spread.type.shape, 1)))
        return own, ops.reduce("amax", ops.concat(found, rank), -1)

    def _spread_between(self, centres: Node) -> Node:
        """`relative_variance` of scalar units, between the outermost centres."""
        x, length = points_between_centres(centres)
        many = cast(Mixture, self.expand((GAP_POINTS, *self.units)))
        return relative_path_variance(many.mixing.class_probs(), many._component_cdf(x), many.unit_log_prob(x), length)

    def _entry(self, i: int) -> Mixture:
        """The mixture of entry `i` of the joint axis."""
        out, axis = copy.copy(self), len(self.units) + self.batched
        vars(out).update(joint=0, unit_rank=self.unit_rank - 1)
        out.params = {k: n if k in self.constraints else _drop_axis(n, axis, i) for k, n in self.params.items()}
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


def _drop_axis(node: Node, axis: int, i: int) -> Node:
    """Entry `i` of an event dimension, which is dropped."""
    shape = node.type.shape
    picked = ops.window(node, [(i, 1, 1) if d == axis else (0, n, 1) for d, n in enumerate(shape)])
    return ops.reshape(picked, (*shape[:axis], *shape[axis + 1 :]))
