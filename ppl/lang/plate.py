"""Plates and scopes: `ppl.plate`, `ppl.collect`, `ppl.row_index`, `ppl.scope`.

A plate is a named axis of conditionally independent rows. Its depth is its position in the stack of open plates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.types import Axis, Kind
from ppl.lang.arguments import Argument
from ppl.lang.context import Context, current_context, require_context, require_valid_name
from ppl.lang.source import user_line
from ppl.lang.value import Value, as_value, lift

RESERVED_PLATES = {"particles", "particles_total", "repeats", "branch", "importance", "noise", "eager"}


class plate:
    """Context manager of conditionally independent rows.

    ``with ppl.plate("data", x, y) as (x, y):`` opens over the leading axes of data arguments (a run-time
    length); with constants, parameters or other values among them, or alone, the length is fixed: ``with
    ppl.plate("J", y, theta) as (y, theta):`` takes as many rows of data as `theta` has, and no minibatches.
    ``with ppl.plate("k", 10) as i:`` opens 10 rows and hands back the row index. With one array it hands back
    that row, with several a tuple.

    Parameters
    ----------
    name : name of the plate; a model and its guide open the same plates. Scopes do not change it.
    over : arrays of one leading length, or one int. A value that varies over this plate already (the plate
        was open before) is handed back as it is.

    Raises
    ------
    ModelError
        The name is reserved or open already, or arrays of a fixed length are mixed with data whose length is not
        known when the model is traced.
    ShapeError
        Leading lengths differ, or the plate had another length or position before.
    """

    def __init__(self, name: str, *over: Any):
        self.name, self.over = name, over
        self.line = user_line()
        self.axis: Axis | None = None
        require_valid_name(name)
        if name in RESERVED_PLATES:
            raise ModelError(
                f"plate name {name!r} is reserved ({', '.join(sorted(RESERVED_PLATES))})\n  at {self.line}"
            )
        if not over:
            raise ModelError(f"plate {name!r} needs arrays or a size\n  at {self.line}")

    def __enter__(self) -> Any:
        context = require_context("ppl.plate")
        if any(a.name == self.name for a in context.plates):
            raise ModelError(f"plate {self.name!r} is open already\n  at {self.line}")
        counted = len(self.over) == 1 and isinstance(self.over[0], (int, np.integer))
        arrays = [] if counted else [a if isinstance(a, Value) else as_value(a) for a in self.over]
        nodes = [None if isinstance(a, Argument) else a.node for a in arrays]
        size = int(self.over[0]) if counted else self._row_count(arrays, nodes)
        if size is None and context.loops:
            raise ModelError(
                f"plate {self.name!r} has a run-time number of rows and is opened inside a step of ppl.scan: open it "
                f"around the loop\n  at {self.line}"
            )
        if size is not None and size < 1:
            raise ShapeError(f"plate {self.name!r} has {size} rows\n  at {self.line}")
        axis = Axis(self.name, Kind.PLATE, size, len(context.plates))
        self._register(context, axis)
        context.plates.append(axis)
        self.axis = axis
        try:
            if counted:
                return Value(make("rowid", axis=axis))
            rows = tuple(self._row_of(a, n, axis) for a, n in zip(arrays, nodes, strict=True))
        except ModelError:
            context.plates.pop()
            raise
        return rows[0] if len(rows) == 1 else rows

    def __exit__(self, *error: Any) -> None:
        context = current_context()
        assert context is not None and context.plates[-1] == self.axis
        context.plates.pop()

    def _axis_from_earlier(self, node: Node) -> Axis | None:
        """The axis of this plate that `node` has from an earlier opening."""
        return next((a for a in node.type.axes if a.kind is Kind.PLATE and a.name == self.name), None)

    def _row_count(self, arrays: list[Value], nodes: list[Node | None]) -> int | None:
        lengths: dict[str, int | None] = {}
        runtime = []
        for i, (array, node) in enumerate(zip(arrays, nodes, strict=True)):
            label = array.name if isinstance(array, Argument) else f"array {i}"
            if node is None:
                assert isinstance(array, Argument)
                runtime.append(array.name)
                lengths[label] = array.shape[0] if array.shape else None
            elif (axis := self._axis_from_earlier(node)) is not None:
                runtime += [label] if axis.size is None else []
                lengths[label] = axis.size
            elif not node.type.shape:
                raise ShapeError(f"plate {self.name!r}: {label} is a scalar, it has no rows\n  at {self.line}")
            else:
                lengths[label] = node.type.shape[0]
        if len({n for n in lengths.values() if n is not None}) > 1:
            listed = ", ".join(f"{k}: {n}" for k, n in lengths.items())
            raise ShapeError(f"plate {self.name!r}: leading lengths differ ({listed})\n  at {self.line}")
        fixed = [k for k in lengths if k not in runtime]
        known = require_context("ppl.plate").trace.plates.get(self.name)
        if runtime and (fixed or (known is not None and known.size is not None)):
            self._require_static_rows(lengths, runtime, arrays, fixed)
            return lengths[runtime[0]]
        return None if runtime else next(iter(lengths.values()))

    def _require_static_rows(
        self, lengths: dict[str, int | None], runtime: list[str], arrays: list[Value], fixed: list[str]
    ) -> None:
        """Raise where data that are to have a fixed number of rows have not, or are rows of another kind."""
        data = {a.name for a in arrays if isinstance(a, Argument) and a.row is None}
        unknown = ", ".join(k for k in runtime if lengths[k] is None or k not in data)
        if unknown:
            raise ModelError(
                f"plate {self.name!r} opens over {unknown}, whose rows are known at run time only, and over "
                f"{', '.join(fixed) or 'a fixed number of rows'}: give example data or a fixed length in ppl.spec, or "
                f"pass the other arrays as data arguments too\n  at {self.line}"
            )

    def _register(self, context: Context, axis: Axis) -> None:
        trace = context.trace
        known = trace.plates.setdefault(axis.name, axis)
        lines = f"\n  first at {trace.plate_lines.setdefault(axis.name, self.line)}\n  again at {self.line}"
        if known.size != axis.size:
            sizes = ["a run-time number of" if n is None else n for n in (known.size, axis.size)]
            raise ShapeError(f"plate {axis.name!r} has {sizes[0]} rows and {sizes[1]} rows{lines}")
        now = tuple(context.plates)
        outer = trace.outer_plates.setdefault(axis.name, now)
        if outer != now:
            nests = [", ".join(a.name for a in axes) or "no plate" for axes in (outer, now)]
            raise ShapeError(f"plate {axis.name!r} is opened inside {nests[0]}, and inside {nests[1]}{lines}")

    def _row_of(self, array: Value, node: Node | None, axis: Axis) -> Value:
        if node is None:
            assert isinstance(array, Argument)
            if axis.size is None:
                return Value(array.open(axis))
            node = array.node  # as many rows as were traced
        if self._axis_from_earlier(node) is not None:
            return Value(node)
        return lift(f"plate {self.name!r}", ops.distribute, Value(node), axis=axis)


@contextmanager
def reopen_plates(axes: Sequence[Axis]) -> Iterator[None]:
    """Open plates as another trace opened them, the outermost first."""
    context = require_context("ppl.plate")
    before = len(context.plates)
    try:
        for axis in axes:
            plate(axis.name, 1)._register(context, axis)
            context.plates.append(axis)
        yield
    finally:
        del context.plates[before:]


def row_index(name: str) -> Value:
    """The number of a row of an open plate, in the whole data set: minibatches have the numbers of their rows.

    A table `ppl.param("t", init, shape=(N, ...))[ppl.row_index("data")]` has a parameter for every row.

    Parameters
    ----------
    name : name of the plate.

    Returns
    -------
    Value
        An integer, of event shape ().

    Raises
    ------
    ModelError
        The plate is not open.
    """
    context = require_context("ppl.row_index")
    axis = next((a for a in context.plates if a.name == name), None)
    if axis is None:
        opened = ", ".join(repr(a.name) for a in context.plates) or "none"
        raise ModelError(f"row_index: plate {shown(name)} is not open (open plates: {opened})\n  at {user_line()}")
    return Value(make("rowid", axis=axis))


def collect(value: Any, plate: Any) -> Value:
    """Turn a fixed-size plate of `value` into its leading event axis.

    Parameters
    ----------
    value : a value inside the plate.
    plate : the plate's name.

    Raises
    ------
    ModelError
        There is no such plate, or its number of rows is known at run time only.
    """
    context = require_context("ppl.collect")
    name = getattr(plate, "name", plate)
    axis = context.trace.plates.get(name) if isinstance(name, str) else None
    if axis is None:
        known = ", ".join(map(repr, context.trace.plates)) or "none"
        raise ModelError(f"collect: there is no plate {shown(name)} (there are: {known})\n  at {user_line()}")
    if axis.size is None:
        raise ModelError(
            f"collect: the rows of plate {name!r} are known at run time only; no operation reduces over a "
            f"data plate (a cost inside it is summed)\n  at {user_line()}"
        )
    return lift("collect", ops.collect, value, axis=axis)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Put `name/` before the names of nodes and parameters declared inside."""
    context = require_context("ppl.scope")
    context.full_name(name)
    context.scopes.append(name)
    try:
        yield
    finally:
        context.scopes.pop()
