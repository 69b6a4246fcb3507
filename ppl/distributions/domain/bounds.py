"""Bounds of expressions: an interval that holds every entry of a symbolic value, for all parameters and data.

Log-densities use it to leave out the guard at the edge of a support where no value can cross it. The bounds
hold for exact real arithmetic: exp(x) is positive although it can underflow. Parameters and data count as
finite reals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np

from ppl.distributions.domain import bound_rules
from ppl.distributions.domain import intervals as iv
from ppl.distributions.domain.bound_rules import SIGNED_UNIT
from ppl.distributions.domain.intervals import (
    ANYTHING,
    CIRCLE,
    CLOSED_UNIT,
    NONNEGATIVE,
    POSITIVE,
    REAL,
    UNIT,
    Interval,
)
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import FACTS, MARKERS, VIEWS, where
from ppl.ir.reference.numpy_between import log1mexp
from ppl.lazy import special

Rule = Callable[..., Interval]
MINUS_ONE_UP = Interval(-1.0, math.inf)


_found: WeakKeyDictionary[Node, Interval] = WeakKeyDictionary()
"""What is known of nodes in use: those of a long chain are asked for one after another."""


def bounds_of(value: Node) -> Interval:
    """The smallest interval known to hold every entry of `value`."""
    for node in topological([value], _found):
        _found[node] = RULES[node.op](node, *(_found[a] for a in node.args))
    return _found[value]


def softmax_argument(node: Node) -> Node | None:
    """x where `node` is softmax(x) along its last event dimension as `ops.softmax` writes it, else None."""
    if node.op != "div" or node.args[0].op != "exp":
        return None
    top, total = node.args
    shifted = top.args[0]
    if _row_total(total) is not top or shifted.op != "sub":
        return None
    return shifted.args[0] if _row_total(shifted.args[1], "amax") is shifted.args[0] else None


def _row_total(node: Node, op: str = "sum") -> Node | None:
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


def _unknown(node: Node, *args: Interval) -> Interval:
    return ANYTHING


def _same(node: Node, a: Interval, *rest: Interval) -> Interval:
    return a


def _fixed(interval: Interval) -> Rule:
    return lambda node, *args: interval


def _monotone(function: Callable[[np.float64], float], domain: Interval = ANYTHING) -> Rule:
    def rule(node: Node, a: Interval) -> Interval:
        if not a.within(domain):
            return ANYTHING
        with np.errstate(all="ignore"):
            return iv.hull([(float(function(np.float64(end))), opened) for end, opened in iv.ends(a)])

    return rule


def _saturating(function: Callable[[np.float64], float]) -> Rule:
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


def _const(node: Node) -> Interval:
    value = node.attrs["value"].value
    if not value.size or np.isnan(value).any():
        return ANYTHING
    return Interval(float(value.min()), float(value.max()), False, False)


def _div(node: Node, a: Interval, b: Interval) -> Interval:
    if _row_total(node.args[1]) is not node.args[0] or not a.within(NONNEGATIVE):
        return iv.div(a, b)
    if softmax_argument(node) is None and not a.within(POSITIVE):
        return iv.div(a, b)
    return UNIT if node.type.shape[-1] > 1 and a.within(POSITIVE) else CLOSED_UNIT


def _sum(node: Node, a: Interval) -> Interval:
    sizes = [node.args[0].type.shape[d] for d in node.attrs["dims"]]
    lengths = [axis.size for axis in node.attrs["axes"]]
    return iv.some(a) if None in lengths else iv.times(a, math.prod(sizes + lengths))


def _route(node: Node, *args: Interval) -> Interval:
    entries = []
    for pairs in node.attrs["terms"]:
        total = iv.ZERO
        for argument, _ in pairs:
            total = iv.add(total, args[argument])
        entries.append(total)
    return iv.union(*entries)


def _cast(node: Node, a: Interval) -> Interval:
    if node.type.dtype == "bool":
        return CLOSED_UNIT
    if node.type.dtype == "float" or node.args[0].type.dtype != "float":
        return a
    return iv.hull([(float(np.trunc(end)), opened and math.isinf(end)) for end, opened in iv.ends(a)])


def _floor(node: Node, a: Interval) -> Interval:
    return iv.hull([(float(np.floor(end)), opened and math.isinf(end)) for end, opened in iv.ends(a)])


def _step_input(node: Node) -> Interval:
    """The number of a step; carries and slices may be anything."""
    scan = node.attrs["scan"]
    if scan is None:
        return Interval(0.0, node.attrs["length"] - 1.0, False, False)
    if node is scan.index:
        return Interval(0.0, scan.length - 1.0, False, False)
    return bounds_of(scan.slices[node]) if node in scan.slices else ANYTHING


def _argmax(node: Node, a: Interval) -> Interval:
    return Interval(0.0, node.args[0].type.shape[-1] - 1.0, False, False)


def _probability(node: Node, *args: Interval) -> Interval:
    """A distribution function; ANYTHING for its derivatives in the parameters."""
    order = node.attrs["order"]
    return CLOSED_UNIT if order in (0, (0, 0)) else ANYTHING


RULES: dict[str, Rule] = {  # ops without one may be anything
    **dict.fromkeys(FACTS, _unknown),
    **dict.fromkeys((*VIEWS, *MARKERS, "amax", "take", "own_density", "kept"), _same),
    **dict.fromkeys(("param", "aux", "hyper", "input"), _fixed(REAL)),
    "size": _fixed(Interval(1.0, math.inf, False)),
    "scale": _fixed(POSITIVE),
    "rowid": _fixed(NONNEGATIVE),
    "step_input": _step_input,
    **dict.fromkeys(where("types", "comparison", "logic"), _fixed(CLOSED_UNIT)),
    "sin": bound_rules.sine,
    "cos": bound_rules.cosine,
    **dict.fromkeys(("sign", "sign_det"), _fixed(SIGNED_UNIT)),
    "const": _const,
    "noise": _fixed(UNIT),
    "loggamma_draw": _fixed(REAL),
    "poisson_draw": _fixed(NONNEGATIVE),
    "binomial_draw": _fixed(NONNEGATIVE),
    "vonmises_draw": _fixed(CIRCLE),
    "sample": lambda node, *args: node.attrs["site"].dist.bounds,
    "mark": lambda node, a: node.attrs["name"] if isinstance(node.attrs["name"], Interval) else a,
    "cast": _cast,
    "argmax": _argmax,
    "where": bound_rules.where,
    "concat": lambda node, *args: iv.union(*args),
    "route": _route,
    "pad": lambda node, a: iv.union(a, iv.ZERO),
    "neg": lambda node, a: iv.neg(a),
    "abs": lambda node, a: iv.absolute(a),
    "add": lambda node, a, b: iv.add(a, b),
    "sub": lambda node, a, b: iv.add(a, iv.neg(b)),
    "max": lambda node, a, b: iv.maximum(a, b),
    "min": lambda node, a, b: iv.minimum(a, b),
    "mul": bound_rules.mul,
    "div": _div,
    "pow": bound_rules.power,
    "sum": _sum,
    "cumsum": bound_rules.cumsum,
    "contract": bound_rules.contract,
    "exp": _saturating(np.exp),
    "expm1": _saturating(np.expm1),
    "tanh": _saturating(np.tanh),
    "atan": _saturating(np.arctan),
    "erf": _saturating(math.erf),
    "erfc": lambda node, a: iv.add(Interval(1.0, 1.0, False, False), iv.neg(_saturating(math.erf)(node, a))),
    "erfinv": _monotone(special.later("erfinv"), SIGNED_UNIT),
    "log1mexp": _monotone(lambda x: np.float64(log1mexp(np.asarray(x))), Interval(-math.inf, 0.0, False, False)),
    "ndtr": _saturating(lambda x: math.erfc(-x / math.sqrt(2.0)) / 2),
    "log_ndtr": _saturating(special.later("log_ndtr")),
    "sigmoid": _saturating(lambda x: np.exp(-np.logaddexp(0.0, -x))),
    "softplus": _saturating(lambda x: np.logaddexp(0.0, x)),
    "log": _monotone(np.log, NONNEGATIVE),
    "log1p": _monotone(np.log1p, MINUS_ONE_UP),
    "sqrt": _monotone(np.sqrt, NONNEGATIVE),
    "ndtri": _monotone(special.later("ndtri"), CLOSED_UNIT),
    "log_i0e": lambda node, a: REAL if a.within(NONNEGATIVE) and a.hi_open else ANYTHING,
    **dict.fromkeys(("gammainc", "betainc", "student_cdf", "vonmises_cdf"), _probability),
    **dict.fromkeys(("gammaincc", "betaincinv"), _fixed(CLOSED_UNIT)),
    **dict.fromkeys(
        (
            "gammaincinv",
            "gammainccinv",
            "poisson_icdf",
            "poisson_isf",
            "negative_binomial_icdf",
            "negative_binomial_isf",
        ),
        _fixed(Interval(0.0, math.inf, False, False)),
    ),
    "vonmises_icdf": _fixed(CIRCLE),
    "lgamma": lambda node, a: REAL if a.within(POSITIVE) else ANYTHING,
    "polygamma": bound_rules.polygamma,
    "tan": _monotone(np.tan, Interval(-math.pi / 2, math.pi / 2)),
    "floor": _floor,
}

if not RULES.keys() <= FACTS.keys():
    raise NotImplementedError(f"bounds.RULES has ops without a row of facts: {sorted(RULES.keys() - FACTS.keys())}")
