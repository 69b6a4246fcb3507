"""The values of a distribution that may be observed: outside of them its density is 0 for all parameters.

Data arguments are checked against them where they are bound, constants where the model is traced, and computed
observations by a guard in the program."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ppl.distributions.bounds import bounds_of
from ppl.distributions.constraints import ROW_TOLERANCE, Condition, constant_value, in_interval
from ppl.distributions.intervals import REAL, Interval
from ppl.distributions.plackett_luce import PlackettLuce
from ppl.distributions.support import Support
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.rewrites.simplify import simplify
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.distributions.base import Distribution

ROWS_OF_SUM_ONE = (Support.ONE_HOT, Support.SIMPLEX)


@dataclass(frozen=True)
class ObservableSet:
    """A set: entries lie in `interval` and are `whole` numbers; rows along the last dimension sum to `total`, or are
    permutations (`distinct`).
    """

    interval: Interval
    whole: bool = False
    total: float | None = None
    distinct: bool = False

    @property
    def wanted(self) -> str:
        """The set in words."""
        i, kind = self.interval, "whole number" if self.whole else "number"
        if i == REAL:
            words = f"a {'whole' if self.whole else 'finite'} number"
        elif math.isinf(i.hi):
            words = f"a {kind} {'above' if i.lo_open else 'of at least'} {i.lo:g}"
        elif math.isinf(i.lo):
            words = f"a {kind} {'below' if i.hi_open else 'of at most'} {i.hi:g}"
        elif i.lo_open or i.hi_open:
            words = f"a {kind} above {i.lo:g} and {'below' if i.hi_open else 'at most'} {i.hi:g}"
        else:
            words = f"a {kind} in [{i.lo:g}, {i.hi:g}]"
        words += ", in rows without repetition" if self.distinct else ""
        return words if self.total is None else f"{words}, in rows that sum to {self.total:g}"

    def wrong(self, values: np.ndarray) -> np.ndarray:
        """Which entries are outside; all entries of a row whose sum is wrong."""
        i = self.interval
        with np.errstate(invalid="ignore"):
            above = values > i.lo if i.lo_open else values >= i.lo
            out = ~(above & (values < i.hi if i.hi_open else values <= i.hi))
            if self.whole and values.dtype.kind == "f":
                out |= values != np.floor(values)
            if self.by_rows and values.ndim:
                out |= ~self.rows(values)[..., None]
        return out

    @property
    def by_rows(self) -> bool:
        """Whether something is asked of whole rows."""
        return self.distinct or self.total is not None

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Whether each row has its sum, up to rounding, or is a permutation."""
        if self.distinct:
            return np.asarray((np.sort(values, -1) == np.arange(values.shape[-1])).all(-1))
        if self.total is None:
            return np.ones(values.shape[:-1], bool)
        if values.dtype.kind != "f":
            return np.asarray(values.sum(-1) == self.total)
        close = max(ROW_TOLERANCE, values.shape[-1] * float(np.finfo(values.dtype).eps))
        return np.asarray(np.abs(values @ np.ones(values.shape[-1], values.dtype) - self.total) <= close)


def observable_set(dist: Distribution) -> ObservableSet:
    """The values of `dist` that may be observed; angles are free, since their densities have a period."""
    whole, total = dist.dtype == "int", None
    if dist.support in ROWS_OF_SUM_ONE:
        total = 1.0
    elif dist.unit_rank and "total_count" in dist.params:
        value = constant_value(dist.params["total_count"])
        total = float(value.flat[0]) if value is not None and value.size and not np.ptp(value) else None
    if dist.angular or dist.support is Support.CIRCLE:
        return ObservableSet(REAL, whole)
    b = dist.bounds
    if not dist.unit_rank:
        lo_open, hi_open = (math.isinf(end) or _density_vanishes_at(dist, end) for end in (b.lo, b.hi))
        b = Interval(b.lo, b.hi, lo_open, hi_open)
    return ObservableSet(b, whole, total, isinstance(dist, PlackettLuce))


def _density_vanishes_at(dist: Distribution, end: float) -> bool:
    """Whether the density at an end of the support is 0 whatever the parameters."""
    value = ops.cast(ops.expand(ops.const(end), (), dist.event_shape), dist.dtype)
    (density,) = simplify([dist.unit_log_prob(value)])
    known = constant_value(density)
    return known is not None and bool(np.all(known == -math.inf))


def conditions_on_observation(dist: Distribution, value: Node) -> Iterator[Condition]:
    """The conditions on a computed observation `value` of `dist`, of its event shape."""
    allowed = observable_set(dist)
    x = ops.cast(value, "float")
    if allowed.interval != REAL:
        proved = bounds_of(value).within(allowed.interval)
        yield Condition(
            "the observed value", allowed.wanted, value, in_interval(allowed.interval, x), x.type.shape, proved
        )
    if allowed.total is not None:
        miss = ops.absolute(ops.sub(ops.reduce_sum(x, -1, keepdims=True), allowed.total))
        good = ops.expand(ops.less_equal(miss, ROW_TOLERANCE), (), x.type.shape)
        yield Condition("the observed value", allowed.wanted, value, good, x.type.shape, False)
