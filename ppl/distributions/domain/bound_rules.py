"""Rules of `bounds.py` that look at more than the intervals of the arguments: equal factors, conditions, exponents."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from ppl.distributions.domain import intervals as iv
from ppl.distributions.domain.intervals import ANYTHING, NONNEGATIVE, POSITIVE, REAL, Interval
from ppl.ir.node import Node

ONE = Interval(1.0, 1.0, False, False)
SIGNED_UNIT = Interval(-1.0, 1.0, False, False)
FACTORS = 32
TABLE = 4096
SURE_ROWS = ("SIMPLEX", "ONE_HOT")


def meet(a: Interval, b: Interval) -> Interval:
    """The intersection of both; `a` if it is empty, because such a case never occurs."""
    lo, lo_open = max((a.lo, a.lo_open), (b.lo, b.lo_open))
    hi, not_open = min((a.hi, not a.hi_open), (b.hi, not b.hi_open))
    if lo > hi or (lo == hi and (lo_open or not not_open)):
        return a
    return Interval(lo, hi, lo_open, not not_open)


def mul(node: Node, a: Interval, b: Interval) -> Interval:
    """Products; not negative are those of factors of one sign, and those in which every factor occurs an even number
    of times.
    """
    x, y = node.args
    if x is y:
        return iv.mul(iv.absolute(a), iv.absolute(a))
    found = iv.mul(a, b)
    positive = found.lo < 0 and (_has_sign_of(x, y) or _has_sign_of(y, x) or _is_square(node))
    return meet(found, NONNEGATIVE) if positive else found


def _has_sign_of(factor: Node, x: Node) -> bool:
    """Whether `factor` is x, or chooses between x and numbers of its sign, whatever the condition."""
    factor, x = _plain(factor), _plain(x)
    if factor is x:
        return True
    if factor.op != "where":
        return False
    test, yes, no = factor.args
    below = _given(test, True, x, REAL).hi <= 0 and _given(test, False, x, REAL).lo >= 0
    signs = _constant(yes), _constant(no)
    if below and signs[0] is not None and signs[1] is not None:
        return signs[0].hi <= 0 <= signs[1].lo
    return _has_sign_of(yes, x) and _has_sign_of(no, x)


def _is_square(node: Node) -> bool:
    """Whether a product is a product of squares, as x * x * y * y is, multiplied in any order."""
    factors, stack = Counter[Node](), [node]
    while stack and len(stack) + factors.total() <= FACTORS:
        factor = stack.pop()
        if factor.op == "mul":
            stack.extend(factor.args)
        else:
            factors[factor] += 1
    return not stack and all(count % 2 == 0 for count in factors.values())


def power(node: Node, a: Interval, b: Interval) -> Interval:
    """Powers: by constant exponents by the cases of their sign and parity, else positive where the base is."""
    powers = exponents(node)
    if powers is not None:
        return iv.union(*(_power(a, p) for p in powers))
    if a.within(POSITIVE) and b.within(REAL):
        return POSITIVE
    return NONNEGATIVE if a.within(NONNEGATIVE) and b.within(POSITIVE) else ANYTHING


def exponents(node: Node) -> list[float] | None:
    """The exponents of a `pow` where they are a few finite constants, else None."""
    fixed = _plain(node.args[1])
    found = np.unique(fixed.attrs["value"].value) if fixed.op == "const" else np.zeros(0)
    return found.tolist() if 0 < found.size <= FACTORS and np.isfinite(found).all() else None


def _power(a: Interval, exponent: float) -> Interval:
    if exponent < 0:
        return iv.div(ONE, _power(a, -exponent))
    if exponent == 0:
        return ONE
    if exponent % 2 == 0:
        a = iv.absolute(a)
    elif exponent != math.floor(exponent) and not a.within(NONNEGATIVE):
        return ANYTHING
    with np.errstate(all="ignore"):
        return iv.hull([(float(np.float64(end) ** exponent), opened) for end, opened in iv.ends(a)])


def cumsum(node: Node, a: Interval) -> Interval:
    """Sums of one entry up to all of them."""
    return iv.union(a, iv.times(a, node.type.shape[-1]))


def contract(node: Node, a: Interval, b: Interval) -> Interval:
    """Sums of products; of equal factors squares, and weighted means where the weights are rows that sum to 1."""
    sizes: dict[str, int] = {}
    for labels, argument in zip((node.attrs["a"], node.attrs["b"]), node.args, strict=True):
        sizes.update(zip(labels, argument.type.shape, strict=True))
    summed = [label for label in sizes if label not in node.attrs["out"]]
    lengths = [axis.size for axis in node.attrs["over"]]
    if not lengths:
        for weights, labels, values in ((0, node.attrs["a"], b), (1, node.attrs["b"], a)):
            if summed == [*labels[-1:]] and _sums_to_one(node.args[weights]):
                return values
            fixed = _plain(node.args[weights])
            if (
                fixed.op == "const"
                and fixed.type.shape == node.args[weights].type.shape
                and fixed.type.event_size <= TABLE
            ):
                rest = math.prod(sizes[label] for label in summed if label not in labels)
                return _weighted(
                    fixed.attrs["value"].value, [labels.index(k) for k in summed if k in labels], values, rest
                )
    if node.args[0] is node.args[1] and node.attrs["a"] == node.attrs["b"]:
        a = b = iv.absolute(a)
    product = iv.mul(a, b)
    if None in lengths:
        return iv.some(product)
    return iv.times(product, math.prod([sizes[label] for label in summed] + lengths))


def _weighted(weights: np.ndarray, summed: list[int], values: Interval, times: int) -> Interval:
    """Sums over the dimensions `summed` of constant weights times values, `times` over."""
    up, down = (np.sum(part(weights, 0.0), axis=tuple(summed)).ravel() for part in (np.maximum, np.minimum))
    found: list[tuple[float, bool]] = []
    for p, n in zip(up.tolist(), down.tolist(), strict=True):
        own = iv.add(iv.mul(_point(p), values), iv.mul(_point(n), values))
        found += iv.ends(iv.times(own, times))
    return iv.hull(found) if found else ANYTHING


def _point(value: float) -> Interval:
    return Interval(value, value, False, False)


def _sums_to_one(node: Node) -> bool:
    """Whether the rows along the last event dimension are a sample's classes or probabilities."""
    while node.op in ("expand", "stop") and node.args[0].type.shape[-1:] == node.type.shape[-1:]:
        node = node.args[0]
    return node.op == "sample" and node.attrs["site"].dist.support.name in SURE_ROWS


def polygamma(node: Node, a: Interval) -> Interval:
    """Odd derivatives of digamma are positive, even ones negative; digamma itself may be anything."""
    if not a.within(POSITIVE):
        return ANYTHING
    order = node.attrs["n"]
    return REAL if order == 0 else POSITIVE if order % 2 else iv.neg(POSITIVE)


def sine(node: Node, a: Interval) -> Interval:
    """Sines: those of the ends, and 1 or -1 where a crest or trough lies between them."""
    return _wave(a, math.pi / 2)


def cosine(node: Node, a: Interval) -> Interval:
    """Cosines: those of the ends, and 1 or -1 where a crest or trough lies between them."""
    return _wave(a, 0.0)


def _wave(a: Interval, crest: float) -> Interval:
    if not a.hi - a.lo < 2 * math.pi or not max(abs(a.lo), abs(a.hi)) < 1e6:
        return SIGNED_UNIT
    found = [(math.cos(end - crest), opened) for end, opened in iv.ends(a)]
    for height, at in ((1.0, crest), (-1.0, crest + math.pi)):
        turns = math.ceil((a.lo - at) / (2 * math.pi))
        if at + 2 * math.pi * turns <= a.hi:
            found.append((height, False))
    return iv.hull(found)


def where(node: Node, condition: Interval, a: Interval, b: Interval) -> Interval:
    """Both branches, each between the constants that the condition compares it with."""
    test, x, y = node.args
    return iv.union(_branch(test, True, x, a), _branch(test, False, y, b))


def _branch(test: Node, holds: bool, x: Node, interval: Interval) -> Interval:
    """The interval of a branch; of one that is a `where` again, of its own branches under both conditions."""
    found, inner = _given(test, holds, x, interval), _plain(x)
    if inner.op != "where":
        return found
    own, *branches = inner.args
    parts = []
    for branch, chosen in zip(branches, (True, False), strict=True):
        known = _given(own, chosen, branch, _constant(branch) or ANYTHING)
        parts.append(_given(test, holds, branch, known))
    return meet(found, iv.union(*parts))


def _given(test: Node, holds: bool, x: Node, interval: Interval) -> Interval:
    """The interval of `x` where `test` holds, or fails."""
    while test.op == "expand":
        test = test.args[0]
    if test.op == "not":
        return _given(test.args[0], not holds, x, interval)
    if test.op == ("and" if holds else "or"):
        for part in test.args:
            interval = _given(part, holds, x, interval)
        return interval
    if x.op == "neg":
        return iv.neg(_given(test, holds, x.args[0], iv.neg(interval)))
    if test.op not in ("lt", "le"):
        return interval
    (low, high), strict = test.args, (test.op == "lt") == holds
    low, high = (low, high) if holds else (high, low)
    if _plain(low) is _plain(x) and (end := _constant(high)) is not None:
        return meet(interval, Interval(-math.inf, end.hi, interval.lo_open, strict))
    if _plain(high) is _plain(x) and (end := _constant(low)) is not None:
        return meet(interval, Interval(end.lo, math.inf, strict, interval.hi_open))
    return interval


def _plain(x: Node) -> Node:
    while x.op in ("expand", "stop"):
        x = x.args[0]
    return x


def _constant(x: Node) -> Interval | None:
    x = _plain(x)
    if x.op != "const" or not x.attrs["value"].value.size or np.isnan(x.attrs["value"].value).any():
        return None
    value = x.attrs["value"].value
    return Interval(float(value.min()), float(value.max()), False, False)
