"""Binding data to a compiled program: shapes, dtypes, plate sizes, global rows, ranges, NaN.

Everything that can be wrong with an array is found here, before any kernel runs, and reported as a DataError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl.distributions import Bernoulli, Categorical, OneHotCategorical
from ppl.errors import DataError
from ppl.ir.node import Node, topological
from ppl.lang.trace import Input, SiteKind, Trace

NUMPY_DTYPES = {"int": np.dtype(np.int64), "bool": np.dtype(np.bool_)}


@dataclass(frozen=True)
class Check:
    """A condition on a data argument: integers below `bound`, or no NaN and values in [0, 1] if `unit`.

    Entries where the argument `mask` is false are exempt.
    """

    name: str
    why: str
    bound: int | None = None
    mask: str | None = None
    unit: bool = False


@dataclass
class Bound:
    """Data ready for the backend."""

    arrays: tuple[np.ndarray, ...]
    rows: dict[str, int]
    row_ids: dict[str, Any]
    scales: dict[str, float]
    totals: dict[str, int]


NOTHING = Bound((), {}, {}, {}, {})


class Binder:
    """Checks and converts the data arguments of one trace."""

    def __init__(self, trace: Trace, arguments: tuple[str, ...], dtype: np.dtype):
        self.arguments = arguments
        self.inputs: list[Input] = [trace.inputs[name] for name in self.arguments if name in trace.inputs]
        self.dtype = dtype
        self.checks = list(_find_checks(trace))
        self.plates = [a for a in trace.plates.values() if a.size is None]

    def bind(self, data: Sequence[Any], rows: Any = None, total_rows: Any = None, check: bool = True) -> Bound:
        """Convert `data` (in argument order) and work out plate sizes, global rows and scales."""
        if not self.inputs:
            return NOTHING
        given = dict(zip(self.arguments, data, strict=True))
        sizes: dict[str, int] = {}
        arrays = tuple(self._convert(i, given[i.name], sizes) for i in self.inputs)
        if check:
            self._check(dict(zip((i.name for i in self.inputs), arrays, strict=True)))
        return self._rows(arrays, sizes, rows, total_rows)

    def _convert(self, spec: Input, value: Any, sizes: dict[str, int]) -> np.ndarray:
        target = NUMPY_DTYPES.get(spec.dtype, self.dtype)
        array = np.asarray(value)
        if spec.dtype != "float" and array.dtype.kind == "f":
            raise DataError(f"argument '{spec.name}' holds {array.dtype}; the model was traced with integers")
        array = np.ascontiguousarray(array, dtype=target)
        event = array.shape if spec.plate is None else array.shape[1:]
        if (spec.plate is not None and array.ndim == 0) or event != spec.shape:
            expected = spec.shape if spec.plate is None else ("rows", *spec.shape)
            raise DataError(f"argument '{spec.name}' has shape {array.shape}; the program expects {expected}")
        if spec.plate is not None:
            n = sizes.setdefault(spec.plate.name, len(array))
            if n != len(array):
                raise DataError(
                    f"plate '{spec.plate.name}': argument '{spec.name}' has {len(array)} rows, an earlier one {n}"
                )
        return array

    def _check(self, arrays: dict[str, np.ndarray]) -> None:
        for check in self.checks:
            array = arrays[check.name]
            if check.bound is not None:
                if array.size and (array.min() < 0 or array.max() >= check.bound):
                    bad = array[(array < 0) | (array >= check.bound)].flat[0]
                    raise DataError(f"argument '{check.name}' holds {bad}, outside 0 … {check.bound - 1} ({check.why})")
            else:
                self._check_floats(check, array, arrays)

    def _check_floats(self, check: Check, array: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
        wrong = np.zeros(array.shape, bool)
        if np.isnan(array.sum()):
            wrong = np.isnan(array)
        if check.unit and array.size and not (array.min() >= 0 and array.max() <= 1):
            wrong = ~((array >= 0) & (array <= 1))
        if check.mask is not None:
            wrong &= arrays[check.mask].astype(bool)
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            problem = f"is {array[at]} at {at}"
            expected = "values in [0, 1]" if check.unit else "numbers"
            hint = "; leave missing entries out with obs_mask" if np.isnan(array[at]) else ""
            raise DataError(f"argument '{check.name}' {problem}; {check.why} expects {expected}{hint}")

    def _rows(self, arrays: tuple[np.ndarray, ...], sizes: dict[str, int], rows: Any, total_rows: Any) -> Bound:
        ids: dict[str, Any] = {}
        scales: dict[str, float] = {}
        totals: dict[str, int] = {}
        for i, axis in enumerate(self.plates):
            n = sizes[axis.name]
            total = total_rows[axis.name] if isinstance(total_rows, Mapping) and axis.name in total_rows else None
            total = total_rows if total is None and i == 0 and not isinstance(total_rows, Mapping) else total
            own = rows.get(axis.name) if isinstance(rows, Mapping) else (rows if i == 0 else None)
            ids[axis.name] = _row_ids(own, n, axis.name)
            totals[axis.name] = n if total is None else int(total)
            scales[axis.name] = 1.0 if total is None or n == 0 else totals[axis.name] / n
        return Bound(arrays, sizes, ids, scales, totals)


def _row_ids(rows: Any, n: int, plate: str) -> Any:
    if rows is None:
        return 0
    if isinstance(rows, slice):
        rows = np.arange(rows.start or 0, (rows.start or 0) + n)
    if isinstance(rows, (int, np.integer)):
        return int(rows)
    ids = np.ascontiguousarray(rows, dtype=np.int64)
    if ids.shape != (n,):
        raise DataError(f"rows= names {ids.size} dataset rows, but plate '{plate}' has {n}")
    return ids


def _leaf(node: Node) -> Node | None:
    """The input leaf that `node` shows unchanged, if any."""
    while node.op in ("cast", "expand", "reshape", "slice", "transpose", "distribute"):
        node = node.args[0]
    return node if node.op == "input" else None


def _find_checks(trace: Trace):  # type: ignore[no-untyped-def]
    nodes = [s.node for s in trace.sites.values() if s.node is not None] + [c.node for c in trace.costs.values()]
    for site in trace.sites.values():
        leaf = _leaf(site.observed) if site.kind is SiteKind.OBSERVED and site.observed is not None else None
        if leaf is None:
            continue
        if isinstance(site.dist, Categorical):
            classes = next(iter(site.dist.params.values())).type.shape[-1]
            yield Check(leaf.attrs["name"], f"observed by '{site.name}', a Categorical", bound=classes)
        elif leaf.type.dtype == "float":
            mask = _leaf(site.mask) if site.mask is not None else None
            name = mask.attrs["name"] if mask is not None and mask.type.shape == leaf.type.shape else None
            if site.mask is not None and name is None:
                continue  # a computed mask: which entries count is known only inside the program
            unit = isinstance(site.dist, (Bernoulli, OneHotCategorical))
            yield Check(leaf.attrs["name"], f"observed node '{site.name}'", mask=name, unit=unit)
    for node in topological(nodes):
        if node.op == "take":
            leaf = _leaf(node.args[1])
            if leaf is not None:
                yield Check(leaf.attrs["name"], "used as an index", bound=node.args[0].type.shape[0])
