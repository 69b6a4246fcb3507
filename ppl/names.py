"""Results by name: dicts whose missing names are errors of ppl that say which names there are."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any, NoReturn, TypeVar

from ppl.arguments import shown
from ppl.errors import UnknownNameError

V = TypeVar("V")
LISTED = 12
"""Names that a message lists at most."""


def unknown(what: str, name: Any, known: Collection[Any]) -> NoReturn:
    """Raise for a `what` ("node", "parameter", ...) of a name that is not among those known."""
    names = [str(item) for item in known]
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6) if isinstance(name, str) else []
    guess = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    listed = ", ".join(names[:LISTED]) + (f", … ({len(names)} in all)" if len(names) > LISTED else "")
    raise UnknownNameError(f"no {what} named {shown(name)}: {guess}there are {listed or 'none'}")


class Named(dict[str, V]):
    """A dict by name; a missing name raises `UnknownNameError`, which is a KeyError and lists what there is.

    Arrays by parameter (parameters, gradients, updates) are plain dicts, which other libraries take for trees.
    """

    def __init__(self, what: str, *values: Any):
        super().__init__(*values)
        self.what = what

    def __getitem__(self, name: Any) -> V:
        try:
            return super().__getitem__(name)
        except (KeyError, TypeError):  # a TypeError for what cannot be a name, such as a list
            pass
        unknown(self.what, name, self)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, dict(self))

    def copy(self) -> Named[V]:
        """A copy, of the same kind."""
        return type(self)(self.what, self)
