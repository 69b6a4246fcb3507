"""One entry per registered distribution: instances, reference laws and values to compare at."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mpmath as mp
import numpy as np
from scipy import integrate, special, stats

from ppl.distributions import REGISTRY, Distribution
from ppl.distributions.base import KEY
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, Kind

INF = np.inf

LINE = np.array([-1e8, -1e3, -30.0, -4.0, -1.0, -0.1, 0.0, 1e-8, 0.3, 1.0, 2.5, 12.0, 40.0, 700.0, 1e6])

HALF = np.array([1e-300, 1e-12, 0.01, 0.4, 1.0, 3.0, 50.0, 700.0, 1e8])

INNER = np.array([1e-12, 1e-4, 0.2, 0.5, 0.77, 0.999, 1 - 1e-10])


class Reference:
    """A law written without the package, in the manner of a frozen scipy distribution."""

    def __init__(self, logpdf: Callable, cdf: Callable | None = None):
        self.logpdf = logpdf
        if cdf is not None:
            self.cdf = cdf


@dataclass(frozen=True)
class Law:
    """How a distribution is checked.

    `reference(**params)` is a frozen law per scalar unit; `values` lie inside the support, `outside` do not.
    `cases` are keyword parameters of scalar units. Vector units (rows) bring their own `log_prob`. Where `heavy` holds
    for a case, an average of squares has no useful standard error.
    """

    cases: tuple[dict[str, Any], ...]
    reference: Callable[..., Any]
    values: Any
    outside: Any = ()
    closed: tuple[str, ...] = field(default=("mean", "entropy", "cdf"))
    heavy: Callable[..., bool] = lambda **case: False


def binary_p(probs: Any = None, logits: Any = None) -> float:
    return special.expit(logits) if probs is None else probs


def bernoulli(probs: Any = None, logits: Any = None) -> Any:
    """scipy's, its log-mass in log-odds where they are given."""
    law = stats.bernoulli(binary_p(probs, logits))
    if logits is not None:
        law.logpmf = lambda x: x * special.log_expit(logits) + (1 - np.asarray(x)) * special.log_expit(-logits)
    return law


def binomial(total_count: int, probs: Any = None, logits: Any = None) -> Any:
    """scipy's, its log-mass in log-odds where they are given."""
    law, n = stats.binom(total_count, binary_p(probs, logits)), total_count
    if logits is not None:
        choose = lambda k: special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)  # noqa: E731
        law.logpmf = lambda k: choose(k) + k * special.log_expit(logits) + (n - k) * special.log_expit(-logits)
    return law


def class_p(probs: Any = None, logits: Any = None) -> np.ndarray:
    return special.softmax(logits) if probs is None else np.asarray(probs)


def laplace(loc: float = 0.0, scale: float = 1.0) -> Any:
    frozen = stats.laplace(loc, scale)  # its logpdf is the log of an underflowing pdf
    frozen.logpdf = lambda x: -np.abs(x - loc) / scale - np.log(2 * scale)
    return frozen


def pareto(scale: float, concentration: float) -> Any:
    frozen = stats.pareto(concentration, scale=scale)
    frozen.logpdf = lambda x: np.log(concentration / scale) - (concentration + 1) * np.log(x / scale)
    return frozen


def half_normal(scale: float = 1.0) -> Any:
    frozen = stats.halfnorm(scale=scale)
    frozen.ppf = lambda p: -scale * special.ndtri((1 - p) / 2)  # as exact in the tail as p is
    return frozen


def half_cauchy(scale: float = 1.0) -> Any:
    frozen = stats.halfcauchy(scale=scale)
    frozen.ppf = lambda p: scale / np.tan(np.pi / 2 * (1 - p))  # exact above the median, where scipy's is not
    return frozen


def concrete(temperature: float, **which: Any) -> Reference:
    a = which["logits"] if "logits" in which else special.logit(which["probs"])

    def logpdf(x: np.ndarray) -> np.ndarray:
        z = temperature * special.logit(x) - a
        return stats.logistic.logpdf(z) + np.log(temperature) - np.log(x) - np.log1p(-x)

    return Reference(logpdf, lambda x: stats.logistic.cdf(temperature * special.logit(x) - a))


def concrete_rows(temperature: float, **which: Any) -> Reference:
    p = class_p(**which)
    k = len(p)

    def logpdf(x: np.ndarray) -> np.ndarray:
        total = np.log((p * x**-temperature).sum(-1))
        rows = (np.log(p) - (temperature + 1) * np.log(x)).sum(-1)
        return special.gammaln(k) + (k - 1) * np.log(temperature) + rows - k * total

    return Reference(logpdf)


def one_hot(**which: Any) -> Reference:
    with np.errstate(divide="ignore"):
        log_p = np.log(class_p(**which))
    return Reference(lambda x: log_p[np.argmax(x, -1)])


class Dirichlet(Reference):
    """scipy's Dirichlet, values in rows."""

    def __init__(self, concentration: Any):
        self.law = stats.dirichlet(concentration)
        self.mean, self.entropy, self.cov = self.law.mean, self.law.entropy, self.law.cov

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        return self.law.logpdf((x / x.sum(-1, keepdims=True)).T)


class Gauss(Reference):
    """scipy's multivariate normal of a factor or a covariance."""

    def __init__(self, loc: Any, **matrix: Any):
        (name, m), self.loc = next(iter(matrix.items())), np.asarray(loc)
        covariance = {
            "scale_tril": lambda: m @ m.T, "scale_diag": lambda: np.diag(m**2),
            "covariance_matrix": lambda: m, "precision_matrix": lambda: np.linalg.inv(m)
        }[name]()  # fmt: skip
        self.law = stats.multivariate_normal(loc, covariance)
        self.logpdf, self.entropy = self.law.logpdf, self.law.entropy

    def mean(self) -> np.ndarray:
        return self.loc

    def cov(self) -> np.ndarray:
        return self.law.cov


def low_rank(loc: Any, cov_factor: Any, cov_diag: Any) -> Gauss:
    return Gauss(loc, covariance_matrix=cov_factor @ cov_factor.T + np.diag(cov_diag))


def random_walk(scale: float, steps: int, loc: float = 0.0, drift: float = 0.0) -> Gauss:
    t = np.arange(1, steps + 1)
    return Gauss(loc + drift * t, covariance_matrix=scale**2 * np.minimum.outer(t, t))


class LKJCholesky(Reference):
    """The density of a correlation matrix (Lewandowski, Kurowicka & Joe 2009, eq. 16) times the Jacobian of L L^T."""

    def __init__(self, dim: int, concentration: float = 1.0):
        self.d, self.c = dim, concentration
        k = np.arange(1, dim)
        halves = concentration + (dim - k - 1) / 2
        betas = (special.betaln(halves, halves) * (dim - k)).sum()
        self.log_normalizer = np.log(2) * ((2 * concentration - 2 + dim - k) * (dim - k)).sum() + betas
        self.k = np.arange(2, dim + 1)
        self.powers = dim - self.k + 2 * concentration - 2

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        correlation = x @ np.swapaxes(x, -1, -2)
        jacobian = (np.log(np.diagonal(x, axis1=-2, axis2=-1)) * (self.d - np.arange(1, self.d + 1))).sum(-1)
        return (self.c - 1) * np.linalg.slogdet(correlation)[1] + jacobian - self.log_normalizer

    def expect(self, function: Callable) -> np.ndarray:
        """Of the diagonal entries sin(t) of rows 2, ..., whose density in t is sin^(power + 1) cos^(k - 2).

        In v with t = pi v^6 / 2 the integrands are smooth at 0.
        """
        v, weight = np.polynomial.legendre.leggauss(200)
        v, weight = (v[:, None] + 1) / 2, weight[:, None]
        t = np.pi / 2 * v**6
        density = weight * v**5 * np.sin(t) ** (self.powers + 1) * np.cos(t) ** (self.k - 2)
        return (function(np.sin(t)) * density).sum(0) / density.sum(0)

    def mean(self) -> np.ndarray:
        return np.diag(np.r_[1.0, self.expect(lambda x: x)])

    def entropy(self) -> float:
        return float(self.log_normalizer - (self.powers * self.expect(np.log)).sum())


class VonMises(Reference):
    """scipy's von Mises law, its cdf that of angles wrapped into (-pi, pi], its mean the direction."""

    def __init__(self, loc: float = 0.0, concentration: float = 1.0):
        law = stats.vonmises(concentration, loc=loc)
        self.logpdf, self.entropy = law.logpdf, law.entropy
        self.cdf = lambda x: self.masses_below(x) if np.size(x) > 1000 else np.vectorize(self.mass_below)(x)
        self.direction = np.pi - (np.pi - loc) % (2 * np.pi)
        self.width = min(1.0, 12 * concentration**-0.5)

    def mass_below(self, x: float) -> float:
        """The mass from -pi to x by quadrature; scipy's cdf is normal at large concentrations."""
        if not -np.pi < x < np.pi:
            return float(x >= np.pi)
        near = [self.direction + k * 2 * np.pi + s * self.width for k in (-1, 0, 1) for s in (-1, -0.3, 0, 0.3, 1)]
        ends = [-np.pi, *sorted(e for e in near if -np.pi < e < x), x]
        density = lambda t: np.exp(self.logpdf(t))  # noqa: E731
        pieces = [integrate.quad(density, a, b, epsabs=1e-15, epsrel=1e-12)[0] for a, b in itertools.pairwise(ends)]
        return float(sum(pieces))

    def masses_below(self, x: np.ndarray) -> np.ndarray:
        """Of many angles: Gauss-Legendre quadrature between neighbours and three grids around the direction."""
        near = [self.direction + k * 2 * np.pi + np.linspace(-1, 1, 201) * self.width for k in (-1, 0, 1)]
        inner = np.concatenate([x, *near, np.linspace(-np.pi, np.pi, 201)])
        ends = np.unique(np.clip(inner, -np.pi, np.pi))
        t, weight = np.polynomial.legendre.leggauss(6)
        gap = np.diff(ends)[:, None]
        mass = (np.exp(self.logpdf(ends[:-1, None] + gap * (t + 1) / 2)) * gap) @ weight / 2
        return np.r_[0.0, np.cumsum(mass)][np.searchsorted(ends, x)]

    def mean(self) -> float:
        return self.direction


class Multinomial(Reference):
    """scipy's multinomial, values in rows."""

    def __init__(self, total_count: int, **which: Any):
        law = stats.multinomial(total_count, class_p(**which))
        self.logpdf, self.entropy, self.cov = law.logpmf, law.entropy, law.cov
        self.average = total_count * class_p(**which)

    def mean(self) -> np.ndarray:
        return self.average


def plackett_luce(**which: Any) -> Reference:
    """Items drawn one after another from those that are left."""
    p = class_p(**which)

    def chance(order: np.ndarray) -> float:
        left = [p[order[i:]].sum() for i in range(len(p))]
        return np.log(p[order] / left).sum()

    return Reference(lambda x: np.apply_along_axis(chance, -1, x))


class Inflated(Reference):
    """A Poisson law with more mass at 0."""

    def __init__(self, rate: float, gate: float | None = None, gate_logits: float | None = None):
        self.gate, self.law = binary_p(gate, gate_logits), stats.poisson(rate)
        self.rest = 1 - self.gate if gate is not None else special.expit(-gate_logits)
        zero = np.logaddexp(np.log(self.rest) - rate, np.log(self.gate) if self.gate else -INF)
        self.logpdf = lambda x: np.where(x == 0, zero, np.log(self.rest) + self.law.logpmf(x))
        self.cdf = lambda x: np.where(np.asarray(x) < 0, 0.0, self.gate + self.rest * self.law.cdf(x))
        self.ppf = lambda q: np.maximum(self.law.ppf(np.maximum(q - self.gate, 0) / self.rest), 0)

    def mean(self) -> float:
        return self.rest * self.law.mean()

    def var(self) -> float:
        return self.rest * self.law.mean() * (1 + self.gate * self.law.mean())


class Sure(Reference):
    """All mass at one point."""

    def __init__(self, v: float, log_density: float = 0.0):
        self.logpdf = lambda x: np.where(x == v, log_density, -INF)
        self.cdf = lambda x: np.where(np.asarray(x) < v, 0.0, 1.0)
        self.mean, self.entropy, self.var = (lambda: v), (lambda: -log_density), (lambda: 0.0)


class TruncatedNormal(Reference):
    """In 40 digits, from the probabilities above the ends."""

    def __init__(self, loc: float = 0.0, scale: float = 1.0, low: float = -INF, high: float = INF):
        self.loc, self.scale, self.low, self.high = (mp.mpf(v) for v in (loc, scale, low, high))
        with mp.workdps(40):
            self.a, self.b = (self.low - self.loc) / self.scale, (self.high - self.loc) / self.scale
            self.flip = self.b <= 0
            if self.flip:
                self.a, self.b = -self.b, -self.a
            self.mass = self.upper(self.a) - self.upper(self.b)

    @staticmethod
    def upper(z: Any) -> Any:
        return mp.erfc(z / mp.sqrt(2)) / 2

    def each(self, function: Callable, x: Any) -> np.ndarray:
        with mp.workdps(40):
            found = [float(function(mp.mpf(float(v)))) for v in np.ravel(x)]
        return np.reshape(found, np.shape(x))

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        def one(x: Any) -> Any:
            if not self.low <= x <= self.high:
                return -mp.inf
            return mp.log(mp.npdf((x - self.loc) / self.scale) / self.scale / self.mass)

        return self.each(one, x)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        if np.size(x) > 1000:
            a, b, loc, scale = (float(v) for v in (self.a, self.b, self.loc, self.scale))
            z = (x - loc) / scale * (-1 if self.flip else 1)
            at_z, at_b = (np.exp(special.log_ndtr(-v) - special.log_ndtr(-a)) for v in (z, b))
            above = (at_z - at_b) / (1 - at_b)
            return above if self.flip else 1 - above

        def one(x: Any) -> Any:
            z = (min(max(x, self.low), self.high) - self.loc) / self.scale
            above = self.upper(-z if self.flip else z) - self.upper(self.b)
            return above / self.mass if self.flip else 1 - above / self.mass

        return self.each(one, x)

    def expect(self, function: Callable) -> float:
        """Gauss-Legendre quadrature of a function of the distance from the end nearest to 0, in standard units."""
        start = float(max(self.a, mp.mpf(-15)))
        width = min(float(self.b), (15 if start < 0 else start) + 15 / max(1.0, start / 4)) - start
        t, weight = np.polynomial.legendre.leggauss(200)
        t, weight = (t + 1) * width / 2, weight * width / 2
        density = np.exp(-t * (start + t / 2))
        return float((function(-start - t if self.flip else start + t) * density * weight).sum() / (density @ weight))

    def mean(self) -> float:
        return float(self.loc) + float(self.scale) * self.expect(lambda z: z)

    def var(self) -> float:
        mean = self.expect(lambda z: z)
        return float(self.scale) ** 2 * self.expect(lambda z: (z - mean) ** 2)

    def entropy(self) -> float:
        log_mass = float(mp.log(self.mass * self.scale * mp.sqrt(2 * mp.pi)))
        return self.expect(lambda z: log_mass + z * z / 2)


class Kumaraswamy(Reference):
    """1 - x^a is the (1 / b)-th power of a uniform."""

    def __init__(self, concentration1: float, concentration0: float):
        self.a, self.b = concentration1, concentration0

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        a, b, x = self.a, self.b, np.asarray(x, np.longdouble)
        rest = np.where(x > 0.5, -np.expm1(a * np.log1p(x - 1)), 1 - x**a)
        return (np.log(a) + np.log(b) + (a - 1) * np.log(x) + (b - 1) * np.log(rest)).astype(float)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.longdouble)
        return (-np.expm1(self.b * np.log1p(-(x**self.a)))).astype(float)

    def ppf(self, p: np.ndarray) -> np.ndarray:
        p = np.asarray(p, np.longdouble)
        return ((-np.expm1(np.log1p(-p) / self.b)) ** (1 / np.longdouble(self.a))).astype(float)

    def expect(self, function: Callable) -> float:
        """By the midpoint rule in logit u, u the cdf."""
        y = np.linspace(-36, 36, 72_001)
        u, weight = special.expit(y), special.expit(y) * special.expit(-y)
        return float((function(self.ppf(u), u) * weight).sum() * (y[1] - y[0]))

    def mean(self) -> float:
        return self.expect(lambda x, u: x)

    def var(self) -> float:
        mean = self.mean()
        return self.expect(lambda x, u: (x - mean) ** 2)

    def entropy(self) -> float:
        a, b = self.a, self.b  # log x and log(1 - x^a) from u, whose complement does not cancel

        def surprise(x: np.ndarray, u: np.ndarray) -> np.ndarray:
            log_rest = np.log1p(-u) / b
            log_x = np.log(-np.expm1(log_rest)) / a
            return -(np.log(a * b) + (a - 1) * log_x + (b - 1) * log_rest)

        return self.expect(lambda x, u: surprise(x, np.minimum(u, 1 - 2.0**-53)))


TRIL = np.array([[0.7, 0.0, 0.0], [-0.4, 1.3, 0.0], [2.0, 0.3, 0.2]])

CHOLESKYS = np.linalg.cholesky(
    [[[1.0, a, b], [a, 1.0, c], [b, c, 1.0]] for a, b, c in ((0.3, -0.2, 0.5), (0.9, 0.8, 0.95), (-0.7, 0.0, 0.1))]
)

LOCATIONS = ({}, {"loc": -1.3, "scale": 0.4}, {"loc": 50.0, "scale": 7.0})

P3 = [0.2, 0.5, 0.3]

ROWS = np.array([[0.2, 0.3, 0.5], [1e-6, 0.4, 0.599999], [0.98, 0.01, 0.01]])

LAWS: dict[str, Law] = {
    "Normal": Law(LOCATIONS, lambda loc=0.0, scale=1.0: stats.norm(loc, scale), LINE),
    "LogNormal": Law(
        ({}, {"loc": -1.3, "scale": 0.4}, {"loc": 2.0, "scale": 1.5}),
        lambda loc=0.0, scale=1.0: stats.lognorm(scale, scale=np.exp(loc)),
        HALF,
        (-1e8, -1.0, 0.0),
        heavy=lambda loc=0.0, scale=1.0: scale > 1,
    ),
    "Bernoulli": Law(
        (
            *({"probs": p} for p in (0.3, 0.0, 1.0)),
            *({"logits": a} for a in (1.7, -40.0, -1e4, 1e4)),
        ),
        bernoulli,
        [0.0, 1.0],
        (-1.0, 2.0),
    ),
    "Cauchy": Law(
        LOCATIONS,
        lambda loc=0.0, scale=1.0: stats.cauchy(loc, scale),
        LINE,
        (),
        ("entropy", "cdf"),
        lambda **case: True,
    ),
    "Categorical": Law(
        (
            {"probs": P3},
            {"logits": [1.0, -2.0, 0.5, 0.0]},
            {"probs": [0.4, 0.0, 0.6]},
            {"logits": [-INF, 3.0, 1.0, -INF]},
        ),
        lambda **which: stats.rv_discrete(values=(np.arange(len(class_p(**which))), class_p(**which))),
        [0, 1, 2],
        (-1, 5),
    ),
    "OneHotCategorical": Law(
        ({"probs": P3}, {"logits": [1.0, -2.0, 0.5]}, {"probs": [0.4, 0.0, 0.6]}),
        one_hot,
        np.eye(3),
        ([1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [2.0, -1.0, 0.0]),
        ("mean", "entropy"),
    ),
    "Uniform": Law(
        ({}, {"low": -2.0, "high": -0.5}, {"low": 0.1, "high": 1e3}),
        lambda low=0.0, high=1.0: stats.uniform(low, high - low),
        LINE,
    ),
    "Exponential": Law(
        ({}, {"rate": 0.02}, {"rate": 30.0}),
        lambda rate=1.0: stats.expon(scale=1 / rate),
        [0.0, *HALF],
        (-1e8, -1.0, -1e-300),
    ),
    "Gamma": Law(
        tuple(
            {"concentration": a, "rate": b} for a, b in ((1.0, 1.0), (0.3, 2.0), (2.5, 0.02), (40.0, 7.0), (1e3, 1.0))
        ),
        lambda concentration, rate: stats.gamma(concentration, scale=1 / rate),
        HALF,
        (-1e8, -1.0, 0.0),
    ),
    "Beta": Law(
        tuple(
            {"concentration1": a, "concentration0": b} for a, b in ((1.0, 1.0), (0.3, 0.6), (2.5, 0.7), (40.0, 90.0))
        ),
        lambda concentration1, concentration0: stats.beta(concentration1, concentration0),
        INNER,
        (-1.0, 0.0, 1.0, 3.0),
    ),
    "Dirichlet": Law(
        tuple({"concentration": np.array(a)} for a in ([1.0, 1.0, 1.0], [0.3, 2.0, 0.9], [30.0, 5.0, 12.0])),
        Dirichlet,
        ROWS,
        ([1.0, 0.0, 0.0], [0.5, 0.6, 0.2], [1.2, -0.1, -0.1]),
        ("mean", "entropy"),
    ),
    "Chi2": Law(
        ({"df": 1.0}, {"df": 0.6}, {"df": 5.0}, {"df": 300.0}),
        lambda df: stats.chi2(df),
        HALF,
        (-1e8, -1.0, 0.0),
    ),
    "HalfCauchy": Law(
        ({}, {"scale": 0.02}, {"scale": 30.0}),
        half_cauchy,
        [0.0, *HALF],
        (-1e8, -1.0, -1e-300),
        ("entropy", "cdf"),
        lambda **case: True,
    ),
    "HalfNormal": Law(
        ({}, {"scale": 0.02}, {"scale": 30.0}),
        half_normal,
        [0.0, *HALF],
        (-1e8, -1.0, -1e-300),
    ),
    "InverseGamma": Law(
        tuple({"concentration": a, "scale": b} for a, b in ((3.0, 1.0), (2.5, 0.02), (40.0, 7.0), (1e3, 1e3))),
        lambda concentration, scale: stats.invgamma(concentration, scale=scale),
        HALF,
        (-1e8, -1.0, 0.0),
        heavy=lambda concentration, scale: concentration < 9,
    ),
    "Kumaraswamy": Law(
        tuple(
            {"concentration1": a, "concentration0": b}
            for a, b in ((1.0, 1.0), (0.3, 0.6), (2.5, 0.7), (0.8, 3.0), (40.0, 90.0))
        ),
        Kumaraswamy,
        INNER,
        (-1.0, 0.0, 1.0, 3.0),
    ),
    "GaussianRandomWalk": Law(
        ({"scale": 0.7, "steps": 3}, {"scale": 0.1, "steps": 3, "loc": -1.0, "drift": 0.3}),
        random_walk,
        np.array([[0.3, 1.0, -2.0], [3.0, 0.0, 7.0], [1.0, -2.0, 0.5]]),
        (),
        ("mean", "entropy"),
    ),
    "LKJCholesky": Law(
        tuple({"dim": 3, "concentration": c} for c in (1.0, 2.5, 0.8, 30.0)),
        LKJCholesky,
        CHOLESKYS,
        (np.eye(3)[::-1], 2 * np.eye(3), np.diag([1.0, -1.0, 1.0]), np.triu(np.full((3, 3), 0.5))),
        ("mean", "entropy"),
    ),
    "LowRankMultivariateNormal": Law(
        (
            {"loc": np.zeros(3), "cov_factor": TRIL[:, :1], "cov_diag": np.array([0.3, 1.0, 2.0])},
            {"loc": np.array([1.0, -2.0, 0.5]), "cov_factor": TRIL[:, :2], "cov_diag": np.array([1e-3, 0.5, 9.0])},
        ),
        low_rank,
        np.array([[0.3, 1.0, -2.0], [30.0, 0.0, 7.0], [1.0, -2.0, 0.5]]),
        (),
        ("mean", "entropy"),
    ),
    "Pareto": Law(
        tuple({"scale": m, "concentration": a} for m, a in ((1.0, 3.0), (0.02, 2.5), (30.0, 40.0))),
        pareto,
        np.array([30.0, 30.001, 31.0, 50.0, 700.0, 1e8, 1e300]),
        (-1e8, -1.0, 0.0),
        heavy=lambda scale, concentration: concentration < 9,
    ),
    "TruncatedNormal": Law(
        (
            {"low": -1.0, "high": 2.0},
            {"loc": 0.3, "scale": 0.4, "low": 0.0},
            {"loc": -10.0, "scale": 1.0, "low": 0.0},
            {"loc": 200.0, "scale": 2.0, "high": 1.0},
            {"loc": 50.0, "scale": 7.0},
            {"loc": -3.0, "scale": 1.0, "low": 0.0, "high": 2.0**-5},
        ),
        TruncatedNormal,
        np.array([-1.0, -0.1, 0.0, 2.0**-20, 2.0**-12, 0.3, 1.0, 2.5]),
    ),
    "Weibull": Law(
        tuple({"concentration": a, "scale": b} for a, b in ((1.0, 1.0), (0.5, 2.0), (1.7, 0.02), (50.0, 30.0))),
        lambda concentration, scale: stats.weibull_min(concentration, scale=scale),
        HALF,
        (-1e8, -1.0, 0.0),
    ),
    "StudentT": Law(
        ({"df": 2.2}, {"df": 9.0, "loc": -1.3, "scale": 0.4}, {"df": 200.0, "loc": 50.0, "scale": 7.0}),
        lambda df, loc=0.0, scale=1.0: stats.t(df, loc, scale),
        LINE,
        heavy=lambda df, loc=0.0, scale=1.0: df < 9,
    ),
    "MultivariateNormal": Law(
        (
            {"loc": np.array([1.0, -2.0, 0.5]), "scale_tril": TRIL},
            {"loc": np.zeros(3), "covariance_matrix": TRIL @ TRIL.T},
            {"loc": np.array([1.0, -2.0, 0.5]), "precision_matrix": TRIL @ TRIL.T},
            {"loc": np.array([1.0, -2.0, 0.5]), "scale_diag": np.array([0.3, 2.0, 7.0])},
        ),
        Gauss,
        np.array([[0.3, 1.0, -2.0], [30.0, 0.0, 7.0], [1.0, -2.0, 0.5]]),
        (),
        ("mean", "entropy"),
    ),
    "Poisson": Law(
        tuple({"rate": r} for r in (0.05, 0.7, 4.0, 25.0, 900.0, 1e8)),
        lambda rate: stats.poisson(rate),
        np.array([0, 1, 2, 7, 40, 1000]),
        (-1.0, 0.5, 3.2),
        ("mean", "cdf"),
    ),
    "Binomial": Law(
        (
            *({"total_count": n, "probs": p} for n, p in ((7, 0.3), (50, 0.3), (1000, 0.97), (9, 0.0), (12, 1.0))),
            *({"total_count": n, "logits": a} for n, a in ((7, 1.3), (400, -2.0), (8, 1e4), (30, -40.0))),
        ),
        binomial,
        np.array([0, 1, 2, 5, 7]),
        (-1.0, 0.5, 3.2, 2000.0),
    ),
    "Geometric": Law(
        ({"probs": 0.2}, {"probs": 0.97}, {"logits": -3.0}, {"logits": 2.0}),
        lambda **which: stats.geom(binary_p(**which), loc=-1),
        np.array([0, 1, 2, 7, 40]),
        (-1.0, 0.5, 3.2),
    ),
    "NegativeBinomial": Law(
        (
            *({"total_count": r, "probs": p} for r, p in ((2.5, 0.3), (0.2, 0.9), (40.0, 0.6))),
            *({"total_count": r, "logits": a} for r, a in ((3.0, -1.0), (1e3, 2.0))),
        ),
        lambda total_count, **which: stats.nbinom(total_count, 1 - binary_p(**which)),
        np.array([0, 1, 2, 7, 40, 1000]),
        (-1.0, 0.5, 3.2),
        ("mean", "cdf"),
    ),
    "BetaBinomial": Law(
        tuple(
            {"concentration1": a, "concentration0": b, "total_count": n}
            for a, b, n in ((1.0, 1.0, 7), (0.3, 2.5, 20), (40.0, 7.0, 100))
        ),
        lambda concentration1, concentration0, total_count: stats.betabinom(
            total_count, concentration1, concentration0
        ),
        np.array([0, 1, 2, 5, 7]),
        (-1.0, 0.5, 3.2, 2000.0),
    ),
    "ZeroInflatedPoisson": Law(
        (
            *({"gate": g, "rate": r} for g, r in ((0.2, 3.0), (0.0, 4.0), (0.9, 0.1), (0.5, 60.0))),
            *({"gate_logits": a, "rate": r} for a, r in ((-1.0, 2.0), (3.0, 50.0))),
        ),
        Inflated,
        np.array([0, 1, 2, 7, 40, 1000]),
        (-1.0, 0.5, 3.2),
        ("mean", "cdf"),
    ),
    "Multinomial": Law(
        (
            {"total_count": 4, "probs": P3},
            {"total_count": 4, "logits": [1.0, -0.2, 0.5]},
            {"total_count": 4, "probs": [0.4, 0.0, 0.6]},
        ),
        Multinomial,
        np.array([[4, 0, 0], [1, 1, 2], [0, 0, 4]]),
        ([1.0, 1.0, 1.0], [1.5, 1.5, 1.0], [5.0, -1.0, 0.0]),
        ("mean", "entropy"),
    ),
    "DiscreteUniform": Law(
        ({"low": 0, "high": 7}, {"low": -3, "high": 12}),
        lambda low, high: stats.randint(low, high + 1),
        np.array([0, 1, 2, 7]),
        (-4.0, 0.5, 3.2, 20.0),
    ),
    "Delta": Law(({"v": 1.5}, {"v": 1.5, "log_density": -2.0}), Sure, [1.5, 1.5], (-1.0, 1.4, 3.2)),
    "PlackettLuce": Law(
        ({"probs": P3}, {"logits": [1.0, -2.0, 0.5]}),
        plackett_luce,
        np.array([[0, 1, 2], [2, 0, 1], [1, 2, 0]]),
        ([0.0, 0.0, 1.0], [1.0, 2.0, 3.0], [0.5, 1.0, 2.0]),
        (),
    ),
    "Laplace": Law(LOCATIONS, laplace, LINE),
    "Logistic": Law(LOCATIONS, lambda loc=0.0, scale=1.0: stats.logistic(loc, scale), LINE),
    "Gumbel": Law(LOCATIONS, lambda loc=0.0, scale=1.0: stats.gumbel_r(loc, scale), LINE),
    "VonMises": Law(
        tuple(
            {"loc": m, "concentration": k}
            for m, k in ((0.0, 1.0), (2.8, 0.7), (-1.3, 1e-3), (7.0, 12.0), (0.4, 25.0), (-3.0, 1e6))
        ),
        VonMises,
        np.array([-np.pi, -3.0, -2.9995, -1.0, 0.0, 1e-8, 0.4, 0.7, 2.5, np.pi, 12.0]),
    ),
    "RelaxedBernoulli": Law(
        (
            *tuple({"temperature": t, "logits": a} for t in (0.3, 1.0, 2.0) for a in (-1.5, 0.0, 4.0)),
            {"temperature": 0.7, "probs": 0.2},
        ),
        concrete,
        INNER,
        (-1.0, 0.0, 1.0, 3.0),
        ("cdf",),
    ),
    "RelaxedOneHotCategorical": Law(
        (
            *tuple({"temperature": t, "logits": np.array([0.3, -1.0, 0.9])} for t in (0.4, 1.0, 2.0)),
            {"temperature": 0.7, "probs": P3},
        ),
        concrete_rows,
        ROWS,
        ([1.0, 0.0, 0.0], [0.5, 0.6, 0.2], [1.2, -0.1, -0.1]),
        (),
    ),
}

CASES = [(name, case) for name, law in LAWS.items() for case in law.cases]

IDS = [f"{name}-{','.join(f'{k}={np.asarray(v).tolist()}' for k, v in case.items())}" for name, case in CASES]


def build(name: str, case: dict[str, Any]) -> Distribution:
    """The registered distribution `name` with keyword parameters `case`."""
    return REGISTRY[name](**case)  # type: ignore[arg-type]


def value_of(node: Node, seed: int = 0, **params: Any) -> np.ndarray:
    """A node's float64 value, parameters given by name."""
    return evaluate([node], Env(params=params, seed=seed))[0]


def values_of(nodes: list[Node], seed: int = 0, **params: Any) -> list[np.ndarray]:
    """Several nodes' float64 values."""
    return evaluate(nodes, Env(params=params, seed=seed))


def noise_of(dist: Distribution, n: int, name: str = "x", first: int = 0) -> list[Node]:
    """The uniforms of `n` independent draws over a plate."""
    axis = Axis("draws", Kind.PLATE, n)
    return [
        ops.row_key(name, (axis,)) if shape is KEY else ops.noise(name, first + i, (axis,), shape)
        for i, shape in enumerate(dist.uniforms())
    ]


def leaf(name: str, shape: tuple[int, ...] = ()) -> Node:
    """A parameter node."""
    return make("param", name=name, shape=shape, axes=(), dtype="float")


def symbolic(dist: Distribution) -> tuple[Distribution, dict[str, Node], dict[str, np.ndarray]]:
    """`dist` with its parameters replaced by leaves, and those leaves' values."""
    leaves = {k: leaf(k, n.type.shape) for k, n in dist.params.items()}
    return dist.with_params(tuple(leaves.values())), leaves, {k: value_of(n) for k, n in dist.params.items()}
