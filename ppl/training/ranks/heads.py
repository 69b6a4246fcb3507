"""What ranks tell one another with every step, and what each has found of it."""

from __future__ import annotations

from typing import NamedTuple

from ppl.compiler.lower.request import Result
from ppl.errors import FitError
from ppl.runtime.call import BoundCall

STEP, ENDS, INTERRUPTED, FAILED, SUFFERS = range(5)
"""What a rank says: it has taken its part of a step; the training ends; Ctrl-C; its own error; that of another rank."""
PLAIN, COMING, SCALARS = 3, slice(4, 6), slice(6, None)
"""Where a head has whether the step can be taken in place, what comes next, and scalars."""


class Elsewhere(FitError):
    """A step that another rank has to explain."""


class Part(NamedTuple):
    """What a rank has found of a step: its result and call, None where it has no rows, and its rows (particles).

    `plain` says that it has found nothing that keeps the step from being taken in place.
    """

    result: Result | None
    bound: BoundCall | None
    taken: int
    plain: bool = False
