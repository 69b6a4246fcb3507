"""One line that says what a program waits for: it appears after a second, and is gone at the end.

It is written to stderr where that is a terminal, below the cell of a notebook, and nowhere else;
``PPL_PROGRESS=0`` turns it off. Work that follows other work within half a second belongs to the same wait."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ppl.notebook.output import Output, in_notebook

DELAY, INTERVAL, PAUSE = 1.0, 0.1, 0.5
"""Seconds until the line appears, between two of its forms, and of rest that end a wait."""


class Line:
    """The line. Threads may work at the same time; the work that began last is shown.

    What is shown is written by a thread of its own, ``ppl-progress``, which ends with the wait.
    """

    def __init__(self) -> None:
        self.write: Callable[[str], None] = to_reader
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._work: dict[object, Callable[[], str]] = {}
        self._shown = False
        self._began = self._ended = -PAUSE
        self._thread: threading.Thread | None = None

    @contextmanager
    def during(self, say: Callable[[], str]) -> Iterator[None]:
        """While the block runs, show what `say` returns, if that takes long."""
        if not wanted():
            yield
            return
        work = object()
        try:
            self._begin(work, say)
            yield
        finally:
            self._work.pop(work, None)
            self._end()

    @contextmanager
    def through(self, write: Callable[[str], None]) -> Iterator[None]:
        """While the block runs, something else shows the text ("" for none)."""
        with self._lock:
            before, self.write = self.write, write
        try:
            yield
        finally:
            with self._lock:
                self.write = before

    def _begin(self, work: object, say: Callable[[], str]) -> None:
        with self._lock:
            now = time.monotonic()
            if not self._work and now - self._ended > PAUSE:
                self._began = now
            self._work[work] = say
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ppl-progress", daemon=True)
                self._thread.start()

    def _end(self) -> None:
        with self._lock:
            if not self._work:
                self._ended = time.monotonic()
                self._erase()

    def _erase(self) -> None:
        if self._shown:
            self._shown = False
            self.write("")

    def _run(self) -> None:
        while True:
            time.sleep(INTERVAL)
            with self._lock:
                now = time.monotonic()
                if not self._work:
                    self._erase()
                    if now - self._ended > PAUSE:
                        self._thread = None
                        return
                elif now - self._began >= DELAY:
                    say = next(reversed(self._work.values()))
                    self._shown = True
                    self.write(f"{say()} … {now - self._began:.0f} s")


def wanted() -> bool:
    """Whether there is anybody to read the line."""
    if os.environ.get("PPL_PROGRESS", "") == "0":
        return False
    return in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def to_reader(text: str) -> None:
    """Write `text` where it is read, in place of the text before; "" erases it."""
    if in_notebook():
        _to_notebook(text)
    else:
        to_terminal(text)


_outputs: list[Output] = []


def _to_notebook(text: str) -> None:
    """Write `text` below the cell that waits; the next wait may be another cell's."""
    if not _outputs:
        _outputs.append(Output())
    _outputs[0].say(text)
    if not text:
        _outputs.clear()


def to_terminal(text: str) -> None:
    """Write `text` over the line of the cursor, as much of it as fits; "" erases it."""
    try:
        sys.stderr.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # the terminal is gone, which is no matter of the work


line = Line()
"""The process's own."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=line._forget)
