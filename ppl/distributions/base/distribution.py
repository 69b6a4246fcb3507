"""The contract of a distribution: formulas in IR, used symbolically by the compiler and eagerly by users.

A distribution holds its parameters as IR nodes broadcast to one event shape. A subclass states its
parameters, its support, and the formulas below; it never sees plates, particles or branches, because IR ops
broadcast named axes. Public methods (`log_prob`, `mean`, `variance`, `mode`, `entropy`, `cdf`, `icdf`)
return symbolic values inside a model and NumPy arrays outside.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ppl.arguments import dimensions, masked, shown
from ppl.distributions.base.public import Public
from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.checks import checked_parameters, constant_value
from ppl.distributions.domain.conditions import Condition, Edge, conditions_of, edges_of
from ppl.distributions.domain.guards import contains
from ppl.distributions.domain.intervals import CLOSED_UNIT, Interval
from ppl.distributions.domain.support import INTERVAL_OF, Support, infinite, is_exact
from ppl.distributions.parts.probabilities import product
from ppl.distributions.truncation.tails import Tails
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import union_axes
from ppl.names import Keywords

KEY = None  # in `uniforms()`: the sampler rejects, and takes the noise key of its row and particle instead


class Distribution(Tails, Public, Keywords):
    """Base class. `params` maps parameter names to nodes of one shape (trailing dims of a unit included).

    Attributes
    ----------
    discrete : whether samples take finitely or countably many values.
    dtype : "float" or "int", the dtype of samples.
    reparameterized : whether `draw` is differentiable in the parameters (a pathwise gradient exists).
    no_path : where an instance has no such path though others of its class do, the reason.
    implicit : whether that derivative is implicit (-dF / p), because the sampler rejects or chooses.
    through_cdf : whether that derivative runs through the cdf of a mixture, across what lies between its components.
    relaxable : whether `relax` and `relax_given` exist.
    unit_rank : trailing event dimensions that form one random unit (1 for one-hot and simplex values).
    param_rank : trailing parameter dimensions of one unit (1 for class probabilities).
    angular : parameters that are angles; where there are any, so are samples, wrapped into (-pi, pi]. A path to a cost
        then counts as a jump unless it is periodic in the sample.
    moving : parameters that move the support; score-function estimators refuse them.
    draws_quantiles : whether `draw` is the inverse of the cdf at its one uniform, and so is `icdf`.
    score_only : whether `node_log_prob` has the right derivative in the parameters, but no meaning as a number.
    constraints : parameter name to a key of `checks.CONSTRAINTS`; constants are checked here, others by programs.
    """

    discrete: ClassVar[bool] = False
    dtype: ClassVar[str] = "float"
    reparameterized: ClassVar[bool] = False
    no_path: ClassVar[str] = ""
    implicit: ClassVar[bool] = False
    through_cdf: ClassVar[bool] = False
    relaxable: ClassVar[bool] = False
    unit_rank: ClassVar[int] = 0
    param_rank: ClassVar[int] = 0
    angular: ClassVar[frozenset[str]] = frozenset()
    moving: ClassVar[frozenset[str]] = frozenset()
    draws_quantiles: ClassVar[bool] = False
    score_only: ClassVar[bool] = False
    constraints: ClassVar[dict[str, str]] = {}

    def __init__(self, **params: Any):
        self.params: dict[str, Node] = checked_parameters(type(self).__name__, params, self.constraints)
        self.event_mask: Node | None = None

    @property
    def param_names(self) -> tuple[str, ...]:
        """Names of the parameters this instance was built with."""
        return tuple(self.params)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return next(iter(self.params.values())).type.shape

    @property
    def batch_of_units(self) -> tuple[int, ...]:
        """Event shape without the trailing dimensions of one unit."""
        return self.event_shape[: len(self.event_shape) - self.unit_rank]

    @property
    def axes(self) -> tuple:
        """Named axes of the parameters together."""
        return union_axes(*(n.type.axes for n in self.params.values()))

    def with_params(self, nodes: tuple[Node, ...]) -> Distribution:
        """The same distribution with other parameter nodes (in `params` order)."""
        out = copy.copy(self)
        out.params = dict(zip(self.params, nodes, strict=True))
        return out

    def same_law(self, other: Distribution) -> bool:
        """Whether `other` is of the same class with the same parameter nodes."""
        return type(other) is type(self) and tuple(other.params.items()) == tuple(self.params.items())

    def conditions(self) -> Iterator[Condition]:
        """The conditions on the parameters that are not constant."""
        return conditions_of(self.params, self.constraints)

    def edges(self) -> Iterator[Edge]:
        """Parameters that can be such that some values are never drawn."""
        return edges_of(self.params, self.constraints)

    # formulas a subclass writes in IR

    @property
    def support(self) -> Support:
        """Where samples lie."""
        raise ModelError(f"{type(self).__name__} has no support")

    @property
    def bounds(self) -> Interval:
        """An interval that holds every entry of every sample, known without the parameters."""
        return INTERVAL_OF[self.support]

    def unit_log_prob(self, value: Node) -> Node:
        """Log-density per unit, event shape `batch_of_units`; discrete values: its multilinear extension."""
        raise ModelError(f"{type(self).__name__} has no log-density")

    def unit_prob(self, value: Node) -> Node:
        """Probability per unit of a value of the finite support, with its derivative also where it is 0."""
        return ops.exp(self.unit_log_prob(value))

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """Event shapes of the open uniforms that one sample consumes (purposes 0, 1, …); KEY for a noise key."""
        return (self.event_shape,)

    def draw(self, *u: Node) -> Node:
        """A sample from base uniforms; differentiable in the parameters if `reparameterized`."""
        raise ModelError(f"{type(self).__name__} cannot be sampled")

    @property
    def choice(self) -> Distribution | None:
        """The law of the finite choice that a draw of a mixture begins with; None of others."""
        return None

    def crossing(self) -> tuple[frozenset[str], Node | None]:
        """Parameters whose derivative a path through a mixture's cdf carries between components, and how well it does.

        That is the variance of dx / dparameter relative to its squared mean, about one over the share of samples that
        lie between the components; None where it is not known.
        """
        return frozenset(), None

    @property
    def no_path_inside(self) -> str:
        """Why a draw given the choice has no differentiable path; "" where it has one."""
        return ""

    def draw_inside(self, choice: Node, *u: Node) -> Node:
        """A draw given the choice, from the uniforms of a draw; differentiable along the paths of the components."""
        raise ModelError(f"{type(self).__name__} is no mixture")

    def relax(self, temperature: Node, *u: Node) -> Node:
        """A relaxed sample from the same uniforms as `draw` (Concrete, Gumbel-softmax)."""
        raise ModelError(f"{type(self).__name__} has no relaxation")

    def relax_given(self, temperature: Node, value: Node, *v: Node) -> Node:
        """A relaxed sample conditional on the hard `value` (REBAR's z given b), from fresh uniforms."""
        raise ModelError(f"{type(self).__name__} has no conditional relaxation")

    def shown(self, value: Node) -> Node:
        """What users see of a sample."""
        return value

    def unit_support(self) -> np.ndarray | None:
        """All values of one unit, shape (S, *unit shape), or None where the support is not finite."""
        return None

    def node_mean(self) -> Node:
        """The mean."""
        raise ModelError(f"{type(self).__name__} has no mean in closed form")

    def node_mode(self) -> Node:
        """The value of largest density, at an end of the support where it grows towards it; NaN where there is none."""
        raise ModelError(f"{type(self).__name__} has no mode in closed form")

    def unit_covariance(self) -> Node:
        """Variance of scalar units (event shape `batch_of_units`), covariance matrix of vectors (then (…, d, d))."""
        raise ModelError(f"{type(self).__name__} has no covariance in closed form")

    def unit_entropy(self) -> Node:
        """Entropy per unit."""
        raise ModelError(f"{type(self).__name__} has no entropy in closed form")

    def node_icdf(self, probability: Node) -> Node:
        """Quantile function, the inverse of the cdf, elementwise; NaN outside [0, 1]."""
        if not self.draws_quantiles:
            raise ModelError(f"{type(self).__name__} has no icdf")
        if bounds_of(probability).within(CLOSED_UNIT):
            return self.draw(probability)
        inside = contains(CLOSED_UNIT, probability)
        return ops.where(inside, self.draw(ops.where(inside, probability, 0.5)), math.nan)

    # derived

    def node_log_prob(self, value: Node) -> Node:
        """Log-density of `value` summed over all units: one scalar per plate row. A mask drops units."""
        shape = value.type.shape
        try:
            fits = np.broadcast_shapes(shape, self.event_shape) == self.event_shape
        except ValueError:
            fits = False
        if not fits:
            raise ShapeError(f"{type(self).__name__} has event {self.event_shape}, its value event {shape}")
        value = ops.expand(value, (), self.event_shape)
        units = self.unit_log_prob(value)
        return self.masked_sum(
            ops.where(infinite(value, self.unit_rank), -math.inf, units) if is_exact(value) else units
        )

    def node_prob(self, value: Node) -> Node:
        """Probability of a value of the finite support, all units together: one scalar per plate row."""
        units = self.unit_prob(ops.expand(value, (), self.event_shape))
        units = units if self.event_mask is None else ops.where(self.event_mask, units, 1.0)
        return product(ops.reshape(units, (units.type.event_size,)))

    def masked_sum(self, units: Node) -> Node:
        """The sum of per-unit numbers over units that count."""
        return ops.reduce_sum(units if self.event_mask is None else ops.where(self.event_mask, units, 0.0))

    def node_variance(self) -> Node:
        """The variance of every entry: `unit_covariance`, or its diagonal where units are vectors."""
        covariance = self.unit_covariance()
        if not self.unit_rank:
            return covariance
        return ops.reduce_sum(ops.mul(covariance, np.eye(covariance.type.shape[-1])), -1)

    def support_size(self) -> float:
        """Number of joint values of the event (inf where not finite)."""
        unit, units = self.unit_support(), math.prod(self.batch_of_units)
        if unit is None or units * math.log2(max(1, len(unit))) >= 1024:
            return math.inf
        return float(len(unit)) ** units

    def support_table(self) -> np.ndarray:
        """Every joint value of the event: shape (support_size, *event_shape)."""
        unit = self.unit_support()
        if unit is None:
            raise ModelError(f"{type(self).__name__} does not have a finite support")
        count = int(np.prod(self.batch_of_units))
        grid = np.indices((len(unit),) * count).reshape(count, -1).T
        return unit[grid].reshape(-1, *self.event_shape)

    def expand(self, shape: tuple[int, ...]) -> Distribution:
        """The distribution of units of shape `shape`, by broadcasting the parameters."""
        shape = dimensions(f"{type(self).__name__}.expand: shape", shape, ShapeError)
        out = copy.copy(self)
        tails = {k: n.type.shape[len(n.type.shape) - self.param_rank :] for k, n in self.params.items()}
        out.params = {k: ops.expand(n, (), (*shape, *tails[k])) for k, n in self.params.items()}
        if self.event_mask is not None:
            out.event_mask = ops.expand(self.event_mask, (), out.batch_of_units)
        return out

    def mask(self, mask: Any) -> Distribution:
        """The same distribution, counting only units where `mask` (over `batch_of_units`) is true."""
        out = copy.copy(self)
        if masked(mask):
            raise ModelError(f"{type(self).__name__}: mask is a masked array: pass its .mask or its .data")
        given = ops.as_node(mask)
        known = constant_value(given)
        if known is not None and not np.isin(known, (0, 1)).all():
            raise ModelError(f"{type(self).__name__}: mask must be true or false in every entry, not {shown(mask)}")
        node = ops.cast(given, "bool")
        out.event_mask = ops.expand(node, (), self.batch_of_units)
        if self.event_mask is not None:
            out.event_mask = ops.logical_and(out.event_mask, self.event_mask)
        return out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.params)}; event {self.event_shape})"


def require_distribution(name: str, value: Any) -> None:
    """Raise unless `value` is a distribution."""
    if not isinstance(value, Distribution):
        raise ModelError(f"{name} must be a distribution, not {shown(value)}")
