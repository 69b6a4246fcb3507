"""Distributions as SciPy has them: name -> (SciPy's law, its shape parameters, location, scale).

`Law` is one of them with parameter arrays: quantiles from a normal variable t = Phi^-1(u), exact in both tails, and
log-densities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import special, stats

from tests.oracle.exact.errors import Unsupported

Array = np.ndarray
Params = Mapping[str, Array]


class Standard(NamedTuple):
    """A SciPy law with shape parameters, moved by `loc` and scaled by `scale`."""

    law: Any
    shapes: tuple[Any, ...] = ()
    loc: Any = 0.0
    scale: Any = 1.0


class Kumaraswamy:
    """cdf 1 - (1 - x^a)^b on (0, 1), with SciPy's names."""

    @staticmethod
    def ppf(q: Array, a: Array, b: Array) -> Array:
        """(1 - (1 - q)^(1/b))^(1/a)."""
        return (-np.expm1(np.log1p(-q) / b)) ** (1 / a)

    @staticmethod
    def isf(q: Array, a: Array, b: Array) -> Array:
        """(1 - q^(1/b))^(1/a)."""
        return (-np.expm1(np.log(q) / b)) ** (1 / a)

    @staticmethod
    def logpdf(x: Array, a: Array, b: Array) -> Array:
        """log a b x^(a-1) (1 - x^a)^(b-1)."""
        return np.log(a * b) + (a - 1) * np.log(x) + (b - 1) * np.log1p(-(x**a))


class LogitLogistic:
    """sigmoid((logits + L) / temperature), L logistic: the relaxed Bernoulli variable."""

    @staticmethod
    def ppf(q: Array, temperature: Array, logits: Array) -> Array:
        """At the logistic quantile of q."""
        return special.expit((logits + special.logit(q)) / temperature)

    @staticmethod
    def isf(q: Array, temperature: Array, logits: Array) -> Array:
        """At the logistic quantile of 1 - q."""
        return special.expit((logits - special.logit(q)) / temperature)

    @staticmethod
    def logpdf(x: Array, temperature: Array, logits: Array) -> Array:
        """The logistic density of temperature logit(x) - logits, by the derivative of logit."""
        y = special.logit(x)
        inner = stats.logistic.logpdf(temperature * y - logits)
        return inner + np.log(temperature) - np.log(x) - np.log1p(-x)


def _log_odds(p: Params) -> Array:
    return p["logits"] if "logits" in p else special.logit(p["probs"])


CONTINUOUS: dict[str, Callable[[Params], Standard]] = {
    "Normal": lambda p: Standard(stats.norm, (), p["loc"], p["scale"]),
    "LogNormal": lambda p: Standard(stats.lognorm, (p["scale"],), 0.0, np.exp(p["loc"])),
    "Laplace": lambda p: Standard(stats.laplace, (), p["loc"], p["scale"]),
    "Logistic": lambda p: Standard(stats.logistic, (), p["loc"], p["scale"]),
    "Gumbel": lambda p: Standard(stats.gumbel_r, (), p["loc"], p["scale"]),
    "Cauchy": lambda p: Standard(stats.cauchy, (), p["loc"], p["scale"]),
    "Exponential": lambda p: Standard(stats.expon, (), 0.0, 1 / p["rate"]),
    "Gamma": lambda p: Standard(stats.gamma, (p["concentration"],), 0.0, 1 / p["rate"]),
    "Chi2": lambda p: Standard(stats.chi2, (p["df"],)),
    "InverseGamma": lambda p: Standard(stats.invgamma, (p["concentration"],), 0.0, p["scale"]),
    "Beta": lambda p: Standard(stats.beta, (p["concentration1"], p["concentration0"])),
    "StudentT": lambda p: Standard(stats.t, (p["df"],), p["loc"], p["scale"]),
    "Uniform": lambda p: Standard(stats.uniform, (), p["low"], p["high"] - p["low"]),
    "HalfNormal": lambda p: Standard(stats.halfnorm, (), 0.0, p["scale"]),
    "HalfCauchy": lambda p: Standard(stats.halfcauchy, (), 0.0, p["scale"]),
    "Weibull": lambda p: Standard(stats.weibull_min, (p["concentration"],), 0.0, p["scale"]),
    "Pareto": lambda p: Standard(stats.pareto, (p["concentration"],), 0.0, p["scale"]),
    "Kumaraswamy": lambda p: Standard(Kumaraswamy, (p["concentration1"], p["concentration0"])),
    "RelaxedBernoulli": lambda p: Standard(LogitLogistic, (p["temperature"], _log_odds(p))),
}
UNITS = ("Normal", "LogNormal")


def standard(name: str, p: Params) -> Standard:
    """The continuous law `name` with parameters `p`."""
    if name not in CONTINUOUS:
        raise Unsupported(f"distribution {name}")
    return CONTINUOUS[name](p)


def quantile(name: str, p: Params, t: Array) -> Array:
    """The value of law `name` at probability Phi(t)."""
    if name == "Normal":
        return p["loc"] + p["scale"] * t
    if name == "LogNormal":
        return np.exp(p["loc"] + p["scale"] * t)
    s = standard(name, p)
    upper = np.asarray(t) > 0
    lower, higher = (special.ndtr(np.where(upper, -10.0, t)), special.ndtr(np.where(upper, -t, -10.0)))
    z = np.where(upper, s.law.isf(higher, *s.shapes), s.law.ppf(lower, *s.shapes))
    return s.loc + s.scale * np.where(np.isnan(t), np.nan, z)


def truncated_quantile(name: str, p: Params, low: Array, high: Array, t: Array) -> Array:
    """The same of the law between `low` and `high`, from whichever tail is the nearer."""
    s = standard(name, p)
    a, b = (low - s.loc) / s.scale, (high - s.loc) / s.scale
    u, v = special.ndtr(t), special.ndtr(-t)
    below = s.law.ppf(s.law.cdf(a, *s.shapes) * v + s.law.cdf(b, *s.shapes) * u, *s.shapes)
    above = s.law.isf(s.law.sf(a, *s.shapes) * v + s.law.sf(b, *s.shapes) * u, *s.shapes)
    z = np.where(s.law.cdf(a, *s.shapes) > 0.5, above, below)
    return s.loc + s.scale * np.where(np.isnan(t), np.nan, z)


def log_density(name: str, p: Params, x: Array) -> Array:
    """log p(x), entry by entry."""
    s = standard(name, p)
    return s.law.logpdf((x - s.loc) / s.scale, *s.shapes) - np.log(s.scale)


def truncated_log_density(name: str, p: Params, low: Array, high: Array, x: Array) -> Array:
    """log p(x) between the bounds, the mass by the nearer tail."""
    s = standard(name, p)
    a, b = (low - s.loc) / s.scale, (high - s.loc) / s.scale
    below = s.law.cdf(b, *s.shapes) - s.law.cdf(a, *s.shapes)
    above = s.law.sf(a, *s.shapes) - s.law.sf(b, *s.shapes)
    mass = np.where(s.law.cdf(a, *s.shapes) > 0.5, above, below)
    out = log_density(name, p, x) - np.log(mass)
    return np.where((x >= low) & (x <= high), out, -np.inf)
