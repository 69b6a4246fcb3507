"""How the variance of a choice follows from the number of particles, and what several numbers say of it together.

The estimate is the mean over particles: its variance is 1/K of one particle's. With baselines that are the mean of the
other particles' costs it is a U-statistic of order 2 (`pairwise`). Both are linear in what is not known, so that
gradients with all numbers of particles tell of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppl.compiler.plan.expected import pairwise
from ppl.estimators.base import Estimator
from ppl.inference.tuning.contender import Config, Contender


def terms_of(config: Config) -> tuple[float, ...]:
    """What the unknowns of the law are multiplied by at the choice's number of particles; none where there is no law.

    Weights of particles that follow their costs, and those of a combination with such baselines, obey none.
    """
    estimators, k = [e for _, e in config.estimators], config.particles
    if any(e.biased for e in estimators):
        return ()
    if not reads_others(config):
        return (1 / k,)
    if k < 2 or any(map(_weighs, estimators)):
        return ()
    return pairwise(k)


def reads_others(config: Config) -> bool:
    """Whether a baseline is made of the other particles' costs: then the variance falls faster than 1/K."""
    return any(_reads_others(e) for _, e in config.estimators)


def _reads_others(estimator: Estimator) -> bool:
    return estimator.validate(1) is not None


def _weighs(estimator: Estimator) -> bool:
    combined = bool(getattr(estimator, "members", ())) and _reads_others(estimator)
    return combined or getattr(estimator, "baseline", None) == "optimal"


def scaled(config: Config, particles: int) -> float:
    """About by what factor the variance changes with another number of particles, as known before it is measured."""
    if reads_others(config):
        return (config.particles - 1) / (particles - 1)
    return config.particles / particles


def pool(contenders: Sequence[Contender]) -> None:
    """Give contenders that differ in particles alone the variances of the law that fits all their gradients best."""
    groups: dict[tuple[tuple[str, Estimator], ...], list[Contender]] = {}
    for c in contenders:
        c.pooled = None
        if c.repeats > 1 and terms_of(c.config):
            groups.setdefault(c.config.estimators, []).append(c)
    for group in groups.values():
        _fit(group)


def _fit(group: Sequence[Contender]) -> None:
    """Least squares of K × variance, weighted by the numbers of gradients."""
    terms = np.array([terms_of(c.config) for c in group])
    found = np.array([c.alone for c in group])
    if len(group) <= terms.shape[1] or not (np.isfinite(found).all() and (found[:, 0] > 0).all()):
        return
    weights = np.array([c.config.particles * np.sqrt(c.repeats) for c in group])
    solve = np.linalg.pinv(weights[:, None] * terms) * weights
    unknown, errors = solve @ found[:, 0], solve * found[:, 1]
    fitted, spread = terms @ unknown, np.sqrt(((terms @ errors) ** 2).sum(1))
    if (fitted <= 0).any():
        return
    for c, value, error in zip(group, fitted, spread, strict=True):
        c.pooled = float(value), float(error)
