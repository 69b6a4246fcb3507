"""What a training step takes: the mean over a block of steps that is long enough for a clock."""

from __future__ import annotations

import time
from collections.abc import Callable

BLOCK_SECONDS, MOST_STEPS = 0.002, 2**16
"""About how long a block takes, and how many steps it has at most."""

Stepper = Callable[[int], int]
"""Takes up to so many steps that nobody sees, and returns how many: fewer where one is not finite."""


class Timed:
    """Blocks of steps, which grow until they take long enough; `begin` prepares one before it is timed."""

    def __init__(self, take: Stepper, begin: Callable[[], None] | None = None):
        self._take, self._begin, self._count = take, begin, 1

    def seconds(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """Seconds of a step by `clock`."""
        found = self._block(clock)
        while found * self._count < BLOCK_SECONDS / 2 and self._count < MOST_STEPS:
            wanted = int(0.75 * BLOCK_SECONDS / max(found, 1e-9))
            self._count = min(max(2 * self._count, wanted), MOST_STEPS)
            found = self._block(clock)
        return found

    def _block(self, clock: Callable[[], float]) -> float:
        if self._begin is not None:
            self._begin()
        began = clock()
        taken = self._take(self._count)
        return (clock() - began) / max(taken, 1)
