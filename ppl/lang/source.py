"""The user's source line, for error messages and for `Site.where`."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys

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
    filename, number = frame.f_code.co_filename, frame.f_lineno
    code = linecache.getline(filename, number, frame.f_globals).strip()
    return f"{os.path.basename(filename)}:{number}" + (f": {code}" if code else "")
