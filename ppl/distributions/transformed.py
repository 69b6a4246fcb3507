"""Transformed distributions: the law of g(x) for x of a known law and smooth invertible g."""

from __future__ import annotations

import math

import numpy as np

from ppl.arguments import shown
from ppl.distributions.base import Distribution, is_own_sample
from ppl.distributions.bijectors import Affine, Bijector, Chain, flatten_chains
from ppl.distributions.bounds import mark_inside
from ppl.distributions.combinator import Combinator
from ppl.distributions.formulas import constant_where_impossible
from ppl.distributions.intervals import Interval
from ppl.distributions.support import INTERVAL_OF, Support
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node

OPPOSITE_TAIL = {"cdf": "sf", "log_cdf": "log_sf", "icdf": "isf", "log_icdf": "log_isf"}

OPPOSITE_TAIL |= {upper: lower for lower, upper in OPPOSITE_TAIL.items()}

TAIL_LIMITS = {"cdf": (0.0, 1.0), "sf": (1.0, 0.0), "log_cdf": (-math.inf, 0.0), "log_sf": (0.0, -math.inf)}
"""A tail's formula of the other side, and what it is below and above all values."""

SUPPORTS_BY_INTERVAL = (Support.REAL, Support.POSITIVE, Support.NONNEGATIVE, Support.UNIT_INTERVAL)


class Transformed(Combinator):
    """Transformed(base, f, g, …): the law of …g(f(x)) for x of `base`; the first bijector is applied first.

    log p(y) = log p_base(x) - the sum of log |det|, at x = f^-1(g^-1(y)). The sample is the transformed sample of the
    base; its path goes on through the bijectors and their parameters. If a bijector's parameter moves an end of the
    base's support, it counts as a parameter that moves the support, and score functions refuse it.

    Parameters
    ----------
    base : a continuous distribution on the line.
    bijectors : of `ppl.bijectors`, or chains of them; `StickBreaking`, `CorrCholesky` make one unit of a row.

    Raises
    ------
    ModelError
        A base that is discrete, masked or of angles, or a bijector that is not defined where its argument lies.
    ShapeError
        Parameters that do not broadcast with the event.
    """

    def __init__(self, base: Distribution, *bijectors: Bijector | Chain):
        if not isinstance(base, Distribution) or base.discrete or base.angular:
            raise ModelError(f"Transformed: the base must be a continuous distribution on the line, not {shown(base)}")
        for bijector in bijectors:
            if not isinstance(bijector, (Bijector, Chain)):
                raise ModelError(f"Transformed: a bijector is one of ppl.bijectors, not {shown(bijector)}")
        listed = flatten_chains(bijectors)
        moving = {f"base.{k}" for k in base.moving}
        base = base.expand(_common_units(base, listed))
        shape, inside, rank, spread = base.event_shape, base.bounds, base.unit_rank, {}
        for name, bijector in listed.items():
            if not inside.within(bijector.domain):
                raise ModelError(f"Transformed: {name} maps {bijector.domain}, its argument lies in {inside}")
            moving |= {f"{name}.{k}" for k in bijector.moves(inside)}
            spread[name] = _fit_to_event(name, bijector, shape)
            inside, shape = bijector.image(inside), bijector.shape(shape)
            rank = max(rank, bijector.rank) + bijector.value_rank - bijector.rank
        self.gather({}, {"base": base, **spread})
        self.set_traits(
            reparameterized=base.reparameterized, implicit=base.implicit, no_path=base.no_path, unit_rank=rank,
            moving=frozenset(moving), log_tails=base.log_tails,
            through_cdf=base.through_cdf,
        )  # fmt: skip

    @property
    def base(self) -> Distribution:
        """The law of x."""
        found: Distribution = self.part("base")
        return found

    @property
    def bijectors(self) -> list[Bijector]:
        """The bijectors in the order they are applied, chains taken apart."""
        return [self.part(name) for name in self.parts if name != "base"]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """That of the base, changed by bijectors of vectors."""
        shape = self.base.event_shape
        for bijector in self.bijectors:
            shape = bijector.shape(shape)
        return shape

    def intervals(self) -> list[Interval]:
        """Bounds of x and of the values after each bijector."""
        found = [self.base.bounds]
        for bijector in self.bijectors:
            found.append(bijector.image(found[-1]))
        return found

    @property
    def bounds(self) -> Interval:
        """The image of the base's bounds."""
        return self.intervals()[-1]

    @property
    def support(self) -> Support:
        """The set whose interval the image is."""
        last = self.bijectors[-1].support if self.bijectors else None
        if last is not None:
            return last
        image = self.bounds
        whole = next((s for s in SUPPORTS_BY_INTERVAL if INTERVAL_OF[s] == image), Support.INTERVAL)
        return Support.INTERVAL if self.moving or self.base.support is Support.INTERVAL else whole

    def _sum_to_units(self, units: Node) -> Node:
        """Numbers led by this distribution's units as one number per unit."""
        more = len(units.type.shape) - len(self.batch_of_units)
        return ops.reduce_sum(units, tuple(range(-more, 0))) if more > 0 else units

    def unit_log_prob(self, value: Node) -> Node:
        """log p_base(x) - the sum of log |det|; -inf where no x has this value."""
        own, x, total, missed = is_own_sample(self, value), value, ops.const(0.0), None
        for bijector, inside in zip(reversed(self.bijectors), reversed(self.intervals()[:-1]), strict=True):
            bad = None if own else bijector.outside(x)
            if bad is not None:
                x = ops.where(bad, bijector.inside(x), x)
                per_unit = self._sum_to_units(ops.cast(bad, "int"))
                missed = per_unit if missed is None else ops.add(missed, per_unit)
            x = bijector.inverse(x)
            x = mark_inside(x, inside) if own else x
            total = ops.add(total, self._sum_to_units(bijector.log_det(x)))
        base = self.base
        density = ops.sub(self._sum_to_units(base.unit_log_prob(x)), total)
        if not own and base.support is not Support.REAL:
            density = constant_where_impossible(density)
        return density if missed is None else ops.where(ops.less(0, missed), -math.inf, density)

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """Those of the base."""
        return self.base.uniforms()

    def draw(self, *u: Node) -> Node:
        """The transformed draw of the base."""
        return self._forward(self.base.draw(*u))

    @property
    def choice(self) -> Distribution | None:
        """That of the base."""
        return self.base.choice

    def path_between_components(self) -> tuple[frozenset[str], Node | None]:
        """That of the base."""
        names, spread = self.base.path_between_components()
        return frozenset(f"base.{name}" for name in names), spread

    @property
    def no_path_given_choice(self) -> str:
        """That of the base."""
        return self.base.no_path_given_choice

    def draw_given_choice(self, choice: Node, *u: Node) -> Node:
        """The transformed draw of the base, given its choice."""
        return self._forward(self.base.draw_given_choice(choice, *u))

    def _forward(self, x: Node) -> Node:
        for bijector in self.bijectors:
            x = bijector.forward(x)
        return x

    def node_cdf(self, value: Node) -> Node:
        """The base's cdf at x, or its survival function where a bijector decreases; 0 or 1 beyond a codomain."""
        return self._tail(self.bijectors, value, "cdf")

    def node_sf(self, value: Node) -> Node:
        """The base's survival function at x, or its cdf where a bijector decreases."""
        return self._tail(self.bijectors, value, "sf")

    def node_log_cdf(self, value: Node) -> Node:
        """The logarithm of the same."""
        return self._tail(self.bijectors, value, "log_cdf")

    def node_log_sf(self, value: Node) -> Node:
        """The logarithm of the same."""
        return self._tail(self.bijectors, value, "log_sf")

    def _tail(self, bijectors: list[Bijector], value: Node, what: str) -> Node:
        self._require_scalars(what)
        if not bijectors:
            found: Node = getattr(self.base, f"node_{what}")(value)
            return found
        *before, last = bijectors
        bad = last.outside(value)
        x = last.inverse(value if bad is None else ops.where(bad, last.safe, value))
        below = self._tail(before, x, (what if last.increasing else OPPOSITE_TAIL[what]))
        if bad is None:
            return below
        low, high = TAIL_LIMITS[what]
        return ops.where(bad, ops.where(ops.less(last.safe, value), high, low), below)

    def node_icdf(self, probability: Node) -> Node:
        """The transformed quantile of the base."""
        return self._quantile("icdf", probability)

    def node_isf(self, probability: Node) -> Node:
        """The transformed upper quantile of the base."""
        return self._quantile("isf", probability)

    def node_log_icdf(self, log_p: Node) -> Node:
        """The same at a logarithm."""
        return self._quantile("log_icdf", log_p)

    def node_log_isf(self, log_q: Node) -> Node:
        """The same at a logarithm."""
        return self._quantile("log_isf", log_q)

    def _quantile(self, what: str, probability: Node) -> Node:
        """The base's quantile of one tail, of the other one where the bijectors together decrease, transformed."""
        self._require_scalars(what)
        falls = sum(not b.increasing for b in self.bijectors) % 2
        return self._forward(getattr(self.base, f"node_{OPPOSITE_TAIL[what] if falls else what}")(probability))

    def _require_scalars(self, what: str) -> None:
        if self.unit_rank:
            raise ModelError(f"Transformed has no {what}: its units are vectors")

    def _require_affine(self, what: str) -> None:
        if not all(isinstance(b, Affine) for b in self.bijectors):
            raise ModelError(f"Transformed has no {what} in closed form, but under Affine")

    def node_mean(self) -> Node:
        """That of the base, under affine maps."""
        self._require_affine("mean")
        return self._forward(self.base.node_mean())

    def unit_covariance(self) -> Node:
        """That of the base times the squares of the scales, under affine maps of scalars."""
        self._require_affine("covariance")
        found = self.base.unit_covariance()
        for bijector in self.bijectors:
            scale = bijector.params["scale"]
            if self.unit_rank:
                row, column = (
                    ops.reshape(scale, (*scale.type.shape, 1)),
                    ops.reshape(scale, (*scale.type.shape[:-1], 1, scale.type.shape[-1])),
                )
                found = ops.mul(found, ops.mul(row, column))
            else:
                found = ops.mul(found, ops.mul(scale, scale))
        return found

    def unit_entropy(self) -> Node:
        """That of the base plus log |scale|, under affine maps."""
        self._require_affine("entropy")
        found, x = self.base.unit_entropy(), ops.const(0.0)
        for bijector in self.bijectors:
            found = ops.add(found, self._sum_to_units(bijector.log_det(x)))
        return found


def _common_units(base: Distribution, listed: dict[str, Bijector]) -> tuple[int, ...]:
    """Shape of the base's units after broadcasting with the bijectors' parameters up to the first of vectors."""
    shape = base.event_shape
    for name, bijector in listed.items():
        if bijector.rank:
            break
        for node in bijector.params.values():
            try:
                shape = np.broadcast_shapes(shape, node.type.shape)
            except ValueError:
                raise ShapeError(f"Transformed: {name} of shape {node.type.shape} does not fit event {shape}") from None
    units = shape[: len(shape) - base.unit_rank]
    if shape[len(units) :] != base.event_shape[len(base.batch_of_units) :]:
        raise ShapeError(f"Transformed: parameters of shape {shape} do not fit units of {base!r}")
    return units


def _fit_to_event(name: str, bijector: Bijector, shape: tuple[int, ...]) -> Bijector:
    """`bijector` with parameters of the event's shape, unless they belong to the map as a whole."""
    if bijector.shared:
        return bijector
    for node in bijector.params.values():
        if np.broadcast_shapes(node.type.shape, shape) != shape:
            raise ShapeError(f"Transformed: {name} of shape {node.type.shape} does not fit event {shape}")
    return bijector.with_params(tuple(ops.expand(n, (), shape) for n in bijector.params.values()))
