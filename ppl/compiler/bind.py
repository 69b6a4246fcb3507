"""Binding data to a compiled program: shapes, dtypes, plate sizes, global rows, ranges, NaN.

Everything that can be wrong with an array is found here, before any kernel runs, and reported as a DataError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl.distributions import Bernoulli, Categorical, OneHotCategorical
from ppl.distributions.checks import CONSTRAINTS
from ppl.distributions.conditions import RANGES, ROWS, WHOLE, Condition
from ppl.distributions.intervals import Interval
from ppl.errors import DataError
from ppl.ir.node import Node, topological
from ppl.lang.trace import Input, Site, SiteKind, Trace

NUMPY_DTYPES = {"int": np.dtype(np.int64), "bool": np.dtype(np.bool_)}


@dataclass(frozen=True)
class Check:
    """A condition on a data argument: integers below `bound`, or no NaN and values in [0, 1] if `unit`, or a
    distribution's `constraint`.

    Entries where the argument `mask` is false are exempt; `whole_rows`: it has one truth value a row.
    """

    name: str
    why: str
    bound: int | None = None
    mask: str | None = None
    unit: bool = False
    whole_rows: bool = False
    constraint: str = ""

    def counting(self, wrong: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Where an entry is wrong and not masked out."""
        if self.mask is None:
            return wrong
        mask = arrays[self.mask].astype(bool)
        return wrong & (mask.reshape(-1, *(1,) * (wrong.ndim - 1)) if self.whole_rows else mask)


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

    def bind(self, data: Sequence[Any], rows: Any = None, total_rows: Any = None, check: bool = True,
             narrow: Sequence[str] = ()) -> Bound:  # fmt: skip
        """Convert `data` (in argument order) and work out plate sizes, global rows and scales.

        `narrow`: arguments of 32-bit integers that stay what they are.
        """
        if len(data) != len(self.arguments):
            raise DataError(f"the program needs its data: pass {', '.join(self.arguments)}")
        if not self.inputs:
            return NOTHING
        given = dict(zip(self.arguments, data, strict=True))
        sizes: dict[str, int] = {}
        arrays = tuple(self._convert(i, given[i.name], sizes, narrow) for i in self.inputs)
        if check:
            self._check(dict(zip((i.name for i in self.inputs), arrays, strict=True)))
        return self._rows(arrays, sizes, rows, total_rows)

    def _convert(self, spec: Input, value: Any, sizes: dict[str, int], narrow: Sequence[str]) -> np.ndarray:
        array = np.asarray(value)
        target = NUMPY_DTYPES.get(spec.dtype, self.dtype)
        target = array.dtype if spec.name in narrow else target
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
                first = next(i.name for i in self.inputs if i.plate is not None and i.plate.name == spec.plate.name)
                raise DataError(
                    f"plate '{spec.plate.name}': argument '{spec.name}' has {len(array)} rows, '{first}' has {n}"
                )
        return array

    def _check(self, arrays: dict[str, np.ndarray]) -> None:
        for check in self.checks:
            array = arrays[check.name]
            if check.constraint:
                self._check_parameter(check, array, arrays)
            elif check.bound is not None:
                kind, most = array.dtype.type, min(check.bound, np.iinfo(np.int32).max) - 1
                if array.size and self._inside(array, kind(0), kind(most)) < array.size:
                    wrong = check.counting((array < 0) | (array >= check.bound), arrays)
                    if wrong.any():
                        problem = f"holds {array[wrong][0]}, outside 0 … {check.bound - 1}"
                        raise DataError(f"argument '{check.name}' {problem} ({check.why})")
            else:
                self._check_floats(check, array, arrays)

    def _check_parameter(self, check: Check, array: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
        """An argument that is a parameter: one pass, and a second one only where that finds something."""
        wanted, allowed = CONSTRAINTS[check.constraint]
        quick = RANGES[check.constraint] if check.constraint not in (*ROWS, *WHOLE) else None
        if quick is not None and self._all_inside(array, quick):
            return
        with np.errstate(invalid="ignore"):
            wrong = check.counting(~np.asarray(allowed(array)), arrays)
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise DataError(f"argument '{check.name}' is {array[at]} at {at}; {check.why} must be {wanted}")

    def _all_inside(self, array: np.ndarray, interval: Interval) -> bool:
        low, high = self.dtype.type(interval.lo), self.dtype.type(interval.hi)
        low = np.nextafter(low, self.dtype.type(np.inf)) if interval.lo_open else low
        high = np.nextafter(high, self.dtype.type(-np.inf)) if interval.hi_open else high
        flat = array if array.dtype == self.dtype else array.astype(self.dtype)
        return self._inside(flat, low, high) == array.size

    @staticmethod
    def _inside(array: np.ndarray, low: Any, high: Any) -> int:
        from ppl.kernels.cpu.checks import count_inside

        return int(count_inside(array.reshape(-1), low, high))

    def _check_floats(self, check: Check, array: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
        if not array.size:
            return
        low, high = (0.0, 1.0) if check.unit else (-np.inf, np.inf)
        if self._inside(array, self.dtype.type(low), self.dtype.type(high)) == array.size:
            return
        wrong = ~((array >= 0) & (array <= 1)) if check.unit else np.isnan(array)
        wrong = check.counting(wrong, arrays)
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            problem = f"is {array[at]} at {at}"
            expected = "values in [0, 1]" if check.unit else "numbers"
            hint = "; leave missing entries out with obs_mask" if np.isnan(array[at]) else ""
            raise DataError(f"argument '{check.name}' {problem}; {check.why} expects {expected}{hint}")

    def _rows(self, arrays: tuple[np.ndarray, ...], sizes: dict[str, int], rows: Any, total_rows: Any) -> Bound:
        for option, value in (("rows", rows), ("total_rows", total_rows)):
            if isinstance(value, Mapping) and (unknown := sorted(set(value) - set(sizes))):
                raise DataError(f"{option}= names plate {unknown}; the data open {sorted(sizes)}")
        ids: dict[str, Any] = {}
        scales: dict[str, float] = {}
        totals: dict[str, int] = {}
        for i, axis in enumerate(self.plates):
            n = sizes[axis.name]
            total = total_rows[axis.name] if isinstance(total_rows, Mapping) and axis.name in total_rows else None
            total = total_rows if total is None and i == 0 and not isinstance(total_rows, Mapping) else total
            own = rows.get(axis.name) if isinstance(rows, Mapping) else (rows if i == 0 else None)
            ids[axis.name] = _row_ids(own, n, axis.name)
            totals[axis.name] = n if total is None else _total(total, n, axis.name)
            scales[axis.name] = 1.0 if total is None or n == 0 else totals[axis.name] / n
        return Bound(arrays, sizes, ids, scales, totals)


def _row_ids(rows: Any, n: int, plate: str) -> Any:
    """The first of consecutive dataset rows, or all of them as an array."""
    if rows is None:
        return 0
    if isinstance(rows, slice):
        start, step = rows.start or 0, 1 if rows.step is None else rows.step
        ids = np.arange(start, start + n * step if rows.stop is None else rows.stop, step)
    elif isinstance(rows, (int, np.integer)):
        ids = np.asarray(rows)[None]
    else:
        ids = np.asarray(rows)
        if ids.dtype.kind not in "iu":
            raise DataError(f"rows= is the first dataset row, a slice or an array of whole numbers, not {rows!r}")
    if not isinstance(rows, (int, np.integer)) and ids.shape != (n,):
        raise DataError(f"rows= names {ids.size} dataset rows, but plate '{plate}' has {n}")
    if ids.size and ids.min() < 0:
        raise DataError(f"rows= holds dataset row {ids.min()}; rows are counted from 0")
    return int(rows) if isinstance(rows, (int, np.integer)) else np.ascontiguousarray(ids, dtype=np.int64)


def _total(total: Any, n: int, plate: str) -> int:
    if not isinstance(total, (int, np.integer)) or total < n:
        raise DataError(f"total_rows={total!r}: plate '{plate}' alone is given {n} rows of them")
    return int(total)


def _leaf(node: Node) -> Node | None:
    """The input leaf that `node` shows unchanged, if any."""
    while node.op in ("cast", "expand", "reshape", "slice", "transpose", "distribute"):
        node = node.args[0]
    return node if node.op == "input" else None


def fed_by(site: Site, condition: Condition) -> Node | None:
    """The argument that is the parameter of `condition` as it stands, so that it is checked when it is bound."""
    node, dist = condition.value, site.dist
    while node.op in ("cast", "expand", "reshape", "transpose", "distribute"):
        node = node.args[0]
    if node.op != "input" or not condition.constraint or dist is None or dist.event_mask is not None:
        return None
    if site.mask is None:
        return node
    mask = _leaf(site.mask)
    fits = mask is not None and mask.type.axes == node.type.axes and mask.type.shape in ((), node.type.shape)
    return node if fits else None


def _parameter_checks(trace: Trace) -> Iterator[Check]:
    for site in (*trace.sites.values(), *trace.scored.values()):
        for condition in site.dist.conditions() if site.dist is not None else ():
            leaf = fed_by(site, condition)
            if leaf is not None and not condition.whole:
                why = f"{condition.name} of node '{site.name}', a {type(site.dist).__name__},"
                mask = None if site.mask is None else _leaf(site.mask)
                rows = mask is not None and mask.type.shape == () and leaf.type.shape != ()
                masked = None if mask is None else mask.attrs["name"]
                yield Check(leaf.attrs["name"], why, None, masked, False, rows, condition.constraint)


def _find_checks(trace: Trace):  # type: ignore[no-untyped-def]
    nodes = [s.node for s in trace.sites.values() if s.node is not None] + [c.node for c in trace.costs.values()]
    nodes += [c.next for c in trace.carried.values() if c.next is not None]
    for site in trace.sites.values():
        leaf = _leaf(site.observed) if site.kind is SiteKind.OBSERVED and site.observed is not None else None
        if leaf is None:
            continue
        mask = _leaf(site.mask) if site.mask is not None else None
        whole_rows = mask is not None and mask.type.shape == () and bool(mask.type.axes) and leaf.type.shape != ()
        if site.mask is not None and (mask is None or mask.type.shape not in ((), leaf.type.shape)):
            continue  # a computed mask: which entries count is known only inside the program
        name, masked = leaf.attrs["name"], None if mask is None else mask.attrs["name"]
        kind = type(site.dist).__name__
        if isinstance(site.dist, Categorical):
            classes = next(iter(site.dist.params.values())).type.shape[-1]
            yield Check(name, f"observed by '{site.name}', a {kind}", classes, masked, whole_rows=whole_rows)
        elif leaf.type.dtype == "int" and isinstance(site.dist, (Bernoulli, OneHotCategorical)):
            yield Check(name, f"observed by '{site.name}', a {kind}", 2, masked, whole_rows=whole_rows)
        elif leaf.type.dtype == "float":
            unit = isinstance(site.dist, (Bernoulli, OneHotCategorical))
            yield Check(name, f"observed node '{site.name}'", None, masked, unit, whole_rows)
    yield from _parameter_checks(trace)
    for node in topological(nodes):
        if node.op == "take":
            leaf = _leaf(node.args[1])
            if leaf is not None:
                yield Check(leaf.attrs["name"], "used as an index", bound=node.args[0].type.shape[0])
