"""Results by name: dicts whose missing names are errors of ppl that say which names there are."""

from __future__ import annotations

import difflib
import sys
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

    JAX takes one for a tree of its values, as it does a dict.
    """

    def __init__(self, what: str, *values: Any):
        super().__init__(*values)
        self.what = what
        if "jax" in sys.modules and not _known_to_jax:
            _tell_jax()

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


_known_to_jax: list[bool] = []
"""Not empty once JAX knows the class; a class of dicts that it does not know is a leaf to it."""


def _tell_jax() -> None:
    register = getattr(sys.modules.get("jax.tree_util"), "register_pytree_with_keys", None)
    key = getattr(sys.modules.get("jax.tree_util"), "DictKey", None)
    if register is None or key is None:  # JAX is being imported
        return
    _known_to_jax.append(True)
    register(
        Named,
        lambda named: ([(key(name), named[name]) for name in sorted(named)], tuple(sorted(named))),
        lambda names, values: Named("entry", zip(names, values, strict=True)),
    )
