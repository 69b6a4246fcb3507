"""`Distribution`, the base class of all laws: formulas in IR, used symbolically by the compiler and with numbers by
users.

A distribution holds its parameters as IR nodes broadcast to one event shape. A subclass states its parameters, its
support and the formulas below; it never sees plates, particles or branches, because IR ops broadcast named axes. Public
methods (`log_prob`, `mean`, `variance`, `mode`, `entropy`, `cdf`, `icdf`) return symbolic values inside a model and
NumPy arrays outside (`apply_formula`). `guarded` gives a log-density -inf outside the support."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from ppl.arguments import array, dimensions, fits_memory, flag, integer, masked, shown
from ppl.distributions.bounds import bounds_of, contains
from ppl.distributions.constraints import (
    BoundaryValue,
    Condition,
    boundary_values_of,
    conditions_of,
    constant_value,
    parameter_nodes,
    without_expand,
)
from ppl.distributions.formulas import frozen, product_along_last, safe_log
from ppl.distributions.intervals import CLOSED_UNIT, Interval
from ppl.distributions.support import (
    INTERVAL_OF,
    Support,
    has_infinite_entry,
    is_marked_exact,
    mark_exact,
    on_simplex,
    support_of,
)
from ppl.errors import ModelError, OptionError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, make, topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, Kind, union_axes
from ppl.names import Keywords

__all__ = ["KEY", "Distribution", "require_distribution"]

CONSTANT_OPS = ("const", "expand", "cast", "reshape", "and")


_model_wrapper: Callable[[Sequence[Distribution], Node], Any] | None = None


def register_model_wrapper(function: Callable[[Sequence[Distribution], Node], Any]) -> None:
    """Say what a model is given for a formula of distributions: the language wraps its node, and notes the use."""
    global _model_wrapper
    _model_wrapper = function


def wrap_in_model(dists: Sequence[Distribution], found: Node) -> Any:
    """A formula's result in a model."""
    return found if _model_wrapper is None else _model_wrapper(dists, found)


def apply_formula(dists: Sequence[Distribution], formula: Callable[..., Node], *values: Any) -> Any:
    """Apply `formula` to `values`; evaluate at once (float64) where nothing is symbolic.

    Eagerly, axes of a value beyond the event are leading axes that stay in the result. `dists` are the
    distributions whose parameters and masks the formula reads; values have the event shape of the first.
    """
    symbolic = any(isinstance(v, Node) or hasattr(v, "__ppl_node__") for v in values)
    if symbolic or is_symbolic(dists):
        return wrap_in_model(dists, formula(*(ops.as_node(v) for v in values)))
    owner = type(dists[0]).__name__
    with fits_memory(owner):
        return _evaluate_with_arrays(owner, dists, formula, values)


def is_symbolic(dists: Sequence[Distribution]) -> bool:
    """Whether a parameter or a mask is more than numbers."""
    nodes = [n for d in dists for n in (*d.params.values(), d.event_mask) if n is not None]
    return any(n.op not in CONSTANT_OPS for n in topological(nodes))


def _evaluate_with_arrays(
    owner: str, dists: Sequence[Distribution], formula: Callable[..., Node], values: Sequence[Any]
) -> np.ndarray:
    """The formula of arrays, as an array."""
    arrays = [array(f"{owner}: the value", v, ShapeError) for v in values]
    event = len(dists[0].event_shape)
    lead = np.broadcast_shapes(*(a.shape[: max(a.ndim - event, 0)] for a in arrays))
    if not lead:
        return evaluate([formula(*map(ops.as_node, arrays))], Env(dtype=np.float64))[0][()]
    axis = Axis("eager", Kind.PLATE, math.prod(lead))
    rows = [ops.distribute(ops.const(_flatten_leading_axes(a, lead, event)), axis) for a in arrays]
    out = evaluate([formula(*rows)], Env(dtype=np.float64))[0]
    return out.reshape(*lead, *out.shape[1:])


def distinct_from_parameters(dists: Sequence[Distribution], found: Node) -> Node:
    """A result that is a parameter as it stands, as a node that nobody else reads; where nothing needs a guard, itself.

    So who is computed with the parameter alone is not taken for one who uses the distribution.
    """
    given = {id(without_expand(n)) for d in dists for n in d.params.values()}
    if id(without_expand(found)) not in given or all(c.proved for d in dists for c in d.conditions()):
        return found
    return make("reshape", found, shape=found.type.shape)


def _flatten_leading_axes(array: np.ndarray, lead: tuple[int, ...], event: int) -> np.ndarray:
    """`array` with its leading axes broadcast to `lead` and flattened."""
    tail = array.shape[array.ndim - event :]
    return np.broadcast_to(array, lead + tail).reshape(-1, *tail)


UNIFORM_GRID = 2**52
"""Uniforms are odd multiples of half of its inverse: floats that are neither 0 nor 1."""


def log_prob_per_unit(dist: Distribution, value: Any) -> Any:
    """The log-density of every unit of `value`, after value and distribution have been broadcast."""
    symbolic = isinstance(value, Node) or hasattr(value, "__ppl_node__")
    given: Any = (
        ops.as_node(value).type.shape if symbolic else array(f"{type(dist).__name__}: the value", value, ShapeError)
    )
    shape = given if symbolic else given.shape
    rank = dist.unit_rank
    unit = dist.event_shape[len(dist.event_shape) - rank :]
    batch = shape[: max(len(shape) - rank, 0)]
    try:
        whole = np.broadcast_shapes(batch, dist.batch_of_units)
        fits = np.broadcast_shapes(shape[len(batch) :], unit) == unit
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{type(dist).__name__} has event {dist.event_shape}, its value shape {shape}")
    wide = dist if whole == dist.batch_of_units else dist.expand(whole)

    def formula(x: Node) -> Node:
        x = ops.expand(mark_exact(x), (), wide.event_shape)
        found = wide.unit_log_prob(x)
        found = ops.where(has_infinite_entry(x, rank), -math.inf, found) if is_marked_exact(x) else found
        return found if wide.event_mask is None else ops.where(wide.event_mask, found, 0.0)

    return apply_formula((wide,), formula, value if symbolic else np.broadcast_to(given, wide.event_shape))


def draw_samples(dist: Distribution, rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Draws of shape (*shape, *event)."""
    owner = type(dist).__name__
    if is_symbolic((dist,)):
        raise ModelError(
            f"{owner}.sample draws with parameters that are numbers: in a model, use ppl.sample(name, dist)"
        )
    generator = _as_generator(rng)
    with fits_memory(owner):
        axis = Axis("eager", Kind.PLATE, max(math.prod(shape), 1))
        rows = [ops.distribute(ops.const(_draw_uniforms(generator, axis.size or 1, s)), axis) for s in dist.uniforms()]
        found = dist.shown(dist.draw(*rows))
        out = evaluate([ops.expand(found, (axis,))], Env(dtype=np.float64))[0]
    return out[: math.prod(shape)].reshape((*shape, *out.shape[1:]))[()]


def _as_generator(rng: Any) -> np.random.Generator:
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (bool, np.bool_)) or not isinstance(rng, (int, np.integer)):
        raise OptionError(f"sample: rng must be a numpy.random.Generator or a seed, not {shown(rng)}")
    return np.random.default_rng(integer("sample: rng", rng, 0))


def _draw_uniforms(rng: np.random.Generator, rows: int, shape: tuple[int, ...] | None) -> np.ndarray:
    """Uniforms of an event shape for every row, or a noise key for each."""
    if shape is None:
        return rng.integers(np.iinfo(np.int64).min, np.iinfo(np.int64).max, rows, endpoint=True)
    return (rng.integers(0, UNIFORM_GRID, (rows, *shape)) + 0.5) / UNIFORM_GRID


_fit_function: list[Callable[..., Any]] = []


def register_fit(function: Callable[..., Any]) -> None:
    """Say what `Distribution.fit` calls: the exponential families build on the distributions."""
    _fit_function[:] = [function]


class PublicMethods:
    """Methods of `Distribution` that show the results of its formulas."""

    def log_prob(self: Any, value: Any, summed: bool = True) -> Any:
        """The log-density of `value`, summed over the event; -inf outside the support.

        Parameters
        ----------
        value : a symbolic value or an array of shape (..., *event). A discrete distribution has -inf at numbers between
            those of its support.
        summed : False for one number per unit: then value and parameters broadcast as in SciPy, whichever is larger.

        Returns
        -------
        Inside a model, one number per plate row. Outside, an array of shape (...). With ``summed=False`` the shape to
        which batches of value and distribution broadcast, less the dimensions of a unit (a vector of a
        MultivariateNormal); units that a mask drops have 0.

        Raises
        ------
        ShapeError
            The value's event shape does not broadcast to that of the distribution; without the sum, neither to the
            other.
        """
        if flag("log_prob: summed", summed, ShapeError):
            return apply_formula((self,), lambda x: self.node_log_prob(mark_exact(x)), value)
        return log_prob_per_unit(self, value)

    def sample(self: Any, rng: Any, shape: int | tuple[int, ...] = ()) -> Any:
        """Draws outside of a model, in float64; inside one, `ppl.sample` declares a random node.

        Parameters
        ----------
        rng : a `numpy.random.Generator`, or the seed of a new one.
        shape : how many draws, before the event.

        Returns
        -------
        An array of shape (*shape, *event): floats, or integers where the support is one of categories or counts.

        Raises
        ------
        ModelError
            A parameter is symbolic, or the distribution cannot be sampled.
        OptionError
            `rng` is neither a generator nor a seed.
        """
        return draw_samples(self, rng, dimensions("sample: shape", shape, ShapeError))

    @property
    def mean(self: Any) -> Any:
        """The mean, of the event's shape; a ModelError if it has no closed form."""
        return apply_formula((self,), self.node_mean)

    @property
    def mode(self: Any) -> Any:
        """The value of largest density or probability, of the event's shape; NaN if there is none.

        A ModelError if it has no closed form.
        """
        return apply_formula((self,), self.node_mode)

    @property
    def variance(self: Any) -> Any:
        """The variance of every entry, of the event's shape; a ModelError if it has no closed form."""
        return apply_formula((self,), self.node_variance)

    def entropy(self: Any) -> Any:
        """Entropy of the whole event in nats, a scalar per plate row; a ModelError if it has no closed form."""
        return apply_formula((self,), lambda: self.masked_sum(self.unit_entropy()))

    @classmethod
    def fit(cls, x: Any, weights: Any = None, **fixed: Any) -> Distribution:
        """The maximum-likelihood member of this exponential family.

        Parameters
        ----------
        x : observations, shape (n, *event). Every unit of the event is fitted by itself.
        weights : weights of the observations, shape (n,), not negative.
        fixed : parameters that are not fitted: `Binomial.fit(x, total_count=10)`.

        Raises
        ------
        ModelError
            The class is no exponential family.
        DataError
            Data lie outside the support, weights are negative, or the likelihood has no maximum in the family, for
            instance because all observations are equal.
        """
        return _fit_function[0](cls, x, weights, **fixed)


def _propagate_nan(formula: Callable[[Node], Node]) -> Callable[[Node], Node]:
    """`formula`, but NaN at NaN, of which the comparisons in a formula know nothing."""

    def asked(value: Node) -> Node:
        if value.type.dtype != "float":
            return formula(value)
        return ops.where(ops.equal(frozen(value), frozen(value)), formula(value), math.nan)

    return asked


class Tails:
    """The formulas of the tails that a distribution may have.

    Attributes
    ----------
    log_tails : whether their logarithms are in closed form, so that they hold where a probability underflows.
    """

    log_tails: ClassVar[bool] = False

    def node_cdf(self, value: Node) -> Node:
        """P(X <= x), elementwise."""
        raise ModelError(f"{type(self).__name__} has no cdf")

    def node_icdf(self, probability: Node) -> Node:
        """The least x with P(X <= x) >= p, elementwise; NaN outside [0, 1]."""
        raise ModelError(f"{type(self).__name__} has no icdf")

    def node_sf(self, value: Node) -> Node:
        """P(X > x), elementwise, accurate where it is small."""
        raise ModelError(f"{type(self).__name__} has no survival function")

    def node_isf(self, probability: Node) -> Node:
        """The least x with P(X > x) <= q, elementwise, accurate where q is small; NaN outside [0, 1]."""
        raise ModelError(f"{type(self).__name__} has no inverse survival function")

    def smooth_between(self, low: Node, high: Node) -> Node | bool:
        """Whether the log-density has no kink between two points."""
        return True

    def node_log_cdf(self, value: Node) -> Node:
        """log P(X <= x)."""
        return safe_log(self.node_cdf(value))

    def node_log_sf(self, value: Node) -> Node:
        """log P(X > x)."""
        return safe_log(self.node_sf(value))

    def node_log_icdf(self, log_p: Node) -> Node:
        """The quantile at a logarithm of P(X <= x), which is at most 0."""
        return self.node_icdf(ops.exp(log_p))

    def node_log_isf(self, log_q: Node) -> Node:
        """The quantile at a logarithm of P(X > x), which is at most 0."""
        return self.node_isf(ops.exp(log_q))

    def cdf(self, value: Any) -> Any:
        """Cumulative distribution function, elementwise, of the shape of `value`."""
        return apply_formula((cast("Distribution", self),), _propagate_nan(self.node_cdf), value)

    def sf(self, value: Any) -> Any:
        """Survival function P(X > value), elementwise; accurate where `cdf` rounds to 1."""
        return apply_formula((cast("Distribution", self),), _propagate_nan(self.node_sf), value)

    def log_cdf(self, value: Any) -> Any:
        """Logarithm of the cdf, elementwise."""
        return apply_formula((cast("Distribution", self),), _propagate_nan(self.node_log_cdf), value)

    def log_sf(self, value: Any) -> Any:
        """Logarithm of the survival function, elementwise."""
        return apply_formula((cast("Distribution", self),), _propagate_nan(self.node_log_sf), value)

    def icdf(self, probability: Any) -> Any:
        """Quantile function, elementwise, of the shape of `probability`; NaN outside [0, 1]."""
        return apply_formula((cast("Distribution", self),), self.node_icdf, probability)

    def isf(self, probability: Any) -> Any:
        """Inverse of the survival function, elementwise; NaN outside [0, 1]."""
        return apply_formula((cast("Distribution", self),), self.node_isf, probability)


KEY = None  # in `uniforms()`: the sampler rejects, and takes the noise key of its row and particle instead


class Distribution(Tails, PublicMethods, Keywords):
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
        self.params: dict[str, Node] = parameter_nodes(type(self).__name__, params, self.constraints)
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

    def edges(self) -> Iterator[BoundaryValue]:
        """Parameters that can be such that some values are never drawn."""
        return boundary_values_of(self.params, self.constraints)

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

    def path_between_components(self) -> tuple[frozenset[str], Node | None]:
        """Parameters whose derivative a path through a mixture's cdf carries between components, and how well it does.

        That is the variance of dx / dparameter relative to its squared mean, about one over the share of samples that
        lie between the components; None where it is not known.
        """
        return frozenset(), None

    @property
    def no_path_given_choice(self) -> str:
        """Why a draw given the choice has no differentiable path; "" where it has one."""
        return ""

    def draw_given_choice(self, choice: Node, *u: Node) -> Node:
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
            ops.where(has_infinite_entry(value, self.unit_rank), -math.inf, units) if is_marked_exact(value) else units
        )

    def node_prob(self, value: Node) -> Node:
        """Probability of a value of the finite support, all units together: one scalar per plate row."""
        units = self.unit_prob(ops.expand(value, (), self.event_shape))
        units = units if self.event_mask is None else ops.where(self.event_mask, units, 1.0)
        return product_along_last(ops.reshape(units, (units.type.event_size,)))

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


def is_own_sample(dist: Distribution, value: Node) -> bool:
    """Whether `value` is a random node's sample from this very distribution, or was placed inside its support."""
    if value.op != "sample":
        return False
    law = value.attrs["site"].dist
    return dist.same_law(getattr(law, "law", law))


def guarded(dist: Distribution, value: Node, closure: Interval, safe: float, formula: Callable[[Node], Node]) -> Node:
    """`formula(value)` where every value lies in `closure` for sure; else with -inf outside of it.

    The guard is a jump, through which no pathwise gradient is allowed. Outside, the formula sees the number
    `safe`, so that it makes no NaN.
    """
    if is_own_sample(dist, value) or bounds_of(value).within(closure):
        return formula(value)
    inside = contains(closure, value)
    return ops.where(inside, formula(ops.where(inside, value, safe)), -math.inf)


def Masked(dist: Distribution, mask: Any) -> Distribution:
    """`dist` whose log-density and entropy sum only over the units where `mask` is true: `dist.mask(mask)`.

    All units are drawn. The result is of the same class, so estimators, divergences and conjugacy apply as they do
    without a mask.

    Parameters
    ----------
    dist : a distribution.
    mask : truth values of the shape of its units (`event_shape` without the dimensions of one unit).

    Raises
    ------
    ModelError
        `dist` is no distribution, or `mask` is a NumPy masked array.
    """
    require_distribution("Masked: dist", dist)
    return dist.mask(mask)


def guarded_rows(dist: Distribution, value: Node, formula: Callable[[Node], Node]) -> Node:
    """`formula(value)`, a number for each row; -inf for rows that are not inside the simplex, unless all are."""
    if is_own_sample(dist, value) or support_of(value) is Support.SIMPLEX:
        return formula(value)
    inside = on_simplex(value, True)
    density = formula(ops.where(inside, value, 1.0 / value.type.shape[-1]))
    return ops.where(ops.reshape(inside, density.type.shape), density, -math.inf)
