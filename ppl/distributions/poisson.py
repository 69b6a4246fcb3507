"""The Poisson distribution, and with a gate that adds zeros."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from ppl.distributions.base import KEY, Distribution
from ppl.distributions.constraints import BoundaryValue
from ppl.distributions.discrete import (
    corrected_quantile,
    corrected_upper_quantile,
    count_tail,
    guarded_count,
    poisson_log_mass,
)
from ppl.distributions.formulas import frozen, guarded_on_unit_interval
from ppl.distributions.support import Support
from ppl.errors import ModelError
from ppl.ir import cdfs, ops
from ppl.ir.node import Node


class Poisson(Distribution):
    """Poisson(rate): P(k) = rate^k exp(-rate) / k! on k = 0, 1, …; integer samples.

    Drawn by inversion below rate 10 and by transformed rejection from there on (PTRS, Hoermann 1993). The log-mass is
    Loader's (2000), without cancellation.

    Parameters
    ----------
    rate : positive, the mean.
    """

    discrete = True
    dtype = "int"
    constraints: ClassVar[dict[str, str]] = {"rate": "positive"}

    def __init__(self, rate: Any):
        super().__init__(rate=rate)

    @property
    def support(self) -> Support:
        """{0, 1, …}."""
        return Support.COUNT

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def unit_log_prob(self, value: Node) -> Node:
        """k log rate - rate - log k!; -inf where the value is no count."""
        return guarded_count(self, value, lambda k: poisson_log_mass(k, self.params["rate"]))

    def draw(self, *u: Node) -> Node:
        """A count."""
        return ops.poisson_draw(self.params["rate"], u[0])

    def node_mean(self) -> Node:
        """rate."""
        return self.params["rate"]

    def unit_covariance(self) -> Node:
        """rate."""
        return self.params["rate"]

    def node_cdf(self, value: Node) -> Node:
        """Q(floor(x) + 1, rate), the regularized upper incomplete gamma function; 0 below 0."""
        return count_tail(value, lambda k: cdfs.gammaincc(k, self.params["rate"]), 0.0)

    def node_icdf(self, probability: Node) -> Node:
        """The least count whose cdf reaches the probability, as a float."""
        return cdfs.poisson_icdf(self.params["rate"], probability)

    def node_mode(self) -> Node:
        """floor(rate)."""
        return ops.cast(ops.floor(self.params["rate"]), "int")

    def node_sf(self, value: Node) -> Node:
        """P(floor(x) + 1, rate), the regularized incomplete gamma function; 1 below 0."""
        return count_tail(value, lambda k: cdfs.gammainc(k, self.params["rate"]), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """The least count above which the mass is at most the probability, as a float."""
        return cdfs.poisson_isf(self.params["rate"], probability)


SMALL_RATE, LARGEST_SLOPE = 80.0, 3e38


class ZeroInflatedPoisson(Distribution):
    """ZeroInflatedPoisson(gate, rate): 0 with probability gate, else a Poisson(rate) count; integer samples.

    P(0) = gate + (1 - gate) exp(-rate), P(k) = (1 - gate) rate^k exp(-rate) / k! from 1 on (Lambert 1992).

    Parameters
    ----------
    gate : at least 0 and below 1.
    rate : positive.
    gate_logits : finite log-odds of the gate, instead of it.
    """

    discrete = True
    dtype = "int"
    constraints: ClassVar[dict[str, str]] = {"gate": "below_one", "gate_logits": "logit", "rate": "positive"}

    def __init__(self, gate: Any = None, rate: Any = 1.0, gate_logits: Any = None):
        if (gate is None) == (gate_logits is None):
            raise ModelError("ZeroInflatedPoisson takes exactly one of gate and gate_logits")
        given = {"gate_logits": gate_logits} if gate is None else {"gate": gate}
        super().__init__(**given, rate=rate)

    @property
    def support(self) -> Support:
        """{0, 1, …}."""
        return Support.COUNT

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A uniform for the gate, and a noise key."""
        return (self.event_shape, KEY)

    def edges(self) -> Iterator[BoundaryValue]:
        """None: at gate 0 the count gives every value."""
        return iter(())

    def gate_probs(self) -> tuple[Node, Node]:
        """Probabilities of the gate and of the count."""
        if "gate" in self.params:
            return self.params["gate"], ops.sub(1.0, self.params["gate"])
        return ops.sigmoid(self.params["gate_logits"]), ops.sigmoid(ops.neg(self.params["gate_logits"]))

    def log_counted(self) -> Node:
        """log(1 - gate)."""
        if "gate" in self.params:
            return ops.log1p(ops.neg(self.params["gate"]))
        return ops.neg(ops.softplus(self.params["gate_logits"]))

    def log_zero(self) -> Node:
        """log P(0): -rate + log(1 + gate (exp(rate) - 1)) for rates below 80, else from logarithms of both terms.

        From there on its slope at gate 0 counts as 3e38.
        """
        rate = self.params["rate"]
        if "gate_logits" in self.params:  # log((1 - gate) (exp(logits) + exp(-rate))), from the larger of both
            a = self.params["gate_logits"]
            gap = ops.add(a, rate)
            shut = ops.less(0.0, frozen(gap))
            larger = ops.where(shut, ops.neg(ops.softplus(ops.neg(a))), ops.sub(self.log_counted(), rate))
            return ops.add(larger, ops.softplus(ops.where(shut, ops.neg(gap), gap)))
        gate, small = self.params["gate"], ops.less(frozen(rate), SMALL_RATE)
        grown = ops.expm1(ops.where(small, rate, 1.0))
        near = ops.sub(ops.log1p(ops.mul(gate, grown)), rate)
        sure = ops.less(0.0, frozen(gate))
        log_gate = ops.log(ops.where(sure, gate, 0.5))
        gap = ops.sub(ops.add(log_gate, rate), self.log_counted())
        shut = ops.logical_and(sure, ops.less(0.0, frozen(gap)))
        rest = ops.where(sure, ops.softplus(ops.where(shut, ops.neg(gap), gap)), ops.mul(gate, LARGEST_SLOPE))
        far = ops.add(ops.where(shut, log_gate, ops.sub(self.log_counted(), rate)), rest)
        return ops.where(small, near, far)

    def unit_log_prob(self, value: Node) -> Node:
        """log P(0), or log(1 - gate) plus the Poisson log-mass."""

        def inside(k: Node) -> Node:
            some = ops.add(self.log_counted(), poisson_log_mass(k, self.params["rate"]))
            return ops.where(ops.equal(k, 0.0), self.log_zero(), some)

        return guarded_count(self, value, inside)

    def draw(self, *u: Node) -> Node:
        """0 where u < gate, else a count."""
        shut = ops.less(u[0], self.gate_probs()[0])
        return ops.where(shut, 0, ops.poisson_draw(self.params["rate"], u[1]))

    def node_mean(self) -> Node:
        """(1 - gate) rate."""
        return ops.mul(self.gate_probs()[1], self.params["rate"])

    def unit_covariance(self) -> Node:
        """(1 - gate) rate (1 + gate rate)."""
        return ops.mul(self.node_mean(), ops.add(1.0, ops.mul(self.gate_probs()[0], self.params["rate"])))

    def node_cdf(self, value: Node) -> Node:
        """gate + (1 - gate) Q(floor(x) + 1, rate); 0 below 0."""
        (shut, open_), rate = self.gate_probs(), self.params["rate"]
        return count_tail(value, lambda k: ops.add(shut, ops.mul(open_, cdfs.gammaincc(k, rate))), 0.0)

    def node_icdf(self, probability: Node) -> Node:
        """The least count whose cdf reaches the probability, as a float: Poisson's at (u - gate) / (1 - gate)."""
        shut, open_ = self.gate_probs()

        def search(u: Node) -> Node:
            rest = ops.minimum(ops.maximum(ops.div(ops.sub(u, shut), open_), 0.0), 1.0)
            return corrected_quantile(self.node_cdf, cdfs.poisson_icdf(self.params["rate"], rest), u)

        return guarded_on_unit_interval(probability, search)

    def node_mode(self) -> Node:
        """floor(rate) where it is likelier than 0, else 0."""
        k = ops.floor(self.params["rate"])
        there = ops.add(self.log_counted(), ops.log_poisson(k, self.params["rate"]))
        return ops.cast(ops.where(ops.less(self.log_zero(), there), k, 0.0), "int")

    def node_sf(self, value: Node) -> Node:
        """(1 - gate) P(floor(x) + 1, rate); 1 below 0."""
        open_, rate = self.gate_probs()[1], self.params["rate"]
        return count_tail(value, lambda k: ops.mul(open_, cdfs.gammainc(k, rate)), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """The least count above which the mass is at most the probability, as a float."""
        open_ = self.gate_probs()[1]

        def search(q: Node) -> Node:
            rest = ops.minimum(ops.div(q, open_), 1.0)
            return corrected_upper_quantile(self.node_sf, cdfs.poisson_isf(self.params["rate"], rest), q)

        return guarded_on_unit_interval(probability, search)
