"""Axes of an event as NumPy's functions take them: whole numbers, from the end if negative, none twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import ShapeError


def axis_of(shape: tuple[int, ...], axis: Any, name: str = "axis") -> int:
    """`axis` as a non-negative dimension of an event of `shape`."""
    if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool):
        raise ShapeError(f"{name} must be a whole number, not {shown(axis)}")
    if not -len(shape) <= axis < len(shape):
        raise ShapeError(f"{name} {axis} is out of range for event shape {shape}")
    return int(axis) % len(shape)


def axes_of(shape: tuple[int, ...], axes: Any, name: str = "axis") -> tuple[int, ...]:
    """One axis or several (`None`: all of them) as different dimensions of an event of `shape`, in their order."""
    if axes is None:
        return tuple(range(len(shape)))
    found = tuple(axis_of(shape, axis, name) for axis in whole_numbers(name, axes))
    if len(set(found)) < len(found):
        raise ShapeError(f"{name} {shown(axes)} has one axis twice for event shape {shape}")
    return found


def whole_numbers(name: str, value: Any, low: int | None = None) -> tuple[int, ...]:
    """One whole number or several, each at least `low`, as a tuple."""
    several = (
        isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)) and getattr(value, "ndim", 1) == 1
    )
    items = tuple(value) if several else (value,)
    if not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in items):
        raise ShapeError(f"{name} must be a whole number or a sequence of them, not {shown(value)}")
    if low is not None and any(n < low for n in items):
        raise ShapeError(f"{name} must not be less than {low}, and is {shown(value)}")
    return tuple(int(n) for n in items)
