"""Calls of plain Python functions from compiled code, one at a time."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import objmode

from ppl.interrupts import pass_on
from ppl.kernels.config import handing_on

_lock = threading.RLock()
_numbers = itertools.count(2)
"""Numbers of failures: 0 is none, and 1 what Python itself has raised in compiled code (`ppl.kernels.cpu.attempts`)."""

_failures: dict[int, str] = {}
KEPT = 1000
"""Failures that are kept; what compiled code has caught is never asked for."""


def python_call(run: Callable[[tuple[Any, ...]], np.ndarray], size: int) -> Any:
    """A compiled function of a tuple of arguments that returns 0 and ``run(arguments)``, a vector of `size` floats.

    Where `run` raises an exception it returns a number for `failure_of` and any vector.
    """

    def attempted(arguments: tuple[Any, ...]) -> tuple[int, np.ndarray]:
        own = tuple(np.array(x) if isinstance(x, np.ndarray) else x for x in arguments)
        with _lock:
            try:
                return 0, run(own)
            except Exception as error:
                pass_on(error)
                if len(_failures) >= KEPT:
                    _failures.clear()
                number = next(_numbers)
                _failures[number] = str(error)
                return number, np.zeros(size)

    @handing_on
    def call(arguments):
        with objmode(raised="int64", found="float64[::1]"):
            raised, found = attempted(arguments)
        return raised, found

    return call


def failure_of(number: int) -> str | None:
    """What `run` raised, in words; None of numbers that are none of its."""
    return _failures.get(number)
