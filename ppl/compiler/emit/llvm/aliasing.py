"""Alias scopes: tell LLVM which reads and writes of a function never meet.

The buffers of a kernel do not overlap, which LLVM cannot see, since most are parts of one array. With it loops need
no tests before their vectors, and sums that lie in
memory stay in registers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ppl.compiler.emit.code import Binary, Expression, For, Function, Name, Slice, names_in
from ppl.compiler.emit.llvm.values import Value, View
from ppl.kernels.internals.lowering import Frame

MOST = 64
"""Buffers that are told apart at most: LLVM compares pairs of lists of them."""


class AliasScopes:
    """Knows the buffers of one function, and marks what reads and writes them.

    A function of more than `MOST` buffers has only those of each outermost loop told apart, from one another: loops are
    made of vectors one by one. Their tests, and copies for buffers that meet, take LLVM twice as long as all the rest.
    """

    def __init__(self, function: Function, frame: Frame):
        self.frame, self.names = frame, function.noalias
        self.by_loop, self._inside = len(function.noalias) > MOST, False
        self._scopes: dict[str, tuple[object, object]] = {}

    def placed(self, view: View, array: Expression, index: Expression) -> View:
        """The value `view` of an array, of which an entry or a part is to be taken, with the buffer that this is in."""
        if view.buffer or not self.names:
            return view
        first = index.start if isinstance(index, Slice) else index
        while isinstance(first, Binary):
            first = first.left
        names = [x.name for x in (first, array) if isinstance(x, Name) and x.name in self.names]
        return replace(view, buffer=names[0]) if names else view

    @contextlib.contextmanager
    def loop(self, x: For, known: Mapping[str, Value]) -> Iterator[None]:
        """Inside, the loop `x` is written, in front of which names stand for what is `known`."""
        if not self.by_loop or self._inside:
            yield
            return
        used = names_in(*x.body).used
        views = (value.buffer for name in used if isinstance(value := known.get(name), View))
        buffers = sorted(used.intersection(self.names).union(filter(None, views)))
        self._inside = True
        if len(buffers) <= MOST:
            self._tell_apart(buffers)
        yield
        self._inside, self._scopes = False, {}

    def load(self, view: View) -> object:
        """The code of an entry."""
        with self.frame.marked(self._scope(view.buffer)):
            return self.frame.load(view.kind.dtype, view.data)

    def store(self, view: View, code: object) -> None:
        """Set an entry."""
        with self.frame.marked(self._scope(view.buffer)):
            self.frame.store(view.kind.dtype, code, view.data)

    def _scope(self, buffer: str) -> tuple[object, object] | None:
        if buffer and not self._scopes and not self.by_loop:
            self._tell_apart(self.names)
        return self._scopes.get(buffer)

    def _tell_apart(self, buffers: Sequence[str]) -> None:
        self._scopes = dict(zip(buffers, self.frame.scopes(len(buffers)), strict=True))
