"""Errors that NumPy's or Python's checks of arguments raise under a function on values: each becomes one ModelError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ppl.arguments import shown
from ppl.errors import ModelError, PplError, ShapeError
from ppl.lang.source import is_internal, user_line

RAISED = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError)


def malformed(label: str, args: Sequence[Any], options: Mapping[str, Any], error: Exception) -> NoReturn:
    """Raise the ModelError for arguments on which `label` raised `error`.

    Errors of ppl pass unchanged, and so do those of the user's own code that `label` called.
    """
    if isinstance(error, PplError) or _of_user(error):
        raise error
    given = ", ".join(
        [*(shown(value, 40) for value in args), *(f"{name}={shown(value, 40)}" for name, value in options.items())]
    )
    kind = ShapeError if isinstance(error, IndexError) else ModelError
    raise kind(
        f"{label}: cannot be called with ({given}): {error or type(error).__name__}\n  at {user_line()}"
    ) from error


def _of_user(error: Exception) -> bool:
    """Whether the error passed through a frame outside of ppl and NumPy."""
    traceback = error.__traceback__
    while traceback is not None:
        if not is_internal(traceback.tb_frame.f_code.co_filename):
            return True
        traceback = traceback.tb_next
    return False
