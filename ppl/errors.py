"""The four exceptions of the package; every message names the node, the shapes and the user's source line."""

from __future__ import annotations


class PplError(Exception):
    """Base class of all errors raised by ppl."""


class ModelError(PplError):
    """A model is declared wrongly: duplicate names, plates mixed, a symbolic value used as a Python number."""


class ShapeError(ModelError):
    """Event shapes or plates do not fit together."""


class EstimatorError(PplError):
    """No admissible gradient estimator exists for a node, or a named one does not support it."""


class DataError(PplError):
    """Data handed to a compiled program does not fit its declaration."""
