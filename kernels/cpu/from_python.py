"""Calls of programs from Python, by address: what reads arguments from Python is compiled once for their types.

Numba writes a function's wrapper for Python into the function's own machine code. That of a program's driver, which
has an argument for each array, takes longer to compile than the driver. Here it is a kernel of its own, `run_at`, on
disk once for all programs whose arguments have the same types.

The machine code at an address is for some types of arguments. Their hash is passed with the address, and `run_at`
calls nothing unless it is that of its own arguments.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numba
from numba import types

from ppl.checked import CHECKED
from ppl.kernels import internals
from ppl.kernels.config import jit
from ppl.kernels.internals import WORD
from ppl.kernels.internals.lowering import Frame, written_by


def plain(kind: Any) -> Any:
    """The type of an argument as machine code is compiled for it: arrays may be written to, and are aligned."""
    return types.Array(kind.dtype, kind.ndim, kind.layout) if isinstance(kind, types.Array) else kind


def kind_of(kinds: Sequence[Any]) -> int:
    """The hash of the types of arguments, which is never 0."""
    text = " ".join(str(plain(kind)) for kind in kinds)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True) | 1


@jit
def run_at(place, kind, *arguments):
    """Call the function at an address if `kind` is the hash of the arguments' types, and say whether it is."""


class _RunAt:
    """Writes `run_at`."""

    def result(self) -> Any:
        """Whether the types are those that the function was compiled for."""
        return types.boolean

    def write(self, frame: Frame) -> None:
        """Write the code."""
        (_, _, place), (_, _, kind), (_, packed, values) = frame.arguments
        context, builder = frame.context, frame.builder
        same = builder.icmp_signed("==", kind, WORD(kind_of(packed.types)))
        with builder.if_then(same):
            signature = types.int64(*map(plain, packed.types))
            given = [builder.extract_value(values, i) for i in range(len(packed.types))]
            raised = internals.call_address(context, builder, signature, place, given)
            internals.raise_again(context, builder, raised)
        frame.give(types.boolean, same)


class FromPython:
    """A compiled function as Python calls it, for its effects: its result, a number, is dropped."""

    def __init__(self, function: Any):
        self._bare: Callable[[], Any] = function.bare
        self._known = 0, 0

    def __call__(self, *arguments: Any) -> None:
        """Call it; it is compiled, or read from disk, for the types of the first arguments, and again for others."""
        if not run_at(*self._known, *arguments):
            self._known = self._compiled(arguments)
            run_at(*self._known, *arguments)

    def _compiled(self, arguments: Sequence[Any]) -> tuple[int, int]:
        """Address and hash of what is compiled for arguments of such types."""
        kinds = [numba.typeof(x) for x in arguments]
        found = internals.address(self._bare(), tuple(map(plain, kinds)))
        return found, kind_of(kinds)


def from_python(function: Any) -> Any:
    """A compiled function for calls from Python; the function itself where nothing is compiled, or all is checked."""
    return FromPython(function) if hasattr(function, "bare") and not CHECKED else function


if not numba.config.DISABLE_JIT:
    written_by(run_at.py_func, _RunAt())
