"""Distributions that are others in different parameters: every formula is asked of the one they stand for."""

from __future__ import annotations

from ppl.distributions.base import Distribution
from ppl.distributions.domain.support import Support
from ppl.ir.node import Node


class Derived(Distribution):
    """Base of a law that is another one in parameters of its own; a subclass gives `original`."""

    def original(self) -> Distribution:
        """The same law as another distribution, of equal event shape."""
        raise NotImplementedError

    @property
    def support(self) -> Support:
        """That of the original."""
        return self.original().support

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """Those of the original."""
        return self.original().uniforms()

    def unit_log_prob(self, value: Node) -> Node:
        """That of the original."""
        return self.original().unit_log_prob(value)

    def draw(self, *u: Node) -> Node:
        """That of the original."""
        return self.original().draw(*u)

    def node_mean(self) -> Node:
        """That of the original."""
        return self.original().node_mean()

    def node_mode(self) -> Node:
        """That of the original."""
        return self.original().node_mode()

    def unit_covariance(self) -> Node:
        """That of the original."""
        return self.original().unit_covariance()

    def unit_entropy(self) -> Node:
        """That of the original."""
        return self.original().unit_entropy()

    def node_cdf(self, value: Node) -> Node:
        """That of the original."""
        return self.original().node_cdf(value)

    def node_icdf(self, probability: Node) -> Node:
        """That of the original."""
        return self.original().node_icdf(probability)

    def node_sf(self, value: Node) -> Node:
        """That of the original."""
        return self.original().node_sf(value)

    def node_isf(self, probability: Node) -> Node:
        """That of the original."""
        return self.original().node_isf(probability)

    def node_log_cdf(self, value: Node) -> Node:
        """That of the original."""
        return self.original().node_log_cdf(value)

    def node_log_sf(self, value: Node) -> Node:
        """That of the original."""
        return self.original().node_log_sf(value)

    def node_log_icdf(self, log_p: Node) -> Node:
        """That of the original."""
        return self.original().node_log_icdf(log_p)

    def node_log_isf(self, log_q: Node) -> Node:
        """That of the original."""
        return self.original().node_log_isf(log_q)
