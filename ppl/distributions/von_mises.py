"""The von Mises distribution on the circle."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import KEY, Distribution, apply_formula
from ppl.distributions.bounds import bounds_of, contains
from ppl.distributions.formulas import frozen, one_minus_cos, wrapping_rotation
from ppl.distributions.intervals import CLOSED_UNIT
from ppl.distributions.support import Support
from ppl.ir import cdfs, ops
from ppl.ir.node import Node

LOG_TWO_PI = math.log(2 * math.pi)


class VonMises(Distribution):
    """VonMises(loc, concentration): density exp(concentration cos(x - loc)) / (2 pi I0(concentration)) on the circle.

    Samples are angles in (-pi, pi]; the log-density has period 2 pi in the value and in loc. The sample is loc plus
    a draw around 0 by rejection (Best & Fisher 1979), wrapped. The wrapping jumps at pi, so the pathwise gradient is
    exact only for costs of period 2 pi. It is admitted if every way from the sample to a cost leads through sin, cos or
    tan of whole multiples of it, or into the loc of another VonMises. Other nodes get a score function, which is right
    for every cost. The path in the concentration has the implicit derivative -(dF / d concentration) / p (Figurnov,
    Mohamed & Mnih 2018).

    `mean` is the circular mean, the direction of E[(cos x, sin x)]: loc, wrapped. `circular_variance` is 1 minus
    the length of that vector. The entropy is that of the density on the circle. The cdf counts from -pi.

    Parameters
    ----------
    loc : finite, an angle in radians.
    concentration : positive; as it grows the law approaches Normal(loc, concentration ** -0.5).
    """

    reparameterized = True
    implicit = True
    angular = frozenset({"loc"})
    constraints: ClassVar[dict[str, str]] = {"loc": "real", "concentration": "positive"}

    def __init__(self, loc: Any = 0.0, concentration: Any = 1.0):
        super().__init__(loc=loc, concentration=concentration)

    @property
    def support(self) -> Support:
        """The circle, as angles in (-pi, pi]."""
        return Support.CIRCLE

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def unit_log_prob(self, value: Node) -> Node:
        """-concentration (1 - cos(x - loc)) - log(2 pi) - log(I0(concentration) exp(-concentration))."""
        loc, concentration = self.params["loc"], self.params["concentration"]
        fall = ops.mul(concentration, one_minus_cos(ops.sub(value, loc)))
        return ops.neg(ops.add(ops.add(fall, ops.log_i0e(concentration)), LOG_TWO_PI))

    def draw(self, *u: Node) -> Node:
        """loc plus a draw around 0, wrapped; the path is that of the angle, without the jumps of the wrapping."""
        angle = ops.add(self.params["loc"], ops.vonmises_draw(self.params["concentration"], u[0]))
        return ops.add(angle, wrapping_rotation(frozen(angle)))

    def node_mean(self) -> Node:
        """The circular mean: loc, wrapped."""
        return ops.add(self.params["loc"], wrapping_rotation(self.params["loc"]))

    def node_mode(self) -> Node:
        """loc, wrapped."""
        return self.node_mean()

    @property
    def circular_variance(self) -> Any:
        """1 - I1(concentration) / I0(concentration), between 0 and 1."""
        return apply_formula((self,), lambda: ops.neg(ops.log_i0e(self.params["concentration"], 1)))

    def unit_entropy(self) -> Node:
        """log(2 pi I0(concentration)) - concentration I1 / I0, without cancellation."""
        concentration = self.params["concentration"]
        spread = ops.sub(ops.log_i0e(concentration), ops.mul(concentration, ops.log_i0e(concentration, 1)))
        return ops.add(spread, LOG_TWO_PI)

    def _mass_below(self, angle: Node) -> tuple[Node, Node]:
        """The mass below an unwrapped angle, loc subtracted: whole turns, and what is left, small next to a turn."""
        shift = wrapping_rotation(frozen(angle))
        wrapped, turned = ops.add(angle, shift), ops.neg(ops.div(shift, 2 * math.pi))
        right = ops.less(0.0, frozen(wrapped))
        tail = cdfs.vonmises_cdf(self.params["concentration"], ops.where(right, ops.neg(wrapped), wrapped))
        return ops.add(turned, ops.cast(right, "float")), ops.where(right, ops.neg(tail), tail)

    def node_cdf(self, value: Node) -> Node:
        """The mass between -pi and x; 0 below -pi, 1 above pi."""
        inside = ops.logical_and(ops.less_equal(-math.pi, value), ops.less_equal(value, math.pi))
        angle = ops.sub(ops.where(inside, value, 0.0), self.params["loc"])
        (whole, rest), (first, start) = map(self._mass_below, (angle, ops.sub(-math.pi, self.params["loc"])))
        found = ops.add(ops.sub(whole, first), ops.sub(rest, start))
        return ops.where(inside, found, ops.cast(ops.less(0.0, value), "float"))

    def node_icdf(self, probability: Node) -> Node:
        """The angle in [-pi, pi] with that cdf; counted from the nearer end, so that small masses stay exact."""
        if bounds_of(probability).within(CLOSED_UNIT):
            return self._quantile(probability)
        inside = contains(CLOSED_UNIT, probability)
        return ops.where(inside, self._quantile(ops.where(inside, probability, 0.5)), math.nan)

    def _quantile(self, probability: Node) -> Node:
        first, start = self._mass_below(ops.sub(-math.pi, self.params["loc"]))
        high = ops.less(0.5, frozen(probability))
        mass = ops.add(start, ops.where(high, ops.sub(probability, 1.0), probability))
        left = ops.less(frozen(mass), 0.0)
        angle = cdfs.vonmises_icdf(self.params["concentration"], ops.where(left, ops.neg(mass), mass))
        whole = ops.add(first, ops.sub(ops.cast(high, "float"), ops.cast(left, "float")))
        around = ops.add(ops.where(left, ops.neg(angle), angle), ops.mul(2 * math.pi, whole))
        return ops.add(self.params["loc"], around)

    def _mirrored(self) -> Distribution:
        """The law of -x."""
        return self.with_params((ops.neg(self.params["loc"]), self.params["concentration"]))

    def node_sf(self, value: Node) -> Node:
        """The mass between x and pi."""
        return self._mirrored().node_cdf(ops.neg(value))

    def node_isf(self, probability: Node) -> Node:
        """The angle above which that mass lies."""
        return ops.neg(self._mirrored().node_icdf(probability))
