"""Checks of arguments of public functions: each returns the value as it is used, or raises one error that names it.

NumPy numbers count as Python's, and so do arrays of rank 0; truth values do not count as numbers, nor numbers as truth
values.
"""

from __future__ import annotations

import decimal
import functools
import inspect
import math
import numbers
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec, TypeVar

import numpy as np

from ppl.errors import OptionError, PplError, ScheduleError, TooLargeError
from ppl.interrupts import pass_on

WORD = 2**63
MANY = 2**53
"""More of anything than a call can have."""
BEYOND = "array is too big", "Maximum allowed"
"""How NumPy begins what it says of arrays that no memory can have."""


def shown(value: Any, most: int = 80) -> str:
    """A value in a message: of at most so many characters, and never an error of its own."""
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def integer(
    name: str, value: Any, low: int | None = None, high: int | None = None, error: type[PplError] = OptionError
) -> int:
    """A whole number, at least `low` and at most `high`."""
    if type(value) is not int:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
        scalar = isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iu"
        if not (whole or scalar):
            raise error(f"{name} must be a whole number{_limits(low)}, not {shown(value)}")
        value = int(value)
    if (low is not None and value < low) or (high is not None and value > high):
        limits = _limits(low, high if high is None or value > high else None)
        raise error(f"{name} must be a whole number{limits}, not {shown(value)}")
    return int(value)


def _limits(low: float | None, high: float | None = None) -> str:
    words = ([f"of at least {low}"] if low is not None else []) + ([f"at most {high}"] if high is not None else [])
    return f" {' and '.join(words)}" if words else ""


def noise_seed(name: str, value: Any, error: type[PplError] = OptionError) -> int:
    """A seed: a whole number of 64 bits, with or without a sign."""
    return integer(name, value, -WORD, 2 * WORD - 1, error)


def step_count(name: str, value: Any, error: type[PplError] = OptionError) -> int:
    """Steps taken: a whole number that is not negative, of 64 bits with a sign."""
    return integer(name, value, 0, WORD - 1, error)


def number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    error: type[PplError] = OptionError,
) -> float:
    """A finite number, at least `low` (above it where `open_low`) and at most `high`."""
    found = value if type(value) is float else _real(value)
    below = low is not None and (found < low or (open_low and found == low))
    if not math.isfinite(found) or below or (high is not None and found > high):
        if open_low and low == 0 and high is None:
            raise error(f"{name} must be positive and finite, not {shown(value)}")
        limits = _limits(None if open_low else low, high)
        limits = f" above {low}{limits and ' and' + limits}" if open_low else limits
        raise error(f"{name} must be a finite number{limits}, not {shown(value)}")
    return found


def _real(value: Any) -> float:
    """A float of what stands for one real number, else NaN."""
    if isinstance(value, (bool, np.bool_, str, bytes)):
        return math.nan
    try:
        if isinstance(value, (numbers.Real, decimal.Decimal)):
            return float(value)
        found = np.asarray(value)
        return float(found) if found.ndim == 0 and found.dtype.kind in "iuf" else math.nan
    except Exception:
        return math.nan


def number_at(name: str, value: float | Callable[[int], Any], step: int, low: float | None = None) -> float:
    """A number, or the value of a schedule at a step, as a finite float of at least `low`.

    Raises
    ------
    ScheduleError
        A schedule raises, or its value is no such number; the message names the schedule, the step and the value.
    OptionError
        A number is none.
    """
    if not callable(value):
        return number(name, value, low)
    try:
        found = value(step)
    except Exception as error:
        pass_on(error)
        raise ScheduleError(f"{name} at step {step}: the schedule raised {type(error).__name__}: {error}") from error
    return number(f"{name} at step {step}", found, low, error=ScheduleError)


def flag(name: str, value: Any, error: type[PplError] = OptionError) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise error(f"{name} must be True or False, not {shown(value)}")
    return bool(value)


def text(name: str, value: Any, error: type[PplError] = OptionError) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        raise error(f"{name} must be a non-empty string, not {shown(value)}")
    return value


def choice(name: str, value: Any, among: Collection[str], error: type[PplError] = OptionError) -> str:
    """One of some strings."""
    if not isinstance(value, str) or value not in among:
        *first, last = (f'"{word}"' for word in among)
        raise error(f"{name} must be {', '.join(first)} or {last}, not {shown(value)}")
    return value


def called(name: str, value: Any, error: type[PplError] = OptionError) -> Callable[..., Any]:
    """Something to call."""
    if not callable(value):
        raise error(f"{name} must be a function, not {shown(value)}")
    return value


def mapping(name: str, value: Any, of: str = "values", error: type[PplError] = OptionError) -> Mapping[str, Any]:
    """A dict with names as keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise error(f"{name} must be a dict of names to {of}, not {shown(value)}")
    return value


def names(name: str, value: Any, error: type[PplError] = OptionError) -> tuple[str, ...]:
    """Names: one string, or several."""
    if isinstance(value, str):
        return (value,)
    found = tuple(value) if isinstance(value, Iterable) and getattr(value, "ndim", 1) == 1 else (None,)
    if not all(isinstance(item, str) for item in found):
        raise error(f"{name} must be a name or a sequence of names, not {shown(value)}")
    return found


def file_path(name: str, value: Any, error: type[PplError] = OptionError) -> str:
    """A path of a file."""
    try:
        found = os.fspath(value)
    except TypeError:
        raise error(f"{name} must be a path, not {shown(value)}") from None
    found = os.fsdecode(found)
    if not found or "\0" in found:
        raise error(f"{name} must be a path, not {shown(value)}")
    return found


def dimensions(name: str, value: Any, error: type[PplError] = OptionError) -> tuple[int, ...]:
    """A shape: one length or a sequence of lengths, none negative."""
    if isinstance(value, (int, np.integer)):
        value = (value,)
    if isinstance(value, (str, bytes)) or not isinstance(value, (Iterable, np.ndarray)):
        raise error(f"{name} must be a shape, a whole number or a sequence of them, not {shown(value)}")
    try:
        items = tuple(value)
    except TypeError:
        raise error(f"{name} must be a shape, a whole number or a sequence of them, not {shown(value)}") from None
    return tuple(integer(f"{name}: a length", n, 0, WORD - 1, error) for n in items)


def masked(value: Any) -> bool:
    """Whether some entry of an array, or of one in a list, is masked: NumPy would read what lies under the mask."""
    if isinstance(value, (list, tuple)):
        return any(masked(item) for item in value)
    return isinstance(value, np.ndarray) and bool(np.any(getattr(value, "mask", False)))


def array(name: str, value: Any, error: type[PplError] = OptionError) -> np.ndarray:
    """An array of numbers, none of them masked."""
    if masked(value):
        raise error(f"{name} is a masked array: pass its .data, or .filled(...)")
    try:
        found = np.asarray(value)
    except Exception as problem:
        raise error(f"{name} must be an array of numbers, and is no array: {problem}") from None
    if found.dtype.kind not in "fiub":
        raise error(f"{name} must be an array of numbers, not {shown(value)}")
    return found


@contextmanager
def fits_memory(what: str) -> Iterator[None]:
    """A block whose arrays may be larger than memory is.

    Raises
    ------
    TooLargeError
        They are; the message says `what` they are.
    """
    try:
        yield
    except MemoryError as error:
        too_large(what, error)
    except ValueError as error:
        if not str(error).startswith(BEYOND):
            raise
        too_large(what, error)


def too_large(what: str, error: Exception) -> NoReturn:
    """Raise the TooLargeError for `what` that does not fit into memory."""
    if isinstance(error, TooLargeError):
        raise error
    raise TooLargeError(f"{what}: this takes more memory than there is ({error or 'none is left'})") from error


Rule = Callable[[str, Any, type[PplError]], Any]
P = ParamSpec("P")
R = TypeVar("R")


def optional(rule: Rule) -> Rule:
    """`rule` for what is not None."""
    return lambda name, value, error: None if value is None else rule(name, value, error)


def within(rule: Callable[..., Any], **limits: Any) -> Rule:
    """`rule` with limits: `within(integer, low=1)`."""
    return lambda name, value, error: rule(name, value, error=error, **limits)


def one_of(*among: str) -> Rule:
    """One of some strings."""
    return lambda name, value, error: choice(name, value, among, error)


def checked(
    owner: str = "", error: type[PplError] = OptionError, **rules: Rule
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: arguments pass their rules before the function sees them; defaults are taken as they are."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        defaults = {name: p.default for name, p in signature.parameters.items()}
        label = owner or function.__name__

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                if name in rules and value is not defaults[name]:
                    bound.arguments[name] = rules[name](f"{label}: {name}", value, error)
            with fits_memory(label):
                return function(*bound.args, **bound.kwargs)

        return call

    return wrap
