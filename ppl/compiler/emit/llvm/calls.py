"""LLVM code of calls: functions are typed and called by Numba's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types

from ppl.compiler.emit.llvm.numbers import Numbers
from ppl.compiler.emit.llvm.values import TYPES, Known, Number, Part, Several, Value, View
from ppl.kernels.cpu.parallel.regions import array_at, array_of
from ppl.kernels.cpu.training.copies import own_copy
from ppl.kernels.internals.lowering import Frame, NotWritten

NUMBERS = bool | int | float | np.generic

ARRAYS_OF = (array_at, array_of, own_copy)
"""Functions that return a part of an array that somebody else holds."""


class Calls:
    """Writes calls into a function."""

    def __init__(self, frame: Frame, numbers: Numbers):
        self.frame, self.builder, self.numbers = frame, frame.builder, numbers
        self._called: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def apply(self, function: Any, values: Sequence[Value]) -> Value:
        """A call, by Numba's rules."""
        given = [self._passed(v) for v in values]
        key = function, *(kind for kind, _ in given)
        if key not in self._called:
            self._called[key] = self.frame.signature(function, key[1:])
        signature, kind = self._called[key]
        codes = [self.frame.cast(code, old, new) for (old, code), new in zip(given, signature.args, strict=True)]
        if function not in ARRAYS_OF and isinstance(signature.return_type, types.Array | types.BaseTuple):
            raise NotWritten(f"what {function} returns, which may be an array of its own")
        return self.received(signature.return_type, self.frame.call(signature, kind, codes), True)

    def _passed(self, value: Value) -> tuple[Any, Any]:
        """Type and code of a value as functions take it."""
        if isinstance(value, Known):
            if isinstance(value.value, type) and value.value in TYPES:
                return types.NumberClass(TYPES[value.value]), self.frame.dummy()
            if callable(value.value):
                return self.frame.typing.resolve_value_type(value.value), self.frame.dummy()
            value = self.numbers.of(value)
        if isinstance(value, Number):
            return value.kind, value.code
        if isinstance(value, View):
            return value.kind, self.frame.packed(value.kind, value.data, value.shape)
        if isinstance(value, Part):
            raise NotWritten("a method as an argument")
        parts = [self._passed(item) for item in value.items]
        return self.frame.tuple([kind for kind, _ in parts], [code for _, code in parts])

    def received(self, kind: Any, code: Any, returned: bool) -> Value:
        """What a call has `returned`, or an argument."""
        if isinstance(kind, types.Array):
            if kind.layout != "C":
                raise NotWritten(f"an array of layout {kind.layout}")
            if returned:
                self.frame.release(kind, code)
            return View(kind, *self.frame.array(kind, code))
        if isinstance(kind, types.Literal):
            return Number(types.unliteral(kind), self.frame.cast(code, kind, types.unliteral(kind)))
        if isinstance(kind, types.BaseTuple):
            kinds: Any = kind
            parts = enumerate(kinds)
            return Several([self.received(k, self.builder.extract_value(code, i), returned) for i, k in parts])
        return Known(None) if isinstance(kind, types.NoneType) else Number(kind, code)
