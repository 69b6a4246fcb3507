"""Log-densities of a distribution at a value: per unit, and summed over the units that count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy import special, stats

from ppl.ir.node import Node
from ppl.lang.trace import Site
from tests.oracle.exact import families, tables
from tests.oracle.exact.errors import Unsupported
from tests.oracle.exact.families import Params

Array = np.ndarray


def log_prob(dist: Any, p: Params, value: Array, mask: Array | None, rank: int) -> Array:
    """log p(value), one number per entry of the `rank` named dimensions; units where `mask` is false do not count."""
    units = per_unit(dist, p, value)
    if mask is not None:
        units = np.where(mask, units, 0.0)
    return np.sum(units, axis=tuple(range(rank, units.ndim)))


def per_unit(dist: Any, p: Params, value: Array) -> Array:
    """log p of every unit."""
    name = type(dist).__name__
    with np.errstate(all="ignore"):
        if name == "Mixture":
            return _mixture(dist, p, value)
        if tables.is_discrete(dist):
            return np.log(_mass(dist, p, value))
        if name == "TruncatedNormal":
            return families.truncated_log_density("Normal", p, p["low"], p["high"], value)
        if name == "Truncated":
            base = dist.parts["base"]
            inner = tables.sub(p, "base")
            return families.truncated_log_density(type(base).__name__, inner, p["low"], p["high"], value)
        if name in VECTORS:
            return VECTORS[name](p, value)
        if name == "VonMises":
            return stats.vonmises.logpdf(value - p["loc"], p["concentration"])
        return families.log_density(name, p, value)


def kinks(site: Site, value: Node | None = None) -> tuple[Callable[[Any], Array], ...]:
    """Where log p of a site has a kink: at the location of a Laplace law, or of one that it is made of."""
    at = site.node if value is None else value
    assert site.dist is not None and at is not None
    params = site.dist.params
    return tuple(partial(_off, at, params[name], wide) for name, wide in _locations(site.dist))


def _off(value: Node, loc: Node, wide: bool, ev: Any) -> Array:
    """A value less a location, which has one more dimension, of components, where it is `wide`."""
    return (ev(value)[..., None] if wide else ev(value)) - ev(loc)


def _locations(dist: Any, prefix: str = "", wide: bool = False) -> Iterator[tuple[str, bool]]:
    """Names of the locations of all Laplace laws that a law is made of, and whether they are those of components."""
    if type(dist).__name__ == "Laplace":
        yield f"{prefix}loc", wide
    for name, part in getattr(dist, "parts", {}).items():
        yield from _locations(part, f"{prefix}{name}.", wide or name == "components")


def _mass(dist: Any, p: Params, value: Array) -> Array:
    """The probability of `value`; as powers of the classes' probabilities, so that fractions interpolate."""
    name = type(dist).__name__
    if name == "Bernoulli":
        one = tables.one_probs(p)
        return np.exp(special.xlogy(value, one) + special.xlog1py(1 - value, -one))
    if name == "OneHotCategorical":
        return np.exp(np.sum(special.xlogy(value, tables.class_probs(p)), axis=-1))
    if name == "Categorical":
        probs = tables.class_probs(p)
        lead = np.broadcast_shapes(probs.shape[:-1], value.shape)
        wide = np.broadcast_to(probs, (*lead, probs.shape[-1]))
        index = np.broadcast_to(value, lead)[..., None].astype(int)
        return np.take_along_axis(wide, index, axis=-1)[..., 0]
    return tables.mass(dist, p, value)


def _mixture(dist: Any, p: Params, value: Array) -> Array:
    if dist.joint or dist.unit_rank:
        raise Unsupported("a mixture of vectors")
    weights = tables.class_probs({k: v for k, v in p.items() if k in ("weights", "logits")})
    parts = dist.parts
    if list(parts) == ["components"]:
        each = per_unit(parts["components"], tables.sub(p, "components"), value[..., None])
    else:
        found = [per_unit(part, tables.sub(p, k), value) for k, part in parts.items()]
        each = np.stack(np.broadcast_arrays(*found), axis=-1)
    return special.logsumexp(np.log(weights) + each, axis=-1)


def _multivariate_normal(p: Params, x: Array) -> Array:
    if "scale_diag" in p:
        return np.sum(stats.norm.logpdf(x, p["loc"], p["scale_diag"]), axis=-1)
    tril = np.tril(p["scale_tril"])
    shifted = x - p["loc"]
    lead = np.broadcast_shapes(tril.shape[:-2], shifted.shape[:-1])
    d = tril.shape[-1]
    e = np.linalg.solve(np.broadcast_to(tril, (*lead, d, d)), np.broadcast_to(shifted, (*lead, d))[..., None])[..., 0]
    scale = np.log(np.abs(np.diagonal(tril, axis1=-2, axis2=-1))).sum(-1)
    return np.sum(stats.norm.logpdf(e), axis=-1) - scale


def _dirichlet(p: Params, x: Array) -> Array:
    a = p["concentration"]
    return special.gammaln(a.sum(-1)) - special.gammaln(a).sum(-1) + np.sum(special.xlogy(a - 1, x), axis=-1)


VECTORS = {"MultivariateNormal": _multivariate_normal, "Dirichlet": _dirichlet}
