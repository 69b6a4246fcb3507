"""Successive halving (Jamieson and Talwalkar 2016) on variance × seconds, with common random numbers.

Every round doubles the gradients of those that are left and drops the worse half, but none that is not clearly worse.
A race ends when the rest are known precisely or time is up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppl.inference.tuning.clock import Clock
from ppl.inference.tuning.contender import Contender

PRECISE = 0.02
"""Relative standard error of the variance at which a race ends."""
TIE, EQUAL = 0.1, 0.03
"""Relative difference of costs below which nothing is dropped from a race; and below which choices count as equal."""
ENOUGH, BLOCKS, MOST = 500, 40, 4000
"""Gradients, and blocks of them, from which on a race may end; and gradients or blocks at which it does."""


def race(
    contenders: Sequence[Contender],
    clock: Clock,
    until: float,
    keep: int,
    doubt: float,
    measured: Callable[[Sequence[Contender]], None],
) -> list[Contender]:
    """The contenders, best first; those dropped early are last.

    Parameters
    ----------
    until : of `clock.spent()`, after which no more gradients are drawn than one chunk each, or two repeats.
    keep : how many are never dropped.
    measured : called with all contenders after each round.
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
        measured(contenders)
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
    enough = c.repeats >= max(ENOUGH, BLOCKS * c.together)
    return c.repeats >= MOST * c.together or (enough and c.trace_error <= PRECISE * c.trace)


def _worse(contender: Contender, best: Contender, doubt: float) -> bool:
    """Whether a contender is clearly worse than the best."""
    return contender.cost > (doubt + TIE) * best.cost + 2 * contender.behind(best)


def winner(contenders: Sequence[Contender]) -> Contender:
    """The first contender that is as good as the best, costs taken one standard error up; of exact ones, as fast."""
    best = min(contenders, key=lambda c: (c.doubted, c.seconds))
    if best.doubted == 0:
        return next(c for c in contenders if c.doubted == 0 and c.seconds <= (1 + EQUAL) * best.seconds)
    return next(c for c in contenders if c is best or c.doubted <= (1 + EQUAL) * best.doubted)
