"""Rules of numbers: constant folding, arithmetic and logic, and formulas that would overflow or cancel.

Constants are folded in float64, by the reference interpreter. Normal form: constants stand on the right of `add` and
`mul`; `sub` of a constant is `add` of its negative; signs move outwards through products and are absorbed by constants
and sums."""

from __future__ import annotations

import math

import numpy as np

from ppl.ir.node import Node
from ppl.ir.op_facts import ELEMENTWISE
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.patterns import (
    FOLD_LIMIT,
    Rule,
    constant,
    constant_of_type,
    expand_like,
    is_constant,
    op,
    strip_expands,
    uniform_value,
)

FOLDABLE_OPS = {
    "sum",
    "amax",
    "argmax",
    "reshape",
    "transpose",
    "slice",
    "pad",
    "concat",
    "take",
    "put",
    "contract",
}


def uniform_constant(n: Node) -> Node | None:
    """Convert a constant array with equal entries to a broadcast number."""
    value = n.attrs["value"].value
    if not value.ndim or not value.size:
        return None
    first = value.reshape(-1)[:1]
    same = value.tobytes() == np.broadcast_to(first, value.shape).tobytes()
    return expand_like(constant(first[0], n.type.dtype), n.type) if same else None


def fixed_size(n: Node) -> Node | None:
    """Convert the length of an axis of known size to a constant."""
    size = n.attrs["axis"].size
    return None if size is None else constant(float(size))


def fold(n: Node) -> Node | None:
    """Convert an op on constants to a constant when the result and the arguments are small."""
    if n.type.axes or n.type.event_size > FOLD_LIMIT or not n.args:
        return None
    for a in n.args:
        if a.type.axes or a.type.event_size > FOLD_LIMIT or strip_expands(a).core.op != "const":
            return None
    return constant(evaluate([n], Env())[0], n.type.dtype)


FOLDING_RULES: dict[str, list[Rule]] = {
    "const": [uniform_constant],
    "size": [fixed_size],
    **{op: [fold] for op in sorted(ELEMENTWISE | FOLDABLE_OPS)},
}


def constant_to_the_right(n: Node) -> Node | None:
    """Convert c + x to x + c, and c x to x c, when only c is a constant."""
    a, b = n.args
    return op(n.op, b, a) if uniform_value(a) is not None and uniform_value(b) is None else None


def add_zero(n: Node) -> Node | None:
    """Convert x + 0 and x - 0 to x."""
    return n.args[0] if is_constant(n.args[1], 0) else None


def sub_from_zero(n: Node) -> Node | None:
    """Convert 0 - x to -x."""
    return op("neg", n.args[1]) if is_constant(n.args[0], 0) else None


def times_one(n: Node) -> Node | None:
    """Convert x · 1 and x / 1 to x."""
    return n.args[0] if is_constant(n.args[1], 1) else None


def times_minus_one(n: Node) -> Node | None:
    """Convert x · (-1) and x / (-1) to -x."""
    return op("neg", n.args[0]) if is_constant(n.args[1], -1) else None


def double_negation(n: Node) -> Node | None:
    """Convert -(-x) to x, and not(not x) to x."""
    return n.args[0].args[0] if n.args[0].op == n.op else None


def negated_difference(n: Node) -> Node | None:
    """Convert -(x - y) to y - x."""
    (x,) = n.args
    return op("sub", x.args[1], x.args[0]) if x.op == "sub" else None


def negated_shift(n: Node) -> Node | None:
    """Convert -(x + c) to (-c) - x when c is a constant."""
    (x,) = n.args
    c = uniform_value(x.args[1]) if x.op == "add" else None
    return None if c is None else op("sub", constant_of_type(-c, n.type), x.args[0])


def negated_multiple(n: Node) -> Node | None:
    """Convert -(x · c) to x · (-c) when c is a constant."""
    (x,) = n.args
    c = uniform_value(x.args[1]) if x.op == "mul" else None
    return None if c is None else op("mul", x.args[0], constant_of_type(-c, n.type))


def sub_negative(n: Node) -> Node | None:
    """Convert x - (-y) to x + y."""
    a, b = n.args
    return op("add", a, b.args[0]) if b.op == "neg" else None


def add_negative(n: Node) -> Node | None:
    """Convert x + (-y) and (-y) + x to x - y."""
    a, b = n.args
    if b.op == "neg":
        return op("sub", a, b.args[0])
    return op("sub", b, a.args[0]) if a.op == "neg" else None


def sub_constant(n: Node) -> Node | None:
    """Convert x - c to x + (-c) when c is a constant."""
    c = uniform_value(n.args[1])
    return None if c is None else op("add", n.args[0], constant_of_type(-c, n.type))


def add_constants(n: Node) -> Node | None:
    """Convert (x + c) + d to x + (c + d), and (c - x) + d to (c + d) - x, when c and d are constants."""
    a, d = n.args[0], uniform_value(n.args[1])
    if d is None or a.op not in ("add", "sub"):
        return None
    c = uniform_value(a.args[1 if a.op == "add" else 0])
    if c is None:
        return None
    total = constant_of_type(c + d, n.type)
    return op("add", a.args[0], total) if a.op == "add" else op("sub", total, a.args[1])


def sub_from_shift(n: Node) -> Node | None:
    """Convert c - (x + d) to (c - d) - x when c and d are constants."""
    c, b = uniform_value(n.args[0]), n.args[1]
    d = uniform_value(b.args[1]) if b.op == "add" else None
    return None if c is None or d is None else op("sub", constant_of_type(c - d, n.type), b.args[0])


def multiply_constants(n: Node) -> Node | None:
    """Convert (x · c) · d to x · (c d) when c and d are constants."""
    a, d = n.args[0], uniform_value(n.args[1])
    c = uniform_value(a.args[1]) if a.op == "mul" else None
    return None if c is None or d is None else op("mul", a.args[0], constant_of_type(c * d, n.type))


def gather_multiple(n: Node) -> Node | None:
    """Convert (x · c) · y and y · (x · c) to (x · y) · c, so that constants meet, when c is a constant."""
    a, b = n.args
    if a.op == "mul" and uniform_value(a.args[1]) is not None and uniform_value(b) is None:
        return op("mul", op("mul", a.args[0], b), a.args[1])
    if b.op == "mul" and uniform_value(b.args[1]) is not None and uniform_value(a) is None:
        return op("mul", op("mul", a, b.args[0]), b.args[1])
    return None


def gather_multiple_div(n: Node) -> Node | None:
    """Convert (x · c) / y to (x / y) · c when c is a constant and y is not."""
    a, b = n.args
    if a.op == "mul" and uniform_value(a.args[1]) is not None and uniform_value(b) is None:
        return op("mul", op("div", a.args[0], b), a.args[1])
    return None


def gather_sign(n: Node) -> Node | None:
    """Convert (-x) · y, x · (-y), (-x) / y, x / (-y) to -(x · y), -(x / y); a constant takes the sign."""
    a, b = n.args
    if a.op == "neg" and uniform_value(b) is not None:
        return op(n.op, a.args[0], constant_of_type(-uniform_value(b), n.type))
    if b.op == "neg" and uniform_value(a) is not None:
        return op(n.op, constant_of_type(-uniform_value(a), n.type), b.args[0])
    if a.op == "neg":
        return op("neg", op(n.op, a.args[0], b))
    return op("neg", op(n.op, a, b.args[0])) if b.op == "neg" else None


def divide_by_constant_twice(n: Node) -> Node | None:
    """Convert (x / c) / d to x / (c d) when c and d are constants."""
    a, d = n.args[0], uniform_value(n.args[1])
    c = uniform_value(a.args[1]) if a.op == "div" else None
    return None if c is None or d is None else op("div", a.args[0], constant_of_type(c * d, n.type))


def cancel_quotient(n: Node) -> Node | None:
    """Convert (x / y) · y, y · (x / y) and (x · y) / y to x when y is not a constant."""
    a, b = n.args
    if n.op == "div":
        if a.op == "mul" and b in a.args and uniform_value(b) is None:
            return a.args[1] if a.args[0] is b else a.args[0]
        return None
    for x, y in ((a, b), (b, a)):
        if x.op == "div" and x.args[1] is y and uniform_value(y) is None:
            return x.args[0]
    return None


def absolute_of_negative(n: Node) -> Node | None:
    """Convert |-x| and ||x|| to |x|."""
    (x,) = n.args
    return op("abs", x.args[0]) if x.op in ("neg", "abs") else None


def integer_power(n: Node) -> Node | None:
    """Convert x ** k to products when k is one of -2, …, 4, and x ** 0.5 to sqrt x."""
    x, k = n.args[0], uniform_value(n.args[1])
    if k is None or k not in (-2, -1, 0, 0.5, 1, 2, 3, 4):
        return None
    if k == 0:
        return constant_of_type(1.0, n.type)
    if k == 0.5:
        return op("sqrt", x)
    square = op("mul", x, x)
    power = {1: x, 2: square, 3: op("mul", square, x), 4: op("mul", square, square)}[abs(int(k))]
    return power if k > 0 else op("div", constant_of_type(1.0, n.type), power)


def idempotent(n: Node) -> Node | None:
    """Convert max(x, x), min(x, x), x and x, x or x to x."""
    return n.args[0] if n.args[0] is n.args[1] else None


def decided_logic(n: Node) -> Node | None:
    """Convert `x and c`, `x or c` to x or to c when c is a constant."""
    for x, c in (n.args, n.args[::-1]):
        value = uniform_value(c)
        if value is not None:
            return x if value == (n.op == "and") else c
    return None


def decided_where(n: Node) -> Node | None:
    """Convert where(c, a, b) to a or b when c is a constant, and to a when a and b are the same."""
    condition, a, b = n.args
    if a is b:
        return a
    value = uniform_value(condition)
    return None if value is None else (a if value else b)


def where_not(n: Node) -> Node | None:
    """Convert where(not c, a, b) to where(c, b, a)."""
    c, a, b = n.args
    return op("where", c.args[0], b, a) if c.op == "not" else None


def where_of_where(n: Node) -> Node | None:
    """Convert where(c, where(c, a, b), d) to where(c, a, d), and the same in the other branch."""
    c, a, b = n.args
    if a.op == "where" and a.args[0] is c:
        return op("where", c, a.args[1], b)
    return op("where", c, a, b.args[2]) if b.op == "where" and b.args[0] is c else None


def redundant_cast(n: Node) -> Node | None:
    """Convert a cast to the same dtype to x, and cast(cast(x)) of a truth value to one cast."""
    (x,), dtype = n.args, n.attrs["dtype"]
    if x.type.dtype == dtype:
        return x
    if x.op == "cast" and x.args[0].type.dtype == "bool":
        return x.args[0] if dtype == "bool" else op("cast", x.args[0], dtype=dtype)
    return None


def floor_of_whole(n: Node) -> Node | None:
    """Convert floor(x) to x when x is a floor, or a whole number or truth value that became a float."""
    return n.args[0] if _is_whole_number(n.args[0]) else None


def equal_to_itself(n: Node) -> Node | None:
    """Convert x == x to true when x was a whole number or a truth value, which is never NaN."""
    a, b = n.args
    return constant_of_type(True, n.type) if a is b and _is_whole_number(a) and a.op == "cast" else None


def _is_whole_number(x: Node) -> bool:
    return x.op == "floor" or (x.op == "cast" and x.type.dtype == "float" and x.args[0].type.dtype != "float")


ARITHMETIC_RULES: dict[str, list[Rule]] = {
    "add": [constant_to_the_right, add_zero, add_negative, add_constants],
    "sub": [add_zero, sub_from_zero, sub_negative, sub_constant, sub_from_shift],
    "mul": [
        constant_to_the_right,
        times_one,
        times_minus_one,
        multiply_constants,
        cancel_quotient,
        gather_sign,
        gather_multiple,
    ],
    "div": [
        times_one,
        times_minus_one,
        cancel_quotient,
        gather_sign,
        divide_by_constant_twice,
        gather_multiple_div,
    ],
    "neg": [double_negation, negated_difference, negated_shift, negated_multiple],
    "not": [double_negation],
    "abs": [absolute_of_negative],
    "pow": [integer_power],
    "max": [idempotent],
    "min": [idempotent],
    "and": [idempotent, decided_logic],
    "or": [idempotent, decided_logic],
    "where": [decided_where, where_not, where_of_where],
    "cast": [redundant_cast],
    "floor": [floor_of_whole],
    "eq": [equal_to_itself],
}


def log_sigmoid(n: Node) -> Node | None:
    """Convert log(sigmoid x) to -softplus(-x)."""
    (x,) = n.args
    return op("neg", op("softplus", op("neg", x.args[0]))) if x.op == "sigmoid" else None


def log1p_minus_sigmoid(n: Node) -> Node | None:
    """Convert log1p(-sigmoid x) to -softplus(x)."""
    (x,) = n.args
    if x.op == "neg" and x.args[0].op == "sigmoid":
        return op("neg", op("softplus", x.args[0].args[0]))
    return None


def log1p_minus_uniform(n: Node) -> Node | None:
    """Convert log1p(-u) to log(1 - u) when u is noise, whose last bit makes 1 - u exact."""
    (x,) = n.args
    if x.op == "neg" and x.args[0].op == "noise":
        return op("log", op("sub", expand_like(constant(1.0), n.type), x.args[0]))
    return None


def log1p_tanh(n: Node) -> Node | None:
    """Convert log1p(tanh x) to log 2 - softplus(-2 x), and log1p(-tanh x) to log 2 - softplus(2 x)."""
    (x,) = n.args
    falls = x.op == "neg"
    inner = x.args[0] if falls else x
    if inner.op != "tanh":
        return None
    two, log_two = (expand_like(constant(c), n.type) for c in (2.0 if falls else -2.0, math.log(2.0)))
    return op("sub", log_two, op("softplus", op("mul", inner.args[0], two)))


def one_minus_sigmoid(n: Node) -> Node | None:
    """Convert 1 - sigmoid(x) to sigmoid(-x)."""
    a, b = n.args
    return op("sigmoid", op("neg", b.args[0])) if b.op == "sigmoid" and is_constant(a, 1) else None


def inverse_pair(n: Node) -> Node | None:
    """Convert log(exp x) and exp(log x) to x."""
    (x,) = n.args
    return x.args[0] if x.op == {"log": "exp", "exp": "log"}[n.op] else None


def log1p_exp(n: Node) -> Node | None:
    """Convert log1p(exp x) to softplus(x)."""
    (x,) = n.args
    return op("softplus", x.args[0]) if x.op == "exp" else None


def log_one_plus_exp(n: Node) -> Node | None:
    """Convert log(exp x + 1) to softplus(x)."""
    (x,) = n.args
    if x.op == "add" and x.args[0].op == "exp" and is_constant(x.args[1], 1):
        return op("softplus", x.args[0].args[0])
    return None


def logistic(n: Node) -> Node | None:
    """Convert 1 / (exp x + 1) to sigmoid(-x)."""
    a, b = n.args
    if is_constant(a, 1) and b.op == "add" and b.args[0].op == "exp" and is_constant(b.args[1], 1):
        return op("sigmoid", op("neg", b.args[0].args[0]))
    return None


def log_softmax(n: Node) -> Node | None:
    """Convert log(exp(x) / s) to x - log(s)."""
    (x,) = n.args
    if x.op == "div" and x.args[0].op == "exp":
        return op("sub", x.args[0].args[0], op("log", x.args[1]))
    return None


def cancelled_term(n: Node) -> Node | None:
    """Convert (x + y) - x and (y + x) - x to y when x is not a constant."""
    a, b = n.args
    if a.op != "add" or b not in a.args or uniform_value(b) is not None:
        return None
    return a.args[1] if a.args[0] is b else a.args[0]


STABLE_RULES: dict[str, list[Rule]] = {
    "log": [inverse_pair, log_sigmoid, log_one_plus_exp, log_softmax],
    "log1p": [log1p_minus_sigmoid, log1p_minus_uniform, log1p_exp, log1p_tanh],
    "exp": [inverse_pair],
    "sub": [one_minus_sigmoid, cancelled_term],
    "div": [logistic],
}
