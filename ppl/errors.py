"""The exceptions of the package; every message names the node, the shapes and the user's source line."""

from __future__ import annotations

import re
from typing import Any

from ppl.lazy import externals


class PplError(Exception):
    """Base class of all errors raised by ppl."""


class ModelError(PplError):
    """A model is declared wrongly: duplicate names, mixed plates, a symbolic value used as a number."""


class ShapeError(ModelError):
    """Event shapes or plates do not fit together."""


class EstimatorError(PplError):
    """No admissible gradient estimator exists for a node, or a named one does not support it."""


class DataError(PplError):
    """Data handed to a compiled program does not fit its declaration."""


class ParameterError(DataError):
    """A parameter of a distribution is out of range in a call: computed from data, learned, or handed over.

    Attributes
    ----------
    node : name of the random or observed node; the distribution's class for a formula (`cdf`, `mean`, ...), "index" for
        an index.
    parameter : name of the distribution's parameter.
    """

    def __init__(self, message: str, node: str = "", parameter: str = ""):
        super().__init__(message)
        self.node, self.parameter = node, parameter


class SimulatorError(PplError):
    """A function handed to `ppl.external` raised an exception, or returned another shape or number than was declared.

    Attributes
    ----------
    site : name of the function, "" where several are called and it is not known which.
    row : row of the data set in which it was called, None without rows or where it is not known.
    arguments : what it was called with, None where that is not known.
    """

    def __init__(
        self,
        message: str | int,
        site: str = "",
        row: int | None = None,
        arguments: tuple[Any, ...] | None = None,
        *detail: Any,
    ):
        self.site, self.row, self.arguments = site, None if row == -1 else row, arguments
        if message == 1:
            detail = (*detail[:-1], externals.exception_in_words(detail[-1]))  # now: it is not there for long
        self.detail = (message, *detail)
        super().__init__(message if isinstance(message, str) else self.composed(*lines_of(site)))

    def composed(self, *lines: str) -> str:
        """The message where compiled code gave the state of the call, with the user's lines.

        Its `detail` is: the state, what each state means, the plate of the row, and what was raised.
        """
        state, texts, plate, raised = self.detail
        meaning = texts.split("\n")[int(state)]
        text = f"external function '{self.site}'" + meaning.format(raised)
        where = "" if self.row is None else f" in row {self.row} of '{plate}'"
        return with_lines(f"{text}{where}{called_with(self.arguments)}", *lines)

    def at(self, *lines: str) -> SimulatorError:
        """The same error with the lines of one program, if compiled code raised it."""
        if isinstance(self.detail[0], str):
            return self
        return SimulatorError(self.composed(*lines), self.site, self.row, self.arguments)


_lines: dict[str, list[str]] = {}


def uncoloured(text: object) -> str:
    """A message of Numba without the colours that it has where colorama is installed."""
    return re.sub("\x1b\\[[0-9;]*m", "", str(text))


def in_words(error: BaseException) -> str:
    """The class of an exception and its message, whatever its `__str__` does."""
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception:
        try:
            text = f"{error.args} (its __str__ raises an exception)"
        except Exception:
            text = "its __str__ raises an exception"
    return f"{kind}: {text}" if text else kind


def remember_line(site: str, line: str) -> None:
    """Note where a function is called, for errors in users' own compiled code."""
    known = _lines.setdefault(site, [])
    if line and line not in known:
        known.append(line)


def lines_of(site: str) -> list[str]:
    """The lines that call functions of this name."""
    return _lines.get(site, [])


def with_lines(text: str, *lines: str) -> str:
    """A message with the user's lines below."""
    return text + "".join(f"\n  {'or' if i else 'at'} {line}" for i, line in enumerate(x for x in lines if x))


def called_with(arguments: tuple[Any, ...] | None) -> str:
    """The arguments of a user's function as the end of a message; nothing where they are not known."""
    if arguments is None:
        return ""
    shown = ", ".join(_short(x) for x in arguments)
    return f", called with ({shown}{',' if len(arguments) == 1 else ''})"


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


class MemoryCheckError(PplError):
    """In the checked build (`PPL_CHECK=1`): compiled code read or wrote outside a buffer, which is an error of ppl.

    Attributes
    ----------
    tag : number of the buffer and of the function that uses it, 0 where it has none.
    """

    def __init__(self, message: str, tag: int = 0):
        super().__init__(message)
        self.tag = int(tag)


class OptionError(DataError, ValueError):
    """An argument of a public function is of the wrong kind, out of range, or contradicts another."""


class NonFiniteError(PplError):
    """A result is NaN or infinite although no parameter, observation or index was out of range.

    An observation that the model makes impossible has an infinite loss. `nonfinite="keep"` returns such results.

    Attributes
    ----------
    node : name of the parameter, data argument, node or cost where the bad value appeared first; None where the replay
        in the reference interpreter did not show it.
    """

    def __init__(self, message: str, node: str | None = None):
        super().__init__(message)
        self.node = node


class UnknownNameError(DataError, KeyError):
    """No node, parameter, site or cost has this name. The message lists the names that exist."""

    __str__ = Exception.__str__


class TooLargeError(DataError, MemoryError):
    """A call needs more memory than there is. The message names what makes it large."""


class ScheduleError(OptionError):
    """A schedule of a learning rate or of a `hyper=` value raised an exception, or gave a number out of range."""


class MissingPackageError(PplError, ImportError):
    """A package that is not installed is needed. The message says how to install it."""


class MissingFileError(DataError, FileNotFoundError):
    """The file of a state or checkpoint does not exist."""


class RankError(PplError):
    """Another process of `program.on(comm)` has failed: the message is its own.

    Attributes
    ----------
    rank : int
        The first that failed. Where this error ends the program, only that rank prints what happened.
    """

    __ppl_quiet__ = True

    def __init__(self, message: str, rank: int = 0):
        super().__init__(message)
        self.rank = rank


class FitError(PplError):
    """Training stopped: the loss, the gradient or a parameter was NaN or infinite, or a schedule failed.

    Attributes
    ----------
    state : State
        The last good state, the one whose step failed: `program.value_and_grad(error.state, ...)` shows
        it again.
    step : int
        The step that failed, counted from 0; equal to `state.step`.
    node : str or None
        Name of the parameter, data argument, random node or cost where the bad value appeared first; None
        where the replay in the reference interpreter did not show it.
    fit : Fit
        What training had reached: state, constrained parameters, history.
    """

    def __init__(self, message: str, state: Any = None, step: int = 0, node: str | None = None, fit: Any = None):
        super().__init__(message)
        self.state, self.step, self.node, self.fit = state, step, node, fit
