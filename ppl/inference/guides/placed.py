"""The law of a value that a guide computes: where it lies is known, and with which density."""

from __future__ import annotations

from collections.abc import Iterator

from ppl.distributions.base import Distribution
from ppl.distributions.domain.conditions import Condition
from ppl.distributions.domain.intervals import Interval
from ppl.distributions.domain.support import Support
from ppl.ir import ops
from ppl.ir.node import Node


class Placed(Distribution):
    """The value v for sure, which lies in the support of `law`; its path has slope 1 in v.

    `log_density`, one number for the whole event, is what the value adds to the log-density of the nodes that it is
    computed from: minus the logarithm of the volume change, or 0 for a point.
    """

    reparameterized = True
    moving = frozenset({"v"})

    def __init__(self, v: Node, law: Distribution, log_density: Node):
        self.params = {"v": v, "log_density": log_density}
        self.event_mask = None
        self.law = law
        vars(self).update(unit_rank=len(v.type.shape))

    def conditions(self) -> Iterator[Condition]:
        """None: v is computed to lie where it has to."""
        yield from ()

    @property
    def support(self) -> Support:
        """That of `law`."""
        return self.law.support

    @property
    def bounds(self) -> Interval:
        """Those of `law`."""
        return self.law.bounds

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """None."""
        return ()

    def unit_log_prob(self, value: Node) -> Node:
        """`log_density`: it is asked of v alone."""
        return self.params["log_density"]

    def draw(self, *u: Node) -> Node:
        """v."""
        return self.params["v"]

    def node_mean(self) -> Node:
        """v."""
        return self.params["v"]

    def unit_entropy(self) -> Node:
        """-log_density."""
        return ops.neg(self.params["log_density"])
