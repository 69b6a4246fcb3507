"""Truncated distributions: a law of the line given that it lies between two bounds.

A base that has a closed truncated law (`ClosedForm`) or a table of its masses (`MassTable`) needs no tail. For all
others (`TailWindow`) the probability between two points is a difference of the tail in which it is smaller, as a
logarithm; where the points are so close that this cancels, it is the integral of the density by a rule of five
nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from ppl.arguments import shown
from ppl.distributions import intervals as iv
from ppl.distributions.base import CONSTANT_OPS, Distribution, is_own_sample
from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.bounds import bounds_of
from ppl.distributions.categorical import Categorical
from ppl.distributions.combinator import Combinator, first_true_index, has_formula
from ppl.distributions.constraints import Condition, constant_value, ordering_condition, parameter_nodes, without_expand
from ppl.distributions.delta import Delta
from ppl.distributions.discrete import FiniteCount
from ppl.distributions.formulas import constant_where_impossible, frozen, on_unit_interval, safe_log
from ppl.distributions.half_distributions import HalfNormal
from ppl.distributions.intervals import REAL, Interval
from ppl.distributions.location_scale import Normal
from ppl.distributions.mixture import Mixture
from ppl.distributions.support import Support
from ppl.distributions.tails import LogTails
from ppl.distributions.truncated_normal import TruncatedNormal
from ppl.distributions.uniform import DiscreteUniform, Uniform
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.records import dataclass

MOST_TABULATED = 64
"""Counts between constant bounds up to which their masses are summed."""


@dataclass(frozen=True)
class ClosedForm:
    """A truncated law that is another distribution; `sure` is whether it exists whatever the bounds."""

    law: Distribution
    sure: bool

    def has_mass(self) -> Node | None:
        """Whether what is left of the base's support has its ends in order."""
        if self.sure:
            return None
        compare = ops.less_equal if self.law.discrete else ops.less
        return compare(self.law.params["low"], self.law.params["high"])

    def log_density(self, value: Node) -> Node:
        """Its own, between the bounds."""
        if isinstance(self.law, TruncatedNormal):
            return self.law.inside(value, self.law.ends())
        return ops.broadcast(ops.neg(self.law.unit_entropy()), ops.cast(value, "float"))[0]

    def quantile(self, u: Node) -> Node:
        """Its own."""
        return self.law.node_icdf(u)

    def upper_quantile(self, q: Node) -> Node:
        """Its own."""
        return self.law.node_isf(q)

    def mean(self) -> Node:
        """Its own."""
        return self.law.node_mean()

    def mode(self) -> Node:
        """Its own."""
        return self.law.node_mode()

    def log_cdf(self, value: Node) -> Node:
        """Its own."""
        return self.law.node_log_cdf(value)

    def log_sf(self, value: Node) -> Node:
        """Its own."""
        return self.law.node_log_sf(value)


@dataclass(frozen=True)
class MassTable:
    """A law on the whole numbers from `start` on, by their log-masses between the bounds along a last dimension."""

    base: Distribution
    log_mass: Node
    start: float

    @property
    def law(self) -> Distribution:
        """The law of the position in the table."""
        return Categorical(logits=self.log_mass)

    def has_mass(self) -> Node | None:
        """Whether any mass is left."""
        return ops.less(-math.inf, ops.reduce("amax", self.log_mass, -1))

    def log_density(self, value: Node) -> Node:
        """log p_base(x) - the log of the sum of the masses."""
        return ops.sub(self.base.unit_log_prob(value), ops.logsumexp(self.log_mass, -1))

    def quantile(self, u: Node) -> Node:
        """The number at which the share is reached."""
        return self._number(self.law.draw(u))

    def upper_quantile(self, q: Node) -> Node:
        """The number above which the share is left."""
        return self._number(self.law.node_isf(q))

    def _number(self, position: Node) -> Node:
        return ops.add(ops.cast(position, "float"), self.start)

    def log_cdf(self, value: Node) -> Node:
        """The log of the sum of the shares up to the value."""
        return safe_log(self.law.node_cdf(ops.sub(ops.cast(value, "float"), self.start)))

    def log_sf(self, value: Node) -> Node:
        """The log of the sum of the shares above the value."""
        return safe_log(self.law.node_sf(ops.sub(ops.cast(value, "float"), self.start)))

    def mean(self) -> Node:
        """The mean."""
        return ops.add(self.law.node_mean(), self.start)

    def mode(self) -> Node:
        """The number of largest mass."""
        return ops.add(self.law.node_mode(), int(self.start))


def _truncate_normal(base: Distribution, low: Node, high: Node) -> Distribution:
    return TruncatedNormal(base.params["loc"], base.params["scale"], low, high)


def _truncate_half_normal(base: Distribution, low: Node, high: Node) -> Distribution:
    return TruncatedNormal(0.0, base.params["scale"], ops.maximum(low, 0.0), high)


def _truncate_truncated_normal(base: Distribution, low: Node, high: Node) -> Distribution:
    loc, scale, first, last = base.params.values()
    return TruncatedNormal(loc, scale, ops.maximum(first, low), ops.minimum(last, high))


def _truncate_uniform(base: Distribution, low: Node, high: Node) -> Distribution:
    return base.with_params((ops.maximum(base.params["low"], low), ops.minimum(base.params["high"], high)))


CLOSED_TRUNCATIONS: dict[type[Distribution], Callable[[Distribution, Node, Node], Distribution]] = {
    Normal: _truncate_normal,
    HalfNormal: _truncate_half_normal,
    TruncatedNormal: _truncate_truncated_normal,
    Uniform: _truncate_uniform,
    DiscreteUniform: _truncate_uniform,
}


def mass_table(base: Distribution, low: Node, high: Node) -> MassTable | None:
    """The table of a finite base, or of counts between constant bounds that are few; None where there is none."""
    if not base.discrete:
        return None
    first, last = constant_value(low), constant_value(high)
    listed: np.ndarray | None = base.unit_support()
    if listed is None and first is not None and last is not None:
        start, end = max(float(first.min()), base.bounds.lo), float(last.max())
        if end - start < MOST_TABULATED:
            listed = np.arange(start, end + 1)
    if listed is None or not len(listed):
        return None
    numbers = listed.astype(float)
    shape = (*base.event_shape, len(numbers))
    expanded = ops.expand(ops.const(numbers), (), shape)
    if isinstance(base, FiniteCount):
        log_mass = base.table()[0]
    elif isinstance(base, Categorical):
        log_mass = base.log_probs()
    elif isinstance(base, Bernoulli):
        log_mass = _repeat_along_last(base, shape).unit_log_prob(ops.const(np.broadcast_to(numbers, shape)))
    else:
        log_mass = _repeat_along_last(base, shape).unit_log_prob(expanded)
    rows = [ops.expand(ops.reshape(n, (*n.type.shape, 1)), (), shape) for n in (low, high)]
    inside = ops.logical_and(ops.less_equal(rows[0], expanded), ops.less_equal(expanded, rows[1]))
    return MassTable(base, ops.where(inside, log_mass, -math.inf), float(numbers[0]))


def _repeat_along_last(base: Distribution, shape: tuple[int, ...]) -> Distribution:
    """The base of units along a new last dimension that all have the same law."""
    expanded = (ops.expand(ops.reshape(p, (*p.type.shape, 1)), (), shape) for p in base.params.values())
    return base.with_params(tuple(expanded))


NARROW_SHARE = 0.05
"""A window whose share of its tail is below this is integrated."""

LARGEST_INVERSE_UNIFORM = 2.0**26
"""One over a uniform number that is smaller than almost all."""

LEAST_LOWER_SHARE = 1e-3
"""The share of the lower tail that a window needs where the base has no survival function."""

GAUSS_NODES, GAUSS_WEIGHTS = (v.tolist() for v in np.polynomial.legendre.leggauss(5))


class TruncatedFormulas(Protocol):
    """The formulas of a truncated law inside its bounds."""

    def has_mass(self) -> Node | None:
        """Truth values per unit: whether the window's probability can be held; None where it always can."""

    def log_density(self, value: Node) -> Node:
        """The log-density of a value between the bounds."""

    def quantile(self, u: Node) -> Node:
        """The value with a share u of the window's probability below it."""

    def upper_quantile(self, q: Node) -> Node:
        """The value with a share q of the window's probability above it."""

    def log_cdf(self, value: Node) -> Node:
        """The log of the share of the window's probability up to a value."""

    def log_sf(self, value: Node) -> Node:
        """The log of the share of the window's probability above a value."""


@dataclass(frozen=True)
class TailWindow:
    """A base with tails between two bounds."""

    base: Distribution
    low: Node
    high: Node

    @property
    def open_below(self) -> bool:
        """Whether nothing is cut off below."""
        return bounds_of(self.low).hi <= self.base.bounds.lo

    @property
    def open_above(self) -> bool:
        """Whether nothing is cut off above."""
        return bounds_of(self.high).lo >= self.base.bounds.hi

    @property
    def has_upper_tail(self) -> bool:
        """Whether the base has the upper tail, too."""
        return has_formula(self.base, "node_log_sf") and has_formula(self.base, "node_log_isf")

    def has_mass(self) -> Node | None:
        """Always where the base has closed tails on the whole line; else where the probabilities of draws are floats.

        Those are the mass times a uniform number, hardly ever below the mass over `EARLIEST`.
        """
        if not self.has_upper_tail:
            _, whole, gap = self._nearer_tail(self.low, self.high)
            share = ops.neg(ops.expm1(gap))
            return ops.logical_and(ops.less_equal(LEAST_LOWER_SHARE, share), _is_representable(whole))
        if self.base.log_tails and self.base.bounds == REAL:
            return None
        if self.open_below and self.open_above:
            return None
        if self.base.log_tails:
            return ops.less(-math.inf, self.log_mass())
        return _is_representable(self.log_mass())

    def before(self, point: Node) -> Node:
        """The point up to which the cdf counts what lies below `point`."""
        return ops.sub(point, 1.0) if self.base.discrete else point

    def log_mass(self) -> Node:
        """The log-probability of the window."""
        return self.log_between(self.low, self.high)

    def _nearer_tail(self, first: Node, last: Node) -> tuple[Node, Node, Node]:
        """Of the smaller tail that holds [first, last]: whether it is the upper one, its log, the log of what lies in
        it but beyond the window over it.
        """
        below = self._log_tail_at("node_log_cdf", self.before(first), self.open_below and first is self.low, -math.inf)
        reached = self._log_tail_at("node_log_cdf", last, self.open_above and last is self.high, 0.0)
        if not self.has_upper_tail:
            return ops.const(False), reached, _log_ratio(below, reached)
        above = self._log_tail_at("node_log_sf", self.before(first), self.open_below and first is self.low, 0.0)
        beyond = self._log_tail_at("node_log_sf", last, self.open_above and last is self.high, -math.inf)
        upper = ops.less(frozen(above), frozen(reached))
        whole = ops.where(upper, above, reached)
        return upper, whole, _log_ratio(ops.where(upper, beyond, below), whole)

    def _log_tail_at(self, formula: str, point: Node, beyond: bool, end: float) -> Node:
        """A log tail at a point; `end` where the point is infinite, or beyond the base's support."""
        if beyond:
            return ops.const(end)
        known = constant_value(point)
        if known is not None and np.isfinite(known).all():
            found: Node = getattr(self.base, formula)(point)
            return found
        finite = ops.less(ops.absolute(frozen(point)), math.inf)
        middle = getattr(self.base, formula)(ops.where(finite, point, 1.0))
        full = 0.0 if formula == "node_log_cdf" else -math.inf
        empty = -math.inf if formula == "node_log_cdf" else 0.0
        return ops.where(finite, middle, ops.where(ops.less(0.0, frozen(point)), full, empty))

    def log_between(self, first: Node, last: Node) -> Node:
        """The log-probability of first <= x <= last."""
        _, whole, gap = self._nearer_tail(first, last)
        dead = ops.less_equal(0.0, frozen(gap))
        inner = ops.log1mexp(ops.where(dead, -1.0, gap))
        found = ops.add(whole, ops.where(dead, -math.inf, inner))
        one_sided = (self.open_below and first is self.low) or (self.open_above and last is self.high)
        if self.base.discrete or one_sided:
            return found
        narrow = ops.logical_and(ops.less(-NARROW_SHARE, frozen(gap)), self.base.smooth_between(first, last))
        return ops.where(narrow, self._integral(narrow, first, last), found)

    def _integral(self, narrow: Node, first: Node, last: Node) -> Node:
        """The log of the integral of the density, where `narrow`."""
        narrow = ops.logical_and(narrow, ops.less(frozen(first), frozen(last)))
        width = ops.sub(last, first)
        width = ops.where(narrow, width, 1.0)
        start = ops.where(narrow, first, 0.5)
        terms = [
            ops.add(self.base.unit_log_prob(ops.add(start, ops.mul(0.5 * (1 + t), width))), math.log(0.5 * w))
            for t, w in zip(GAUSS_NODES, GAUSS_WEIGHTS, strict=True)
        ]
        shape = terms[0].type.shape
        rows = ops.concat([ops.reshape(t, (*shape, 1)) for t in terms], len(shape))
        found = ops.add(ops.log(width), ops.logsumexp(rows, -1))
        return ops.where(narrow, found, -math.inf)

    def log_density(self, value: Node) -> Node:
        """log p_base(x) - log mass."""
        return ops.sub(self.base.unit_log_prob(value), self.log_mass())

    def quantile(self, u: Node) -> Node:
        """The base's quantile at that share of the window."""
        return self._quantile(u, ops.sub(1.0, u))

    def upper_quantile(self, q: Node) -> Node:
        """The base's quantile at that share of the window, from above."""
        return self._quantile(ops.sub(1.0, q), q)

    def _quantile(self, u: Node, rest: Node) -> Node:
        """The point with a share u of the window's probability below it and `rest` above it.

        Counted from the far side of the tail, whose log it is that the base is asked for.
        """
        upper, whole, gap = self._nearer_tail(self.low, self.high)
        if not self.has_upper_tail:
            return self.base.node_log_icdf(ops.add(whole, _log_share_left(rest, u, gap)))
        cut = ops.add(whole, _log_share_left(ops.where(upper, u, rest), ops.where(upper, rest, u), gap))
        if self.open_above and not self.open_below:
            return self.base.node_log_isf(cut)
        if self.open_below:
            return self.base.node_log_icdf(cut)
        half = -math.log(2.0)
        above = self.base.node_log_isf(ops.where(upper, cut, half))
        return ops.where(upper, above, self.base.node_log_icdf(ops.where(upper, half, cut)))

    def log_cdf(self, value: Node) -> Node:
        """The log of what lies between low and the value over the window's."""
        x = ops.floor(ops.cast(value, "float")) if self.base.discrete else value
        inside = ops.less_equal(self.low, x)
        share = ops.sub(self.log_between(self.low, self._held(x)), self.log_mass())
        return ops.where(inside, ops.minimum(share, 0.0), -math.inf)

    def log_sf(self, value: Node) -> Node:
        """The log of what lies between the value and high over the window's."""
        x = ops.add(ops.floor(ops.cast(value, "float")), 1.0) if self.base.discrete else value
        inside = ops.less_equal(x, self.high)
        share = ops.sub(self.log_between(self._held(x), self.high), self.log_mass())
        return ops.where(inside, ops.minimum(share, 0.0), -math.inf)

    def _held(self, x: Node) -> Node:
        return ops.minimum(ops.maximum(x, self.low), self.high)


def _is_representable(log_mass: Node) -> Node:
    """Whether a small share of the mass is a float, and so is one over it."""
    return ops.less(ops.exp(ops.sub(math.log(LARGEST_INVERSE_UNIFORM), log_mass)), math.inf)


def _log_ratio(part: Node, whole: Node) -> Node:
    """log(part / whole), at most 0; 0, no window, where both are nothing."""
    empty = ops.equal(frozen(whole), -math.inf)
    gap = ops.sub(ops.where(empty, 0.0, part), ops.where(empty, 0.0, whole))
    return ops.where(ops.less(0.0, frozen(gap)), 0.0, gap)


def _log_share_left(v: Node, rest: Node, gap: Node) -> Node:
    """log(1 - v (1 - exp(gap))), rest = 1 - v: the share of a tail that is left where v of a window is taken away."""
    early = ops.less(frozen(v), 0.5)
    taken = ops.expm1(gap)
    near = ops.log1p(ops.mul(ops.where(early, v, 0.0), taken))
    left = ops.sub(ops.exp(gap), ops.mul(ops.where(early, 1.0, rest), taken))
    return ops.where(early, near, ops.log(left))


class Truncated(LogTails, Combinator):
    """Truncated(base, low, high): the law of `base` given low <= x <= high.

    log p(x) = log p_base(x) - log P(low <= X <= high). The sample is a quantile of the base at a uniform share of that
    probability, clipped to [low, high]; its path is the derivative of that formula. Logarithms of probabilities are
    taken from the nearer tail of the base, so that intervals far out are as accurate as central ones. If the program's
    precision cannot hold the probability of the interval, a `ParameterError` says so. Normal, uniform and finite bases
    have closed forms, with mean, variance and entropy.

    Parameters
    ----------
    base : a distribution of scalar units with `cdf` and `icdf`.
    low, high : real or infinite, low < high (of counts whole numbers, low <= high); both move the support.

    Raises
    ------
    ModelError
        No cdf or icdf, vector units, angles, a mask, constant bounds in the wrong order, or without probability
        between them.
    """

    def __init__(self, base: Distribution, low: Any = -math.inf, high: Any = math.inf):
        if not isinstance(base, Distribution) or base.unit_rank or base.angular or isinstance(base, Delta):
            raise ModelError(f"Truncated: the base must be a distribution of scalars on the line, not {shown(base)}")
        for what in ("cdf", "icdf"):
            if not has_formula(base, f"node_{what}"):
                hint = "; truncate its components, and weigh them by what they have between the bounds"
                parts = hint if isinstance(base, Mixture) else ""
                raise ModelError(f"Truncated: {type(base).__name__} has no {what}{parts}")
        ends = parameter_nodes("Truncated", {"low": low, "high": high}, {})
        try:
            shape = np.broadcast_shapes(base.event_shape, *(n.type.shape for n in ends.values()))
        except ValueError:
            shapes = " and ".join(str(n.type.shape) for n in ends.values())
            raise ShapeError(f"Truncated: bounds of {shapes} do not fit an event of {base.event_shape}") from None
        own = {k: ops.expand(n, (), shape) for k, n in ends.items()}
        _check_bounds(own["low"], own["high"], base.discrete)
        self.gather(own, {"base": base.expand(shape)})
        moving = {k for k, n in own.items() if not is_infinite_constant(n)}
        self.set_traits(
            discrete=base.discrete, dtype=base.dtype, reparameterized=base.reparameterized and not base.implicit,
            no_path=f"{type(base).__name__} has an implicit one" if base.implicit else base.no_path,
            moving=frozenset(moving | {f"base.{k}" for k in base.moving}),
        )  # fmt: skip
        self._check_mass()

    def _check_mass(self) -> None:
        """Raise where parameters are constants and there is no probability between the bounds in float64."""
        good = self._has_mass()
        nodes = list(self.params.values())
        if good is None or any(n.op not in CONSTANT_OPS for n in topological(nodes)):
            return
        index = first_true_index(~np.asarray(evaluate([good], Env(dtype=np.float64))[0]))
        if index is not None:
            low, high = (evaluate([self.params[k]], Env(dtype=np.float64))[0][index] for k in ("low", "high"))
            raise ModelError(
                f"Truncated: {type(self.base).__name__} has {self._missing_mass()} between {low} and {high}"
            )

    def _missing_mass(self) -> str:
        return "no probability" if has_formula(self.base, "node_sf") else "no survival function and little probability"

    def _has_mass(self) -> Node | None:
        """Truth values per unit: whether the window's probability can be held; None where it always can."""
        return self.form().has_mass()

    def conditions(self) -> Iterator[Condition]:
        """Those of the base, the order of the bounds, and that there is probability between them."""
        yield from super().conditions()
        low, high = self.params["low"], self.params["high"]
        for name, end in (("low", low), ("high", high)):
            if self.discrete and constant_value(end) is None:
                x = without_expand(end)
                yield Condition(name, "a whole number", x, ops.equal(x, ops.floor(x)), end.type.shape, False)
        yield ordering_condition(low, high, equal=self.discrete)
        good = self._has_mass()
        if good is not None:
            name = "high" if is_infinite_constant(low) else "low"
            end = self.params[name]
            wanted = f"an end of a window in which {type(self.base).__name__} has probability that a float can hold"
            yield Condition(name, wanted, end, good, end.type.shape, False, draws=True)

    @property
    def base(self) -> Distribution:
        """The law before truncation."""
        found: Distribution = self.part("base")
        return found

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.params["low"].type.shape

    @property
    def support(self) -> Support:
        """That of the base within infinite bounds, else an interval between them; counts stay counts."""
        whole = is_infinite_constant(self.params["low"]) and is_infinite_constant(self.params["high"])
        return self.base.support if whole or self.discrete else Support.INTERVAL

    @property
    def bounds(self) -> Interval:
        """The base's, between the bounds."""
        low, high = bounds_of(self.params["low"]), bounds_of(self.params["high"])
        first = Interval(low.lo, low.lo, math.isinf(low.lo), math.isinf(low.lo))
        last = Interval(high.hi, high.hi, math.isinf(high.hi), math.isinf(high.hi))
        return iv.minimum(iv.maximum(self.base.bounds, first), last)

    def unit_support(self) -> np.ndarray | None:
        """The values of a finite base between the bounds, as far as these are constant."""
        listed = self.base.unit_support()
        low, high = constant_value(self.params["low"]), constant_value(self.params["high"])
        if listed is None:
            return None
        first = -math.inf if low is None else low.min()
        last = math.inf if high is None else high.max()
        return listed[(first <= listed) & (listed <= last)]

    def form(self) -> TruncatedFormulas:
        """The formulas of this law: a closed one of its kind, a finite table, or the base's tails."""
        base, low, high = self.base, self.params["low"], self.params["high"]
        while isinstance(base, Truncated):
            low, high = ops.maximum(base.params["low"], low), ops.minimum(base.params["high"], high)
            base = base.base
        if type(base) in CLOSED_TRUNCATIONS:
            return ClosedForm(
                CLOSED_TRUNCATIONS[type(base)](base, low, high), base is self.base and type(base) is Normal
            )
        return mass_table(base, low, high) or TailWindow(base, low, high)

    def unit_log_prob(self, value: Node) -> Node:
        """log p_base(x) less the log of the probability between the bounds; -inf outside of them."""
        density = self.form().log_density(value)
        if is_own_sample(self, value):
            return density
        x = ops.cast(value, "float")
        inside = ops.logical_and(ops.less_equal(self.params["low"], x), ops.less_equal(x, self.params["high"]))
        if self.discrete and value.type.dtype == "float":
            inside = ops.logical_and(inside, ops.equal(x, ops.floor(x)))
        return ops.where(inside, constant_where_impossible(density), -math.inf)

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """One uniform for each entry."""
        return (self.event_shape,)

    def draw(self, *u: Node) -> Node:
        """The quantile at the uniform, cut to the bounds."""
        x = self._clip_to_bounds(self.form().quantile(u[0]))
        return x if x.type.dtype == self.dtype else ops.cast(x, self.dtype)

    def _clip_to_bounds(self, x: Node) -> Node:
        """`x` cut to the bounds against rounding."""
        x = x if is_infinite_constant(self.params["low"]) else ops.maximum(x, self.params["low"])
        return x if is_infinite_constant(self.params["high"]) else ops.minimum(x, self.params["high"])

    def node_icdf(self, probability: Node) -> Node:
        """The base's quantile at a share of the probability between the bounds; NaN outside [0, 1]."""
        return on_unit_interval(probability, lambda p: self._clip_to_bounds(self.form().quantile(p)))

    def node_isf(self, probability: Node) -> Node:
        """The same from above."""
        return on_unit_interval(probability, lambda q: self._clip_to_bounds(self.form().upper_quantile(q)))

    def node_log_cdf(self, value: Node) -> Node:
        """The log of the probability from low to x over that from low to high."""
        return self.form().log_cdf(value)

    def node_log_sf(self, value: Node) -> Node:
        """The log of the probability from x to high over that from low to high."""
        return self.form().log_sf(value)

    def node_cdf(self, value: Node) -> Node:
        """exp of its logarithm."""
        return ops.exp(self.node_log_cdf(value))

    def node_log_icdf(self, log_p: Node) -> Node:
        """The quantile at a logarithm."""
        return self.node_icdf(ops.exp(log_p))

    def node_log_isf(self, log_q: Node) -> Node:
        """The upper quantile at a logarithm."""
        return self.node_isf(ops.exp(log_q))

    def _closed_form_of(self, what: str) -> ClosedForm | MassTable:
        form = self.form()
        if isinstance(form, ClosedForm | MassTable):
            return form
        raise ModelError(f"Truncated: {type(self.base).__name__} has no {what} in closed form between bounds")

    def node_mean(self) -> Node:
        """Of normal, uniform and finite bases."""
        return self._closed_form_of("mean").mean()

    def node_mode(self) -> Node:
        """Of normal, uniform and finite bases."""
        mode = self._closed_form_of("mode").mode()
        return mode if mode.type.dtype == self.dtype else ops.cast(mode, self.dtype)

    def unit_covariance(self) -> Node:
        """Of normal, uniform and finite bases."""
        return self._closed_form_of("covariance").law.node_variance()

    def unit_entropy(self) -> Node:
        """Of normal, uniform and finite bases."""
        return self._closed_form_of("entropy").law.unit_entropy()


def is_infinite_constant(bound: Node) -> bool:
    """Whether a bound is a constant that is infinite everywhere."""
    value = constant_value(bound)
    return value is not None and bool(np.isinf(value).all())


def _check_bounds(low: Node, high: Node, discrete: bool) -> None:
    """Raise where constant bounds are NaN, not whole for counts, or leave nothing between them."""
    first, last = constant_value(low), constant_value(high)
    for name, value in (("low", first), ("high", last)):
        if value is not None and np.isnan(value).any():
            raise ModelError(f"Truncated: {name} is NaN")
        if discrete and value is not None and (value[np.isfinite(value)] % 1).any():
            raise ModelError(f"Truncated: {name} of counts must be whole")
    if first is None or last is None:
        return
    index = first_true_index(
        np.broadcast_arrays(first, last)[0] > last if discrete else np.broadcast_arrays(first, last)[0] >= last
    )
    if index is not None:
        raise ModelError(f"Truncated: low must be less than high, got {np.broadcast_to(first, low.type.shape)[index]} "
                         f"and {np.broadcast_to(last, low.type.shape)[index]}")  # fmt: skip
