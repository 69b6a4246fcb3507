"""Building IR: functions that broadcast, cast and insert `expand`/`route`; callers write plain formulas.

Every function takes nodes or Python/NumPy constants and returns a node. Named axes broadcast by name, events
as in NumPy. Where a value lacks branch entries that another has, it is routed from its trunk; only live
entries and the value's own side branches pass gradient back (rule 2 of the estimator contract).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.ir.build.broadcasting import (  # noqa: F401  (functions of `ops`)
    Operand,
    as_node,
    assemble,
    broadcast,
    cast,
    const,
    expand,
    is_const,
    pick,
    promote,
    to_branch,
    zeros_like,
)
from ppl.ir.build.events import (  # noqa: F401
    argmax,
    collect,
    concat,
    cumsum,
    distribute,
    einsum,
    matmul,
    reduce,
    reduce_sum,
    reshape,
    size,
    sum_axes,
    take,
    transpose,
    window,
)
from ppl.ir.build.matrices import (  # noqa: F401
    cholesky,
    det,
    flipped,
    inverse,
    linsolve,
    log_det,
    sign_det,
    solve,
    solve_lower,
    solve_triangular,
)
from ppl.ir.node import Node, make
from ppl.ir.types import Axis, Kind


def unary(op: str, x: Operand, **attrs: Any) -> Node:
    """Elementwise function of one argument; ints and bools become float except under neg, abs, sign."""
    x = as_node(x)
    keeps = op in ("neg", "abs", "sign") and x.type.dtype == "int"
    return make(op, x if keeps else cast(x, "float"), **attrs)


def binary(op: str, a: Operand, b: Operand) -> Node:
    """Elementwise function of two arguments after broadcasting and dtype promotion."""
    nodes = broadcast(a, b)
    if op in ("and", "or"):
        return make(op, *(cast(n, "bool") for n in nodes))
    if op in ("div", "pow"):
        return make(op, *(cast(n, "float") for n in nodes))
    if op == "eq" and all(n.type.dtype == "bool" for n in nodes):
        return make(op, *nodes)
    return make(op, *promote(nodes))


def _unary(op: str):  # type: ignore[no-untyped-def]
    def function(x: Operand) -> Node:
        return unary(op, x)

    function.__name__ = op
    function.__doc__ = f"Elementwise {op}."
    return function


def _binary(op: str):  # type: ignore[no-untyped-def]
    def function(a: Operand, b: Operand) -> Node:
        return binary(op, a, b)

    function.__name__ = op
    function.__doc__ = f"Elementwise {op} with broadcasting."
    return function


neg, exp, log, log1p, expm1, sqrt = map(_unary, ("neg", "exp", "log", "log1p", "expm1", "sqrt"))
sin, cos, tan, atan, tanh = map(_unary, ("sin", "cos", "tan", "atan", "tanh"))
sigmoid, softplus, absolute, sign, floor = map(_unary, ("sigmoid", "softplus", "abs", "sign", "floor"))
lgamma, erf, ndtr, ndtri, log_ndtr = map(_unary, ("lgamma", "erf", "ndtr", "ndtri", "log_ndtr"))
erfc, erfinv, log1mexp = map(_unary, ("erfc", "erfinv", "log1mexp"))
add, sub, mul, div, power = map(_binary, ("add", "sub", "mul", "div", "pow"))
maximum, minimum = map(_binary, ("max", "min"))
less, less_equal, equal = map(_binary, ("lt", "le", "eq"))
logical_and, logical_or = map(_binary, ("and", "or"))


def polygamma(n: int, x: Operand) -> Node:
    """The n-th derivative of digamma (n = 0 is digamma itself)."""
    return unary("polygamma", x, n=n)


def log_i0e(x: Operand, n: int = 0) -> Node:
    """The n-th derivative (n <= 2) of log(I0(x) exp(-x)), x >= 0, I0 the modified Bessel function."""
    return unary("log_i0e", x, n=n)


def log_mass_between(a: Operand, b: Operand) -> Node:
    """log of the integral of exp((e^2 - s^2) / 2) over a < s < b, e the point of [a, b] nearest to 0.

    It is the normal probability of the interval over the largest normal density in it, so that it is as accurate far
    out in a tail, and for a narrow interval, as around 0; -inf where a = b. Ends may be infinite.
    """
    return make("log_mass_between", *(cast(x, "float") for x in broadcast(a, b)))


def quantile_between(p: Operand, a: Operand, b: Operand) -> Node:
    """z - e, z the quantile at `p` of a standard normal truncated to [a, b], e the point of [a, b] nearest to 0."""
    return make("quantile_between", *(cast(x, "float") for x in broadcast(p, a, b)))


def logical_not(x: Operand) -> Node:
    """Elementwise negation of truth values."""
    return make("not", cast(x, "bool"))


def log_sigmoid(x: Operand) -> Node:
    """log sigmoid(x), stable in both tails."""
    return neg(softplus(neg(x)))


def where(condition: Operand, a: Operand, b: Operand) -> Node:
    """Select; its adjoint selects too, so that a NaN in the branch not taken stays there."""
    c, a, b = broadcast(condition, a, b)
    return make("where", cast(c, "bool"), *((a, b) if a.type.dtype == b.type.dtype else promote([a, b])))


def stop(x: Operand, tag: str = "theta") -> Node:
    """A value through which no derivative passes; `tag` names the pass that may erase it."""
    return make("stop", as_node(x), tag=tag)


def mark(x: Node, name: str) -> Node:
    """`x` as a node of its own, so that it can be told from the same expression elsewhere; derivatives pass."""
    return make("mark", x, name=name)


def scale_grad(x: Node, weight: Operand) -> Node:
    """`x`, whose incoming cotangent is multiplied by `weight` on its way back."""
    axes, shape = x.type.axes, x.type.shape
    return make("scale_grad", x, expand(cast(weight, "float"), axes, shape))


def graft(value: Operand, derivative: Operand, exact: bool = False) -> Node:
    """`value`, whose cotangent goes to `derivative`: straight-through, or `exact` where both are one function."""
    return make("graft", *broadcast(cast(value, "float"), derivative), **({"exact": True} if exact else {}))


def logsumexp(x: Operand, dims: Any = None, keepdims: bool = False) -> Node:
    """log sum exp over event dimensions, shifted by the maximum; all -inf gives -inf."""
    x = cast(x, "float")
    top = stop(reduce("amax", x, dims, keepdims=True), "shift")
    top = where(less(absolute(top), np.inf), top, 0.0)
    out = add(log(reduce_sum(exp(sub(x, top)), dims, keepdims=True)), top)
    return out if keepdims else reshape(out, reduce_sum(x, dims).type.shape)


def log_softmax(x: Operand, dim: int = -1) -> Node:
    """log softmax along one event dimension."""
    x = cast(x, "float")
    return sub(x, logsumexp(x, dim, keepdims=True))


def softmax(x: Operand, dim: int = -1) -> Node:
    """softmax along one event dimension."""
    x = cast(x, "float")
    e = exp(sub(x, stop(reduce("amax", x, dim, keepdims=True), "shift")))
    return div(e, reduce_sum(e, dim, keepdims=True))


def one_hot(x: Operand, n: int) -> Node:
    """Float indicator of shape event + (n,)."""
    x = as_node(x)
    return cast(equal(reshape(x, (*x.type.shape, 1)), np.arange(n)), "float")


def noise(name: str, purpose: int, axes: Sequence[Axis], shape: tuple[int, ...], times: Sequence[Node] = ()) -> Node:
    """Open uniforms, a pure function of (seed, name, step, times of loops, row, particle, column)."""
    kept = tuple(a for a in axes if a.kind in (Kind.REPEATS, Kind.PLATE, Kind.PARTICLES))
    return make("noise", *times, name=name, purpose=purpose, axes=kept, shape=tuple(shape))


def row_key(name: str, axes: Sequence[Axis], times: Sequence[Node] = ()) -> Node:
    """The 64-bit noise key of each row and particle, from which draws by rejection take their attempts."""
    kept = tuple(a for a in axes if a.kind in (Kind.REPEATS, Kind.PLATE, Kind.PARTICLES))
    return make("rowkey", *times, name=name, axes=kept)


def _draw(op: str, parameters: Operand | Sequence[Operand], key: Operand, stream: int, **attrs: Any) -> Node:
    given = parameters if isinstance(parameters, tuple) else (parameters,)
    nodes = broadcast(*(cast(p, "float") for p in given))
    column = np.arange(nodes[0].type.event_size).reshape(nodes[0].type.shape)
    return make(op, *broadcast(*nodes, key, column), stream=stream, **attrs)


def loggamma_draw(concentration: Operand, key: Operand, stream: int = 0) -> Node:
    """Logarithms of standard gamma draws; `stream` tells draws from one key apart. Its derivative is implicit."""
    return _draw("loggamma_draw", concentration, key, stream)


def poisson_draw(rate: Operand, key: Operand, stream: int = 0) -> Node:
    """Poisson counts."""
    return _draw("poisson_draw", rate, key, stream, dtype="int")


def binomial_draw(total: Operand, one: Operand, zero: Operand, key: Operand, stream: int = 0) -> Node:
    """Binomial counts of `total` trials; `one` and `zero` are the probabilities of success and failure."""
    return _draw("binomial_draw", (total, one, zero), key, stream, dtype="int")


def log_poisson(k: Operand, rate: Operand) -> Node:
    """log(rate**k exp(-rate) / gamma(k + 1)), k and rate >= 0, without cancellation (Loader 2000)."""
    return make("log_poisson", *broadcast(cast(k, "float"), cast(rate, "float")))


def log_poisson_log_rate(k: Operand, log_rate: Operand) -> Node:
    """`log_poisson` of whole numbers at rate exp(log_rate), finite where that underflows."""
    return make("log_poisson_log_rate", *broadcast(cast(k, "float"), cast(log_rate, "float")))


def log_binomial(x: Operand, y: Operand, p: Operand) -> Node:
    """log(gamma(x + y + 1) / (gamma(x + 1) gamma(y + 1)) p**x (1 - p)**y), x and y >= 0, without cancellation."""
    return make("log_binomial", *broadcast(*(cast(a, "float") for a in (x, y, p))))


def log_binomial_logits(x: Operand, y: Operand, logits: Operand) -> Node:
    """`log_binomial` at p = sigmoid(logits)."""
    return make("log_binomial_logits", *broadcast(*(cast(a, "float") for a in (x, y, logits))))


def loggamma_slope(y: Operand, concentration: Operand) -> Node:
    """d log x / d concentration of a gamma variable x = exp(y) at a fixed quantile: -(dF / da) / (x p(x))."""
    return make("loggamma_slope", *broadcast(y, concentration))


def vonmises_draw(concentration: Operand, key: Operand, stream: int = 0) -> Node:
    """Von Mises angles around 0, between -pi and pi. Their derivative is implicit."""
    return _draw("vonmises_draw", concentration, key, stream)


def vonmises_slope(x: Operand, concentration: Operand) -> Node:
    """dx / d concentration of a von Mises angle x around 0 at a fixed quantile: -(dF / d concentration) / p(x)."""
    return make("vonmises_slope", *broadcast(x, concentration))
