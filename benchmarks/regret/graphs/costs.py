"""Costs of one small node: those of Mohamed, Rosca, Figurnov & Mnih 2020, jumps, black boxes, counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import ppl
from benchmarks.regret.graphs.graph import Graph, graph
from ppl import Bernoulli, Gamma, Normal, OneHotCategorical, Poisson


def _normal(title: str, cost: Callable[[Any], Any], size: int, loc: float, scale: float = 1.0) -> Graph:
    @ppl.model
    def model() -> None:
        spread = np.exp(ppl.param("log_scale", np.full(size, np.log(scale))))
        ppl.cost("loss", cost(ppl.sample("z", Normal(ppl.param("loc", np.full(size, loc)), spread))))

    return Graph(title, model)


@graph
def square() -> Graph:
    """The quadratic cost."""
    return _normal("N(1, 1), (x − 3)²", lambda z: ((z - 3.0) ** 2).sum(), 1, 1.0)


@graph
def bump() -> Graph:
    """The exponential cost, narrow."""
    return _normal("N(1, 1), exp(−10 x²)", lambda z: np.exp(-10.0 * z**2).sum(), 1, 1.0)


@graph
def wide_bump() -> Graph:
    """The exponential cost, wide."""
    return _normal("N(1, 1), exp(−0.1 x²)", lambda z: np.exp(-0.1 * z**2).sum(), 1, 1.0)


@graph
def cosine() -> Graph:
    """The periodic cost, fast."""
    return _normal("N(1, 1), cos 5x", lambda z: np.cos(5.0 * z).sum(), 1, 1.0)


@graph
def slow_cosine() -> Graph:
    """The periodic cost, slow."""
    return _normal("N(1, 1), cos x/2", lambda z: np.cos(0.5 * z).sum(), 1, 1.0)


@graph
def waves() -> Graph:
    """A cost of four coordinates that curves."""
    return _normal("N(½, 1)⁴, Σ sin 3x + (Σ x)² / 10", lambda z: np.sin(3 * z).sum() + z.sum() ** 2 / 10, 4, 0.5)


@graph
def hill() -> Graph:
    """One bump in eight dimensions."""
    return _normal("N(½, 1)⁸, exp(−Σ x²)", lambda z: np.exp(-(z**2).sum()), 8, 0.5)


@graph
def well() -> Graph:
    """A narrow posterior: quartic cost, small scale."""
    return _normal("N(½, 0.1)⁴, Σ x⁴", lambda z: (z**4).sum(), 4, 0.5, 0.1)


@graph
def jump() -> Graph:
    """A jump, through which no path goes."""
    return _normal("N(0, 1)², 1[x + y > 1]", lambda z: np.where(z.sum() > 1.0, 1.0, 0.0), 2, 0.0)


@numba.njit
def _floors(z):
    total = 0.0
    for x in z:
        total += np.floor(2.0 * x) ** 2
    return total


@graph
def black_box() -> Graph:
    """A user's function without a gradient."""
    return _normal("N(0.3, 1)⁵, a black box", lambda z: ppl.external(_floors, z), 5, 0.3)


@graph
def counts() -> Graph:
    """Poisson rates."""

    @ppl.model
    def model() -> None:
        k = ppl.sample("k", Poisson(np.exp(ppl.param("log_rate", np.log([2.0, 5.0])))))
        ppl.cost("loss", np.log1p(k.sum()) + 0.1 * (k[0] - 3.0) ** 2)

    return Graph("Poisson(2), Poisson(5), log(1 + x + y) + (x − 3)² / 10", model)


@graph
def gammas() -> Graph:
    """Gamma variables with both parameters learned."""

    @ppl.model
    def model() -> None:
        a, r = (np.exp(ppl.param(name, np.zeros(3))) for name in ("log_concentration", "log_rate"))
        z = ppl.sample("z", Gamma(a, r))
        ppl.cost("loss", np.tanh(z.sum() - 2.0) + 0.2 * (z**2).sum())

    return Graph("3 Gamma(1, 1), tanh(Σ x − 2) + Σ x² / 5", model)


@graph
def one_coin() -> Graph:
    """The toy example: one unit."""

    @ppl.model
    def model() -> None:
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.0)))
        ppl.cost("loss", (b - 0.499) ** 2)

    return Graph("1 Bernoulli unit, (x − 0.499)²", model)


def _coins(count: int, title: str, cost: Callable[[Any], Any], spread: float = 1.0) -> Graph:
    @ppl.model
    def model() -> None:
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.linspace(-spread, spread, count))))
        ppl.cost("loss", cost(b))

    return Graph(f"{count} Bernoulli units, {title}", model)


@graph
def four_coins() -> Graph:
    """A share of heads."""
    return _coins(4, "5 + 4 (mean − 0.45)²", lambda b: 5.0 + 4.0 * (b.mean() - 0.45) ** 2, 0.0)


@graph
def many_coins() -> Graph:
    """A share of heads of many."""
    return _coins(64, "5 + 4 (mean − 0.45)²", lambda b: 5.0 + 4.0 * (b.mean() - 0.45) ** 2, 0.0)


@graph
def coins_apart() -> Graph:
    """Units that do not meet in a term."""
    return _coins(20, "Σ (x − 0.45)²", lambda b: ((b - 0.45) ** 2).sum())


@graph
def coins_jump() -> Graph:
    """A threshold, which cannot be relaxed."""
    return _coins(12, "1[Σ x > 7]", lambda b: np.where(b.sum() > 7.0, 1.0, 0.0))


@graph
def classes_meet() -> Graph:
    """One-hot units with a quadratic cost."""
    rng = np.random.default_rng(5)
    target = rng.normal(size=6)
    table = rng.normal(size=(5, 8, 6))

    @ppl.model
    def model() -> None:
        z = ppl.sample("z", OneHotCategorical(logits=ppl.param("logits", np.zeros((5, 8)))))
        ppl.cost("loss", ((np.sum(z[:, :, None] * table, axis=(0, 1)) - target) ** 2).sum())

    return Graph("5 one-hot units of 8 classes, a squared distance", model)


@graph
def mixed() -> Graph:
    """Switches, and Normal variables whose law depends on them."""

    @ppl.model
    def model() -> None:
        b = ppl.sample("b", Bernoulli(logits=ppl.param("switch", np.zeros(6))))
        z = ppl.sample("z", Normal(ppl.param("loc", np.zeros(3)) + b[:3], np.exp(ppl.param("log_scale", np.zeros(3)))))
        ppl.cost("loss", np.sin(2.0 * z).sum() + 0.3 * (z * b[3:]).sum() ** 2)

    return Graph("6 switches, then 3 Normal variables", model)
