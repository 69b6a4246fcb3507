"""Truncated distributions: a law of the line given that it lies between two bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.distributions.base import Distribution
from ppl.distributions.delta import Delta
from ppl.distributions.domain import intervals as iv
from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.checks import checked_parameters, constant_value
from ppl.distributions.domain.conditions import Condition, ordered, unexpanded
from ppl.distributions.domain.guards import flat_where_dead, owns
from ppl.distributions.domain.intervals import Interval
from ppl.distributions.domain.support import Support
from ppl.distributions.mixture import Mixture
from ppl.distributions.normal import Normal
from ppl.distributions.parts.combinator import Combinator, first_bad, has
from ppl.distributions.parts.eager import EAGER_OPS
from ppl.distributions.truncation.closed import LAWS, Closed, Table, table_of
from ppl.distributions.truncation.tails import LogTails, on_unit
from ppl.distributions.truncation.window import Form, Window
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.ir.reference.interpret import Env, evaluate


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
            if not has(base, f"node_{what}"):
                hint = "; truncate its components, and weigh them by what they have between the bounds"
                parts = hint if isinstance(base, Mixture) else ""
                raise ModelError(f"Truncated: {type(base).__name__} has no {what}{parts}")
        ends = checked_parameters("Truncated", {"low": low, "high": high}, {})
        try:
            shape = np.broadcast_shapes(base.event_shape, *(n.type.shape for n in ends.values()))
        except ValueError:
            shapes = " and ".join(str(n.type.shape) for n in ends.values())
            raise ShapeError(f"Truncated: bounds of {shapes} do not fit an event of {base.event_shape}") from None
        own = {k: ops.expand(n, (), shape) for k, n in ends.items()}
        _check_order(own["low"], own["high"], base.discrete)
        self.gather(own, {"base": base.expand(shape)})
        moving = {k for k, n in own.items() if not infinite(n)}
        self.take_traits(
            discrete=base.discrete, dtype=base.dtype, reparameterized=base.reparameterized and not base.implicit,
            no_path=f"{type(base).__name__} has an implicit one" if base.implicit else base.no_path,
            moving=frozenset(moving | {f"base.{k}" for k in base.moving}),
        )  # fmt: skip
        self._check_mass()

    def _check_mass(self) -> None:
        """Raise where parameters are constants and there is no probability between the bounds in float64."""
        good = self._has_mass()
        nodes = list(self.params.values())
        if good is None or any(n.op not in EAGER_OPS for n in topological(nodes)):
            return
        index = first_bad(~np.asarray(evaluate([good], Env(dtype=np.float64))[0]))
        if index is not None:
            low, high = (evaluate([self.params[k]], Env(dtype=np.float64))[0][index] for k in ("low", "high"))
            raise ModelError(f"Truncated: {type(self.base).__name__} has {self._lacking()} between {low} and {high}")

    def _lacking(self) -> str:
        return "no probability" if has(self.base, "node_sf") else "no survival function and little probability"

    def _has_mass(self) -> Node | None:
        """Truth values per unit: whether the window's probability can be held; None where it always can."""
        return self.form().has_mass()

    def conditions(self) -> Iterator[Condition]:
        """Those of the base, the order of the bounds, and that there is probability between them."""
        yield from super().conditions()
        low, high = self.params["low"], self.params["high"]
        for name, end in (("low", low), ("high", high)):
            if self.discrete and constant_value(end) is None:
                x = unexpanded(end)
                yield Condition(name, "a whole number", x, ops.equal(x, ops.floor(x)), end.type.shape, False)
        yield ordered(low, high, equal=self.discrete)
        good = self._has_mass()
        if good is not None:
            name = "high" if infinite(low) else "low"
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
        whole = infinite(self.params["low"]) and infinite(self.params["high"])
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

    def form(self) -> Form:
        """The formulas of this law: a closed one of its kind, a finite table, or the base's tails."""
        base, low, high = self.base, self.params["low"], self.params["high"]
        while isinstance(base, Truncated):
            low, high = ops.maximum(base.params["low"], low), ops.minimum(base.params["high"], high)
            base = base.base
        if type(base) in LAWS:
            return Closed(LAWS[type(base)](base, low, high), base is self.base and type(base) is Normal)
        return table_of(base, low, high) or Window(base, low, high)

    def unit_log_prob(self, value: Node) -> Node:
        """log p_base(x) less the log of the probability between the bounds; -inf outside of them."""
        density = self.form().log_density(value)
        if owns(self, value):
            return density
        x = ops.cast(value, "float")
        inside = ops.logical_and(ops.less_equal(self.params["low"], x), ops.less_equal(x, self.params["high"]))
        if self.discrete and value.type.dtype == "float":
            inside = ops.logical_and(inside, ops.equal(x, ops.floor(x)))
        return ops.where(inside, flat_where_dead(density), -math.inf)

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """One uniform for each entry."""
        return (self.event_shape,)

    def draw(self, *u: Node) -> Node:
        """The quantile at the uniform, cut to the bounds."""
        x = self._held(self.form().quantile(u[0]))
        return x if x.type.dtype == self.dtype else ops.cast(x, self.dtype)

    def _held(self, x: Node) -> Node:
        """`x` cut to the bounds against rounding."""
        x = x if infinite(self.params["low"]) else ops.maximum(x, self.params["low"])
        return x if infinite(self.params["high"]) else ops.minimum(x, self.params["high"])

    def node_icdf(self, probability: Node) -> Node:
        """The base's quantile at a share of the probability between the bounds; NaN outside [0, 1]."""
        return on_unit(probability, lambda p: self._held(self.form().quantile(p)))

    def node_isf(self, probability: Node) -> Node:
        """The same from above."""
        return on_unit(probability, lambda q: self._held(self.form().upper_quantile(q)))

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

    def _closed(self, what: str) -> Closed | Table:
        form = self.form()
        if isinstance(form, Closed | Table):
            return form
        raise ModelError(f"Truncated: {type(self.base).__name__} has no {what} in closed form between bounds")

    def node_mean(self) -> Node:
        """Of normal, uniform and finite bases."""
        return self._closed("mean").mean()

    def node_mode(self) -> Node:
        """Of normal, uniform and finite bases."""
        mode = self._closed("mode").mode()
        return mode if mode.type.dtype == self.dtype else ops.cast(mode, self.dtype)

    def unit_covariance(self) -> Node:
        """Of normal, uniform and finite bases."""
        return self._closed("covariance").law.node_variance()

    def unit_entropy(self) -> Node:
        """Of normal, uniform and finite bases."""
        return self._closed("entropy").law.unit_entropy()


def infinite(bound: Node) -> bool:
    """Whether a bound is a constant that is infinite everywhere."""
    value = constant_value(bound)
    return value is not None and bool(np.isinf(value).all())


def _check_order(low: Node, high: Node, discrete: bool) -> None:
    """Raise where constant bounds are NaN, not whole for counts, or leave nothing between them."""
    first, last = constant_value(low), constant_value(high)
    for name, value in (("low", first), ("high", last)):
        if value is not None and np.isnan(value).any():
            raise ModelError(f"Truncated: {name} is NaN")
        if discrete and value is not None and (value[np.isfinite(value)] % 1).any():
            raise ModelError(f"Truncated: {name} of counts must be whole")
    if first is None or last is None:
        return
    index = first_bad(
        np.broadcast_arrays(first, last)[0] > last if discrete else np.broadcast_arrays(first, last)[0] >= last
    )
    if index is not None:
        raise ModelError(f"Truncated: low must be less than high, got {np.broadcast_to(first, low.type.shape)[index]} "
                         f"and {np.broadcast_to(last, low.type.shape)[index]}")  # fmt: skip
