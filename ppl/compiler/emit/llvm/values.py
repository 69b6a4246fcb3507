"""What an expression is while LLVM code is written: a number, a view of an array, several values, a Python value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ppl.records import dataclass

I64, F64, BOOL, NONE = types.int64, types.float64, types.boolean, types.none
WORD, BIT = ir.IntType(64), ir.IntType(1)

TYPES: dict[Any, Any] = {
    np.float32: types.float32,
    np.float64: F64,
    np.int64: I64,
    np.uint64: types.uint64,
    np.int32: types.int32,
    np.bool_: BOOL,
}
"""Numba's types of NumPy's, which emitted code calls to convert numbers."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number or truth value of a type of Numba."""

    kind: Any
    code: Any

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole number, with a sign or without."""
        return isinstance(self.kind, types.Integer)


@dataclass(frozen=True, slots=True)
class View:
    """Entries that lie side by side in memory; `shape` are their sizes, the last one that of the innermost axis.

    `buffer` says which memory that is (`overlaps`), "" if it is not known.
    """

    kind: Any
    data: Any
    shape: Sequence[Any]
    buffer: str = ""


@dataclass(frozen=True, slots=True)
class Several:
    """A tuple."""

    items: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Known:
    """A value of Python: a function, a module, a type, a constant."""

    value: Any


@dataclass(frozen=True, slots=True)
class Part:
    """An attribute of a view: its shape, or a method."""

    view: View
    name: str


Value = Number | View | Several | Known | Part


def codes_of(value: Number | View) -> list[Any]:
    """The code of a number; pointer and sizes of a view."""
    return [value.code] if isinstance(value, Number) else [value.data, *value.shape]
