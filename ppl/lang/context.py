"""The thread-local tracing context: the trace being filled, open plates, scopes and substituted latents.

`trace_model` runs a model function once with symbolic arguments and returns its `Trace`, the compiler's
input.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import ModelError
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind
from ppl.lang.source import user_line
from ppl.lang.trace import Site, Trace

_local = threading.local()


@dataclass(eq=False)
class Context:
    """State of one running trace.

    `substitute` maps a latent's name to the guide's site whose value stands in for it (see `ppl.elbo`);
    `importance` is the axis of the samples that a multi-sample bound gives every node (see `ppl.iwae`).
    """

    trace: Trace
    plates: list[Axis] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    substitute: Mapping[str, Site] = field(default_factory=dict)
    allow_obs: bool = True
    importance: Axis | None = None

    def full_name(self, name: str) -> str:
        """`name` with the open scopes before it."""
        if not isinstance(name, str) or not name:
            raise ModelError(f"a name is a non-empty string, not {shown(name)}\n  at {user_line()}")
        return "/".join((*self.scopes, name))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The open plates, outermost first, then the importance axis."""
        return (*self.plates, *(() if self.importance is None else (self.importance,)))


def current() -> Context | None:
    """The innermost running trace of this thread, or None."""
    stack = getattr(_local, "stack", None)
    return stack[-1] if stack else None


def require(what: str) -> Context:
    """The running trace, or a ModelError saying that `what` belongs inside a model."""
    context = current()
    if context is None:
        raise ModelError(
            f"{what} was called outside a model: call it in a function decorated with @ppl.model and hand "
            f"that to ppl.compile\n  at {user_line()}"
        )
    return context


@contextmanager
def tracing(context: Context) -> Iterator[Context]:
    """Make `context` the running trace of this thread."""
    if not hasattr(_local, "stack"):
        _local.stack = []
    _local.stack.append(context)
    try:
        yield context
    finally:
        _local.stack.pop()


def check_open(axes: tuple[Axis, ...], what: str = "a value") -> None:
    """Raise a ModelError if `axes` has a plate that is not open in the running trace."""
    context = current()
    if context is None:
        return
    for axis in axes:
        if axis.kind is Kind.PLATE and axis not in context.axes:
            opened = ", ".join(repr(a.name) for a in context.plates) or "none"
            hint = (
                f"ppl.collect(value, {axis.name!r}) turns it into an event axis"
                if axis.size is not None
                else "move the line into the plate"
            )
            raise ModelError(
                f"{what} of plate {axis.name!r} is used outside it (open plates: {opened}); {hint}\n  at {user_line()}"
            )


def check_plates(node: Node, what: str) -> Node:
    """`node`, if all of its plates are open."""
    check_open(node.type.axes, what)
    return node


def dtype_name(dtype: Any) -> str:
    """The IR dtype ("float", "int", "bool") of a NumPy dtype."""
    try:
        found = np.dtype(dtype)
    except Exception:
        raise ModelError(f"{shown(dtype)} is not a dtype\n  at {user_line()}") from None
    kind = {"f": "float", "i": "int", "u": "int", "b": "bool"}.get(found.kind)
    if kind is None:
        raise ModelError(f"dtype {found} is not a number type\n  at {user_line()}")
    return kind
