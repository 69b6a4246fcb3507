"""The vector-Jacobian product of every op, one line a rule, built from the same ops, so closed under itself.

A rule takes the cotangent `g` of the result, the node itself, and its arguments; it returns one cotangent an
argument, `None` where no gradient flows.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable

import numpy as np

from ppl.errors import EstimatorError
from ppl.ir import ops
from ppl.ir.incomplete import INCOMPLETE_VJPS
from ppl.ir.node import Node, make
from ppl.ir.types import Kind

Cotangents = tuple[Node | None, ...]
PDF_LOG_NORM = 0.5 * math.log(2 * math.pi)


def _normal_pdf(x: Node) -> Node:
    return ops.exp(ops.sub(ops.mul(ops.mul(x, x), -0.5), PDF_LOG_NORM))


def _split_tie(g: Node, wins: Node, ties: Node) -> Node:
    return ops.where(wins, g, ops.where(ties, ops.mul(g, 0.5), 0.0))


def _pow(g: Node, n: Node, a: Node, b: Node) -> Cotangents:
    slope = ops.where(ops.equal(b, 0.0), 0.0, ops.mul(b, ops.power(a, ops.sub(b, 1.0))))
    log_a = ops.where(ops.less(0.0, a), ops.log(ops.where(ops.less(0.0, a), a, 1.0)), 0.0)
    return ops.mul(g, slope), ops.mul(g, ops.mul(n, log_a))


def _expand(g: Node, n: Node, x: Node) -> Cotangents:
    new, live = n.attrs["axes"], n.attrs["live"]
    branch = next((a for a in new if a.kind is Kind.BRANCH), None)
    if branch is not None:
        terms = tuple((0, t) for t in range(len(branch.copies)) if live is None or live[t])
        if not terms:
            return (None,)
        g = make("route", g, to=None, terms=(terms,), live=(True,))
    offset = len(n.type.shape) - len(x.type.shape)
    stretched = tuple(d for d, m in enumerate(x.type.shape, offset) if m == 1 != n.type.shape[d])
    dims = tuple(range(offset)) + stretched
    axes = tuple(a for a in new if a.kind is not Kind.BRANCH)
    g = make("sum", g, axes=axes, dims=dims) if axes or dims else g
    return (ops.reshape(g, x.type.shape),)


def _route(g: Node, n: Node, *args: Node) -> Cotangents:
    terms, live = n.attrs["terms"], n.attrs["live"]
    out: list[Node | None] = []
    for i, arg in enumerate(args):
        branch = arg.type.branch
        count = 1 if branch is None else len(branch.copies)
        back = tuple(
            tuple((0, t) for t, pairs in enumerate(terms) if live[t] for pair in pairs if pair == (i, s))
            for s in range(count)
        )
        out.append(make("route", g, to=branch, terms=back, live=(True,) * count) if any(back) else None)
    return tuple(out)


def _keepdims(g: Node, n: Node, x: Node) -> Node:
    shape = tuple(1 if d in n.attrs["dims"] else m for d, m in enumerate(x.type.shape))
    return (
        make("expand", ops.reshape(g, shape), axes=n.attrs["axes"], shape=x.type.shape, live=None)
        if n.attrs["axes"]
        else ops.expand(ops.reshape(g, shape), (), x.type.shape)
    )


def _amax(g: Node, n: Node, x: Node) -> Cotangents:
    hit = ops.cast(ops.equal(x, _keepdims(n, n, x)), "float")
    count = make("sum", hit, axes=n.attrs["axes"], dims=n.attrs["dims"])
    return (ops.mul(_keepdims(ops.div(g, count), n, x), hit),)


def _one_contract(g: Node, n: Node, other: Node, lo: str, mine: Node, lm: str) -> Node:
    lg = n.attrs["out"]
    kept = "".join(c for c in lm if c in lg or c in lo)
    g = make("expand", g, axes=n.attrs["over"], shape=g.type.shape, live=None) if n.attrs["over"] else g
    out = make("contract", g, other, a=lg, b=lo, out=kept, over=())
    shape = tuple(m if c in kept else 1 for c, m in zip(lm, mine.type.shape, strict=True))
    return ops.expand(ops.reshape(out, shape), (), mine.type.shape)


def _contract(g: Node, n: Node, a: Node, b: Node) -> Cotangents:
    return _one_contract(g, n, b, n.attrs["b"], a, n.attrs["a"]), _one_contract(g, n, a, n.attrs["a"], b, n.attrs["b"])


def _concat(g: Node, n: Node, *args: Node) -> Cotangents:
    out, start, dim = [], 0, n.attrs["dim"]
    for arg in args:
        window = [(0, m, 1) for m in n.type.shape]
        window[dim] = (start, arg.type.shape[dim], 1)
        out.append(ops.window(g, window))
        start += arg.type.shape[dim]
    return tuple(out)


def _cumsum(g: Node, n: Node, x: Node) -> Cotangents:
    """Sums from the other end."""
    *lead, last = g.type.shape
    back = (*((0, m, 1) for m in lead), (last - 1, last, -1))
    return (ops.window(ops.cumsum(ops.window(g, back)), back),)


def _put(g: Node, n: Node, value: Node, index: Node) -> Cotangents:
    return ops.take(make("expand", g, axes=n.attrs["over"], shape=g.type.shape, live=None), index), None


def _solve(g: Node, n: Node, tril: Node, b: Node) -> Cotangents:
    """For x = L^-1 b: b gets u = L^-T g, and the lower triangle of L gets -u x^T."""
    u = make("solve", tril, g, transposed=not n.attrs["transposed"])
    rows, columns = (n, u) if n.attrs["transposed"] else (u, n)
    lead = string.ascii_uppercase[: len(b.type.shape) - 1]
    outer = ops.einsum(rows, lead + "i", columns, lead + "j", lead + "ij")
    return ops.mul(outer, -np.tril(np.ones(tril.type.shape[-2:]))), u


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(perm.index(i) for i in range(len(perm)))


def _external(g: Node, n: Node, *args: Node) -> Cotangents:
    fn = n.attrs["fn"]
    if fn.gradient is None or n.attrs["output"] is not None:
        return (None,) * len(args)
    first = 1 if fn.key else 0
    made = [
        make(
            "external",
            *args,
            g,
            fn=fn,
            output=i - first,
            axes=n.attrs["axes"],
            shape=a.type.shape,
            dtype="float",
        )
        if i >= first and a.type.dtype == "float"
        else None
        for i, a in enumerate(args)
    ]
    return tuple(made)


def nearest_to_zero(a: Node, b: Node) -> tuple[Node, Node, Node]:
    """Whether a > 0, whether b < 0, and the point of [a, b] nearest to 0; no jumps, they only choose formulas."""
    low, high = ops.less(0.0, ops.stop(a, "formula")), ops.less(ops.stop(b, "formula"), 0.0)
    return low, high, ops.where(low, a, ops.where(high, b, 0.0))


def _relative_density(a: Node, b: Node) -> Node:
    """exp((b^2 - a^2) / 2), 0 where a is infinite."""
    finite = ops.less(ops.absolute(ops.stop(a, "formula")), math.inf)
    a = ops.where(finite, a, 0.0)
    return ops.where(finite, ops.exp(ops.mul(0.5, ops.mul(ops.sub(b, a), ops.add(b, a)))), 0.0)


def _log_mass_between(g: Node, n: Node, a: Node, b: Node) -> Cotangents:
    """Minus and plus the densities at the ends over the mass, and what moving e gives."""
    low, high, e = nearest_to_zero(a, b)
    over = ops.exp(ops.neg(n))
    at_a = ops.sub(ops.where(low, a, 0.0), ops.mul(_relative_density(a, e), over))
    at_b = ops.add(ops.where(high, b, 0.0), ops.mul(_relative_density(b, e), over))
    return ops.mul(g, at_a), ops.mul(g, at_b)


def _quantile_between(g: Node, n: Node, p: Node, a: Node, b: Node) -> Cotangents:
    """phi(z) dz = Z dp + (1 - p) phi(a) da + p phi(b) db; less what moving e takes."""
    low, high, e = nearest_to_zero(a, b)
    z = ops.add(n, e)
    at_p = ops.mul(_relative_density(e, z), ops.exp(ops.log_mass_between(a, b)))
    at_a = ops.sub(ops.mul(ops.sub(1.0, p), _relative_density(a, z)), ops.cast(low, "float"))
    at_b = ops.sub(ops.mul(p, _relative_density(b, z)), ops.cast(high, "float"))
    return ops.mul(g, at_p), ops.mul(g, at_a), ops.mul(g, at_b)


def _log_i0e(g: Node, n: Node, x: Node) -> Cotangents:
    """Beyond the second derivative, by A'' = (A / x - A') / x - 2 A A' of the ratio A = I1 / I0."""
    if n.attrs["n"] < 2:
        return (ops.mul(g, ops.log_i0e(x, n.attrs["n"] + 1)),)
    ratio = ops.add(ops.log_i0e(x, 1), 1.0)
    bend = ops.sub(ops.div(ops.sub(ops.div(ratio, x), n), x), ops.mul(2.0, ops.mul(ratio, n)))
    return (ops.mul(g, bend),)


def _log_poisson(g: Node, n: Node, k: Node, rate: Node) -> Cotangents:
    slope = ops.where(ops.equal(k, 0.0), -1.0, ops.div(ops.sub(k, rate), rate))
    return ops.mul(g, ops.sub(ops.log(rate), ops.polygamma(0, ops.add(k, 1.0)))), ops.mul(g, slope)


def _log_choose(x: Node, y: Node) -> Cotangents:
    """Derivatives of log(gamma(x + y + 1) / (gamma(x + 1) gamma(y + 1)))."""
    top, left, right = (ops.polygamma(0, ops.add(v, 1.0)) for v in (ops.add(x, y), x, y))
    return ops.sub(top, left), ops.sub(top, right)


def _log_binomial(g: Node, n: Node, x: Node, y: Node, p: Node) -> Cotangents:
    (dx, dy), q = _log_choose(x, y), ops.sub(1.0, p)
    one, zero = (ops.where(ops.equal(v, 0.0), 0.0, ops.div(v, chance)) for v, chance in ((x, p), (y, q)))
    return (
        ops.mul(g, ops.add(dx, ops.log(p))),
        ops.mul(g, ops.add(dy, ops.log1p(ops.neg(p)))),
        ops.mul(g, ops.sub(one, zero)),
    )


def _log_binomial_logits(g: Node, n: Node, x: Node, y: Node, a: Node) -> Cotangents:
    dx, dy = _log_choose(x, y)
    slope = ops.sub(ops.mul(x, ops.sigmoid(ops.neg(a))), ops.mul(y, ops.sigmoid(a)))
    return (
        ops.mul(g, ops.sub(dx, ops.softplus(ops.neg(a)))),
        ops.mul(g, ops.sub(dy, ops.softplus(a))),
        ops.mul(g, slope),
    )


IMPLICIT = {
    "loggamma_slope": ("a gamma variable", "Gamma, Beta, Dirichlet or StudentT"),
    "vonmises_slope": ("a von Mises variable", "VonMises"),
}


def _slope(g: Node, n: Node, *args: Node) -> Cotangents:
    variable, names = IMPLICIT[n.op]
    raise EstimatorError(
        f"the implicit derivative of {variable} has no second derivative here: a Hessian, or an auxiliary "
        f"parameter trained by the second moment, cannot run through a {names} path"
    )


NONE: Callable[..., Cotangents] = lambda g, n, *args: (None,) * len(args)  # noqa: E731
SQRT_PI = math.sqrt(math.pi)

VJPS: dict[str, Callable[..., Cotangents]] = {
    "add": lambda g, n, a, b: (g, g),
    "sub": lambda g, n, a, b: (g, ops.neg(g)),
    "mul": lambda g, n, a, b: (ops.mul(g, b), ops.mul(g, a)),
    "div": lambda g, n, a, b: (ops.div(g, b), ops.neg(ops.div(ops.mul(g, n), b))),
    "pow": _pow,
    "max": lambda g, n, a, b: (
        _split_tie(g, ops.less(b, a), ops.equal(a, b)),
        _split_tie(g, ops.less(a, b), ops.equal(a, b)),
    ),
    "min": lambda g, n, a, b: (
        _split_tie(g, ops.less(a, b), ops.equal(a, b)),
        _split_tie(g, ops.less(b, a), ops.equal(a, b)),
    ),
    "neg": lambda g, n, x: (ops.neg(g),),
    "exp": lambda g, n, x: (ops.mul(g, n),),
    "log": lambda g, n, x: (ops.div(g, x),),
    "log1p": lambda g, n, x: (ops.div(g, ops.add(x, 1.0)),),
    "expm1": lambda g, n, x: (ops.mul(g, ops.add(n, 1.0)),),
    "sqrt": lambda g, n, x: (ops.div(ops.mul(g, 0.5), n),),
    "sin": lambda g, n, x: (ops.mul(g, ops.cos(x)),),
    "cos": lambda g, n, x: (ops.neg(ops.mul(g, ops.sin(x))),),
    "tan": lambda g, n, x: (ops.mul(g, ops.add(1.0, ops.mul(n, n))),),
    "atan": lambda g, n, x: (ops.div(g, ops.add(1.0, ops.mul(x, x))),),
    "tanh": lambda g, n, x: (ops.mul(g, ops.sub(1.0, ops.mul(n, n))),),
    "sigmoid": lambda g, n, x: (ops.mul(g, ops.mul(n, ops.sub(1.0, n))),),
    "softplus": lambda g, n, x: (ops.mul(g, ops.sigmoid(x)),),
    "abs": lambda g, n, x: (ops.mul(g, ops.sign(x)),),
    "lgamma": lambda g, n, x: (ops.mul(g, ops.polygamma(0, x)),),
    "polygamma": lambda g, n, x: (ops.mul(g, ops.polygamma(n.attrs["n"] + 1, x)),),
    "log_i0e": _log_i0e,
    "log_poisson": _log_poisson,
    "log_binomial": _log_binomial,
    "log_binomial_logits": _log_binomial_logits,
    "erf": lambda g, n, x: (ops.mul(g, ops.mul(ops.exp(ops.neg(ops.mul(x, x))), 2 / SQRT_PI)),),
    "erfc": lambda g, n, x: (ops.mul(g, ops.mul(ops.exp(ops.neg(ops.mul(x, x))), -2 / SQRT_PI)),),
    "erfinv": lambda g, n, x: (ops.mul(g, ops.mul(ops.exp(ops.mul(n, n)), SQRT_PI / 2)),),
    "log1mexp": lambda g, n, x: (ops.neg(ops.mul(g, ops.exp(ops.sub(x, n)))),),
    "log_mass_between": _log_mass_between,
    "quantile_between": _quantile_between,
    "ndtr": lambda g, n, x: (ops.mul(g, _normal_pdf(x)),),
    "ndtri": lambda g, n, x: (ops.div(g, _normal_pdf(n)),),
    "log_ndtr": lambda g, n, x: (ops.mul(g, ops.exp(ops.sub(ops.sub(ops.mul(ops.mul(x, x), -0.5), PDF_LOG_NORM), n))),),
    "where": lambda g, n, c, a, b: (None, ops.where(c, g, 0.0), ops.where(c, 0.0, g)),
    "cast": lambda g, n, x: (g if x.type.dtype == "float" else None,),
    "mark": lambda g, n, x: (g,),
    "scale_grad": lambda g, n, x, w: (ops.mul(g, w), None),
    "graft": lambda g, n, value, derivative: (None, g),
    "loggamma_draw": lambda g, n, a, key, column: (ops.mul(g, ops.loggamma_slope(n, a)), None, None),
    "vonmises_draw": lambda g, n, k, key, column: (ops.mul(g, ops.vonmises_slope(n, k)), None, None),
    **dict.fromkeys(IMPLICIT, _slope),
    **INCOMPLETE_VJPS,
    "expand": _expand,
    "route": _route,
    "sum": lambda g, n, x: (_keepdims(g, n, x),),
    "amax": _amax,
    "reshape": lambda g, n, x: (ops.reshape(g, x.type.shape),),
    "transpose": lambda g, n, x: (ops.transpose(g, _inverse(n.attrs["perm"])),),
    "slice": lambda g, n, x: (make("pad", g, window=n.attrs["window"], shape=x.type.shape),),
    "pad": lambda g, n, x: (ops.window(g, n.attrs["window"]),),
    "concat": _concat,
    "take": lambda g, n, x, i: (make("put", g, i, size=x.type.shape[0], over=()), None),
    "put": _put,
    "contract": _contract,
    "solve": _solve,
    "cumsum": _cumsum,
    "collect": lambda g, n, x: (ops.distribute(g, n.attrs["axis"]),),
    "distribute": lambda g, n, x: (ops.collect(g, n.attrs["axis"]),),
    "external": _external,
    **dict.fromkeys(("sign", "floor", "lt", "le", "eq", "and", "or", "not", "argmax", "stop"), NONE),
    **dict.fromkeys(("poisson_draw", "binomial_draw"), NONE),
    **dict.fromkeys(("poisson_icdf", "poisson_isf", "negative_binomial_icdf", "negative_binomial_isf"), NONE),
    **dict.fromkeys(
        ("const", "param", "aux", "hyper", "input", "size", "scale", "rowid", "rowkey", "noise", "arg"), NONE
    ),
}
