"""Location-scale families loc + scale * z: Normal, Laplace, Logistic, Gumbel and Cauchy.

`LocationScale` is their base class; a subclass gives the law of z on the real line."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.formulas import (
    EULER,
    LOG_SQRT_2PI,
    affine,
    frozen,
    gumbel_noise,
    log1p_square,
    logit,
    safe_log,
    standardize,
)
from ppl.distributions.support import Support
from ppl.distributions.tails import LogTails, log_exponential_cdf, log_exponential_quantile, normal_quantile_at_log
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


class Normal(LocationScale):
    """Normal(loc, scale): support the real line; path loc + scale * ndtri(u).

    Parameters
    ----------
    loc, scale : real, positive.
    """

    log_normalizer = LOG_SQRT_2PI
    standard_entropy = LOG_SQRT_2PI + 0.5

    @staticmethod
    def exponent(z: Node) -> Node:
        """-z^2 / 2."""
        return ops.mul(-0.5, ops.mul(z, z))

    @staticmethod
    def quantile(p: Node) -> Node:
        """ndtri(p)."""
        return ops.ndtri(p)

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """ndtr(z)."""
        return ops.ndtr(z)

    @classmethod
    def standard_log_cdf(cls, z: Node) -> Node:
        """log_ndtr(z)."""
        return ops.log_ndtr(z)

    @classmethod
    def log_quantile(cls, log_p: Node) -> Node:
        """The z with log_ndtr(z) = log_p."""
        return normal_quantile_at_log(log_p)


LOG_TWO = math.log(2.0)


class Laplace(LocationScale):
    """Laplace(loc, scale): density exp(-|x - loc| / scale) / (2 scale) on the real line.

    The log-density has a kink at loc. The path is the inverse cdf, loc - scale * sign(u - 1/2) log(2 min(u, 1 - u)).

    Parameters
    ----------
    loc, scale : real, positive.
    """

    log_normalizer = LOG_TWO
    standard_variance = 2.0
    standard_entropy = 1.0 + LOG_TWO

    @staticmethod
    def exponent(z: Node) -> Node:
        """-|z|."""
        return ops.neg(ops.absolute(z))

    @staticmethod
    def quantile(p: Node) -> Node:
        """sign(1/2 - p) log(2 min(p, 1 - p)), exact in both tails."""
        tail = ops.log(ops.mul(2.0, ops.minimum(p, ops.sub(1.0, p))))
        return ops.mul(ops.sign(ops.sub(0.5, p)), tail)

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """exp(z) / 2 below 0, else 1 - exp(-z) / 2."""
        tail = ops.mul(0.5, ops.exp(ops.neg(ops.absolute(z))))
        return ops.where(ops.less(z, 0.0), tail, ops.sub(1.0, tail))

    @classmethod
    def standard_log_cdf(cls, z: Node) -> Node:
        """z - log 2 below 0, else log(1 - exp(-z) / 2)."""
        low = ops.less(frozen(z), 0.0)
        above = ops.log1p(ops.mul(-0.5, ops.exp(ops.neg(ops.where(low, 0.0, z)))))
        return ops.where(low, ops.sub(z, LOG_TWO), above)

    @classmethod
    def log_quantile(cls, log_p: Node) -> Node:
        """l + log 2 below the median, else -log(2 - 2 exp(l))."""
        low = ops.less(frozen(log_p), -LOG_TWO)
        above = ops.neg(ops.add(ops.log1mexp(ops.where(low, -LOG_TWO, log_p)), LOG_TWO))
        return ops.where(low, ops.add(log_p, LOG_TWO), above)

    def smooth_between(self, low: Node, high: Node) -> Node:
        """Whether loc is not between them."""
        loc = self.params["loc"]
        return ops.logical_or(ops.less_equal(loc, low), ops.less_equal(high, loc))


class Logistic(LocationScale):
    """Logistic(loc, scale): cdf sigmoid((x - loc) / scale) on the real line; path loc + scale * logit(u).

    Parameters
    ----------
    loc, scale : real, positive.
    """

    standard_variance = math.pi**2 / 3
    standard_entropy = 2.0

    @staticmethod
    def exponent(z: Node) -> Node:
        """-softplus(z) - softplus(-z)."""
        return ops.neg(ops.add(ops.softplus(z), ops.softplus(ops.neg(z))))

    @staticmethod
    def quantile(p: Node) -> Node:
        """logit(p)."""
        return logit(p)

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """sigmoid(z)."""
        return ops.sigmoid(z)

    @classmethod
    def standard_log_cdf(cls, z: Node) -> Node:
        """-softplus(-z)."""
        return ops.log_sigmoid(z)

    @classmethod
    def log_quantile(cls, log_p: Node) -> Node:
        """l - log(1 - exp(l))."""
        return ops.sub(log_p, ops.log1mexp(log_p))


class Gumbel(LocationScale):
    """Gumbel(loc, scale): cdf exp(-exp(-(x - loc) / scale)) on the real line; path loc - scale * log(-log u).

    Parameters
    ----------
    loc, scale : real, positive.
    """

    standard_mean = EULER
    standard_variance = math.pi**2 / 6
    standard_entropy = EULER + 1.0

    @staticmethod
    def exponent(z: Node) -> Node:
        """-z - exp(-z)."""
        return ops.neg(ops.add(z, ops.exp(ops.neg(z))))

    @staticmethod
    def quantile(p: Node) -> Node:
        """-log(-log p)."""
        return gumbel_noise(p)

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """exp(-exp(-z))."""
        return ops.exp(ops.neg(ops.exp(ops.neg(z))))

    @classmethod
    def standard_log_cdf(cls, z: Node) -> Node:
        """-exp(-z)."""
        return ops.neg(ops.exp(ops.neg(z)))

    @classmethod
    def log_quantile(cls, log_p: Node) -> Node:
        """-log(-l)."""
        return ops.neg(ops.log(ops.neg(log_p)))

    @classmethod
    def standard_log_sf(cls, z: Node) -> Node:
        """log(1 - exp(-exp(-z)))."""
        return log_exponential_cdf(ops.neg(z))

    @classmethod
    def log_upper_quantile(cls, log_q: Node) -> Node:
        """-log(-log(1 - exp(l)))."""
        return ops.neg(log_exponential_quantile(log_q))


class Cauchy(LocationScale):
    """Cauchy(loc, scale): density 1 / (pi scale (1 + z^2)), z = (x - loc) / scale, on the real line.

    It has neither mean nor variance. The path is the inverse cdf loc + scale * tan(pi (u - 1/2)), in the tails
    from the cotangent of the nearer end.

    Parameters
    ----------
    loc : real, the median and mode.
    scale : positive, half the distance of the quartiles.
    """

    log_normalizer = math.log(math.pi)
    standard_mean = None
    standard_variance = None
    standard_entropy = math.log(4 * math.pi)

    @staticmethod
    def exponent(z: Node) -> Node:
        """-log(1 + z^2)."""
        return ops.neg(log1p_square(z))

    @staticmethod
    def quantile(p: Node) -> Node:
        """tan(pi (p - 1/2)); the outer quarters are minus or plus 1 / tan(pi min(p, 1 - p))."""
        fixed = frozen(p)
        low = ops.less(fixed, 0.5)
        edge = ops.where(low, p, ops.sub(1.0, p))
        outer = ops.less(frozen(edge), 0.25)
        slope = ops.tan(ops.mul(math.pi, ops.where(outer, edge, ops.sub(p, 0.5))))
        return ops.where(outer, ops.div(ops.where(low, -1.0, 1.0), slope), slope)

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """1/2 + atan(z) / pi, below -1 atan(-1 / z) / pi, which keeps its relative accuracy."""
        far = ops.less(frozen(z), -1.0)
        angle = ops.atan(ops.where(far, ops.div(-1.0, ops.where(far, z, -1.0)), z))
        return ops.add(ops.where(far, 0.0, 0.5), ops.div(angle, math.pi))
