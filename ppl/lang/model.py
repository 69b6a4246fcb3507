"""`@ppl.model`: marks a function as a model, binds its static arguments, runs it inline in other models."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ppl.arguments import shown
from ppl.errors import ModelError
from ppl.lang.context import current
from ppl.lang.source import user_line


class Model:
    """A model: positional arguments are data, keyword-only ones are static Python values.

    Attributes
    ----------
    name : name of the function.
    function : the function itself.
    static : static arguments bound so far.
    arguments : names of the data arguments.
    """

    def __init__(self, function: Callable[..., Any], static: dict[str, Any] | None = None):
        if not callable(function) or not hasattr(function, "__name__") or isinstance(function, type):
            raise ModelError(f"ppl.model takes a function, not {shown(function)}")
        functools.update_wrapper(self, function)
        self.function = function
        self.static = dict(static or {})
        self.name = function.__name__
        parameters = inspect.signature(function).parameters.values()
        for p in parameters:
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                raise ModelError(f"model {self.name!r}: *{p.name} is not allowed, data arguments are matched by name")
        self.arguments = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.static_names = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    def bind(self, **static: Any) -> Model:
        """The model with keyword-only arguments set.

        Raises
        ------
        ModelError
            A name is not a keyword-only argument.
        """
        for name in static:
            if name not in self.static_names:
                known = ", ".join(self.static_names) or "none"
                raise ModelError(f"model {self.name!r} has no static argument {name!r} (it has: {known})")
        return Model(self.function, {**self.static, **static})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run inline in the model being traced; its nodes and parameters join that model's."""
        if current() is None:
            raise ModelError(
                f"model {self.name!r} was called outside a model: a model is not run but compiled, "
                f"program = ppl.compile({self.name})\n  at {user_line()}"
            )
        options = {**self.static, **kwargs}
        try:
            inspect.signature(self.function).bind(*args, **options)
        except TypeError as error:
            raise ModelError(f"model {self.name!r}: {error}\n  at {user_line()}") from None
        return self.function(*args, **options)

    def __repr__(self) -> str:
        return f"Model({self.name})"


def model(function: Callable[..., Any]) -> Model:
    """Declare a model, a function of data arrays that is traced once with symbolic values.

    Keyword-only arguments are static: they have a default or are given by `.bind(name=value)`.

    Raises
    ------
    ModelError
        The function takes *args or **kwargs.
    """
    return Model(function)
