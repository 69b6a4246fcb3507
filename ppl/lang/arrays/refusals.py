"""What a symbolic value cannot do: each attempt is a `ModelError` that says what to write instead."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import numpy as np

from ppl.errors import ModelError
from ppl.lang.source import user_line


def refuse(what: str, hint: str) -> NoReturn:
    """Raise the ModelError for an operation that needs a number."""
    raise ModelError(f"{what}, but the model is being traced and values are symbolic: {hint}\n  at {user_line()}")


WRITES = re.compile(r":\d+: .*?\][ ]*([-+*/%@&|^]|//|\*\*)?=(?!=)|:\d+: .*\.(fill|itemset)\(")
"""A user's line that assigns entries of something."""
STACKED = (
    "collect the entries in a list and write np.stack(entries); np.concatenate joins blocks, np.where(mask, a, b) "
    "changes some entries"
)
IN_PLACE = dict.fromkeys(("copyto", "put", "put_along_axis", "place", "putmask", "fill_diagonal"), STACKED)
"""Functions of NumPy that write into an array, and what to do instead."""


def _refuse_number(what: str, hint: str) -> NoReturn:
    """`refuse` a conversion, or what the user's line is about where it writes into an array."""
    line = user_line()
    if WRITES.search(line) and not re.search(r"math\.|\b(float|int|abs|round)\(", line):
        refuse("a value was written into an array", f"an array holds numbers; {STACKED}")
    refuse(what, hint)


class Refusals:
    """Base class of `Value`: conversions to Python numbers, truth values and arrays, and assignment."""

    __slots__ = ()

    def __bool__(self) -> bool:
        refuse("a value was used as a truth value (if, while, and, or, not, max, min)",
               "use np.where(condition, a, b), np.logical_and, np.maximum")  # fmt: skip

    def __float__(self) -> float:
        _refuse_number("a value was converted to a float", "use np.exp instead of math.exp, and so on")

    def __int__(self) -> int:
        _refuse_number("a value was converted to an int", "use value.astype(int)")

    def __complex__(self) -> complex:
        refuse("a value was converted to a complex number", "values are real")

    def __index__(self) -> int:
        refuse(
            "a value was used as a Python index or range",
            "a symbolic integer indexes Values only; wrap an array with ppl.constant(array)",
        )

    def __round__(self, digits: int | None = None) -> Any:
        refuse("a value was rounded", "use np.floor(value + 0.5)")

    def __format__(self, spec: str) -> str:
        if spec:
            refuse("a value was formatted as a number", 'f"{value}" shows its type and shape')
        return repr(self)

    def __trunc__(self) -> int:
        refuse("a value was truncated", "use np.trunc(value)")

    def __divmod__(self, other: Any) -> Any:
        refuse("divmod was called with a value", "use value // other and value % other")

    __rdivmod__ = __divmod__

    def __lshift__(self, other: Any) -> Any:
        refuse("the bits of a value were shifted", "multiply by 2**n, or use value // 2**n")

    __rlshift__ = __rshift__ = __rrshift__ = __lshift__

    def __contains__(self, item: Any) -> bool:
        refuse("a value was asked for membership", "use np.any(value == item)")

    def __setitem__(self, key: Any, item: Any) -> None:
        refuse(
            "an entry of a value was assigned",
            f"values are immutable; {STACKED}",
        )

    def __delitem__(self, key: Any) -> None:
        refuse("an entry of a value was deleted", "values are immutable; use np.concatenate of what stays")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        _refuse_number(
            "a value was converted to an array",
            "use np.stack([a, b]) instead of np.array([a, b]), ppl.constant(array)[index] for a symbolic "
            "index, and NumPy ufuncs or ppl.softmax, ppl.logsumexp instead of functions that call np.asarray",
        )
