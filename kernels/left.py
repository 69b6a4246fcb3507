"""What is being compiled, and how much of it is left: the words of the line on the terminal (`ppl.progress`)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Container
from typing import Any

from ppl.kernels.reach import reached
from ppl.progress import titles

DRIVERS = ("parallel", "one")
"""Functions of an emitted module that its calls begin with; the first that is there counts."""


class Left:
    """Functions that are compiled now, each called by the one before, and how many have been, by the first's module.

    `done` are functions that this process has compiled, or read from disk.
    """

    def __init__(self, done: Container[Callable[..., Any]]):
        self.done = done
        self.stack: list[Callable[..., Any]] = []
        self.finished: Counter[str] = Counter()
        self._reached: dict[Callable[..., Any], set[Callable[..., Any]]] = {}

    def begin(self, fn: Callable[..., Any]) -> None:
        """A function is compiled, or read from disk."""
        self.stack.append(fn)

    def end(self) -> None:
        """The function that began last is there, or has failed."""
        self.finished[self.stack[0].__module__] += 1
        self.stack.pop()

    def __call__(self) -> str:
        """The line: functions that are read from disk with all that they call make it end early."""
        running = list(self.stack)
        if not running:
            return "compiling"
        first = running[0]
        title = titles.get(first.__module__, first.__name__)
        done = self.finished[first.__module__]
        left = sum(fn not in self.done for fn in self._wanted(first))
        return f"compiling {title}: {done} of {done + max(left, len(running))} functions, {running[-1].__name__}"

    def _wanted(self, first: Callable[..., Any]) -> set[Callable[..., Any]]:
        """What a call will need that begins with the function `first`, as far as names tell."""
        if first not in self._reached:
            module = vars(sys.modules[first.__module__]) if first.__module__ in titles else {}
            driver = next((module[name] for name in DRIVERS if name in module), None)
            called = [f for f in (*module.get("ENTRY_POINTS", ()), driver) if f is not None]
            roots = {first, *(getattr(f, "py_func", f) for f in called)}
            inner = {v.py_func for root in roots for v in reached(root, whole=True) if hasattr(v, "bare")}
            self._reached = {first: roots | inner}
        return self._reached[first]
