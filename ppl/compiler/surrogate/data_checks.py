"""Checks of data arguments: which of them a trace asks for, and what one finds in an array.

An argument that is observed, used as an index or a distribution's parameter, as it stands, is checked where it is
bound: one vectorised pass, and a second one only where that finds something. What is computed from arguments is
guarded in the program instead (`violations.py`)."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ppl.distributions.constraints import CONSTRAINT_RANGES, CONSTRAINTS, ROW_CONSTRAINTS, WHOLE_CONSTRAINTS, Condition
from ppl.distributions.intervals import REAL, Interval
from ppl.distributions.observable import ObservableSet, observable_set
from ppl.errors import DataError
from ppl.ir.node import Node, topological
from ppl.ir.traversal import LeafView, input_behind_views, view_of_leaf
from ppl.lang.trace import Site, SiteKind, Trace
from ppl.lazy import checks as kernels
from ppl.records import dataclass

CONSTRAINTS_WITHOUT_RANGE = frozenset((*ROW_CONSTRAINTS, *WHOLE_CONSTRAINTS))
"""Constraints that no interval shows to hold."""

LARGEST_EXACT_INTEGERS = {4: 2.0**24, 8: 2.0**53}
"""Whole numbers that a float of so many bytes tells apart."""

LARGEST_INDEX = float(np.iinfo(np.int32).max)

ANY_REAL = ObservableSet(REAL)

TRUTH_VALUE = ObservableSet(Interval(0.0, 1.0, False, False), True)
"""Truth values as numbers."""


@dataclass(frozen=True)
class DataCheck:
    """A condition on a data argument: its entries are `allowed`, or satisfy a distribution's `constraint`.

    Entries where the argument `mask` is false are exempt; `whole_rows`: it has one truth value a row. `exact`: the
    entries become whole numbers in floats of the program, which have to tell them apart.
    """

    seen: LeafView
    why: str
    allowed: ObservableSet = ANY_REAL
    mask: str | None = None
    whole_rows: bool = False
    constraint: str = ""
    exact: bool = False
    observed: bool = False

    @property
    def name(self) -> str:
        """Name of the argument."""
        return str(self.seen.leaf.attrs["name"])

    @property
    def wanted(self) -> str:
        """The condition on the entries, in words."""
        return CONSTRAINTS[self.constraint][0] if self.constraint else self.allowed.wanted

    def wrong(self, array: np.ndarray, arrays: Mapping[str, np.ndarray], dtype: np.dtype) -> np.ndarray | None:
        """Return where an entry is wrong and counts; None where all are right."""
        if self._quick(array, dtype):
            return None
        found = self._constrained(array) if self.constraint else self.allowed.wrong(array)
        if self.exact:
            found = found | (np.abs(array) > largest_exact_integer(array, dtype))
        found = np.broadcast_to(found, array.shape) & unmasked_entries(array, self.mask, self.whole_rows, arrays)
        return found if found.any() else None

    def _constrained(self, array: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return ~np.asarray(CONSTRAINTS[self.constraint][1](array))

    def _quick(self, array: np.ndarray, dtype: np.dtype) -> bool:
        """Return whether one pass shows that all is right; False is no answer."""
        if self.constraint in CONSTRAINTS_WITHOUT_RANGE or array.dtype.kind == "b":
            return False
        if self.allowed.whole and array.dtype.kind == "f":
            return False
        limits = CONSTRAINT_RANGES[self.constraint] if self.constraint else self.allowed.interval
        most = largest_exact_integer(array, dtype) if self.exact else math.inf
        low, high = _closed_limits(limits, array.dtype, most)
        if low > high or _count_inside(array, low, high) < array.size:
            return False
        return not self.allowed.by_rows or bool(self.allowed.rows(array).all())


def largest_exact_integer(array: np.ndarray, dtype: np.dtype) -> float:
    """Return the largest whole number that the program tells apart; floats at the limit may have been rounded to it."""
    return LARGEST_EXACT_INTEGERS[dtype.itemsize] - (array.dtype.kind == "f")


def unmasked_entries(
    array: np.ndarray, mask: str | None, whole_rows: bool, arrays: Mapping[str, np.ndarray]
) -> np.ndarray | bool:
    """Return which entries of an argument are not masked out."""
    if mask is None:
        return True
    known = arrays[mask].astype(bool)
    return known.reshape(-1, *(1,) * (array.ndim - 1)) if whole_rows else known


@functools.lru_cache(maxsize=256)
def _closed_limits(limits: Interval, dtype: np.dtype, most: float) -> tuple[Any, Any]:
    """Return the least and the greatest number of a dtype in an interval, of size at most `most`."""
    lo, hi = max(limits.lo, -most), min(limits.hi, most)
    if dtype.kind == "f":
        kind = dtype.type
        with np.errstate(over="ignore"):
            low, high = kind(lo), kind(hi)
        low = np.nextafter(low, kind(math.inf)) if limits.lo_open and limits.lo == lo else low
        return low, np.nextafter(high, kind(-math.inf)) if limits.hi_open and limits.hi == hi else high
    info = np.iinfo(dtype)
    low = int(info.min) if lo <= info.min else math.floor(lo) + 1 if limits.lo_open else math.ceil(lo)
    high = int(info.max) if hi >= info.max else math.ceil(hi) - 1 if limits.hi_open else math.floor(hi)
    return dtype.type(max(low, info.min)), dtype.type(min(high, info.max))


def _count_inside(array: np.ndarray, low: Any, high: Any) -> int:
    return int(kernels.count_in_range(array.reshape(-1), low, high))  # Numba is imported with the first data


def all_finite(array: np.ndarray) -> bool:
    """Return whether all floats of an array are finite, in one pass."""
    return _count_inside(array, *_closed_limits(REAL, array.dtype, math.inf)) == array.size


def run_checks(
    checks: Sequence[DataCheck], arrays: Mapping[str, np.ndarray], given: Mapping[str, Any], dtype: np.dtype, first: int
) -> None:
    """Raise a DataError that names argument, entry and value; row 0 here is row `first` of the user's array."""
    for check in checks:
        array = check.seen.of(arrays[check.name])
        wrong = check.wrong(array, arrays, dtype)
        if wrong is not None:
            raise DataError(
                _describe_failure(check, arrays[check.name], np.asarray(given[check.name]), wrong, dtype, first)
            )


def _describe_failure(
    check: DataCheck, whole: np.ndarray, given: np.ndarray, wrong: np.ndarray, dtype: np.dtype, first: int
) -> str:
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    place = check.seen.of(np.arange(whole.size).reshape(whole.shape))[at]
    index = tuple(int(i) for i in np.unravel_index(place, whole.shape))
    value, used = given[index], whole[index]
    shown = (index[0] + first, *index[1:]) if index else ()
    text = f"argument '{check.name}' is {value}{f' at {shown}' if shown else ''}"
    if not np.isnan(value) and (check.exact or not math.isclose(used, value, rel_tol=1e-6)) and used != value:
        text += f" ({used} in {dtype})"
    limit = LARGEST_EXACT_INTEGERS[dtype.itemsize]
    if check.exact and abs(used) > largest_exact_integer(whole, dtype):
        wider = '; compile with dtype="float64"' if dtype.itemsize == 4 else ""
        most = f"2**{int(math.log2(limit))}"
        return f"{text}; {check.why} must be below {most}, beyond which {dtype} skips whole numbers{wider}"
    hint = "; leave missing entries out with obs_mask" if np.isnan(value) and check.observed else ""
    return f"{text}; {check.why} must be {check.wanted}{hint}"


def observed_argument(site: Site) -> tuple[LeafView, str | None, bool] | None:
    """Return the argument that `site` observes as it stands, its mask, and whether that has one truth value a row.

    None where the observation or its mask is computed, so that only the program knows which entries count.
    """
    if site.kind is not SiteKind.OBSERVED or site.observed is None or site.dist is None:
        return None
    found = view_of_leaf(site.observed)
    if found is None or site.dist.event_mask is not None:
        return None
    if site.mask is None:
        return found, None, False
    mask, leaf = view_of_leaf(site.mask), found.leaf
    if mask is None or not (mask.plain and found.plain) or mask.leaf.type.axes != leaf.type.axes:
        return None
    if mask.leaf.type.shape not in ((), leaf.type.shape):
        return None
    rows = mask.leaf.type.shape == () and bool(leaf.type.axes) and leaf.type.shape != ()
    return found, mask.leaf.attrs["name"], rows


def parameter_argument(site: Site, condition: Condition) -> Node | None:
    """Return the argument that is the parameter of `condition` as it stands, so that it is checked when it is bound."""
    node, dist = condition.value, site.dist
    while node.op in ("cast", "expand", "reshape", "transpose", "distribute"):
        node = node.args[0]
    if node.op != "input" or not condition.constraint or dist is None or dist.event_mask is not None:
        return None
    if site.mask is None:
        return node
    mask = input_behind_views(site.mask)
    fits = mask is not None and mask.type.axes == node.type.axes and mask.type.shape in ((), node.type.shape)
    return node if fits else None


def find_checks(trace: Trace) -> Iterator[DataCheck]:
    """Yield all checks of the data arguments of a trace."""
    yield from _mask_checks(trace)
    for site in trace.sites.values():
        found = observed_argument(site)
        if found is not None and site.dist is not None:
            allowed = observable_set(site.dist)
            why = f"the observed value of node '{site.name}', a {type(site.dist).__name__},"
            exact = allowed.whole and math.isinf(allowed.interval.hi)
            yield DataCheck(found[0], why, allowed, *found[1:], exact=exact, observed=True)
    yield from _parameter_checks(trace)
    yield from _index_checks(trace)


def _mask_checks(trace: Trace) -> Iterator[DataCheck]:
    for site in trace.sites.values():
        found = None if site.mask is None else view_of_leaf(site.mask)
        if found is not None and found.leaf.type.dtype != "bool":
            yield DataCheck(found, f"an entry of obs_mask of node '{site.name}'", TRUTH_VALUE)


def _parameter_checks(trace: Trace) -> Iterator[DataCheck]:
    for site in (*trace.sites.values(), *trace.scored.values()):
        for condition in site.dist.conditions() if site.dist is not None else ():
            leaf = parameter_argument(site, condition)
            if leaf is not None and not condition.whole:
                why = f"{condition.name} of node '{site.name}', a {type(site.dist).__name__},"
                mask = None if site.mask is None else input_behind_views(site.mask)
                rows = mask is not None and mask.type.shape == () and leaf.type.shape != ()
                masked = None if mask is None else mask.attrs["name"]
                exact = condition.constraint in WHOLE_CONSTRAINTS
                yield DataCheck(LeafView(leaf, ()), why, ANY_REAL, masked, rows, condition.constraint, exact)


def _index_checks(trace: Trace) -> Iterator[DataCheck]:
    for index in trace.indices:
        found = view_of_leaf(index.node)
        if found is not None:
            allowed = ObservableSet(Interval(0.0, min(index.length - 1.0, LARGEST_INDEX), False, False), True)
            yield DataCheck(found, f"an index into an axis of length {index.length}", allowed)
    for node in topological(_checked_results(trace)):
        if node.op == "cast" and node.type.dtype == "int" and node.args[0].type.dtype == "float":
            found = view_of_leaf(node.args[0])
            if found is not None:
                yield DataCheck(found, "what .astype(int) is taken of", exact=True)


def _checked_results(trace: Trace) -> list[Node]:
    nodes = [s.node for s in trace.sites.values() if s.node is not None] + [c.node for c in trace.costs.values()]
    return nodes + [c.next for c in trace.carried.values() if c.next is not None]
