"""The gamma, inverse gamma and chi-squared distributions, sampled through gamma draws on the log scale."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import KEY, Distribution, guarded
from ppl.distributions.formulas import digamma_gap, gamma_exponent, standard_gamma_entropy, stirling_gap, where_above
from ppl.distributions.intervals import POSITIVE
from ppl.distributions.support import Support
from ppl.ir import cdfs, ops
from ppl.ir.node import Node


class Gamma(Distribution):
    """Gamma(concentration, rate): density proportional to x^(concentration - 1) exp(-rate x) on x > 0.

    The sample is exp(y - log rate) with y the logarithm of a standard gamma draw: rejection (Marsaglia & Tsang 2000)
    on the log scale, exact also where the sample itself underflows. Its path has the implicit derivative
    -(dF / d concentration) / p (Figurnov, Mohamed & Mnih 2018).

    Parameters
    ----------
    concentration : positive shape.
    rate : positive, the inverse of the scale.
    """

    reparameterized = True
    implicit = True
    constraints: ClassVar[dict[str, str]] = {"concentration": "positive", "rate": "positive"}

    def __init__(self, concentration: Any, rate: Any = 1.0):
        super().__init__(concentration=concentration, rate=rate)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def unit_log_prob(self, value: Node) -> Node:
        """(a - 1) log x - rate x + a log rate - log gamma(a), of rate x against a and Stirling's correction."""
        a, rate = self.params["concentration"], self.params["rate"]

        def inside(x: Node) -> Node:
            log_x = ops.log(x)
            power = gamma_exponent(ops.mul(rate, x), ops.add(log_x, ops.log(rate)), a)
            return ops.add(ops.sub(power, log_x), ops.add(ops.log(a), stirling_gap(a)))

        return guarded(self, value, POSITIVE, 1.0, inside)

    def draw(self, *u: Node) -> Node:
        """exp(y - log rate)."""
        y = ops.loggamma_draw(self.params["concentration"], u[0])
        return ops.exp(ops.sub(y, ops.log(self.params["rate"])))

    def node_mean(self) -> Node:
        """concentration / rate."""
        return ops.div(self.params["concentration"], self.params["rate"])

    def node_mode(self) -> Node:
        """(concentration - 1) / rate, or 0 where that is negative."""
        return ops.div(ops.maximum(ops.sub(self.params["concentration"], 1.0), 0.0), self.params["rate"])

    def unit_covariance(self) -> Node:
        """concentration / rate^2."""
        return ops.div(self.node_mean(), self.params["rate"])

    def unit_entropy(self) -> Node:
        """a - log rate + log gamma(a) + (1 - a) digamma(a)."""
        a = self.params["concentration"]
        return ops.sub(standard_gamma_entropy(a), ops.log(self.params["rate"]))

    def node_cdf(self, value: Node) -> Node:
        """P(concentration, rate x), the regularized incomplete gamma function."""
        inside = ops.less(0.0, value)
        scaled = ops.mul(self.params["rate"], ops.where(inside, value, 1.0))
        return ops.where(inside, cdfs.gammainc(self.params["concentration"], scaled), 0.0)

    def node_icdf(self, probability: Node) -> Node:
        """The inverse of P(concentration, .), over rate."""
        return ops.div(cdfs.gammaincinv(self.params["concentration"], probability), self.params["rate"])

    def node_sf(self, value: Node) -> Node:
        """Q(concentration, rate x), the regularized upper incomplete gamma function; 1 for x <= 0."""
        inside = ops.less(0.0, value)
        scaled = ops.mul(self.params["rate"], ops.where(inside, value, 1.0))
        return ops.where(inside, cdfs.gammaincc(self.params["concentration"], scaled), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """The inverse of Q(concentration, .), over rate."""
        return ops.div(cdfs.gammainccinv(self.params["concentration"], probability), self.params["rate"])


class InverseGamma(Distribution):
    """InverseGamma(concentration, scale): density proportional to x^(-concentration - 1) exp(-scale / x) on x > 0.

    It is the law of 1 / g for g of Gamma(concentration, rate=scale). The sample is exp(log scale - y) with y the
    logarithm of a standard gamma draw (Marsaglia & Tsang 2000), whose path has the implicit derivative of
    Figurnov, Mohamed & Mnih (2018).

    Parameters
    ----------
    concentration : positive shape; the mean is finite above 1, the variance above 2.
    scale : positive.
    """

    reparameterized = True
    implicit = True
    constraints: ClassVar[dict[str, str]] = {"concentration": "positive", "scale": "positive"}

    def __init__(self, concentration: Any, scale: Any = 1.0):
        super().__init__(concentration=concentration, scale=scale)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def unit_log_prob(self, value: Node) -> Node:
        """a log(scale / x) - log x - scale / x - log gamma(a), of scale / x against a and Stirling's correction."""
        a, scale = self.params["concentration"], self.params["scale"]

        def inside(x: Node) -> Node:
            log_x = ops.log(x)
            power = gamma_exponent(ops.div(scale, x), ops.sub(ops.log(scale), log_x), a)
            return ops.add(ops.sub(power, log_x), ops.add(ops.log(a), stirling_gap(a)))

        return guarded(self, value, POSITIVE, 1.0, inside)

    def draw(self, *u: Node) -> Node:
        """exp(log scale - y)."""
        y = ops.loggamma_draw(self.params["concentration"], u[0])
        return ops.exp(ops.sub(ops.log(self.params["scale"]), y))

    def node_mean(self) -> Node:
        """scale / (a - 1), infinite where a is at most 1."""
        a, scale = self.params["concentration"], self.params["scale"]
        return where_above(a, 1.0, lambda a: ops.div(scale, ops.sub(a, 1.0)), math.inf)

    def node_mode(self) -> Node:
        """scale / (a + 1)."""
        return ops.div(self.params["scale"], ops.add(self.params["concentration"], 1.0))

    def unit_covariance(self) -> Node:
        """(scale / (a - 1))^2 / (a - 2), infinite where a is at most 2."""
        a, scale = self.params["concentration"], self.params["scale"]

        def finite(a: Node) -> Node:
            mean = ops.div(scale, ops.sub(a, 1.0))
            return ops.div(ops.mul(mean, mean), ops.sub(a, 2.0))

        return where_above(a, 2.0, finite, math.inf)

    def unit_entropy(self) -> Node:
        """a + log scale + log gamma(a) - (1 + a) digamma(a)."""
        a = self.params["concentration"]
        moved = ops.sub(ops.mul(2.0, digamma_gap(a)), ops.mul(2.0, ops.log(a)))
        return ops.add(ops.add(standard_gamma_entropy(a), moved), ops.log(self.params["scale"]))

    def node_cdf(self, value: Node) -> Node:
        """Q(a, scale / x), the regularized upper incomplete gamma function."""
        inside = ops.less(0.0, value)
        turned = ops.div(self.params["scale"], ops.where(inside, value, 1.0))
        return ops.where(inside, cdfs.gammaincc(self.params["concentration"], turned), 0.0)

    def node_icdf(self, probability: Node) -> Node:
        """scale over the inverse of Q(a, .)."""
        return ops.div(self.params["scale"], cdfs.gammainccinv(self.params["concentration"], probability))

    def node_sf(self, value: Node) -> Node:
        """P(a, scale / x), the regularized incomplete gamma function; 1 for x <= 0."""
        inside = ops.less(0.0, value)
        turned = ops.div(self.params["scale"], ops.where(inside, value, 1.0))
        return ops.where(inside, cdfs.gammainc(self.params["concentration"], turned), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """scale over the inverse of P(a, .)."""
        return ops.div(self.params["scale"], cdfs.gammaincinv(self.params["concentration"], probability))


class ReparameterizedLaw(Distribution):
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


class Chi2(ReparameterizedLaw):
    """Chi2(df), the law of the sum of the squares of df standard normals: Gamma(df / 2, rate=1 / 2), on x > 0.

    Sampled as a gamma variable (Marsaglia & Tsang 2000), with its implicit derivative (Figurnov, Mohamed & Mnih 2018).

    Parameters
    ----------
    df : positive degrees of freedom, not necessarily whole.
    """

    reparameterized = True
    implicit = True
    constraints: ClassVar[dict[str, str]] = {"df": "positive"}

    def __init__(self, df: Any):
        super().__init__(df=df)

    def original(self) -> Gamma:
        """Gamma(df / 2, 1 / 2)."""
        return Gamma(ops.mul(0.5, self.params["df"]), 0.5)
