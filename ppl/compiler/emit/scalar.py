"""Emission of one scalar operation: a flat table from ops to Python expressions over scalars of the program's dtype.

In emitted modules `F` is the float type, `I` is int64 and `m` the module of scalar functions (`ppl.kernels.scalar.f32`
or `f64`). Every constant is cast, because Numba would otherwise compute in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ppl.compiler.lower.layout import is_view
from ppl.ir.node import Node

SAME_NAME = {
    *("exp", "log1p", "expm1", "sqrt", "sin", "cos", "tan", "atan", "tanh", "sigmoid", "softplus"),
    *("sign", "floor", "abs", "lgamma", "erf", "ndtr", "ndtri", "log_ndtr", "loggamma_slope", "vonmises_slope"),
    *("log_poisson", "log_binomial", "log_binomial_logits"),
    *("erfc", "erfinv", "log1mexp", "log_mass_between", "quantile_between"),
    *("gammaincc", "gammaincinv", "gammainccinv", "betaincinv", "student_icdf", "vonmises_icdf", "poisson_icdf"),
    *("poisson_isf", "negative_binomial_icdf", "negative_binomial_isf"),
}
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "eq": "==", "and": "&", "or": "|"}
RENAMED = {"pow": "power", "max": "maximum", "min": "minimum"}
INTS = {"abs": "abs({})", "sign": "I(({0} > 0) - ({0} < 0))", "max": "max({}, {})", "min": "min({}, {})"}


def arguments(*parts: object) -> str:
    """The arguments of a call of a run-time kernel.

    Whole numbers go through a variable's type: Numba compiles a function anew for every literal it is called with.
    """
    return ", ".join(f"I({p})" if str(p).isdigit() else str(p) for p in parts)


def literal(value: float | int | bool, dtype: str) -> str:
    """A constant of the program's dtype."""
    if dtype == "bool":
        return "True" if value else "False"
    if dtype == "int":
        return f"I({int(value)})"
    if np.isfinite(value):
        return f"F({float(value)!r})"
    return "NAN" if np.isnan(value) else ("INF" if value > 0 else "-INF")


def _cast(node: Node, a: str) -> str:
    old, new = node.args[0].type.dtype, node.attrs["dtype"]
    if old == new:
        return a
    if new == "bool":
        return f"({a} != {literal(0, old)})"
    if old == "bool":
        return f"({literal(1, new)} if {a} else {literal(0, new)})"
    return f"{'F' if new == 'float' else 'I'}({a})"


def _log(node: Node, a: str) -> str:
    x = node.args[0]
    return f"m.{'log_uniform' if _uniform(x) else 'log_above' if _above_zero(x) else 'log'}({a})"


def _above_zero(x: Node) -> bool:
    """Whether `x` is a value where that is above 0, and elsewhere a constant above 0."""
    other = _unexpanded(x.args[2]) if x.op == "where" else x
    if other.op != "const" or x is other or not np.all(other.attrs["value"].value > 0):
        return False
    conditions = [x.args[0]]
    while conditions:
        node = conditions.pop()
        if node.op == "and":
            conditions += node.args
        elif node.op == "lt" and _is_zero(node.args[0]) and node.args[1] is x.args[1]:
            return True
    return False


def _is_zero(x: Node) -> bool:
    x = _unexpanded(x)
    return x.op == "const" and not np.any(x.attrs["value"].value)


def _unexpanded(x: Node) -> Node:
    while x.op == "expand":
        x = x.args[0]
    return x


def _where(node: Node, c: str, a: str, b: str) -> str:
    """A choice; what stands in memory is read on either side, because conditional reads become gathers."""
    return f"m.select({c}, {a}, {b})" if "[" in a + b else f"({a} if {c} else {b})"


def _polygamma(node: Node, a: str) -> str:
    n = node.attrs["n"]
    names = {0: "digamma", 1: "trigamma"}
    return f"m.{names[n]}({a})" if n in names else f"m.polygamma({n}, {a})"


def _log_i0e(node: Node, a: str) -> str:
    return f"m.{('log_i0e', 'log_i0e_slope', 'log_i0e_curvature')[node.attrs['n']]}({a})"


def _ordered(values: str, *slopes: str) -> Callable[..., str]:
    """A call of the function for the derivative of order `order`; one function for all takes the orders too."""

    def emit(node: Node, *args: str) -> str:
        order, given = node.attrs["order"], ", ".join(args)
        orders = order if isinstance(order, tuple) else (order,)
        if not any(orders):
            return f"m.{values}({given})"
        if len(slopes) > 1:
            return f"m.{slopes[orders[0] - 1]}({given})"
        return f"m.{slopes[0]}({given}, {', '.join(map(str, orders))})"

    return emit


def _draw(node: Node, *args: str) -> str:
    *parameters, key, column = args
    return f"m.{node.op}({', '.join(parameters)}, U({key}), {column}, {node.attrs['stream']})"


def _uniform(x: Node) -> bool:
    """Whether `x` is noise, or one minus noise."""
    x = _seen(x)
    if x.op == "sub":
        one, x = (_seen(a) for a in x.args)
        if one.op != "const" or not np.all(one.attrs["value"].value == 1.0):
            return False
    return x.op == "noise"


def _seen(x: Node) -> Node:
    while is_view(x):
        x = x.args[0]
    return x


SPECIAL: dict[str, Callable[..., str]] = {
    "cast": _cast,
    "log": _log,
    "polygamma": _polygamma,
    "log_i0e": _log_i0e,
    "gammainc": _ordered("gammainc", "gammainc_slope", "gammainc_bend"),
    "betainc": _ordered("betainc", "betainc_slope"),
    "student_cdf": _ordered("student_cdf", "student_slope"),
    "vonmises_cdf": _ordered("vonmises_cdf", "vonmises_cdf_slope"),
    "loggamma_draw": _draw,
    "poisson_draw": _draw,
    "binomial_draw": _draw,
    "vonmises_draw": _draw,
    "neg": lambda node, a: f"(-{a})",
    "not": lambda node, a: f"(not {a})",
    "where": _where,
    "take": lambda node, a: a,
    "copy": lambda node, a: a,
    "output": lambda node, a: a,
}


def expression(node: Node, args: Sequence[str]) -> str:
    """The value of `node` from the expressions of its arguments."""
    op = node.op
    if op in SPECIAL:
        return SPECIAL[op](node, *args)
    if op in INFIX:
        return f"({args[0]} {INFIX[op]} {args[1]})"
    if op == "route":
        return "(" + " + ".join(args) + ")" if args else literal(0, node.type.dtype)
    if node.type.dtype == "int" and op in INTS:
        return INTS[op].format(*args)
    if op in SAME_NAME or op in RENAMED:
        return f"m.{RENAMED.get(op, op)}({', '.join(args)})"
    raise NotImplementedError(f"the CPU emitter does not know op {op!r}")
