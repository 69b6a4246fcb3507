"""Student's t distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import KEY, Distribution
from ppl.distributions.formulas import LOG_SQRT_2PI, affine, digamma_gap, log1p_square, standardize, stirling_gap
from ppl.distributions.support import Support
from ppl.ir import cdfs, ops
from ppl.ir.node import Node


class StudentT(Distribution):
    """StudentT(df, loc, scale): density proportional to (1 + t^2 / df)^(-(df + 1) / 2), t = (x - loc) / scale.

    Support: the real line. The sample is loc + scale z sqrt(df / (2 g)) with z a standard normal and g a gamma draw of
    concentration df / 2. Its path in df is the implicit derivative of g (Figurnov, Mohamed & Mnih 2018).

    Parameters
    ----------
    df : positive degrees of freedom; the mean exists above 1.
    loc : finite.
    scale : positive.
    """

    reparameterized = True
    implicit = True
    constraints: ClassVar[dict[str, str]] = {"df": "positive", "loc": "real", "scale": "positive"}

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0):
        super().__init__(df=df, loc=loc, scale=scale)

    @property
    def support(self) -> Support:
        """The real line."""
        return Support.REAL

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A uniform per unit, and a noise key."""
        return (self.event_shape, KEY)

    def log_normalizer(self) -> Node:
        """log of B(df / 2, 1 / 2) sqrt(df)."""
        df = self.params["df"]
        half = ops.mul(0.5, df)
        gaps = ops.sub(stirling_gap(ops.add(half, 0.5)), stirling_gap(half))
        power = ops.mul(ops.sub(half, 0.5), ops.log1p(ops.div(1.0, df)))
        return ops.add(ops.sub(gaps, power), 0.5 + LOG_SQRT_2PI)

    def unit_log_prob(self, value: Node) -> Node:
        """-(df + 1) / 2 log(1 + t^2 / df), less the normalizer and log scale."""
        df, loc, scale = self.params.values()
        t = ops.div(standardize(value, loc, scale), ops.sqrt(df))
        tail = ops.mul(ops.mul(0.5, ops.add(df, 1.0)), log1p_square(t))
        return ops.neg(ops.add(ops.add(tail, self.log_normalizer()), ops.log(scale)))

    def draw(self, *u: Node) -> Node:
        """loc + scale z exp((log(df / 2) - y) / 2), y the logarithm of the gamma draw."""
        df, loc, scale = self.params.values()
        half = ops.mul(0.5, df)
        spread = ops.exp(ops.mul(0.5, ops.sub(ops.log(half), ops.loggamma_draw(half, u[1]))))
        return affine(loc, scale, ops.mul(ops.ndtri(u[0]), spread))

    def node_mean(self) -> Node:
        """loc, NaN where df is at most 1."""
        return ops.where(ops.less(1.0, self.params["df"]), self.params["loc"], math.nan)

    def node_mode(self) -> Node:
        """loc."""
        return self.params["loc"]

    def unit_covariance(self) -> Node:
        """scale^2 df / (df - 2), infinite where df is at most 2."""
        df, _, scale = self.params.values()
        finite = ops.less(2.0, df)
        ratio = ops.div(df, ops.sub(ops.where(finite, df, 3.0), 2.0))
        return ops.where(finite, ops.mul(ratio, ops.mul(scale, scale)), math.inf)

    def unit_entropy(self) -> Node:
        """(df + 1) / 2 (digamma((df + 1) / 2) - digamma(df / 2)) + log(B(df / 2, 1 / 2) sqrt(df)) + log scale."""
        half = ops.mul(0.5, self.params["df"])
        more = ops.add(half, 0.5)
        gap = ops.add(ops.log1p(ops.div(1.0, self.params["df"])), ops.sub(digamma_gap(half), digamma_gap(more)))
        return ops.add(ops.add(ops.mul(more, gap), self.log_normalizer()), ops.log(self.params["scale"]))

    def node_cdf(self, value: Node) -> Node:
        """The cdf at t, half an incomplete beta function at df / (df + t^2) below 0."""
        df, loc, scale = self.params.values()
        return cdfs.student_cdf(df, standardize(value, loc, scale))

    def node_icdf(self, probability: Node) -> Node:
        """loc + scale times the standard quantile."""
        df, loc, scale = self.params.values()
        return affine(loc, scale, cdfs.student_icdf(df, probability))

    def node_sf(self, value: Node) -> Node:
        """The cdf at -t."""
        df, loc, scale = self.params.values()
        return cdfs.student_cdf(df, ops.neg(standardize(value, loc, scale)))

    def node_isf(self, probability: Node) -> Node:
        """loc less scale times the standard quantile."""
        df, loc, scale = self.params.values()
        return affine(loc, scale, ops.neg(cdfs.student_icdf(df, probability)))
