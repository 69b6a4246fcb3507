"""The user's source line, for messages and for errors that bad arguments raise inside NumPy or Python."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn

import numpy as np

from ppl.arguments import shown
from ppl.errors import ModelError, PplError, ShapeError

PACKAGE_PATH = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

MODEL_ZOO = os.path.join(PACKAGE_PATH, "models") + os.sep

LIBRARY_PATHS = (os.path.dirname(np.__file__) + os.sep, contextlib.__file__)


def is_internal(filename: str) -> bool:
    """Whether a frame of `filename` belongs to ppl or NumPy; the model zoo counts as user code."""
    return filename.startswith(LIBRARY_PATHS) or (
        filename.startswith(PACKAGE_PATH) and not filename.startswith(MODEL_ZOO)
    )


def user_line() -> str:
    """The innermost line outside of ppl, as "file.py:12: code text"."""
    frame = sys._getframe(1)
    while is_internal(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    return _format_line(frame, frame.f_lineno)


def line_of_error(error: BaseException) -> str:
    """The innermost line outside of ppl in the traceback of `error`."""
    found, traceback = "", error.__traceback__
    while traceback is not None:
        if not is_internal(traceback.tb_frame.f_code.co_filename):
            found = _format_line(traceback.tb_frame, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found or user_line()


def _format_line(frame: FrameType, number: int) -> str:
    filename = frame.f_code.co_filename
    code = linecache.getline(filename, number, frame.f_globals).strip()
    return f"{os.path.basename(filename)}:{number}" + (f": {code}" if code else "")


CALL_ERRORS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError)


def raise_malformed_call(label: str, args: Sequence[Any], options: Mapping[str, Any], error: Exception) -> NoReturn:
    """Raise the ModelError for arguments on which `label` raised `error`.

    Errors of ppl pass unchanged, and so do those of the user's own code that `label` called.
    """
    if isinstance(error, PplError) or _raised_in_user_code(error):
        raise error
    given = ", ".join(
        [*(shown(value, 40) for value in args), *(f"{name}={shown(value, 40)}" for name, value in options.items())]
    )
    kind = ShapeError if isinstance(error, IndexError) else ModelError
    raise kind(
        f"{label}: cannot be called with ({given}): {error or type(error).__name__}\n  at {user_line()}"
    ) from error


def _raised_in_user_code(error: Exception) -> bool:
    """Whether the error passed through a frame outside of ppl and NumPy."""
    traceback = error.__traceback__
    while traceback is not None:
        if not is_internal(traceback.tb_frame.f_code.co_filename):
            return True
        traceback = traceback.tb_next
    return False
