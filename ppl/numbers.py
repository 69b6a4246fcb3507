"""Numbers from outside: each is checked once, where it enters, and refused with the name it was given under."""

from __future__ import annotations

import decimal
import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.arguments import masked
from ppl.errors import DataError, OptionError, ScheduleError


def whole_number(what: str, value: Any, low: int, end: int) -> int:
    """`value` as an int in [low, end).

    Raises
    ------
    DataError
        It is no whole number (a bool, a float and an array are none), or out of range.
    """
    if type(value) is not int:
        zero_d = isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iu"
        if isinstance(value, (bool, np.bool_)) or not (zero_d or isinstance(value, numbers.Integral)):
            raise DataError(f"{what} must be a whole number, not {_shown(value)}")
        value = int(value)
    if not low <= value < end:
        raise DataError(f"{what} must lie in {low} … {end - 1}, not {value}")
    return value


def real_number(what: str, value: Any) -> float:
    """`value`, a real number or an array of rank 0 that holds one, as a finite float.

    Raises
    ------
    OptionError
        It is something else (a bool, a string, a complex number, an array with a rank), NaN or infinite.
    """
    number = value if type(value) is float else _real(value)
    if number is None or not math.isfinite(number):
        raise OptionError(f"{what} must be a finite number, not {_shown(value)}")
    return number


def number_at(what: str, value: float | Callable[[int], Any], step: int, low: float = -math.inf) -> float:
    """A number, or the value of a schedule at a step, as a finite float of at least `low`.

    Raises
    ------
    ScheduleError
        A schedule raises, or its value is no such number; the message names `what`, the step and the value.
    OptionError
        A number is none.
    """
    if not callable(value):
        return _at_least(what, real_number(what, value), low)
    try:
        found = value(step)
    except Exception as error:
        raise ScheduleError(f"{what} at step {step}: the schedule raised {type(error).__name__}: {error}") from error
    try:
        return _at_least(f"{what} at step {step}", real_number(f"{what} at step {step}", found), low)
    except OptionError as error:
        raise ScheduleError(str(error)) from None


def real_array(what: str, value: Any) -> np.ndarray:
    """`value` as an array of real numbers.

    Raises
    ------
    DataError
        It holds something else, or some of it is masked.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{what} is no array: {error}") from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"{what} must hold real numbers, not {array.dtype}")
    if masked(value):
        raise DataError(f"{what} is masked in places")
    return array


def _at_least(what: str, number: float, low: float) -> float:
    if number < low:
        raise OptionError(f"{what} must be at least {low}, not {number}")
    return number


def _real(value: Any) -> float | None:
    """A float of what stands for one real number, else None."""
    if isinstance(value, (bool, np.bool_, str, bytes)):
        return None
    try:
        if isinstance(value, (numbers.Real, decimal.Decimal)):
            return float(value)
        array = np.asarray(value)
        return float(array) if array.ndim == 0 and array.dtype.kind in "iuf" else None
    except (TypeError, ValueError, OverflowError):
        return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}… ({type(value).__name__})"
