"""Exceptions of Python signal handlers (a timeout by SIGALRM, say): they are nobody's mistake, and reach the caller.

Python runs a handler in the middle of whatever is running, so what it raises comes out of there. Whoever puts the
exceptions of users' functions into words asks here first.
"""

from __future__ import annotations

import itertools
from types import FrameType


def pass_on(error: BaseException) -> None:
    """Raise `error` again if a signal handler has raised it."""
    if is_of_handler(error):
        raise error


def pass_on_cause(error: BaseException) -> None:
    """Raise what a signal handler has raised where `error`, of a compiler, was made of that."""
    at: BaseException | None = error
    while at is not None:
        pass_on(at)
        at = at.__cause__ or at.__context__


def is_of_handler(error: BaseException) -> bool:
    """Whether a signal handler written in Python stands in the traceback."""
    at = error.__traceback__
    while at is not None:
        if _handles(at.tb_frame):
            return True
        at = at.tb_next
    return False


def _handles(frame: FrameType) -> bool:
    """Whether a function was called as handlers are: with a number and the frame that was interrupted, its caller."""
    if frame.f_back is None:
        return False
    code, known = frame.f_code, frame.f_locals
    given = [known.get(name) for name in code.co_varnames[: code.co_argcount]]
    spread = code.co_flags & 0x04  # *arguments
    given += known.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ()) if spread else ()
    return any(isinstance(a, int) and b is frame.f_back for a, b in itertools.pairwise(given))
