"""Defer signals while `ppl.fit` trains: none acts between a step and its record, or inside a write of a checkpoint.

The loop works with signals held back, and lets them act where nothing is half done: between blocks of steps, and
while it waits for something that may take long (compiling, the user's functions). Handlers of Python code are run
then, as they were before; SIGTERM and SIGHUP, where they would end the process, do so once the checkpoint is
written."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` spends microseconds on making enumerations
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

TERMINATION_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a process by default, and that somebody sends to end it."""

FAULT_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
)
"""Signals of faults, whose handlers are never held back."""


DEFERRABLE_SIGNALS = tuple(sorted(map(int, signal.valid_signals() - set(FAULT_SIGNALS))))
"""Signals that may have to wait, in order."""


class EndedBySignal(BaseException):
    """A signal that ends the process has come: training saves what there is first."""


class DeferredSignals:
    """A context in which signals wait until `check`, or act at once inside `run_interruptible`.

    Parameters
    ----------
    ending : whether signals that end the process wait too, because there is something to save.
    """

    def __init__(self, ending: bool):
        self._catch_ending = ending
        self._open = False
        self._ended: int | None = None
        self._waiting: list[tuple[int, FrameType | None]] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> DeferredSignals:
        if threading.current_thread() is threading.main_thread():
            try:
                for number, handler in self._caught():
                    self._before[number] = handler
                    _signal.signal(number, self._arrived)
            except ValueError:  # the main thread of another interpreter
                self._before.clear()
            except BaseException:
                self._restore()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the handlers; then what has come meanwhile takes effect. Ctrl-C while saving has done so already."""
        self._open = False
        self._restore()
        try:
            for number, frame in self._waiting:
                handler = self._before[number]
                if handler is signal.SIG_DFL:
                    self._ended = number
                elif handler is not signal.default_int_handler:
                    handler(number, frame)
        finally:
            if self._ended is not None:
                os.kill(os.getpid(), self._ended)
                raise SystemExit(128 + self._ended)  # signals do not end the first process of a container

    def check(self) -> None:
        """Let the signals that wait act now: what their handlers raise comes from here."""
        while self._waiting:
            self._act(*self._waiting.pop(0))
        if self._ended is not None:
            raise EndedBySignal(self._ended)

    def run_interruptible(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call `function(*arguments)`, which signals may interrupt anywhere."""
        self._open = True
        try:
            self.check()
            return function(*arguments)
        finally:
            self._open = False

    def close(self) -> None:
        """Have all signals wait until the end from now on."""
        self._open = False

    def _caught(self) -> Iterator[tuple[int, Any]]:
        for number, handler in zip(DEFERRABLE_SIGNALS, map(_signal.getsignal, DEFERRABLE_SIGNALS), strict=True):
            if callable(handler):
                yield number, handler
            elif self._catch_ending and handler == signal.SIG_DFL and number in TERMINATION_SIGNALS:
                yield number, signal.SIG_DFL

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if not self._open:
            self._waiting.append((number, frame))
            return
        self._open = False  # a second signal waits until the first has been dealt with
        self._act(number, frame)
        self._open = True

    def _act(self, number: int, frame: FrameType | None) -> None:
        handler = self._before[number]
        if handler is signal.SIG_DFL:
            self._ended = number
            raise EndedBySignal(number)
        handler(number, frame)

    def _restore(self) -> None:
        """Put the handlers back, but where a user's function has set another meanwhile."""
        for number, handler in self._before.items():
            if _signal.getsignal(number) == self._arrived:
                _signal.signal(number, _signal.SIG_DFL if handler is signal.SIG_DFL else handler)
