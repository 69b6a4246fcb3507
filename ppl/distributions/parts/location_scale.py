"""What location-scale families share: x = loc + scale * z with z of a standard law on the real line."""

from __future__ import annotations

from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import affine, standardize
from ppl.distributions.truncation.tails import LogTails, safe_log
from ppl.ir import ops
from ppl.ir.node import Node


class LocationScale(LogTails, Distribution):
    """Base of families loc + scale * z, z drawn by its quantile function at a uniform.

    A subclass gives the law of z, whose mode is 0: `exponent` (its log-density up to a constant), `quantile`,
    `standard_cdf` and the attributes below; one that is not symmetric its upper tail too.

    Attributes
    ----------
    log_normalizer : what is taken off `exponent` to make it a log-density.
    standard_mean, standard_variance : moments of z; None where they do not exist.
    standard_entropy : entropy of z.

    Parameters
    ----------
    loc : real.
    scale : positive.
    """

    reparameterized = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {"loc": "real", "scale": "positive"}
    log_normalizer: ClassVar[float] = 0.0
    standard_mean: ClassVar[float | None] = 0.0
    standard_variance: ClassVar[float | None] = 1.0
    standard_entropy: ClassVar[float]

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0):
        super().__init__(loc=loc, scale=scale)

    @staticmethod
    def exponent(z: Node) -> Node:
        """The log-density of z up to a constant."""
        raise NotImplementedError

    @staticmethod
    def quantile(p: Node) -> Node:
        """The quantile function of z."""
        raise NotImplementedError

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """The cdf of z."""
        raise NotImplementedError

    @property
    def support(self) -> Support:
        """The real line."""
        return Support.REAL

    def unit_log_prob(self, value: Node) -> Node:
        """exponent(z) - log scale - log_normalizer, z = (x - loc) / scale."""
        z = standardize(value, self.params["loc"], self.params["scale"])
        return ops.sub(self.exponent(z), ops.add(ops.log(self.params["scale"]), self.log_normalizer))

    def draw(self, *u: Node) -> Node:
        """loc + scale * quantile(u)."""
        return affine(self.params["loc"], self.params["scale"], self.quantile(u[0]))

    def node_mean(self) -> Node:
        """loc + scale times the mean of z."""
        if self.standard_mean is None:
            return super().node_mean()
        if not self.standard_mean:
            return self.params["loc"]
        return affine(self.params["loc"], self.params["scale"], ops.const(self.standard_mean))

    def node_mode(self) -> Node:
        """loc."""
        return self.params["loc"]

    def unit_covariance(self) -> Node:
        """scale^2 times the variance of z."""
        if self.standard_variance is None:
            return super().unit_covariance()
        return ops.mul(self.standard_variance, ops.mul(self.params["scale"], self.params["scale"]))

    def unit_entropy(self) -> Node:
        """log scale + entropy of z."""
        return ops.add(ops.log(self.params["scale"]), self.standard_entropy)

    @classmethod
    def standard_log_cdf(cls, z: Node) -> Node:
        """The logarithm of the cdf of z."""
        return safe_log(cls.standard_cdf(z))

    @classmethod
    def log_quantile(cls, log_p: Node) -> Node:
        """The quantile function of z at a logarithm of the probability."""
        return cls.quantile(ops.exp(log_p))

    @classmethod
    def standard_log_sf(cls, z: Node) -> Node:
        """The logarithm of P(Z > z): of a law that is symmetric around 0 its log cdf at -z."""
        return cls.standard_log_cdf(ops.neg(z))

    @classmethod
    def log_upper_quantile(cls, log_q: Node) -> Node:
        """z at a logarithm of P(Z > z): of a law that is symmetric around 0 minus its quantile."""
        return ops.neg(cls.log_quantile(log_q))

    def node_log_cdf(self, value: Node) -> Node:
        """The log cdf of z at (x - loc) / scale."""
        return self.standard_log_cdf(standardize(value, self.params["loc"], self.params["scale"]))

    def node_log_sf(self, value: Node) -> Node:
        """The log survival function of z at (x - loc) / scale."""
        return self.standard_log_sf(standardize(value, self.params["loc"], self.params["scale"]))

    def node_log_icdf(self, log_p: Node) -> Node:
        """loc + scale times the quantile of z."""
        return affine(self.params["loc"], self.params["scale"], self.log_quantile(log_p))

    def node_log_isf(self, log_q: Node) -> Node:
        """loc + scale times the upper quantile of z."""
        return affine(self.params["loc"], self.params["scale"], self.log_upper_quantile(log_q))

    def node_cdf(self, value: Node) -> Node:
        """The cdf of z at (x - loc) / scale."""
        return self.standard_cdf(standardize(value, self.params["loc"], self.params["scale"]))
