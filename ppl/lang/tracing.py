"""Tracing: run a model once with symbolic arguments and record what it declares. The first stage of the pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ppl.errors import ModelError
from ppl.ir.node import Node
from ppl.ir.types import Axis
from ppl.lang.arguments import Argument, as_spec
from ppl.lang.context import Context, activate
from ppl.lang.source import line_of_error
from ppl.lang.trace import Site, Trace


def trace_model(
    fn: Callable[..., Any],
    arguments: Mapping[str, Any],
    static: Mapping[str, Any] | None = None,
    *,
    into: Trace | None = None,
    substitute: Mapping[str, Site] | None = None,
    allow_obs: bool = True,
    importance: Axis | None = None,
    rows: Mapping[str, Node] | None = None,
) -> Trace:
    """Run `fn` once with symbolic arguments and record what it declares.

    Parameters
    ----------
    fn : a function or `Model`; positional parameters are data, keyword-only ones static.
    arguments : name -> `ArgumentSpec` or example array. Names that `fn` does not take are ignored.
    static : values of keyword-only parameters.
    into : a trace to continue (a guide's, when tracing its model), by default a new one.
    substitute : guide sites by name. A latent of such a name takes the guide's value and is recorded in
        `trace.scored` as a SCORED site instead of `trace.sites`.
    allow_obs : False where observations make no sense (a guide).
    importance : an axis that every node of the model gets beside its plates.
    rows : values that stand in for the rows of data arguments, by name.

    Raises
    ------
    ModelError
        A data argument or static value is missing, or the model is declared wrongly.
    """
    function = getattr(fn, "function", fn)
    bound = {**getattr(fn, "static", {}), **(static or {})}
    trace = Trace() if into is None else into
    positional: list[Any] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            if name not in bound and parameter.default is parameter.empty:
                raise ModelError(f"model {function.__name__!r} needs static argument {name!r}: use .bind({name}=...)")
        elif name in arguments:
            spec = as_spec(arguments[name], name)
            trace.arguments[name] = spec
            positional.append(Argument(name, spec, (rows or {}).get(name)))
        elif parameter.default is not parameter.empty:
            positional.append(parameter.default)
        else:
            raise ModelError(f"model {function.__name__!r} needs data argument {name!r}, of which no example was given")
    context = Context(trace, substitute=substitute or {}, allow_obs=allow_obs, importance=importance)
    with activate(context), locating_errors():
        trace.returned = function(*positional, **bound)
    return trace


@contextmanager
def locating_errors() -> Iterator[None]:
    """Add the user's line to a ModelError that does not name one, e.g. one of a distribution's parameters.

    NumPy hides the error of a conversion behind a ValueError of its own when an entry of an array is assigned.
    """
    try:
        try:
            yield
        except ValueError as error:
            if isinstance(error.__cause__, ModelError):
                raise error.__cause__ from None
            raise
    except ModelError as error:
        if "\n  at " in str(error) or "\n  first at " in str(error) or "\n  guide at " in str(error):
            raise
        raise type(error)(f"{error}\n  at {line_of_error(error)}").with_traceback(error.__traceback__) from None
