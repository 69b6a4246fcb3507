"""`ppl.external`: a user's `@njit` function as a node, applied per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ppl.arguments import dimensions, flag, shown, text
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.types import union_axes
from ppl.lang.context import Context, check_plates, dtype_name, require
from ppl.lang.source import user_line
from ppl.lang.value import Value, lift


@dataclass(frozen=True)
class External:
    """The attribute `fn` of op `external`; two are equal if they call the same function objects."""

    function: Callable[..., Any]
    gradient: Callable[..., Any] | None
    key: bool
    name: str

    def __repr__(self) -> str:
        return f"External({self.name})"


def external(
    fn: Callable[..., Any],
    *values: Any,
    shape: int | Sequence[int] = (),
    dtype: Any = None,
    gradient: Callable[..., Any] | None = None,
    key: bool = False,
    name: str | None = None,
) -> Value:
    """Call a user's `@njit` function on one row at a time.

    Parameters
    ----------
    fn : an `@njit` function, called as `fn(*values)` or `fn(key, *values)`. It gets a scalar for a value of event shape
        () and a C-contiguous array for any other, and returns a scalar if `shape` is (), else an array of that shape.
    values : its arguments.
    shape, dtype : event shape and dtype (float by default) of the result.
    gradient : `gradient([key,] *values, g)` returns a tuple with the cotangent of every value; without it the
        function is a black box: no derivative passes, the graph counts it as discontinuous, and `ppl.compile` refuses
        parameters that enter it other than through a random node.
    key : hand `fn` a uint64 noise key per row and particle first, for `ppl.random.uniform(key, i)`.
    name : name of the noise key, unique among nodes; by default the function's name, numbered.

    Raises
    ------
    ModelError
        Outside a model, `fn` is not callable, or the key's name is taken; in the first call, if Numba cannot compile
        `fn` for its arguments, or it returns another kind of value than declared.
    SimulatorError
        In a call, if `fn` or `gradient` raises an exception or returns an array of another shape; it names function,
        row and arguments, and nothing is returned or moved. Compiled code that calls `program.njit` gets the exception.
    """
    context = require("ppl.external")
    line = user_line()
    if not callable(fn) or not (gradient is None or callable(gradient)):
        raise ModelError(f"external: {shown(fn if not callable(fn) else gradient)} is not a function\n  at {line}")
    flag("external: key", key, ModelError)
    base = (
        text("external: name", name, ModelError)
        if name is not None
        else str(getattr(fn, "__name__", type(fn).__name__))
    )
    nodes = [
        check_plates(lift(f"external {base!r}", ops.as_node, v).node, f"external {base!r}: an argument") for v in values
    ]
    axes = union_axes(*(n.type.axes for n in nodes), *((context.axes,) if key else ()))
    full = context.full_name(base)
    if key:
        full = _claim_key(context, full, name is not None, line)
        nodes.insert(0, make("rowkey", name=full, axes=axes))
    event = dimensions(f"external {base!r}: shape", shape, ModelError)
    args: list[Node] = [ops.expand(n, axes) for n in nodes]
    function = External(fn, gradient, key, full)
    kind = "float" if dtype is None else dtype_name(dtype)
    return Value(make("external", *args, fn=function, output=None, axes=axes, shape=event, dtype=kind))


def _claim_key(context: Context, full: str, explicit: bool, line: str) -> str:
    """Reserve a name for the noise key; a default name that is taken gets a number."""
    trace = context.trace
    taken = {**trace.rowkeys, **{k: s.where for k, s in (*trace.sites.items(), *trace.scored.items())}}
    if explicit and full in taken:
        raise ModelError(f"two nodes are called {full!r}\n  first at {taken[full]}\n  again at {line}")
    candidate, i = full, 1
    while candidate in taken:
        candidate, i = f"{full}_{i}", i + 1
    trace.rowkeys[candidate] = line
    return candidate
