"""Rules of arithmetic and logic: neutral elements, signs, gathered constants, powers, selection.

Normal form: constants stand on the right of `add` and `mul`; `sub` of a constant is `add` of its negative;
signs move outwards through products and are absorbed by constants and sums.
"""

from __future__ import annotations

from ppl.ir.node import Node
from ppl.ir.rewrites.match import Rule, filled, is_value, op, scalar


def constant_to_the_right(n: Node) -> Node | None:
    """Convert c + x to x + c, and c x to x c, when only c is a constant."""
    a, b = n.args
    return op(n.op, b, a) if scalar(a) is not None and scalar(b) is None else None


def add_zero(n: Node) -> Node | None:
    """Convert x + 0 and x - 0 to x."""
    return n.args[0] if is_value(n.args[1], 0) else None


def sub_from_zero(n: Node) -> Node | None:
    """Convert 0 - x to -x."""
    return op("neg", n.args[1]) if is_value(n.args[0], 0) else None


def times_one(n: Node) -> Node | None:
    """Convert x · 1 and x / 1 to x."""
    return n.args[0] if is_value(n.args[1], 1) else None


def times_minus_one(n: Node) -> Node | None:
    """Convert x · (-1) and x / (-1) to -x."""
    return op("neg", n.args[0]) if is_value(n.args[1], -1) else None


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
    c = scalar(x.args[1]) if x.op == "add" else None
    return None if c is None else op("sub", filled(-c, n.type), x.args[0])


def negated_multiple(n: Node) -> Node | None:
    """Convert -(x · c) to x · (-c) when c is a constant."""
    (x,) = n.args
    c = scalar(x.args[1]) if x.op == "mul" else None
    return None if c is None else op("mul", x.args[0], filled(-c, n.type))


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
    c = scalar(n.args[1])
    return None if c is None else op("add", n.args[0], filled(-c, n.type))


def add_constants(n: Node) -> Node | None:
    """Convert (x + c) + d to x + (c + d), and (c - x) + d to (c + d) - x, when c and d are constants."""
    a, d = n.args[0], scalar(n.args[1])
    if d is None or a.op not in ("add", "sub"):
        return None
    c = scalar(a.args[1 if a.op == "add" else 0])
    if c is None:
        return None
    total = filled(c + d, n.type)
    return op("add", a.args[0], total) if a.op == "add" else op("sub", total, a.args[1])


def sub_from_shift(n: Node) -> Node | None:
    """Convert c - (x + d) to (c - d) - x when c and d are constants."""
    c, b = scalar(n.args[0]), n.args[1]
    d = scalar(b.args[1]) if b.op == "add" else None
    return None if c is None or d is None else op("sub", filled(c - d, n.type), b.args[0])


def multiply_constants(n: Node) -> Node | None:
    """Convert (x · c) · d to x · (c d) when c and d are constants."""
    a, d = n.args[0], scalar(n.args[1])
    c = scalar(a.args[1]) if a.op == "mul" else None
    return None if c is None or d is None else op("mul", a.args[0], filled(c * d, n.type))


def gather_multiple(n: Node) -> Node | None:
    """Convert (x · c) · y and y · (x · c) to (x · y) · c, so that constants meet, when c is a constant."""
    a, b = n.args
    if a.op == "mul" and scalar(a.args[1]) is not None and scalar(b) is None:
        return op("mul", op("mul", a.args[0], b), a.args[1])
    if b.op == "mul" and scalar(b.args[1]) is not None and scalar(a) is None:
        return op("mul", op("mul", a, b.args[0]), b.args[1])
    return None


def gather_multiple_div(n: Node) -> Node | None:
    """Convert (x · c) / y to (x / y) · c when c is a constant and y is not."""
    a, b = n.args
    if a.op == "mul" and scalar(a.args[1]) is not None and scalar(b) is None:
        return op("mul", op("div", a.args[0], b), a.args[1])
    return None


def gather_sign(n: Node) -> Node | None:
    """Convert (-x) · y, x · (-y), (-x) / y, x / (-y) to -(x · y), -(x / y); a constant takes the sign."""
    a, b = n.args
    if a.op == "neg" and scalar(b) is not None:
        return op(n.op, a.args[0], filled(-scalar(b), n.type))
    if b.op == "neg" and scalar(a) is not None:
        return op(n.op, filled(-scalar(a), n.type), b.args[0])
    if a.op == "neg":
        return op("neg", op(n.op, a.args[0], b))
    return op("neg", op(n.op, a, b.args[0])) if b.op == "neg" else None


def divide_by_constant_twice(n: Node) -> Node | None:
    """Convert (x / c) / d to x / (c d) when c and d are constants."""
    a, d = n.args[0], scalar(n.args[1])
    c = scalar(a.args[1]) if a.op == "div" else None
    return None if c is None or d is None else op("div", a.args[0], filled(c * d, n.type))


def cancel_quotient(n: Node) -> Node | None:
    """Convert (x / y) · y, y · (x / y) and (x · y) / y to x when y is not a constant."""
    a, b = n.args
    if n.op == "div":
        if a.op == "mul" and b in a.args and scalar(b) is None:
            return a.args[1] if a.args[0] is b else a.args[0]
        return None
    for x, y in ((a, b), (b, a)):
        if x.op == "div" and x.args[1] is y and scalar(y) is None:
            return x.args[0]
    return None


def absolute_of_negative(n: Node) -> Node | None:
    """Convert |-x| and ||x|| to |x|."""
    (x,) = n.args
    return op("abs", x.args[0]) if x.op in ("neg", "abs") else None


def integer_power(n: Node) -> Node | None:
    """Convert x ** k to products when k is one of -2, …, 4, and x ** 0.5 to sqrt x."""
    x, k = n.args[0], scalar(n.args[1])
    if k is None or k not in (-2, -1, 0, 0.5, 1, 2, 3, 4):
        return None
    if k == 0:
        return filled(1.0, n.type)
    if k == 0.5:
        return op("sqrt", x)
    square = op("mul", x, x)
    power = {1: x, 2: square, 3: op("mul", square, x), 4: op("mul", square, square)}[abs(int(k))]
    return power if k > 0 else op("div", filled(1.0, n.type), power)


def idempotent(n: Node) -> Node | None:
    """Convert max(x, x), min(x, x), x and x, x or x to x."""
    return n.args[0] if n.args[0] is n.args[1] else None


def decided_logic(n: Node) -> Node | None:
    """Convert `x and c`, `x or c` to x or to c when c is a constant."""
    for x, c in (n.args, n.args[::-1]):
        value = scalar(c)
        if value is not None:
            return x if value == (n.op == "and") else c
    return None


def decided_where(n: Node) -> Node | None:
    """Convert where(c, a, b) to a or b when c is a constant, and to a when a and b are the same."""
    condition, a, b = n.args
    if a is b:
        return a
    value = scalar(condition)
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
    return n.args[0] if _whole(n.args[0]) else None


def equal_to_itself(n: Node) -> Node | None:
    """Convert x == x to true when x was a whole number or a truth value, which is never NaN."""
    a, b = n.args
    return filled(True, n.type) if a is b and _whole(a) and a.op == "cast" else None


def _whole(x: Node) -> bool:
    return x.op == "floor" or (x.op == "cast" and x.type.dtype == "float" and x.args[0].type.dtype != "float")


RULES: dict[str, list[Rule]] = {
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
