"""The exceptions of the package; every message names the node, the shapes and the user's source line."""

from __future__ import annotations

from typing import Any


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
    """A function handed to `ppl.external` raised an exception, or returned another shape or dtype than was declared.

    Attributes
    ----------
    site : name of the function, "" where several are called and it is not known which.
    row : row of the data set in which it was called, None without rows or where it is not known.
    arguments : what it was called with, None where that is not known.
    """

    def __init__(self, message: str, site: str = "", row: int | None = None, arguments: tuple[Any, ...] | None = None):
        super().__init__(message)
        self.site, self.row, self.arguments = site, row, arguments


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


class MissingFileError(DataError, FileNotFoundError):
    """The file of a state or checkpoint does not exist."""


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
