"""Intervals with open or closed ends, and their arithmetic.

An infinite end that is *open* says that values are finite; a closed one that the infinity itself can occur."""

from __future__ import annotations

import math

from ppl.records import dataclass

INF = math.inf


@dataclass(frozen=True)
class Interval:
    """The interval from `lo` to `hi`, without its ends where `lo_open`, `hi_open`."""

    lo: float = -INF
    hi: float = INF
    lo_open: bool = True
    hi_open: bool = True

    def within(self, other: Interval) -> bool:
        """Whether every number of this interval lies in `other`."""
        above = self.lo > other.lo or (self.lo == other.lo and (self.lo_open or not other.lo_open))
        below = self.hi < other.hi or (self.hi == other.hi and (self.hi_open or not other.hi_open))
        return above and below


REAL = Interval()

ANYTHING = Interval(-INF, INF, False, False)

POSITIVE = Interval(0.0, INF)

NONNEGATIVE = Interval(0.0, INF, False)

UNIT = Interval(0.0, 1.0)

CLOSED_UNIT = Interval(0.0, 1.0, False, False)

CIRCLE = Interval(-math.pi, math.pi, False, False)

ZERO = Interval(0.0, 0.0, False, False)

End = tuple[float, bool]


def ends(a: Interval) -> list[End]:
    """Both (value, open) ends."""
    return [(a.lo, a.lo_open), (a.hi, a.hi_open)]


def hull(listed: list[End]) -> Interval:
    """The hull of (value, open) ends; an end is open only if no closed one has its value."""
    if any(math.isnan(value) for value, _ in listed):
        return ANYTHING
    lo, hi = min(v for v, _ in listed), max(v for v, _ in listed)
    return Interval(lo, hi, all(o for v, o in listed if v == lo), all(o for v, o in listed if v == hi))


def union(*parts: Interval) -> Interval:
    """The hull of several intervals."""
    return hull([end for part in parts for end in ends(part)])


def add(a: Interval, b: Interval) -> Interval:
    """Sums; an infinity that can occur in one of them occurs in the sum."""
    return hull([_add_ends((a.lo, a.lo_open), (b.lo, b.lo_open)), _add_ends((a.hi, a.hi_open), (b.hi, b.hi_open))])


def _add_ends(x: End, y: End) -> End:
    infinite = [opened for end, opened in (x, y) if math.isinf(end)]
    return x[0] + y[0], all(infinite) if infinite else x[1] or y[1]


def neg(a: Interval) -> Interval:
    """Negatives."""
    return Interval(-a.hi, -a.lo, a.hi_open, a.lo_open)


def mul(a: Interval, b: Interval) -> Interval:
    """Products; 0 times an infinite end is 0, for that end is a limit."""
    corners: list[End] = []
    for x, x_open in ends(a):
        for y, y_open in ends(b):
            zero_reached = (x == 0 and not x_open) or (y == 0 and not y_open)
            endless = (math.isinf(x) and not x_open and y != 0) or (math.isinf(y) and not y_open and x != 0)
            reached = zero_reached or endless
            corners.append((0.0 if x == 0 or y == 0 else x * y, (x_open or y_open) and not reached))
    return hull(corners)


def div(a: Interval, b: Interval) -> Interval:
    """Quotients, where the denominator has one sign."""
    if neg(b).within(POSITIVE):
        return neg(div(a, neg(b)))
    if not b.within(POSITIVE):
        return ANYTHING
    return mul(a, Interval(1.0 / b.hi, 1.0 / b.lo if b.lo else INF, b.hi_open, b.lo_open))


def absolute(a: Interval) -> Interval:
    """Absolute values."""
    if a.lo >= 0:
        return a
    return neg(a) if a.hi <= 0 else hull([(0.0, False), (-a.lo, a.lo_open), (a.hi, a.hi_open)])


def maximum(a: Interval, b: Interval) -> Interval:
    """Larger of two."""
    lo = max(a.lo, b.lo)
    lo_open = any(x.lo_open for x in (a, b) if x.lo == lo)
    return Interval(lo, max(a.hi, b.hi), lo_open, union(a, b).hi_open)


def minimum(a: Interval, b: Interval) -> Interval:
    """Smaller of two."""
    return neg(maximum(neg(a), neg(b)))


def repeated_sum(a: Interval, count: float) -> Interval:
    """Sums of `count` numbers."""
    return ZERO if count == 0 else Interval(a.lo * count, a.hi * count, a.lo_open, a.hi_open)


def sum_of_unknown_count(a: Interval) -> Interval:
    """Sums of an unknown number of numbers: only the sign is known."""
    if a.lo >= 0:
        return Interval(0.0, INF, False, a.hi_open or a.hi < INF)
    return neg(sum_of_unknown_count(neg(a))) if a.hi <= 0 else (REAL if a.within(REAL) else ANYTHING)
