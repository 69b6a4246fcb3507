"""Bounds of expressions: an interval that holds every entry of a symbolic value, for all parameters and data.

`bounds_of` goes through an expression and applies the rule of each op in `RULES`. Some rules look at more than the
intervals of the arguments: at equal factors, conditions, constant exponents. Log-densities use bounds to leave out the
guard at the edge of a support where no value can cross it. The bounds hold for exact real arithmetic: exp(x) is
positive although it can underflow. Parameters and data count as finite reals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np

from ppl.distributions import intervals as iv
from ppl.distributions.intervals import ANYTHING, CIRCLE, CLOSED_UNIT, NONNEGATIVE, POSITIVE, REAL, UNIT, Interval
from ppl.ir import ops
from ppl.ir.node import Node, make, topological
from ppl.ir.op_facts import FACTS, MARKERS, VIEWS, ops_with
from ppl.ir.reference.numpy_cdfs import log1mexp
from ppl.lazy import special

ONE = Interval(1.0, 1.0, False, False)

SIGNED_UNIT = Interval(-1.0, 1.0, False, False)

MOST_FACTORS = 32

MOST_CONSTANT_WEIGHTS = 4096

ROWS_THAT_SUM_TO_ONE = ("SIMPLEX", "ONE_HOT")


def intersection(a: Interval, b: Interval) -> Interval:
    """The intersection of both; `a` if it is empty, because such a case never occurs."""
    lo, lo_open = max((a.lo, a.lo_open), (b.lo, b.lo_open))
    hi, not_open = min((a.hi, not a.hi_open), (b.hi, not b.hi_open))
    if lo > hi or (lo == hi and (lo_open or not not_open)):
        return a
    return Interval(lo, hi, lo_open, not not_open)


def _mul_bounds(node: Node, a: Interval, b: Interval) -> Interval:
    """Products; not negative are those of factors of one sign, and those in which every factor occurs an even number
    of times.
    """
    x, y = node.args
    if x is y:
        return iv.mul(iv.absolute(a), iv.absolute(a))
    found = iv.mul(a, b)
    positive = found.lo < 0 and (_has_sign_of(x, y) or _has_sign_of(y, x) or _is_square(node))
    return intersection(found, NONNEGATIVE) if positive else found


def _has_sign_of(factor: Node, x: Node) -> bool:
    """Whether `factor` is x, or chooses between x and numbers of its sign, whatever the condition."""
    factor, x = _without_broadcast(factor), _without_broadcast(x)
    if factor is x:
        return True
    if factor.op != "where":
        return False
    test, yes, no = factor.args
    below = _narrow_by_condition(test, True, x, REAL).hi <= 0 and _narrow_by_condition(test, False, x, REAL).lo >= 0
    signs = _constant_range(yes), _constant_range(no)
    if below and signs[0] is not None and signs[1] is not None:
        return signs[0].hi <= 0 <= signs[1].lo
    return _has_sign_of(yes, x) and _has_sign_of(no, x)


def _is_square(node: Node) -> bool:
    """Whether a product is a product of squares, as x * x * y * y is, multiplied in any order."""
    factors, stack = Counter[Node](), [node]
    while stack and len(stack) + factors.total() <= MOST_FACTORS:
        factor = stack.pop()
        if factor.op == "mul":
            stack.extend(factor.args)
        else:
            factors[factor] += 1
    return not stack and all(count % 2 == 0 for count in factors.values())


def _power_bounds(node: Node, a: Interval, b: Interval) -> Interval:
    """Powers: by constant exponents by the cases of their sign and parity, else positive where the base is."""
    powers = constant_exponents(node)
    if powers is not None:
        return iv.union(*(_interval_power(a, p) for p in powers))
    if a.within(POSITIVE) and b.within(REAL):
        return POSITIVE
    return NONNEGATIVE if a.within(NONNEGATIVE) and b.within(POSITIVE) else ANYTHING


def constant_exponents(node: Node) -> list[float] | None:
    """The exponents of a `pow` where they are a few finite constants, else None."""
    fixed = _without_broadcast(node.args[1])
    found = np.unique(fixed.attrs["value"].value) if fixed.op == "const" else np.zeros(0)
    return found.tolist() if 0 < found.size <= MOST_FACTORS and np.isfinite(found).all() else None


def _interval_power(a: Interval, exponent: float) -> Interval:
    if exponent < 0:
        return iv.div(ONE, _interval_power(a, -exponent))
    if exponent == 0:
        return ONE
    if exponent % 2 == 0:
        a = iv.absolute(a)
    elif exponent != math.floor(exponent) and not a.within(NONNEGATIVE):
        return ANYTHING
    with np.errstate(all="ignore"):
        return iv.hull([(float(np.float64(end) ** exponent), opened) for end, opened in iv.ends(a)])


def _cumsum_bounds(node: Node, a: Interval) -> Interval:
    """Sums of one entry up to all of them."""
    return iv.union(a, iv.repeated_sum(a, node.type.shape[-1]))


def _contract_bounds(node: Node, a: Interval, b: Interval) -> Interval:
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
            fixed = _without_broadcast(node.args[weights])
            if (
                fixed.op == "const"
                and fixed.type.shape == node.args[weights].type.shape
                and fixed.type.event_size <= MOST_CONSTANT_WEIGHTS
            ):
                rest = math.prod(sizes[label] for label in summed if label not in labels)
                return _weighted_sum_bounds(
                    fixed.attrs["value"].value, [labels.index(k) for k in summed if k in labels], values, rest
                )
    if node.args[0] is node.args[1] and node.attrs["a"] == node.attrs["b"]:
        a = b = iv.absolute(a)
    product = iv.mul(a, b)
    if None in lengths:
        return iv.sum_of_unknown_count(product)
    return iv.repeated_sum(product, math.prod([sizes[label] for label in summed] + lengths))


def _weighted_sum_bounds(weights: np.ndarray, summed: list[int], values: Interval, times: int) -> Interval:
    """Sums over the dimensions `summed` of constant weights times values, `times` over."""
    up, down = (np.sum(part(weights, 0.0), axis=tuple(summed)).ravel() for part in (np.maximum, np.minimum))
    found: list[tuple[float, bool]] = []
    for p, n in zip(up.tolist(), down.tolist(), strict=True):
        own = iv.add(iv.mul(_point(p), values), iv.mul(_point(n), values))
        found += iv.ends(iv.repeated_sum(own, times))
    return iv.hull(found) if found else ANYTHING


def _point(value: float) -> Interval:
    return Interval(value, value, False, False)


def _sums_to_one(node: Node) -> bool:
    """Whether the rows along the last event dimension are a sample's classes or probabilities."""
    while node.op in ("expand", "stop") and node.args[0].type.shape[-1:] == node.type.shape[-1:]:
        node = node.args[0]
    return node.op == "sample" and node.attrs["site"].dist.support.name in ROWS_THAT_SUM_TO_ONE


def _polygamma_bounds(node: Node, a: Interval) -> Interval:
    """Odd derivatives of digamma are positive, even ones negative; digamma itself may be anything."""
    if not a.within(POSITIVE):
        return ANYTHING
    order = node.attrs["n"]
    return REAL if order == 0 else POSITIVE if order % 2 else iv.neg(POSITIVE)


def _sine_bounds(node: Node, a: Interval) -> Interval:
    """Sines: those of the ends, and 1 or -1 where a crest or trough lies between them."""
    return _cosine_wave_bounds(a, math.pi / 2)


def _cosine_bounds(node: Node, a: Interval) -> Interval:
    """Cosines: those of the ends, and 1 or -1 where a crest or trough lies between them."""
    return _cosine_wave_bounds(a, 0.0)


def _cosine_wave_bounds(a: Interval, crest: float) -> Interval:
    if not a.hi - a.lo < 2 * math.pi or not max(abs(a.lo), abs(a.hi)) < 1e6:
        return SIGNED_UNIT
    found = [(math.cos(end - crest), opened) for end, opened in iv.ends(a)]
    for height, at in ((1.0, crest), (-1.0, crest + math.pi)):
        turns = math.ceil((a.lo - at) / (2 * math.pi))
        if at + 2 * math.pi * turns <= a.hi:
            found.append((height, False))
    return iv.hull(found)


def _where_bounds(node: Node, condition: Interval, a: Interval, b: Interval) -> Interval:
    """Both branches, each between the constants that the condition compares it with."""
    test, x, y = node.args
    return iv.union(_branch_bounds(test, True, x, a), _branch_bounds(test, False, y, b))


def _branch_bounds(test: Node, holds: bool, x: Node, interval: Interval) -> Interval:
    """The interval of a branch; of one that is a `where` again, of its own branches under both conditions."""
    found, inner = _narrow_by_condition(test, holds, x, interval), _without_broadcast(x)
    if inner.op != "where":
        return found
    own, *branches = inner.args
    parts = []
    for branch, chosen in zip(branches, (True, False), strict=True):
        known = _narrow_by_condition(own, chosen, branch, _constant_range(branch) or ANYTHING)
        parts.append(_narrow_by_condition(test, holds, branch, known))
    return intersection(found, iv.union(*parts))


def _narrow_by_condition(test: Node, holds: bool, x: Node, interval: Interval) -> Interval:
    """The interval of `x` where `test` holds, or fails."""
    while test.op == "expand":
        test = test.args[0]
    if test.op == "not":
        return _narrow_by_condition(test.args[0], not holds, x, interval)
    if test.op == ("and" if holds else "or"):
        for part in test.args:
            interval = _narrow_by_condition(part, holds, x, interval)
        return interval
    if x.op == "neg":
        return iv.neg(_narrow_by_condition(test, holds, x.args[0], iv.neg(interval)))
    if test.op not in ("lt", "le"):
        return interval
    (low, high), strict = test.args, (test.op == "lt") == holds
    low, high = (low, high) if holds else (high, low)
    if _without_broadcast(low) is _without_broadcast(x) and (end := _constant_range(high)) is not None:
        return intersection(interval, Interval(-math.inf, end.hi, interval.lo_open, strict))
    if _without_broadcast(high) is _without_broadcast(x) and (end := _constant_range(low)) is not None:
        return intersection(interval, Interval(end.lo, math.inf, strict, interval.hi_open))
    return interval


def _without_broadcast(x: Node) -> Node:
    while x.op in ("expand", "stop"):
        x = x.args[0]
    return x


def _constant_range(x: Node) -> Interval | None:
    x = _without_broadcast(x)
    if x.op != "const" or not x.attrs["value"].value.size or np.isnan(x.attrs["value"].value).any():
        return None
    value = x.attrs["value"].value
    return Interval(float(value.min()), float(value.max()), False, False)


Rule = Callable[..., Interval]

ABOVE_MINUS_ONE = Interval(-1.0, math.inf)


_known_bounds: WeakKeyDictionary[Node, Interval] = WeakKeyDictionary()
"""What is known of nodes in use: those of a long chain are asked for one after another."""


def bounds_of(value: Node) -> Interval:
    """The smallest interval known to hold every entry of `value`."""
    for node in topological([value], _known_bounds):
        _known_bounds[node] = RULES[node.op](node, *(_known_bounds[a] for a in node.args))
    return _known_bounds[value]


def softmax_argument(node: Node) -> Node | None:
    """x where `node` is softmax(x) along its last event dimension as `ops.softmax` writes it, else None."""
    if node.op != "div" or node.args[0].op != "exp":
        return None
    top, total = node.args
    shifted = top.args[0]
    if _reduced_row(total) is not top or shifted.op != "sub":
        return None
    return shifted.args[0] if _reduced_row(shifted.args[1], "amax") is shifted.args[0] else None


def _reduced_row(node: Node, op: str = "sum") -> Node | None:
    """x where `node` is the sum (or maximum) of x over its last dimension, broadcast back along it."""
    shape = node.type.shape
    while node.op in ("expand", "stop"):
        node = node.args[0]
    inner = node
    if node.op == "reshape" and shape and node.type.shape == (*shape[:-1], 1):
        (inner,) = node.args
    elif len(shape) != 1 or node.type.shape:
        return None
    over_last = inner.op == op and inner.attrs == {"axes": (), "dims": (len(shape) - 1,)}
    return inner.args[0] if over_last else None


def _any_value(node: Node, *args: Interval) -> Interval:
    return ANYTHING


def _bounds_of_first(node: Node, a: Interval, *rest: Interval) -> Interval:
    return a


def _constant_rule(interval: Interval) -> Rule:
    return lambda node, *args: interval


def _monotone_rule(function: Callable[[np.float64], float], domain: Interval = ANYTHING) -> Rule:
    def rule(node: Node, a: Interval) -> Interval:
        if not a.within(domain):
            return ANYTHING
        with np.errstate(all="ignore"):
            return iv.hull([(float(function(np.float64(end))), opened) for end, opened in iv.ends(a)])

    return rule


def _saturating_rule(function: Callable[[np.float64], float]) -> Rule:
    """A strictly increasing function on the whole line: no finite argument reaches a limit it rounds to."""

    def rule(node: Node, a: Interval) -> Interval:
        with np.errstate(all="ignore"):
            bottom, top = float(function(np.float64(-math.inf))), float(function(np.float64(math.inf)))
            lo, hi = float(function(np.float64(a.lo))), float(function(np.float64(a.hi)))
        if lo == top and a.lo < math.inf:
            lo = math.nextafter(top, bottom)
        if hi == bottom and a.hi > -math.inf:
            hi = math.nextafter(bottom, top)
        low_open = a.lo_open or (lo == bottom and a.lo > -math.inf)
        return Interval(lo, hi, low_open, a.hi_open or (hi == top and a.hi < math.inf))

    return rule


def _const_bounds(node: Node) -> Interval:
    value = node.attrs["value"].value
    if not value.size or np.isnan(value).any():
        return ANYTHING
    return Interval(float(value.min()), float(value.max()), False, False)


def _div_bounds(node: Node, a: Interval, b: Interval) -> Interval:
    if _reduced_row(node.args[1]) is not node.args[0] or not a.within(NONNEGATIVE):
        return iv.div(a, b)
    if softmax_argument(node) is None and not a.within(POSITIVE):
        return iv.div(a, b)
    return UNIT if node.type.shape[-1] > 1 and a.within(POSITIVE) else CLOSED_UNIT


def _sum_bounds(node: Node, a: Interval) -> Interval:
    sizes = [node.args[0].type.shape[d] for d in node.attrs["dims"]]
    lengths = [axis.size for axis in node.attrs["axes"]]
    return iv.sum_of_unknown_count(a) if None in lengths else iv.repeated_sum(a, math.prod(sizes + lengths))


def _route_bounds(node: Node, *args: Interval) -> Interval:
    entries = []
    for pairs in node.attrs["terms"]:
        total = iv.ZERO
        for argument, _ in pairs:
            total = iv.add(total, args[argument])
        entries.append(total)
    return iv.union(*entries)


def _cast_bounds(node: Node, a: Interval) -> Interval:
    if node.type.dtype == "bool":
        return CLOSED_UNIT
    if node.type.dtype == "float" or node.args[0].type.dtype != "float":
        return a
    return iv.hull([(float(np.trunc(end)), opened and math.isinf(end)) for end, opened in iv.ends(a)])


def _floor_bounds(node: Node, a: Interval) -> Interval:
    return iv.hull([(float(np.floor(end)), opened and math.isinf(end)) for end, opened in iv.ends(a)])


def _step_input_bounds(node: Node) -> Interval:
    """The number of a step; carries and slices may be anything."""
    scan = node.attrs["scan"]
    if scan is None:
        return Interval(0.0, node.attrs["length"] - 1.0, False, False)
    if node is scan.index:
        return Interval(0.0, scan.length - 1.0, False, False)
    return bounds_of(scan.slices[node]) if node in scan.slices else ANYTHING


def _argmax_bounds(node: Node, a: Interval) -> Interval:
    return Interval(0.0, node.args[0].type.shape[-1] - 1.0, False, False)


def _cdf_bounds(node: Node, *args: Interval) -> Interval:
    """A distribution function; ANYTHING for its derivatives in the parameters."""
    order = node.attrs["order"]
    return CLOSED_UNIT if order in (0, (0, 0)) else ANYTHING


RULES: dict[str, Rule] = {  # ops without one may be anything
    **dict.fromkeys(FACTS, _any_value),
    **dict.fromkeys((*VIEWS, *MARKERS, "amax", "take", "own_density", "kept"), _bounds_of_first),
    **dict.fromkeys(("param", "aux", "hyper", "input"), _constant_rule(REAL)),
    "size": _constant_rule(Interval(1.0, math.inf, False)),
    "scale": _constant_rule(POSITIVE),
    "rowid": _constant_rule(NONNEGATIVE),
    "step_input": _step_input_bounds,
    **dict.fromkeys(ops_with("types", "comparison", "logic"), _constant_rule(CLOSED_UNIT)),
    "sin": _sine_bounds,
    "cos": _cosine_bounds,
    **dict.fromkeys(("sign", "sign_det"), _constant_rule(SIGNED_UNIT)),
    "const": _const_bounds,
    "noise": _constant_rule(UNIT),
    "loggamma_draw": _constant_rule(REAL),
    "poisson_draw": _constant_rule(NONNEGATIVE),
    "binomial_draw": _constant_rule(NONNEGATIVE),
    "vonmises_draw": _constant_rule(CIRCLE),
    "sample": lambda node, *args: node.attrs["site"].dist.bounds,
    "mark": lambda node, a: node.attrs["name"] if isinstance(node.attrs["name"], Interval) else a,
    "cast": _cast_bounds,
    "argmax": _argmax_bounds,
    "where": _where_bounds,
    "concat": lambda node, *args: iv.union(*args),
    "route": _route_bounds,
    "pad": lambda node, a: iv.union(a, iv.ZERO),
    "neg": lambda node, a: iv.neg(a),
    "abs": lambda node, a: iv.absolute(a),
    "add": lambda node, a, b: iv.add(a, b),
    "sub": lambda node, a, b: iv.add(a, iv.neg(b)),
    "max": lambda node, a, b: iv.maximum(a, b),
    "min": lambda node, a, b: iv.minimum(a, b),
    "mul": _mul_bounds,
    "div": _div_bounds,
    "pow": _power_bounds,
    "sum": _sum_bounds,
    "cumsum": _cumsum_bounds,
    "contract": _contract_bounds,
    "exp": _saturating_rule(np.exp),
    "expm1": _saturating_rule(np.expm1),
    "tanh": _saturating_rule(np.tanh),
    "atan": _saturating_rule(np.arctan),
    "erf": _saturating_rule(math.erf),
    "erfc": lambda node, a: iv.add(Interval(1.0, 1.0, False, False), iv.neg(_saturating_rule(math.erf)(node, a))),
    "erfinv": _monotone_rule(special.later("erfinv"), SIGNED_UNIT),
    "log1mexp": _monotone_rule(lambda x: np.float64(log1mexp(np.asarray(x))), Interval(-math.inf, 0.0, False, False)),
    "ndtr": _saturating_rule(lambda x: math.erfc(-x / math.sqrt(2.0)) / 2),
    "log_ndtr": _saturating_rule(special.later("log_ndtr")),
    "sigmoid": _saturating_rule(lambda x: np.exp(-np.logaddexp(0.0, -x))),
    "softplus": _saturating_rule(lambda x: np.logaddexp(0.0, x)),
    "log": _monotone_rule(np.log, NONNEGATIVE),
    "log1p": _monotone_rule(np.log1p, ABOVE_MINUS_ONE),
    "sqrt": _monotone_rule(np.sqrt, NONNEGATIVE),
    "ndtri": _monotone_rule(special.later("ndtri"), CLOSED_UNIT),
    "log_i0e": lambda node, a: REAL if a.within(NONNEGATIVE) and a.hi_open else ANYTHING,
    **dict.fromkeys(("gammainc", "betainc", "student_cdf", "vonmises_cdf"), _cdf_bounds),
    **dict.fromkeys(("gammaincc", "betaincinv"), _constant_rule(CLOSED_UNIT)),
    **dict.fromkeys(
        (
            "gammaincinv",
            "gammainccinv",
            "poisson_icdf",
            "poisson_isf",
            "negative_binomial_icdf",
            "negative_binomial_isf",
        ),
        _constant_rule(Interval(0.0, math.inf, False, False)),
    ),
    "vonmises_icdf": _constant_rule(CIRCLE),
    "lgamma": lambda node, a: REAL if a.within(POSITIVE) else ANYTHING,
    "polygamma": _polygamma_bounds,
    "tan": _monotone_rule(np.tan, Interval(-math.pi / 2, math.pi / 2)),
    "floor": _floor_bounds,
}

if not RULES.keys() <= FACTS.keys():
    raise NotImplementedError(f"bounds.RULES has ops without a row of facts: {sorted(RULES.keys() - FACTS.keys())}")


def mark_inside(value: Node, interval: Interval) -> Node:
    """`value`, which is known to lie in `interval` for a reason that `bounds_of` cannot read off its expression."""
    return make("mark", value, name=interval)


def contains(closure: Interval, value: Node) -> Node:
    """Whether each entry of `value` lies in an interval with a finite lower end."""
    above = ops.less(closure.lo, value) if closure.lo_open else ops.less_equal(closure.lo, value)
    if math.isinf(closure.hi):
        return above
    below = ops.less(value, closure.hi) if closure.hi_open else ops.less_equal(value, closure.hi)
    return ops.logical_and(above, below)
