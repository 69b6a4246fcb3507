"""The user's source line, for error messages and for `Site.where`."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from types import FrameType

import numpy as np

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
ZOO = os.path.join(PACKAGE, "models") + os.sep
LIBRARIES = (os.path.dirname(np.__file__) + os.sep, contextlib.__file__)


def is_internal(filename: str) -> bool:
    """Whether a frame of `filename` belongs to ppl or NumPy; the model zoo counts as user code."""
    return filename.startswith(LIBRARIES) or (filename.startswith(PACKAGE) and not filename.startswith(ZOO))


def user_line() -> str:
    """The innermost line outside of ppl, as "file.py:12: code text"."""
    frame = sys._getframe(1)
    while is_internal(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    return _shown(frame, frame.f_lineno)


def raised_at(error: BaseException) -> str:
    """The innermost line outside of ppl in the traceback of `error`."""
    found, traceback = "", error.__traceback__
    while traceback is not None:
        if not is_internal(traceback.tb_frame.f_code.co_filename):
            found = _shown(traceback.tb_frame, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found or user_line()


def _shown(frame: FrameType, number: int) -> str:
    filename = frame.f_code.co_filename
    code = linecache.getline(filename, number, frame.f_globals).strip()
    return f"{os.path.basename(filename)}:{number}" + (f": {code}" if code else "")
