"""Maximum likelihood in exponential families, in NumPy.

The mean log-likelihood eta . mean(u) - A(eta) is concave in eta, and largest where grad A(eta) = mean(u): the moments
match. Where that has no closed solution, Newton's method solves it with the Fisher information, the Hessian of A."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppl.arguments import array
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import CONSTRAINTS
from ppl.distributions.families.family import (
    Family,
    family_of,
    fixed_parameters,
    from_natural,
    moments,
    natural_parameters,
    sufficient_statistics,
)
from ppl.distributions.observable import observable_set
from ppl.errors import DataError, ModelError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import Node, make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

Array = np.ndarray

MOST_NEWTON_STEPS = 200

NEWTON_TOLERANCE = 1e-12


class LogPartition:
    """A(eta), its gradient and its Hessian as NumPy functions; eta is flat, shape (…, k), k numbers per unit."""

    def __init__(self, cls: type[Distribution], shapes: tuple[tuple[int, ...], ...], **fixed: Any):
        family = family_of(cls)
        self.fixed = {name: ops.const(np.asarray(value, np.float64)) for name, value in fixed.items()}
        self.cls, self.family, self.shapes = cls, family, shapes
        self.leaves = tuple(
            make("param", name=f"eta{i}", shape=s, axes=(), dtype="float") for i, s in enumerate(shapes)
        )
        self.value = family.log_partition(*self.leaves, **self.fixed)
        self.gradient_entries = _entries_of_components(family, moments(family, self.leaves, self.fixed))
        self.hessian = [
            _entries_of_components(family, tuple(gradient(ops.reduce_sum(s), list(self.leaves))))
            for s in self.gradient_entries
        ]

    def evaluate(self, eta: Array, nodes: list[Node]) -> list[Array]:
        """Values of nodes at eta."""
        parts = dict(zip((f"eta{i}" for i in range(len(self.shapes))), self.split(eta), strict=True))
        with np.errstate(all="ignore"):
            return evaluate(nodes, Env(params=parts, dtype=np.float64))

    def split(self, flat: Array) -> tuple[Array, ...]:
        """The components of flat natural or mean parameters."""
        if self.family.rank:
            return (flat,)
        return tuple(flat[..., i] for i in range(flat.shape[-1]))

    def join(self, parts: Any) -> Array:
        """Flat parameters from components."""
        return np.asarray(parts[0], np.float64) if self.family.rank else np.stack(np.broadcast_arrays(*parts), -1)

    def log_partition(self, eta: Array) -> Array:
        """A per unit; infinite outside the family."""
        return np.where(self.inside(eta), self.evaluate(eta, [self.value])[0], np.inf)

    def inside(self, eta: Array) -> Array:
        """Which units have parameters that the class allows."""
        usual = self.usual()
        ok = np.ones(eta.shape[:-1], bool)
        for name, value in zip(usual, self.evaluate(eta, list(usual.values())), strict=True):
            good = CONSTRAINTS[self.cls.constraints[name]][1](value)
            ok &= good.reshape(*ok.shape, -1).all(-1)
        return ok

    def usual(self) -> dict[str, Node]:
        """The usual parameters that are not fixed."""
        found = self.family.usual(*self.leaves, **self.fixed)
        return {name: node for name, node in found.items() if name not in self.fixed}

    def mean(self, eta: Array) -> Array:
        """grad A, flat."""
        return np.stack(self.evaluate(eta, self.gradient_entries), -1)

    def fisher(self, eta: Array) -> Array:
        """The Hessian of A, shape (…, k, k)."""
        k = len(self.gradient_entries)
        flat = self.evaluate(eta, [node for row in self.hessian for node in row])
        return np.stack([np.stack(flat[i * k : (i + 1) * k], -1) for i in range(k)], -2)


def _entries_of_components(family: Family, parts: tuple[Node, ...]) -> list[Node]:
    """One node of unit shape for every entry of the components."""
    if not family.rank:
        return list(parts)
    (part,) = parts
    return [ops.reduce_sum(ops.mul(part, unit), -1) for unit in np.eye(part.type.shape[-1])]


def fisher_information(dist: Distribution) -> Array:
    """The Fisher information in the natural parameters, Cov[u(x)], shape (…, k, k), of a distribution of numbers."""
    eta = natural_parameters(dist)
    calculus = LogPartition(type(dist), tuple(np.shape(e) for e in eta), **fixed_parameters(dist))
    return calculus.fisher(calculus.join(eta))


def fit(cls: type[Distribution], x: Any, weights: Any = None, **fixed: Any) -> Distribution:
    """The maximum-likelihood member of the family of `cls` for data `x`, its leading axis the observations.

    Parameters
    ----------
    x : shape (n, *event); every unit of the event is fitted by itself.
    weights : shape (n,), not negative, of the observations.
    fixed : parameters that are not fitted: `total_count` of Binomial, NegativeBinomial and Multinomial.

    Raises
    ------
    ModelError
        Where the class is not registered as an exponential family.
    DataError
        Where data lie outside the support, weights are not, or the likelihood has no maximum in the family (all
        observations equal, for one).
    """
    family, name = family_of(cls), cls.__name__
    known = {key: array(f"{name}.fit: {key}", v, DataError).astype(np.float64) for key, v in fixed.items()}
    data = array(f"{name}.fit: x", x, DataError)
    if data.ndim < 1 or not len(data):
        raise DataError(f"{name}.fit: the data need a leading axis of at least one observation, got shape {data.shape}")
    try:
        with np.errstate(all="ignore"):
            parts = sufficient_statistics(cls, data)
    except IndexError:
        raise DataError(
            f"{name}.fit: the data are vectors, an axis of them behind the first, not {data.shape}"
        ) from None
    if not all(np.isfinite(p).all() for p in parts):
        raise DataError(f"{name}.fit: the data leave the support, or their statistics are not finite")
    mean = tuple(np.average(p, axis=0, weights=_checked_weights(name, weights, len(data))) for p in parts)
    try:
        with np.errstate(all="ignore"):
            found = _maximize_likelihood(cls, family, mean, known)
    except IndexError:
        raise DataError(
            f"{name}.fit: the data are vectors, an axis of them behind the first, not {data.shape}"
        ) from None
    except (ModelError, np.linalg.LinAlgError) as e:
        raise DataError(f"{name}.fit: the likelihood has no maximum inside the family ({e})") from None
    allowed = observable_set(found)
    if allowed.wrong(data).any():
        raise DataError(f"{name}.fit: the data leave the support: every entry must be {allowed.wanted}")
    return found


def _maximize_likelihood(
    cls: type[Distribution], family: Family, mean: tuple[Any, ...], known: Mapping[str, Array]
) -> Distribution:
    """The member whose mean statistics are `mean`."""
    if family.from_mean is not None:
        return cls(**family.from_mean(*mean, **known))
    assert family.start is not None
    return _match_moments(cls, mean, cls(**family.start(*mean)))


def _checked_weights(name: str, weights: Any, n: int) -> Array | None:
    if weights is None:
        return None
    weights = array(f"{name}.fit: weights", weights, DataError).astype(np.float64)
    if weights.shape != (n,) or not (weights >= 0).all() or not weights.sum() > 0:
        raise DataError(f"{name}.fit: weights must be {n} numbers that are not negative, with a positive sum")
    return weights


def _match_moments(cls: type[Distribution], mean: tuple[Any, ...], start: Distribution) -> Distribution:
    """Solve grad A(eta) = mean, halving a unit's steps until eta . mean - A(eta) does not fall."""
    begun = natural_parameters(start)
    calculus = LogPartition(cls, tuple(np.shape(e) for e in begun))
    eta, wanted = calculus.join(begun), calculus.join(mean)
    height = (eta * wanted).sum(-1) - calculus.log_partition(eta)
    for _ in range(MOST_NEWTON_STEPS):
        gap = wanted - calculus.mean(eta)
        step = np.linalg.solve(calculus.fisher(eta), gap[..., None])[..., 0]
        if (np.abs(gap) <= NEWTON_TOLERANCE * np.maximum(1.0, np.abs(wanted))).all():
            return from_natural(cls, *calculus.split(eta))
        size = np.ones(eta.shape[:-1])
        for _ in range(60):
            trial = eta + size[..., None] * step
            risen = (trial * wanted).sum(-1) - calculus.log_partition(trial)
            worse = ~(risen >= height - 1e-13 * np.maximum(1.0, np.abs(height)))
            if not worse.any():
                break
            size = np.where(worse, 0.5 * size, size)
        else:
            break
        eta, height = trial, risen
    if (np.abs(gap) <= 1e-9 * np.maximum(1.0, np.abs(wanted))).all():
        return from_natural(cls, *calculus.split(eta))
    raise ModelError("Newton's method does not converge")
