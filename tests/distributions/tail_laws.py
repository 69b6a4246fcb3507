"""Log-densities in 50 digits, and grids of parameters and values as far out as the precisions reach.

A grid holds for both precisions: a value or a parameter that float32 cannot hold is left out there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp

Law = Callable[..., Any]


def sigmoid_logs(a: Any) -> tuple[Any, Any]:
    """log sigmoid(a) and log sigmoid(-a)."""
    return -mp.log1p(mp.exp(-a)), -mp.log1p(mp.exp(a))


def odds(probs: Any = None, logits: Any = None) -> tuple[Any, Any]:
    """The logs of a probability and of its complement."""
    if logits is not None:
        return sigmoid_logs(logits)
    return (mp.log(probs) if probs else -mp.inf), (mp.log1p(-probs) if probs < 1 else -mp.inf)


def times(x: Any, log: Any) -> Any:
    """x log with 0 times infinity 0."""
    return x * log if x else mp.mpf(0)


def log_choose(n: Any, k: Any) -> Any:
    return mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)


def log_beta(a: Any, b: Any) -> Any:
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def normal(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    z = (x - loc) / scale
    return -z * z / 2 - mp.log(scale) - mp.log(2 * mp.pi) / 2


def logistic(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    return sum(sigmoid_logs((x - loc) / scale)) - mp.log(scale)


def gumbel(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    z = (x - loc) / scale
    return -z - mp.exp(-z) - mp.log(scale)


def cauchy(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    return -mp.log1p(((x - loc) / scale) ** 2) - mp.log(mp.pi * scale)


def student(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Any:
    norm = log_beta(df / 2, mp.mpf(1) / 2) + mp.log(df) / 2 + mp.log(scale)
    return -(df + 1) / 2 * mp.log1p(((x - loc) / scale) ** 2 / df) - norm


def gamma(x: Any, concentration: Any, rate: Any = 1) -> Any:
    return concentration * mp.log(rate) + (concentration - 1) * mp.log(x) - rate * x - mp.loggamma(concentration)


def beta(x: Any, concentration1: Any, concentration0: Any) -> Any:
    powers = (concentration1 - 1) * mp.log(x) + (concentration0 - 1) * mp.log1p(-x)
    return powers - log_beta(concentration1, concentration0)


def kumaraswamy(x: Any, concentration1: Any, concentration0: Any) -> Any:
    a, b = concentration1, concentration0
    return mp.log(a) + mp.log(b) + (a - 1) * mp.log(x) + (b - 1) * mp.log(-mp.expm1(a * mp.log(x)))


def weibull(x: Any, concentration: Any, scale: Any = 1) -> Any:
    z = x / scale
    return mp.log(concentration / scale) + (concentration - 1) * mp.log(z) - z**concentration


def pareto(x: Any, scale: Any, concentration: Any) -> Any:
    return mp.log(concentration / x) - concentration * mp.log(x / scale)


def von_mises(x: Any, loc: Any = 0, concentration: Any = 1) -> Any:
    k, half = concentration, mp.sin((x - loc) / 2)
    scaled = mp.besseli(0, k) * mp.exp(-k) if k < 700 else mp.hypercomb(
        lambda: [([2 * mp.pi * k], [-mp.mpf(1) / 2], [], [], [mp.mpf(1) / 2, mp.mpf(1) / 2], [], 1 / (2 * k))], []
    )  # fmt: skip
    return -2 * k * half * half - mp.log(2 * mp.pi) - mp.log(scaled)


def poisson(k: Any, rate: Any) -> Any:
    return times(k, mp.log(rate)) - rate - mp.loggamma(k + 1)


def binomial(k: Any, total_count: Any, **which: Any) -> Any:
    one, zero = odds(**which)
    return log_choose(total_count, k) + times(k, one) + times(total_count - k, zero)


def negative_binomial(k: Any, total_count: Any, **which: Any) -> Any:
    one, zero = odds(**which)
    choose = mp.loggamma(k + total_count) - mp.loggamma(total_count) - mp.loggamma(k + 1)
    return choose + times(k, one) + times(total_count, zero)


def beta_binomial(k: Any, concentration1: Any, concentration0: Any, total_count: Any) -> Any:
    a, b, n = concentration1, concentration0, total_count
    return log_choose(n, k) + log_beta(k + a, n - k + b) - log_beta(a, b)


def inflated(k: Any, rate: Any, gate: Any = None, gate_logits: Any = None) -> Any:
    shut, counted = odds(probs=gate, logits=gate_logits)
    some = counted + poisson(k, rate)
    return some if k else mp.log(mp.exp(shut) + mp.exp(some))


def geometric(k: Any, **which: Any) -> Any:
    one, zero = odds(**which)
    return one + times(k, zero)


def bernoulli(x: Any, **which: Any) -> Any:
    one, zero = odds(**which)
    return one if x else zero


def concrete(x: Any, temperature: Any, logits: Any) -> Any:
    z = temperature * (mp.log(x) - mp.log1p(-x)) - logits
    return mp.log(temperature) + sum(sigmoid_logs(z)) - mp.log(x) - mp.log1p(-x)


@dataclass(frozen=True)
class Tail:
    """A distribution's name, its parameters, values, and the log-density of a value."""

    name: str
    law: Law
    params: tuple[dict[str, float], ...]
    values: tuple[float, ...]

    def cases(self) -> list[tuple[str, dict[str, float], float]]:
        """All pairs of parameters and values."""
        return [(self.name, p, x) for p in self.params for x in self.values]


def product(**grids: tuple[float, ...]) -> tuple[dict[str, float], ...]:
    """All combinations of the parameters' values."""
    found: list[dict[str, float]] = [{}]
    for name, values in grids.items():
        found = [{**p, name: v} for p in found for v in values]
    return tuple(found)


LINE = (-1e30, -1e9, -300.0, -30.0, -1.0, -1e-20, 1e-20, 0.7, 30.0, 300.0, 1e9, 1e30)
SPREAD = ({}, {"loc": 1e4, "scale": 3.0}, {"loc": -2.0, "scale": 1e-6}, {"loc": 0.0, "scale": 1e8})
HALF = (1e-37, 1e-20, 1e-6, 0.3, 1.0, 40.0, 300.0, 1e9, 1e30)
INNER = (1e-37, 1e-20, 1e-6, 0.3, 0.9, 1 - 2.0**-11, 1 - 2.0**-24)
COUNTS = (0, 1, 2, 30, 1000, 10**6, 2**24)
SHAPES = (1e-8, 1e-3, 0.4, 1.0, 30.0, 1e4, 1e7)
LOGITS = (-300.0, -80.0, -20.0, 0.3, 20.0, 80.0)
PROBS = (1e-30, 1e-7, 0.3, 1 - 2.0**-24)

TAILS = (
    Tail("Normal", normal, SPREAD, LINE),
    Tail("LogNormal", lambda x, loc=0, scale=1: normal(mp.log(x), loc, scale) - mp.log(x),
         ({}, {"loc": -30.0, "scale": 0.1}, {"loc": 60.0, "scale": 10.0}), HALF),
    Tail("Laplace", lambda x, loc=0, scale=1: -abs(x - loc) / scale - mp.log(2 * scale), SPREAD, LINE),
    Tail("Logistic", logistic, SPREAD, LINE),
    Tail("Gumbel", gumbel, SPREAD, LINE),
    Tail("Cauchy", cauchy, SPREAD, LINE),
    Tail("StudentT", student, ({"df": 1e-2}, {"df": 1.0}, {"df": 4.5}, {"df": 1e4}, {"df": 1e7},
                               {"df": 3.0, "loc": -2.0, "scale": 1e-6}), LINE),
    Tail("HalfNormal", lambda x, scale=1: normal(x, 0, scale) + mp.log(2), product(scale=(1e-6, 1.0, 1e8)), HALF),
    Tail("HalfCauchy", lambda x, scale=1: cauchy(x, 0, scale) + mp.log(2), product(scale=(1e-6, 1.0, 1e8)), HALF),
    Tail("Exponential", lambda x, rate=1: mp.log(rate) - rate * x, product(rate=(1e-20, 1.0, 1e20)), HALF),
    Tail("Gamma", gamma, product(concentration=SHAPES, rate=(1e-6, 1.0, 1e6)), HALF),
    Tail("InverseGamma", lambda x, concentration, scale: gamma(1 / x, concentration, scale) - 2 * mp.log(x),
         product(concentration=SHAPES, scale=(1e-6, 1.0, 1e6)), HALF),
    Tail("Chi2", lambda x, df: gamma(x, df / 2, mp.mpf(1) / 2), product(df=SHAPES), HALF),
    Tail("Beta", beta, product(concentration1=SHAPES, concentration0=(1e-3, 1.0, 40.0, 1e6)), INNER),
    Tail("Kumaraswamy", kumaraswamy, product(concentration1=(1e-3, 0.4, 30.0, 1e4), concentration0=(1e-3, 2.0, 1e4)),
         INNER),
    Tail("Weibull", weibull, product(concentration=(1e-3, 0.4, 3.0, 50.0), scale=(1e-6, 1.0, 1e6)), HALF),
    Tail("Pareto", pareto, product(scale=(1e-6, 0.3), concentration=(1e-3, 2.0, 1e4)), HALF[3:]),
    Tail("VonMises", von_mises, product(loc=(0.0, -3.0), concentration=(1e-20, 0.3, 40.0, 1e4, 1e7)),
         (-3.14159, -1.0, 1e-20, 1e-4, 0.7, 3.14159)),
    Tail("RelaxedBernoulli", concrete, product(temperature=(1e-2, 0.4, 3.0), logits=(-30.0, 0.3, 30.0)), INNER),
    Tail("Bernoulli", bernoulli, (*product(logits=LOGITS), *product(probs=PROBS)), (0, 1)),
    Tail("Poisson", poisson, product(rate=(1e-30, 1e-8, 0.3, 30.0, 1e4, 1e8)), COUNTS),
    Tail("Binomial", binomial, (*product(total_count=(40.0, 2.0**24), logits=LOGITS),
                                *product(total_count=(40.0, 2.0**24), probs=PROBS)), COUNTS[:4]),
    Tail("NegativeBinomial", negative_binomial,
         (*product(total_count=(1e-3, 1.0, 1e6), logits=LOGITS[1:]), *product(total_count=(3.0,), probs=PROBS)),
         COUNTS),
    Tail("Geometric", geometric, (*product(logits=LOGITS), *product(probs=PROBS)), COUNTS),
    Tail("BetaBinomial", beta_binomial,
         product(concentration1=(1e-3, 1.0, 1e6), concentration0=(1e-3, 40.0), total_count=(40.0, 1e6)), COUNTS[:4]),
    Tail("ZeroInflatedPoisson", inflated, (*product(gate_logits=(-80.0, 0.3, 80.0), rate=(1e-20, 3.0, 1e4)),
                                           *product(gate=(0.0, 1e-20, 0.3), rate=(1e-20, 3.0, 1e4))), COUNTS),
    # near the mode of large parameters, where terms as large as these cancel
    Tail("StudentT", student, ({"df": 1e7},), (-1.0, 0.3, 4.0)),
    Tail("Gamma", gamma, ({"concentration": 1e7, "rate": 1.0},), (9.99e6, 1e7, 1.0003e7)),
    Tail("Beta", beta, ({"concentration1": 1e7, "concentration0": 1e6},), (0.90889, 0.9091, 0.90918)),
    Tail("Beta", beta, ({"concentration1": 1e6, "concentration0": 1e6},), (0.499, 0.5, 0.5003)),
    Tail("Poisson", poisson, ({"rate": 1e7},), (9_990_000, 10**7, 10_003_000)),
    Tail("Binomial", binomial, ({"total_count": 2.0**24, "probs": 0.3}, {"total_count": 2.0**24, "logits": -0.8473}),
         (5_020_000, 5_033_165, 5_034_000)),
    Tail("NegativeBinomial", negative_binomial, ({"total_count": 1e6, "logits": 0.5},),
         (1_640_000, 1_648_721, 1_650_000)),
    Tail("BetaBinomial", beta_binomial,
         ({"concentration1": 1e6, "concentration0": 3e6, "total_count": 1e6},), (249_000, 250_000, 250_500)),
)  # fmt: skip
