"""Successive halving (Jamieson and Talwalkar 2016) on variance × seconds, with common random numbers.

Every round doubles the gradients of those that are left and drops the worse half, but none that is not clearly worse.
A race ends when the rest are known precisely or time is up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ppl.estimators.base import Estimator
from ppl.inference.tuning.clock import Clock
from ppl.inference.tuning.contender import Contender

PRECISE = 0.02
"""Relative standard error of the variance at which a race ends."""
TIE = 0.1
"""Costs that differ by less count as equal."""
ENOUGH, MOST = 500, 4000
"""Gradients from which on a race may end, and at which it does."""


def race(
    contenders: Sequence[Contender],
    clock: Clock,
    until: float,
    keep: int,
    doubt: float,
    measured: Callable[[Contender], None],
) -> list[Contender]:
    """The contenders, best first; those dropped early are last.

    Parameters
    ----------
    until : of `clock.spent()`, after which no more gradients are drawn than one chunk each, or two repeats.
    keep : how many are never dropped.
    measured : called with every contender after each round.
    doubt : factor by which seconds may be wrong against one another: whoever is within it is not clearly worse.
    """
    alive, target = list(contenders), 1
    dropped: list[Contender] = []
    if not alive:
        return []
    sources = [c.source() for c in alive]
    chunk = min(s.chunk for s in sources)
    for c, source in zip(alive, sources, strict=True):
        if not c.begun:
            c.begin(chunk, source)
    while True:
        for c in alive:
            while c.repeats < 2 or (c.chunks < target and (not c.chunks or clock.spent() < until)):
                c.draw()
            measured(c)
        alive.sort(key=_order)
        if clock.spent() >= until or all(map(_precise, alive)):
            return alive + dropped
        half = max(keep, (len(alive) + 1) // 2)
        kept = [c for i, c in enumerate(alive) if i < half or not _worse(c, alive[0], doubt)]
        dropped = [c for c in alive if c not in kept] + dropped
        alive, target = kept, 2 * target


def _order(contender: Contender) -> tuple[float, float]:
    return contender.cost, contender.seconds


def _precise(c: Contender) -> bool:
    return c.repeats >= MOST or (c.repeats >= ENOUGH and c.trace_error <= PRECISE * c.trace)


def _worse(contender: Contender, best: Contender, doubt: float) -> bool:
    """Whether a contender is clearly worse than the best."""
    return contender.cost > (doubt + TIE) * best.cost + 2 * contender.behind(best)


def winner(contenders: Sequence[Contender]) -> Contender:
    """The first contender that is not clearly worse than the best one."""
    best = min(contenders, key=_order)
    ties = [c for c in contenders if c is best or not _apart(c, best)]
    if best.cost == 0:
        ties = [c for c in ties if c.seconds <= (1 + TIE) * best.seconds]
    return ties[0]


def _apart(c: Contender, best: Contender) -> bool:
    same = c.pooled is not None and c.config.estimators == best.config.estimators
    return c.cost > best.cost + max(TIE * best.cost, 0.0 if same else 2 * c.behind(best))


def pool(contenders: Sequence[Contender]) -> None:
    """Put the variances of means over particles together: each is that of one particle, divided by their number.

    It is not so with baselines from the other particles: their contenders are left alone.
    """
    groups: dict[tuple[tuple[str, Estimator], ...], list[Contender]] = {}
    for c in contenders:
        if c.repeats > 1 and all(e.validate(1) is None and not e.biased for _, e in c.config.estimators):
            groups.setdefault(c.config.estimators, []).append(c)
    for group in groups.values():
        if not all(np.isfinite(c.trace) and c.trace > 0 for c in group):
            continue
        count = sum(c.repeats for c in group)
        one = sum(c.repeats * c.config.particles * c.trace for c in group) / count
        error = math.hypot(*(c.repeats * c.config.particles * c.trace_error for c in group)) / count
        for c in group:
            c.pooled = one / c.config.particles, error / c.config.particles
