"""What LLVM is told of memory: which reads and writes of a function never meet.

The buffers of a kernel do not overlap, which LLVM cannot see, since most are parts of one array. With it loops need no
tests before their vectors, and sums that lie in memory stay in registers.
"""

from __future__ import annotations

from dataclasses import replace

from ppl.compiler.emit.code import Binary, Expression, Function, Name, Span
from ppl.compiler.emit.llvm.values import View
from ppl.kernels.internals.lowering import Frame

MOST = 64
"""Buffers of a function that are told apart at most: LLVM compares pairs of lists of them."""


class Overlaps:
    """Knows the buffers of one function, and marks what reads and writes them."""

    def __init__(self, function: Function, frame: Frame):
        self.frame, self.names = frame, function.apart if len(function.apart) <= MOST else ()
        self._scopes: dict[str, tuple[object, object]] = {}

    def placed(self, view: View, array: Expression, index: Expression) -> View:
        """The value `view` of an array, of which an entry or a part is to be taken, with the buffer that this is in."""
        if view.buffer or not self.names:
            return view
        first = index.start if isinstance(index, Span) else index
        while isinstance(first, Binary):
            first = first.left
        names = [x.name for x in (first, array) if isinstance(x, Name) and x.name in self.names]
        return replace(view, buffer=names[0]) if names else view

    def load(self, view: View) -> object:
        """The code of an entry."""
        with self.frame.marked(self._scope(view.buffer)):
            return self.frame.load(view.kind.dtype, view.data)

    def store(self, view: View, code: object) -> None:
        """Set an entry."""
        with self.frame.marked(self._scope(view.buffer)):
            self.frame.store(view.kind.dtype, code, view.data)

    def _scope(self, buffer: str) -> tuple[object, object] | None:
        if buffer and not self._scopes:
            self._scopes = dict(zip(self.names, self.frame.scopes(len(self.names)), strict=True))
        return self._scopes[buffer] if buffer else None
