"""How many threads take the steps of a program whose threads write to one another's tables.

A table row that another core has written last comes from that core's cache. Where that is slow, one thread is faster
than all; it depends on the machine, and on virtual ones on the moment. Work is cut into the same slabs either way, so
that results are the same bits.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from ppl.tuning import SLOWER_AGAIN


class Pace:
    """The faster of one thread and all of them, by the seconds that a step has taken."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self._calls = 0

    def choose(self, most: int) -> int:
        """The number of threads for the next call: `most` or 1."""
        self._calls += 1
        for threads in (most, 1):
            if threads not in self.seconds:
                return threads
        best = min((most, 1), key=self.seconds.__getitem__)
        return best if self._calls % SLOWER_AGAIN else most + 1 - best

    @contextlib.contextmanager
    def timed(self, threads: int, steps: int, counted: bool) -> Iterator[None]:
        """Run a call of `steps` steps on so many threads; its time counts if `counted`."""
        began = time.perf_counter()
        yield
        if counted:
            self.seconds[threads] = (time.perf_counter() - began) / steps
