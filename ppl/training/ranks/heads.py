"""What ranks tell one another with every step, and what each has found of it."""

from __future__ import annotations

from typing import NamedTuple

from ppl.compiler.lower.request import Result
from ppl.errors import FitError
from ppl.runtime.call import BoundCall

STEP, ENDS, INTERRUPTED, FAILED, SUFFERS = range(5)
"""What a rank says: it has taken its part of a step; the training ends; Ctrl-C; its own error; that of another rank."""
PLAIN, RATE, FIXED = 3, 4, 5
"""Where a head has whether the step can be taken in place, and its rate; and what is in all heads, before what comes
next, as `source.ask` tells it, and the scalars."""


class Elsewhere(FitError):
    """A step that another rank has to explain."""


class Part(NamedTuple):
    """What a rank has found of a step: its result and call, None where it has no rows, and its rows (particles).

    `plain` says that it has found nothing that keeps the step from being taken in place, with the learning rate `rate`.
    """

    result: Result | None
    bound: BoundCall | None
    taken: int
    plain: bool = False
    rate: float = 0.0
