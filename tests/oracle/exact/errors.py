"""Why the oracle has no answer. Callers count these; none is silent."""

from __future__ import annotations


class Cannot(Exception):
    """The oracle has no answer for this graph."""


class Unsupported(Cannot):
    """An op or a distribution that the oracle does not know."""


class TooLarge(Cannot):
    """More joint states than the oracle may hold."""


class Unstated(Cannot):
    """A cost that reads a discrete node both directly and through `stop_gradient`, in one term."""
