"""Discrete laws as tables: the values of one unit, and the probability of each, in probabilities and not logarithms."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special, stats

from tests.oracle.exact.errors import TooLarge, Unsupported
from tests.oracle.exact.families import Params

Array = np.ndarray
COUNTS = ("Poisson", "Geometric", "NegativeBinomial", "ZeroInflatedPoisson")
FINITE = ("Bernoulli", "Categorical", "OneHotCategorical", "Binomial", "BetaBinomial", "DiscreteUniform")
LONGEST = 400


def is_discrete(dist: Any) -> bool:
    """Whether samples take countably many values."""
    name = type(dist).__name__
    if name in ("Mixture", "Truncated"):
        return all(is_discrete(part) for part in _parts(dist).values())
    return name in (*COUNTS, *FINITE)


def _parts(dist: Any) -> dict[str, Any]:
    return dict(dist.parts)


def sub(p: Params, prefix: str) -> dict[str, Array]:
    """The parameters of a part, by their own names."""
    return {k.removeprefix(f"{prefix}."): v for k, v in p.items() if k.startswith(f"{prefix}.")}


def one_probs(p: Params) -> Array:
    """The probability of success, from `probs` or `logits`."""
    return special.expit(p["logits"]) if "logits" in p else p["probs"]


def class_probs(p: Params) -> Array:
    """Class probabilities along the last dimension: weights over their sum."""
    if "logits" in p:
        return special.softmax(p["logits"], axis=-1)
    weights = p["probs"] if "probs" in p else p["weights"]
    return weights / np.sum(weights, axis=-1, keepdims=True)


def scipy_law(name: str, p: Params) -> tuple[Any, tuple[Any, ...]]:
    """SciPy's discrete law of that name and its arguments."""
    if name == "Poisson":
        return stats.poisson, (p["rate"],)
    if name == "Geometric":
        return stats.geom, (one_probs(p), -1)
    if name == "NegativeBinomial":
        return stats.nbinom, (p["total_count"], 1 - one_probs(p))
    if name == "Binomial":
        return stats.binom, (p["total_count"], one_probs(p))
    if name == "BetaBinomial":
        return stats.betabinom, (p["total_count"], p["concentration1"], p["concentration0"])
    raise Unsupported(f"distribution {name}")


def _longest(name: str, p: Params) -> int:
    """A count beyond which nothing is left."""
    if name == "ZeroInflatedPoisson":
        return _longest("Poisson", p)
    law, args = scipy_law(name, p)
    with np.errstate(all="ignore"):
        last = np.nanmax(law.isf(1e-14, *args))
    if not np.isfinite(last) or last > LONGEST:
        raise TooLarge(f"a {name} of about {last} values")
    return int(last) + 6


def states(dist: Any, p: Params) -> Array:
    """All values of one unit: shape (S, *unit)."""
    name = type(dist).__name__
    if name == "Bernoulli":
        return np.array([0.0, 1.0])
    if name in ("Categorical", "OneHotCategorical"):
        n = class_probs(p).shape[-1]
        return np.arange(n) if name == "Categorical" else np.eye(n)
    if name in ("Binomial", "BetaBinomial"):
        return np.arange(int(np.nanmax(p["total_count"])) + 1)
    if name == "DiscreteUniform":
        return np.arange(int(np.nanmin(p["low"])), int(np.nanmax(p["high"])) + 1)
    if name in COUNTS:
        return np.arange(_longest(name, p))
    if name == "Truncated":
        (base,) = _parts(dist).values()
        high = float(np.nanmax(p["high"]))
        first = int(np.ceil(np.nanmin(np.maximum(p["low"], 0.0))))
        last = int(high) + 1 if np.isfinite(high) else max(_longest(type(base).__name__, sub(p, "base")), first) + 40
        return np.arange(first, last)
    if name == "Mixture":
        found = [states(part, sub(p, k)) for k, part in _parts(dist).items()]
        return max(found, key=len)
    raise Unsupported(f"distribution {name}")


def probabilities(dist: Any, p: Params, values: Array) -> Array:
    """The probability of every value: the parameters' dimensions, then S."""
    name = type(dist).__name__
    if name in ("Categorical", "OneHotCategorical"):
        return class_probs(p)
    if name == "Mixture":
        return _mixed(dist, p, values)
    wide = {k: np.asarray(v)[..., None] for k, v in p.items()}
    return mass(dist, wide, values)


def mass(dist: Any, p: Params, k: Array) -> Array:
    """The probability of scalar values `k`, which broadcast with the parameters."""
    name = type(dist).__name__
    if name == "Bernoulli":
        one = one_probs(p)
        return k * one + (1 - k) * (1 - one)
    if name == "DiscreteUniform":
        inside = (k >= p["low"]) & (k <= p["high"])
        return np.where(inside, 1 / (p["high"] - p["low"] + 1.0), 0.0)
    if name == "ZeroInflatedPoisson":
        gate = special.expit(p["gate_logits"]) if "gate_logits" in p else p["gate"]
        return gate * (k == 0) + (1 - gate) * stats.poisson.pmf(k, p["rate"])
    if name == "Truncated":
        return _truncated(dist, p, k)
    law, args = scipy_law(name, p)
    return law.pmf(k, *args)


def _truncated(dist: Any, p: Params, k: Array) -> Array:
    """The base's mass within the bounds over their total, added up term by term."""
    (base,) = _parts(dist).values()
    low, high, inner = p["low"], p["high"], sub(p, "base")
    every = states(dist, p)
    total = sum(np.where((j >= low) & (j <= high), mass(base, inner, np.asarray(j)), 0.0) for j in every)
    return np.where((k >= low) & (k <= high), mass(base, inner, k), 0.0) / total


def _mixed(dist: Any, p: Params, values: Array) -> Array:
    parts, weights = _parts(dist), class_probs({k: v for k, v in p.items() if k in ("weights", "logits")})
    if list(parts) == ["components"]:
        each = probabilities(parts["components"], sub(p, "components"), values)
        return np.sum(weights[..., None] * each, axis=-2)
    found = [probabilities(part, sub(p, k), values) for k, part in parts.items()]
    return sum(weights[..., i, None] * f for i, f in enumerate(found))  # type: ignore[return-value]
