"""Data arguments of a model: their specification, conversion of data to arrays, and the symbolic value that a plate
opens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.arguments import integer, masked, shown
from ppl.errors import DataError, ModelError
from ppl.ir.node import Node, make
from ppl.ir.types import Axis
from ppl.lang.context import current_context
from ppl.lang.source import user_line
from ppl.lang.trace import ArgumentSpec, Input, dtype_name
from ppl.lang.value import Value


def spec(shape: Sequence[int | None] | int | None, dtype: Any = np.float64) -> ArgumentSpec:
    """Describe a data argument without an example, e.g. `ppl.spec((None, 64), dtype=np.float32)`.

    Parameters
    ----------
    shape : full shape; None in front is a number of rows known at run time only.
    dtype : NumPy dtype; its kind (float, int, bool) matters, precision is that of the program.

    Raises
    ------
    ModelError
        None elsewhere than in front, or a dtype that is not a number.
    """
    several = isinstance(shape, Sequence) and not isinstance(shape, (str, bytes))
    full = tuple(shape) if several else (shape,)  # type: ignore[arg-type]
    if any(n is None for n in full[1:]):
        raise ModelError(f"spec: only the leading length may be None, not {full}\n  at {user_line()}")
    dtype_name(dtype)
    lengths = tuple(None if n is None else integer("spec: a length", n, 0, error=ModelError) for n in full)
    return ArgumentSpec(lengths, np.dtype(dtype))


def as_spec(example: Any, name: str = "") -> ArgumentSpec:
    """The spec of an example array (or a spec itself)."""
    if isinstance(example, ArgumentSpec):
        return example
    array = as_array(example, name)
    return ArgumentSpec(array.shape, array.dtype)


def as_array(value: Any, name: str) -> np.ndarray:
    """A data argument as an array of numbers.

    Raises
    ------
    DataError
        It is no array of numbers (ragged lists, objects, strings, complex numbers, sparse matrices), or it is a
        masked array with masked entries, which a mask of the model (`obs_mask`) has to leave out.
    """
    found = value if type(value) is np.ndarray else _convert_to_array(value, name)
    if found.dtype.kind not in "fiub":
        columns = _describe_non_numeric(value)
        if columns:
            raise DataError(
                f"data argument {name!r} has columns that hold no numbers: {columns}. Leave them out, or pass codes: "
                "pandas.get_dummies(frame), series.cat.codes"
            )
        raise DataError(f"data argument {name!r} has dtype {found.dtype}, which is not a number type")
    return found


def _describe_non_numeric(frame: Any) -> str:
    """Columns of a data frame, or the name of a series, that give no array of numbers, with an entry that is none."""
    named = getattr(frame, "name", None)
    try:
        columns = {str(c): frame[c] for c in frame.columns} if hasattr(frame, "columns") else {str(named): frame}
        arrays = {c: np.asarray(column) for c, column in columns.items()} if hasattr(frame, "dtypes") or named else {}
    except Exception:
        return ""
    bad = {c: x for c, x in arrays.items() if x.dtype.kind not in "fiub"}
    return ", ".join(f"{c!r} ({x.dtype}{_first_non_number(x)})" for c, x in bad.items())


def _first_non_number(column: np.ndarray) -> str:
    """The first entry of a column that is no number."""
    entry = next((x for x in column.tolist() if isinstance(x, bool) or not isinstance(x, (int, float))), None)
    return "" if entry is None and None not in column.tolist() else f", such as {shown(entry)}"


def _convert_to_array(value: Any, name: str) -> np.ndarray:
    if isinstance(value, Value):
        raise DataError(f"data argument {name!r} is a symbolic value of a model; pass an array")
    if masked(value):
        raise DataError(
            f"data argument {name!r} is a masked array: pass its .data, and the entries that count as another argument "
            "for obs_mask"
        )
    if hasattr(value, "toarray") and not hasattr(value, "__array__"):
        raise DataError(f"data argument {name!r} is a sparse {type(value).__name__}; pass its .toarray()")
    try:
        return np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" in str(error):
            raise DataError(f"data argument {name!r} is not an array: its rows have different lengths") from None
        raise DataError(f"data argument {name!r} is not an array of numbers: {error}") from error
    except Exception as error:
        raise DataError(f"data argument {name!r}, of {type(value).__name__}, gives no array: {error}") from error


class Argument(Value):
    """A data argument. A plate opens it; used directly it becomes the whole array with a static shape.

    With `row`, the plate hands back that value instead of the data (see `ppl.nce`).
    """

    __slots__ = ("name", "row", "spec")

    def __init__(self, name: str, spec: ArgumentSpec, row: Node | None = None):
        self.name, self.spec, self.row = name, spec, row

    def __repr__(self) -> str:
        return f"Argument({self.name!r}, {self.spec.shape})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Full shape, with None for a run-time length."""
        return self.spec.shape  # type: ignore[return-value]

    @property
    def dtype(self) -> str:
        """ "float", "int" or "bool"."""
        return self.spec.ir_dtype

    @property
    def node(self) -> Node:
        """The whole array as one leaf.

        Raises
        ------
        ModelError
            The leading length is known only at run time, or a plate opened this argument.
        """
        if None in self.spec.shape:
            raise ModelError(
                f"data argument {self.name!r} of shape {self.spec.shape} is used before a plate opens it: "
                f"write `with ppl.plate('data', {self.name}) as {self.name}:`\n  at {user_line()}"
            )
        return self._leaf(None, self.spec.shape)  # type: ignore[arg-type]

    def open(self, axis: Axis) -> Node:
        """The leaf of one row, the leading axis being plate `axis`."""
        if not self.spec.shape:
            raise ModelError(f"plate {axis.name!r}: argument {self.name!r} is a scalar\n  at {user_line()}")
        leaf = self._leaf(axis, self.spec.shape[1:])  # type: ignore[arg-type]
        return leaf if self.row is None else self.row

    def _leaf(self, axis: Axis | None, shape: tuple[int, ...]) -> Node:
        axes = () if axis is None else (axis,)
        node = make("input", name=self.name, axes=axes, shape=shape, dtype=self.spec.ir_dtype)
        context = current_context()
        if context is None:
            return node
        known = context.trace.inputs.setdefault(self.name, Input(self.name, axis, shape, self.spec.ir_dtype, node))
        if known.plate != axis or known.shape != shape:
            ways = [f"by plate {a.name!r}" if a else "whole" for a in (known.plate, axis)]
            raise ModelError(
                f"data argument {self.name!r} is used {ways[0]} and {ways[1]}: pass it a second time under "
                f"another name\n  at {user_line()}"
            )
        return known.node


def data_signature(names: Sequence[str], data: Sequence[Any]) -> tuple[Any, ...]:
    """The key by which data share a trace: event shapes, ranks and kinds of dtype."""
    parts = []
    for name, value in zip(names, data, strict=True):
        spec = value if isinstance(value, ArgumentSpec) else as_array(value, name)
        parts.append((spec.shape[1:], len(spec.shape), spec.dtype.kind))
    return tuple(parts)
