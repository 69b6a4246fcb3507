"""Binding data to a compiled program: shapes, dtypes, plate sizes, global rows, ranges, NaN.

Everything that can be wrong with an array is found here, before any kernel runs, and reported as a DataError."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ppl.arguments import MANY, array, integer, mapping, shown, too_large
from ppl.compiler.surrogate.data_checks import all_finite, find_checks, run_checks, unmasked_entries
from ppl.errors import DataError
from ppl.lang.arguments import as_array
from ppl.lang.trace import Input, Trace
from ppl.records import dataclass

NUMPY_DTYPES = {"int": np.dtype(np.int64), "bool": np.dtype(np.bool_)}

LARGEST_INT64 = int(np.iinfo(np.int64).max)


@dataclass
class BoundData:
    """Data ready for the backend."""

    arrays: tuple[np.ndarray, ...]
    rows: dict[str, int]
    row_ids: dict[str, Any]
    scales: dict[str, float]
    totals: dict[str, int]
    total: int = 1
    """Rows of the whole data set in the outermost plate that data open; 1 without one."""

    def part(self, plate: str | None, rowed: Sequence[bool], rows: slice) -> BoundData:
        """The same with some rows of a plate, of which `rowed` arrays have rows; N stays."""
        if plate is None:
            return self
        count = rows.stop - rows.start
        return BoundData(
            tuple(x[rows] if cut else x for x, cut in zip(self.arrays, rowed, strict=True)),
            self.rows | {plate: count},
            self.row_ids | {plate: self.row_ids[plate][rows]},
            self.scales | {plate: self.totals[plate] / count},
            self.totals,
            self.total,
        )


NO_DATA = BoundData((), {}, {}, {}, {})


class Binder:
    """Checks and converts the data arguments of one trace.

    `outer` is the outermost plate of run-time length, if there is one; `cut` says which arguments it opens, which are
    none that the model does not use.
    """

    def __init__(self, trace: Trace, arguments: tuple[str, ...], dtype: np.dtype):
        self.arguments = arguments
        self.inputs: list[Input] = [trace.inputs[name] for name in self.arguments if name in trace.inputs]
        self.dtype = dtype
        self.checks = list(find_checks(trace))
        self.plates = [a for a in trace.plates.values() if a.size is None]
        self.outer = next((a for a in self.plates if a.depth == 0), None)
        opened = {i.name for i in self.inputs if self.outer is not None and i.plate == self.outer}
        self.cut = tuple(name in opened for name in arguments)
        self.whole = {name: cost.name for cost in trace.costs.values() for name in cost.whole}

    def bind(self, data: Sequence[Any], rows: Any = None, total_rows: Any = None, check: bool = True,
             int32: Sequence[str] = (), first: int = 0, unread: Collection[str] = ()) -> BoundData:  # fmt: skip
        """Convert `data` (in argument order) and work out plate sizes, global rows and scales.

        `int32`: arguments of 32-bit integers that stay what they are. `first`: for messages, where the rows begin in
        the user's arrays. `unread`: arguments of which nothing but the number of rows counts.
        """
        if len(data) != len(self.arguments):
            raise DataError(f"the program needs its data: pass {', '.join(self.arguments)}")
        if not self.plates and (rows is not None or total_rows is not None):
            raise DataError(f"{'rows' if total_rows is None else 'total_rows'}= needs data that a ppl.plate opens")
        if not self.inputs:
            return NO_DATA
        given = dict(zip(self.arguments, data, strict=True))
        sizes: dict[str, int] = {}
        arrays = {i.name: self._convert(i, as_array(given[i.name], i.name), sizes, int32) for i in self.inputs}
        if check:
            self._refuse_overflow(given, arrays, first)
            checks = [c for c in self.checks if c.name not in unread] if unread else self.checks
            run_checks(checks, arrays, given, self.dtype, first)
        return self._rows(tuple(arrays.values()), sizes, rows, total_rows)

    def _convert(self, spec: Input, array: np.ndarray, sizes: dict[str, int], int32: Sequence[str]) -> np.ndarray:
        target = NUMPY_DTYPES.get(spec.dtype, self.dtype)
        target = array.dtype if spec.name in int32 else target
        if spec.dtype != "float" and array.dtype.kind == "f":
            raise DataError(f"argument '{spec.name}' holds {array.dtype}; the model was traced with integers")
        event = array.shape if spec.plate is None else array.shape[1:]
        if (spec.plate is not None and array.ndim == 0) or event != spec.shape:
            expected = spec.shape if spec.plate is None else ("rows", *spec.shape)
            raise DataError(f"argument '{spec.name}' has shape {array.shape}; the program expects {expected}")
        if not array.size:
            raise DataError(f"argument '{spec.name}' is empty: its shape is {array.shape}")
        if spec.plate is not None:
            n = sizes.setdefault(spec.plate.name, len(array))
            if n != len(array):
                first = next(i.name for i in self.inputs if i.plate is not None and i.plate.name == spec.plate.name)
                raise uneven_rows_error(spec.plate.name, spec.name, len(array), first, n)
        if array.dtype == np.uint64 and array.max() > LARGEST_INT64:
            at = tuple(int(i) for i in np.argwhere(array > LARGEST_INT64)[0])
            raise DataError(
                f"argument '{spec.name}' is {array[at]} at {at}, beyond the integers of 64 bits, {LARGEST_INT64}"
            )
        if type(array) is np.ndarray and array.dtype == target and array.flags.c_contiguous:
            return array
        with np.errstate(over="ignore"):
            try:
                return np.ascontiguousarray(array, dtype=target).reshape(array.shape)  # it makes a scalar a vector
            except MemoryError as error:
                too_large(f"argument '{spec.name}' of shape {array.shape}", error)

    def _refuse_overflow(self, given: Mapping[str, Any], arrays: Mapping[str, np.ndarray], first: int) -> None:
        """Raise if a finite number became infinite; masked observations are exempt."""
        for name, used in arrays.items():
            before = np.asarray(given[name])
            if before.dtype.kind != "f" or before.dtype.itemsize <= used.dtype.itemsize or all_finite(used):
                continue
            lost = np.isinf(used) & np.isfinite(before)
            for check in self.checks:
                if check.name == name and check.mask is not None:
                    lost &= unmasked_entries(used, check.mask, check.whole_rows, arrays)
            if lost.any():
                at = tuple(int(i) for i in np.argwhere(lost)[0])
                shown = (at[0] + first, *at[1:]) if at else at
                raise DataError(f"argument '{name}' is {before[at]} at {shown}, which overflows {self.dtype}")

    def _rows(self, arrays: tuple[np.ndarray, ...], sizes: dict[str, int], rows: Any, total_rows: Any) -> BoundData:
        for option, value in (("rows", rows), ("total_rows", total_rows)):
            require_known_plates(f"{option}=", value, sizes)
        ids: dict[str, Any] = {}
        scales: dict[str, float] = {}
        totals: dict[str, int] = {}
        for i, axis in enumerate(self.plates):
            n = sizes[axis.name]
            total = total_rows[axis.name] if isinstance(total_rows, Mapping) and axis.name in total_rows else None
            total = total_rows if total is None and i == 0 and not isinstance(total_rows, Mapping) else total
            own = rows.get(axis.name) if isinstance(rows, Mapping) else (rows if i == 0 else None)
            ids[axis.name] = parse_row_ids(own, n, axis.name)
            totals[axis.name] = n if total is None else _checked_total(total, n, axis.name)
            if totals[axis.name] != n and axis.name in self.whole:
                raise DataError(
                    f"cost '{self.whole[axis.name]}' sums latents out over all rows of plate '{axis.name}' together: "
                    f"it takes all {totals[axis.name]} rows in one call, {n} are given"
                )
            scales[axis.name] = 1.0 if total is None or n == 0 else totals[axis.name] / n
        return BoundData(arrays, sizes, ids, scales, totals, next(iter(totals.values()), 1))


def uneven_rows_error(plate: str, name: str, rows: int, first: str, wanted: int) -> DataError:
    """The error about an argument with other rows than the first one of its plate."""
    return DataError(f"plate '{plate}': argument '{name}' has {rows} rows, '{first}' has {wanted}")


def require_known_plates(option: str, value: Any, known: Collection[str]) -> None:
    """Raise if a dict of plates names one that the data do not open."""
    if isinstance(value, Mapping) and (unknown := sorted(set(mapping(option, value)) - set(known))):
        raise DataError(f"{option} names plate {unknown}; the data open {sorted(known)}")


def parse_row_ids(rows: Any, n: int, plate: str) -> Any:
    """The first of consecutive dataset rows, or all of them as an array."""
    if rows is None:
        return 0
    if isinstance(rows, slice):
        for end in (rows.start, rows.stop, rows.step):
            if end is not None:
                integer("rows=: an end of the slice", end, 0, LARGEST_INT64, DataError)
        if rows.step == 0:
            raise DataError("rows=: the step of the slice is 0")
        start, step = rows.start or 0, 1 if rows.step is None else rows.step
        named = range(start, start + n * step if rows.stop is None else rows.stop, step)
        if len(named) != n:
            raise DataError(f"rows= names {len(named)} dataset rows, but plate '{plate}' has {n}")
        ids = np.arange(named.start, named.stop, step)
    elif isinstance(rows, (int, np.integer)) and not isinstance(rows, (bool, np.bool_)):
        if not -LARGEST_INT64 <= rows <= LARGEST_INT64 - n:
            raise DataError(f"rows= begins at dataset row {rows}, beyond the integers of 64 bits")
        ids = np.asarray(rows)[None]
    else:
        ids = array("rows=", rows, DataError)
        if ids.dtype.kind not in "iu":
            raise DataError(f"rows= is the first dataset row, a slice or an array of whole numbers, not {shown(rows)}")
    if not isinstance(rows, (int, np.integer)) and ids.shape != (n,):
        raise DataError(f"rows= names {ids.size} dataset rows, but plate '{plate}' has {n}")
    if ids.size and ids.min() < 0:
        raise DataError(f"rows= holds dataset row {ids.min()}; rows are counted from 0")
    return int(rows) if isinstance(rows, (int, np.integer)) else np.ascontiguousarray(ids, dtype=np.int64)


def _checked_total(total: Any, n: int, plate: str) -> int:
    if integer("total_rows=", total, 1, MANY) < n:
        raise DataError(f"total_rows={total!r}: plate '{plate}' alone is given {n} rows of them")
    return int(total)
