"""Emission of one scalar operation: a flat table from ops to expressions over scalars of the program's dtype.

In emitted modules `F` is the float type, `I` is int64 and `m` the module of scalar functions
(`ppl.kernels.generated.f32.scalar` or `f64`). Every constant is cast, because Numba would otherwise compute in
float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ppl.compiler.emit.code import (
    Binary,
    Call,
    Choice,
    Expression,
    ExpressionLike,
    Index,
    Literal,
    Name,
    Unary,
    as_expression,
    call,
    compare,
    sum_of,
    walk_records,
)
from ppl.compiler.lower.views import is_view
from ppl.ir.node import Node
from ppl.ir.op_facts import DRAWS, ops_of_role
from ppl.ir.reference.noise import node_hash

SCALAR_FUNCTIONS = ops_of_role("elementwise", "special")
"""Ops that are a function of the scalar kernels, of the same name but for those that are `RENAMED`."""

INFIX_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|"}

COMPARISONS = {"lt": "<", "le": "<=", "eq": "=="}

RENAMED_FUNCTIONS = {"pow": "power", "max": "maximum", "min": "minimum"}

INTEGER_RULES: dict[str, Callable[..., Expression]] = {
    "abs": lambda x: call("abs", x),
    "sign": lambda x: call("I", Binary("-", compare(x, ">", 0), compare(x, "<", 0))),
    "max": lambda x, y: call("max", x, y),
    "min": lambda x, y: call("min", x, y),
}


def to_float(x: ExpressionLike) -> Call:
    """`x` in the program's dtype."""
    return call("F", x)


def to_int(x: ExpressionLike) -> Call:
    """`x` as a whole number."""
    return call("I", x)


def to_word(x: ExpressionLike) -> Call:
    """`x` as a word of bits."""
    return call("U", x)


INF, NAN, ZERO, ONE = Name("INF"), Name("NAN"), to_float(0.0), to_float(1.0)


def scalar_call(name: str, *arguments: ExpressionLike) -> Call:
    """A call of the scalar function `name`."""
    return call(Name("m").dot(name), *arguments)


def as_run_time_integer(x: ExpressionLike) -> Expression:
    """`x` as an argument of a run-time kernel: a whole number goes through a variable's type.

    Numba compiles a function anew for every literal it is called with.
    """
    x = as_expression(x)
    plain = isinstance(x, Literal) and type(x.value) is int and x.value >= 0
    return to_int(x) if plain else x


def kernel_call(name: str, *arguments: ExpressionLike) -> Call:
    """A call of a run-time kernel."""
    return call(name, *map(as_run_time_integer, arguments))


def literal(value: float | int | bool, dtype: str) -> Expression:
    """A constant of the program's dtype."""
    if dtype == "bool":
        return Literal(bool(value))
    if dtype == "int":
        return to_int(int(value))
    if np.isfinite(value):
        return to_float(float(value))
    return NAN if np.isnan(value) else (INF if value > 0 else -INF)


def noise_key(node: Node, times: Sequence[ExpressionLike] = ()) -> Expression:
    """The key of a node's noise: the seed mixed with the node's name, then with `times`, one after another."""
    key = to_word(call("mix", to_word("seed"), to_word(node_hash(node.attrs["name"]))))
    for time in times:
        key = to_word(call("mix", key, to_word(time)))
    return key


def is_free_to_repeat(x: Expression) -> bool:
    """Whether `x` costs nothing to use again: a local, a constant, a number that is read and converted."""
    if isinstance(x, Call) and x.function in (Name("F"), Name("I")):
        return isinstance(x.arguments[0], Name | Literal | Index)
    return isinstance(x, Name | Literal)


def _cast(node: Node, a: Expression) -> Expression:
    old, new = node.args[0].type.dtype, node.attrs["dtype"]
    if old == new:
        return a
    if new == "bool":
        return compare(a, "!=", literal(0, old))
    if old == "bool":
        return Choice(a, literal(1, new), literal(0, new))
    return to_float(a) if new == "float" else to_int(a)


def _log(node: Node, a: Expression) -> Expression:
    x = node.args[0]
    return scalar_call("log_uniform" if _is_uniform_noise(x) else "log_above" if _is_guarded_positive(x) else "log", a)


def _is_guarded_positive(x: Node) -> bool:
    """Whether `x` is a value where that is above 0, and elsewhere a constant above 0."""
    other = _before_broadcast(x.args[2]) if x.op == "where" else x
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
    x = _before_broadcast(x)
    return x.op == "const" and not np.any(x.attrs["value"].value)


def _before_broadcast(x: Node) -> Node:
    while x.op == "expand":
        x = x.args[0]
    return x


def _where(node: Node, c: Expression, a: Expression, b: Expression) -> Expression:
    """A choice; what stands in memory is read on either side, because conditional reads become gathers."""
    return scalar_call("select", c, a, b) if any(isinstance(x, Index) for x in walk_records(a, b)) else Choice(c, a, b)


def _polygamma(node: Node, a: Expression) -> Expression:
    n = node.attrs["n"]
    names = {0: "digamma", 1: "trigamma"}
    return scalar_call(names[n], a) if n in names else scalar_call("polygamma", n, a)


def _log_i0e(node: Node, a: Expression) -> Expression:
    return scalar_call(("log_i0e", "log_i0e_slope", "log_i0e_curvature")[node.attrs["n"]], a)


def _derivative_call(values: str, *slopes: str) -> Callable[..., Expression]:
    """A call of the function for the derivative of order `order`; one function for all takes the orders too."""

    def emit(node: Node, *args: Expression) -> Expression:
        order = node.attrs["order"]
        orders = order if isinstance(order, tuple) else (order,)
        if not any(orders):
            return scalar_call(values, *args)
        return scalar_call(slopes[orders[0] - 1], *args) if len(slopes) > 1 else scalar_call(slopes[0], *args, *orders)

    return emit


def _draw(node: Node, *args: Expression) -> Expression:
    *parameters, key, column = args
    return scalar_call(node.op, *parameters, to_word(key), column, node.attrs["stream"])


def _is_uniform_noise(x: Node) -> bool:
    """Whether `x` is noise, or one minus noise."""
    x = _below_views(x)
    if x.op == "sub":
        one, x = (_below_views(a) for a in x.args)
        if one.op != "const" or not np.all(one.attrs["value"].value == 1.0):
            return False
    return x.op == "noise"


def _below_views(x: Node) -> Node:
    while is_view(x):
        x = x.args[0]
    return x


SPECIAL_RULES: dict[str, Callable[..., Expression]] = {
    "cast": _cast,
    "log": _log,
    "polygamma": _polygamma,
    "log_i0e": _log_i0e,
    "gammainc": _derivative_call("gammainc", "gammainc_slope", "gammainc_bend"),
    "betainc": _derivative_call("betainc", "betainc_slope"),
    "student_cdf": _derivative_call("student_cdf", "student_slope"),
    "vonmises_cdf": _derivative_call("vonmises_cdf", "vonmises_cdf_slope"),
    **dict.fromkeys(DRAWS, _draw),
    "neg": lambda node, a: -a,
    "not": lambda node, a: Unary("not", a),
    "where": _where,
    "take": lambda node, a: a,
    "copy": lambda node, a: a,
    "output": lambda node, a: a,
}


def scalar_expression(node: Node, args: Sequence[Expression]) -> Expression:
    """The value of `node` from the expressions of its arguments."""
    op = node.op
    if op in SPECIAL_RULES:
        return SPECIAL_RULES[op](node, *args)
    if op in INFIX_OPERATORS:
        return Binary(INFIX_OPERATORS[op], *args)
    if op in COMPARISONS:
        return compare(args[0], COMPARISONS[op], args[1])
    if op == "route":
        return sum_of(args) if args else literal(0, node.type.dtype)
    if node.type.dtype == "int" and op in INTEGER_RULES:
        return INTEGER_RULES[op](*args)
    if op in SCALAR_FUNCTIONS:
        return scalar_call(RENAMED_FUNCTIONS.get(op, op), *args)
    raise NotImplementedError(f"the CPU emitter does not know op {op!r}")
