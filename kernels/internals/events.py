"""Numba's events: of every pass, and every time that LLVM is locked, some thousand times a function."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from numba.core import event

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Inside, this thread makes no events, unless somebody listens already.

    Relies on `_registered`, the listeners by kind. Each dispatcher that compiles listens to its own events for what
    ``get_metadata`` calls timers, which functions that are compiled inside do not have.
    """
    if _quiet.get() or any(event._registered.values()):
        yield
        return
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def make_few_events() -> None:
    """Patch: no events are made where nobody hears them.

    Relies on `start_event` and `end_event`, which all events come from.
    """
    start, end = event.start_event, event.end_event
    if hasattr(start, "may_be_unheard"):
        return

    def start_event(kind: Any, data: Any = None) -> None:
        if not _quiet.get():
            start(kind, data)

    def end_event(kind: Any, data: Any = None, exc_details: Any = None) -> None:
        if not _quiet.get():
            end(kind, data, exc_details)

    vars(start_event)["may_be_unheard"] = True
    event.start_event, event.end_event = start_event, end_event
