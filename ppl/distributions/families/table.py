"""The table of exponential families: natural parameters, statistics and log-partition function of every class."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.beta import Beta
from ppl.distributions.categorical import Categorical
from ppl.distributions.chi2 import Chi2
from ppl.distributions.dirichlet import Dirichlet
from ppl.distributions.exponential import Exponential
from ppl.distributions.families.family import FAMILIES, Family
from ppl.distributions.gamma import Gamma
from ppl.distributions.half_normal import HalfNormal
from ppl.distributions.inverse_gamma import InverseGamma
from ppl.distributions.lognormal import LogNormal
from ppl.distributions.normal import Normal
from ppl.distributions.onehot import OneHotCategorical
from ppl.distributions.poisson import Poisson
from ppl.distributions.von_mises import VonMises
from ppl.ir import ops
from ppl.ir.node import Node

Parts = tuple[Node, ...]
LOG_TWO_PI = math.log(2 * math.pi)


def _normal_natural(dist: Any) -> Parts:
    precision = ops.div(1.0, ops.mul(dist.params["scale"], dist.params["scale"]))
    return ops.mul(dist.params["loc"], precision), ops.mul(-0.5, precision)


def _normal_partition(a: Node, b: Node) -> Node:
    """-a^2 / (4 b) - log(-2 b) / 2."""
    quadratic = ops.div(ops.mul(a, a), ops.mul(4.0, b))
    return ops.neg(ops.add(quadratic, ops.mul(0.5, ops.log(ops.mul(-2.0, b)))))


def _normal_usual(a: Node, b: Node) -> dict[str, Node]:
    variance = ops.div(-0.5, b)
    return {"loc": ops.mul(a, variance), "scale": ops.sqrt(variance)}


def _normal_fit(first: Any, second: Any) -> dict[str, Any]:
    return {"loc": first, "scale": np.sqrt(second - np.square(first))}


def _squares(x: Node) -> Parts:
    return x, ops.mul(x, x)


def _gamma_start(mean_log: Any, mean: Any) -> dict[str, Any]:
    """Minka's approximation of the shape (Estimating a gamma distribution, 2002)."""
    gap = np.log(mean) - mean_log
    shape = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    return {"concentration": shape, "rate": shape / mean}


def _inverse_gamma_start(mean_log: Any, mean_inverse: Any) -> dict[str, Any]:
    found = _gamma_start(-mean_log, mean_inverse)
    return {"concentration": found["concentration"], "scale": found["rate"]}


def _gamma_partition(a: Node, b: Node) -> Node:
    """log gamma(a + 1) - (a + 1) log(-b)."""
    shape = ops.add(a, 1.0)
    return ops.sub(ops.lgamma(shape), ops.mul(shape, ops.log(ops.neg(b))))


def _beta_partition(a: Node, b: Node) -> Node:
    """log B(a, b)."""
    return ops.sub(ops.add(ops.lgamma(a), ops.lgamma(b)), ops.lgamma(ops.add(a, b)))


def _simplex_start(log_mean: Any) -> dict[str, Any]:
    """Proportions by the geometric means, with the total that their deficit from 1 suggests."""
    geometric = np.exp(log_mean)
    total, count = geometric.sum(-1, keepdims=True), geometric.shape[-1]
    return {"concentration": geometric / total * np.maximum(0.5 * (count - 1) / -np.log(total), 0.1 * count)}


def _beta_start(log_one: Any, log_zero: Any) -> dict[str, Any]:
    both = _simplex_start(np.stack([log_one, log_zero], -1))["concentration"]
    return {"concentration1": both[..., 0], "concentration0": both[..., 1]}


def _length(a: Node, b: Node) -> Node:
    return ops.sqrt(ops.add(ops.mul(a, a), ops.mul(b, b)))


def _angle(a: Node, b: Node) -> Node:
    """The direction of (a, b): twice the arctangent of b / (length + a), or of (length - a) / b where a < 0."""
    length, left = _length(a, b), ops.less(a, 0.0)
    over = ops.where(left, ops.sub(length, a), b)
    under = ops.where(left, ops.where(ops.equal(b, 0.0), 1e-300, b), ops.add(length, a))
    return ops.mul(2.0, ops.atan(ops.div(over, under)))


def _von_mises_natural(dist: Any) -> Parts:
    loc, concentration = dist.params["loc"], dist.params["concentration"]
    return ops.mul(concentration, ops.cos(loc)), ops.mul(concentration, ops.sin(loc))


def _von_mises_partition(a: Node, b: Node) -> Node:
    """log(2 pi I0(length))."""
    length = _length(a, b)
    return ops.add(ops.add(ops.log_i0e(length), length), LOG_TWO_PI)


def _von_mises_start(c: Any, s: Any) -> dict[str, Any]:
    """The direction and the concentration by Best & Fisher's approximation (1981)."""
    r = np.minimum(np.hypot(c, s), 1 - 1e-9)
    return {"loc": np.arctan2(s, c), "concentration": r * (2 - r * r) / (1 - r * r)}


def _outcome_logits(dist: Any) -> Parts:
    return (dist.log_probs(),)


def _single(name: str) -> Any:
    return lambda mean: {name: mean}


def _first(x: Node) -> Parts:
    return (ops.cast(x, "float"),)


NORMAL = Family(_normal_natural, _squares, _normal_partition, _normal_usual,
                log_carrier=lambda *mean: -0.5 * LOG_TWO_PI, from_mean=_normal_fit)  # fmt: skip
CLASSES = Family(_outcome_logits, _first, lambda a: ops.logsumexp(a, -1), lambda a: {"logits": a},
                 rank=1, from_mean=_single("probs"), minimal=False)  # fmt: skip

FAMILIES.update({
    Normal: NORMAL,
    LogNormal: Family(_normal_natural, lambda x: _squares(ops.log(x)), _normal_partition, _normal_usual,
                      log_carrier=lambda first, second: ops.sub(-0.5 * LOG_TWO_PI, first), from_mean=_normal_fit),
    HalfNormal: Family(
        lambda d: (ops.div(-0.5, ops.mul(d.params["scale"], d.params["scale"])),),
        lambda x: (ops.mul(x, x),),
        lambda a: ops.mul(-0.5, ops.log(ops.mul(-2.0, a))),
        lambda a: {"scale": ops.sqrt(ops.div(-0.5, a))},
        log_carrier=lambda mean: 0.5 * math.log(2 / math.pi),
        from_mean=lambda mean: {"scale": np.sqrt(mean)},
    ),
    Bernoulli: Family(lambda d: (d.logits,), _first, ops.softplus, _single("logits"), from_mean=_single("probs")),
    Categorical: replace(CLASSES, encode=lambda x: np.eye(int(x.max()) + 1)[x.astype(int)]),
    OneHotCategorical: CLASSES,
    Exponential: Family(
        lambda d: (ops.neg(d.params["rate"]),), _first, lambda a: ops.neg(ops.log(ops.neg(a))),
        lambda a: {"rate": ops.neg(a)}, from_mean=lambda mean: {"rate": 1 / mean},
    ),
    Gamma: Family(
        lambda d: (ops.sub(d.params["concentration"], 1.0), ops.neg(d.params["rate"])),
        lambda x: (ops.log(x), x), _gamma_partition,
        lambda a, b: {"concentration": ops.add(a, 1.0), "rate": ops.neg(b)}, start=_gamma_start,
    ),
    InverseGamma: Family(
        lambda d: (ops.neg(ops.add(d.params["concentration"], 1.0)), ops.neg(d.params["scale"])),
        lambda x: (ops.log(x), ops.div(1.0, x)),
        lambda a, b: _gamma_partition(ops.sub(-2.0, a), b),
        lambda a, b: {"concentration": ops.sub(-1.0, a), "scale": ops.neg(b)}, start=_inverse_gamma_start,
    ),
    Chi2: Family(
        lambda d: (ops.sub(ops.mul(0.5, d.params["df"]), 1.0),), lambda x: (ops.log(x),),
        lambda a: _gamma_partition(a, ops.as_node(-0.5)),
        lambda a: {"df": ops.mul(2.0, ops.add(a, 1.0))},
        log_carrier=None, start=lambda mean_log: {"df": np.exp(mean_log) + 1.0},
    ),
    Beta: Family(
        lambda d: tuple(d.params.values()), lambda x: (ops.log(x), ops.log1p(ops.neg(x))), _beta_partition,
        lambda a, b: {"concentration1": a, "concentration0": b},
        log_carrier=lambda one, zero: ops.neg(ops.add(one, zero)), start=_beta_start,
    ),
    Dirichlet: Family(
        lambda d: (d.params["concentration"],), lambda x: (ops.log(x),),
        lambda a: ops.sub(ops.reduce_sum(ops.lgamma(a), -1), ops.lgamma(ops.reduce_sum(a, -1))),
        lambda a: {"concentration": a}, rank=1,
        log_carrier=lambda mean: ops.neg(ops.reduce_sum(mean, -1)), start=_simplex_start,
    ),
    Poisson: Family(
        lambda d: (ops.log(d.params["rate"]),), _first, ops.exp, lambda a: {"rate": ops.exp(a)},
        log_carrier=None, from_mean=_single("rate"),
    ),
    VonMises: Family(
        _von_mises_natural, lambda x: (ops.cos(x), ops.sin(x)), _von_mises_partition,
        lambda a, b: {"loc": _angle(a, b), "concentration": _length(a, b)}, start=_von_mises_start,
    ),
})  # fmt: skip
