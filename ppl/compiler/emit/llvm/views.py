"""LLVM code of views: parts of arrays, in other shapes or types. Nobody tests their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from ppl.compiler.emit.llvm.values import WORD, View
from ppl.kernels.internals.lowering import NotWritten

ZERO = ir.Constant(WORD, 0)


class Range(NamedTuple):
    """Positions along one axis: those of `size` entries from `start` on, or one without a `size`."""

    start: Any
    size: Any = None


def cut(builder: Any, of: View, ranges: Sequence[Range]) -> View:
    """What positions along the first axes take of a view; without a shape if that is one entry."""
    data, shape = of.data, [r.size for r in ranges if r.size is not None]
    if len(shape) > (ranges[-1].size is not None):
        raise NotWritten("a range in front of another position")
    for at, (start, _) in enumerate(ranges):
        if isinstance(start, ir.Constant) and isinstance(start.constant, int) and start.constant < 0:
            raise NotWritten("a position counted from the end")
        for size in of.shape[at + 1 :]:
            start = builder.mul(start, size, flags=("nsw",))
        data = builder.gep(data, [start])
    shape += of.shape[len(ranges) :]
    return View(of.kind.copy(ndim=max(1, len(shape))), data, shape, of.buffer)


def reshaped(of: View, sizes: Sequence[Any]) -> View:
    """A view in another shape."""
    return View(of.kind.copy(ndim=len(sizes)), of.data, sizes, of.buffer)


def as_dtype(builder: Any, of: View, dtype: Any, pointer: Any) -> View:
    """The same memory as numbers of another type, to which `pointer` is one."""
    old, (size, *others) = of.kind.dtype, of.shape
    if others or not all(isinstance(t, types.Integer | types.Float) for t in (old, dtype)):
        raise NotWritten(f"{of.kind} as {dtype}")
    if dtype.bitwidth != old.bitwidth:
        size = builder.udiv(builder.mul(size, WORD(old.bitwidth), flags=("nsw",)), WORD(dtype.bitwidth))
    return View(of.kind.copy(dtype=dtype), builder.bitcast(of.data, pointer), [size])
