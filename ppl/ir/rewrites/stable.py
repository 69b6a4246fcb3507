"""Rules that replace a formula which overflows or cancels by one that does not."""

from __future__ import annotations

import math

from ppl.ir.node import Node
from ppl.ir.rewrites.match import Rule, constant, is_value, op, scalar, spread_like


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
        return op("log", op("sub", spread_like(constant(1.0), n.type), x.args[0]))
    return None


def log1p_tanh(n: Node) -> Node | None:
    """Convert log1p(tanh x) to log 2 - softplus(-2 x), and log1p(-tanh x) to log 2 - softplus(2 x)."""
    (x,) = n.args
    falls = x.op == "neg"
    inner = x.args[0] if falls else x
    if inner.op != "tanh":
        return None
    two, log_two = (spread_like(constant(c), n.type) for c in (2.0 if falls else -2.0, math.log(2.0)))
    return op("sub", log_two, op("softplus", op("mul", inner.args[0], two)))


def one_minus_sigmoid(n: Node) -> Node | None:
    """Convert 1 - sigmoid(x) to sigmoid(-x)."""
    a, b = n.args
    return op("sigmoid", op("neg", b.args[0])) if b.op == "sigmoid" and is_value(a, 1) else None


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
    if x.op == "add" and x.args[0].op == "exp" and is_value(x.args[1], 1):
        return op("softplus", x.args[0].args[0])
    return None


def logistic(n: Node) -> Node | None:
    """Convert 1 / (exp x + 1) to sigmoid(-x)."""
    a, b = n.args
    if is_value(a, 1) and b.op == "add" and b.args[0].op == "exp" and is_value(b.args[1], 1):
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
    if a.op != "add" or b not in a.args or scalar(b) is not None:
        return None
    return a.args[1] if a.args[0] is b else a.args[0]


RULES: dict[str, list[Rule]] = {
    "log": [inverse_pair, log_sigmoid, log_one_plus_exp, log_softmax],
    "log1p": [log1p_minus_sigmoid, log1p_minus_uniform, log1p_exp, log1p_tanh],
    "exp": [inverse_pair],
    "sub": [one_minus_sigmoid, cancelled_term],
    "div": [logistic],
}
