"""`@ppl.model`: marks a function as a model, binds its static arguments, and runs it inline in other models."""

from __future__ import annotations

import functools
import importlib
import inspect
import operator
import pickle
import sys
from collections.abc import Callable
from typing import Any

from ppl.arguments import shown
from ppl.errors import ModelError
from ppl.lang.context import current_context
from ppl.lang.source import user_line
from ppl.notebook.html import code_block, titled_block


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
                hint = (
                    f": {name!r} is a data argument. Static ones stand after a star, def {self.name}(..., *, {name})"
                    if name in self.arguments
                    else ""
                )
                raise ModelError(f"model {self.name!r} has no static argument {name!r} (it has: {known}){hint}")
        return Model(self.function, {**self.static, **static})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run inline in the model being traced; its nodes and parameters join that model's."""
        if current_context() is None:
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

    def _repr_html_(self) -> str:
        """Its source, where it can be found."""
        static = "".join(f", {name}={shown(value)}" for name, value in self.static.items())
        title = f"Model {self.name}({', '.join(self.arguments)}{static})"
        try:
            return titled_block(title, code_block(inspect.getsource(self.function)))
        except (OSError, TypeError):
            return titled_block(title)

    def __reduce__(self) -> tuple[Any, ...]:
        """By reference where the function's name leads to it; else with the function's code, by cloudpickle."""
        module, name = self.function.__module__, self.function.__qualname__
        if module != "__main__" and self._is_known_as(module, name) and _can_be_pickled(self.static):
            return referred, (module, name, self.static)
        try:
            from cloudpickle import dumps  # optional
        except ImportError:
            if module == "__main__" and self._is_known_as(module, name) and _can_be_pickled(self.static):
                return referred, (module, name, self.static)
            raise ModelError(
                f"model {self.name!r} cannot be pickled: {name} of {module} is not found by its name, or a static "
                "argument cannot be pickled. Define the model with `def` at the top of a module, or install cloudpickle"
            ) from None
        return rebuilt, (dumps((self.function, self.static)),)

    def _is_known_as(self, module: str, name: str) -> bool:
        """Whether a name of a module leads to this model's function."""
        try:
            found = operator.attrgetter(name)(sys.modules[module])
        except (AttributeError, KeyError):
            return False
        return getattr(found, "function", found) is self.function


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # whatever its classes raise
        return False
    return True


def referred(module: str, name: str, static: dict[str, Any]) -> Model:
    """The model that was pickled as a name of a module.

    Raises
    ------
    ModelError
        The module cannot be imported, or has no such model.
    """
    try:
        found = operator.attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ModelError(f"a pickled model is {name!r} of module {module!r}, which is not there: {error}") from error
    return Model(getattr(found, "function", found), static)


def rebuilt(content: bytes) -> Model:
    """The model that was pickled with its code."""
    return Model(*pickle.loads(content))


def model(function: Callable[..., Any]) -> Model:
    """Declare a model, a function of data arrays that is traced once with symbolic values.

    Keyword-only arguments are static: they have a default or are given by `.bind(name=value)`.

    Raises
    ------
    ModelError
        The function takes *args or **kwargs.
    """
    return Model(function)
