"""The vector-Jacobian product of every op, built from the same ops, so closed under itself.

A rule takes the cotangent `g` of the result, the node itself, and its arguments; it returns one cotangent an
argument, `None` where no gradient flows. The table `VJPS` at the end has all rules, most of them in a line; those that
take more stand before it: moves of entries, sums and products, then linear algebra, then functions of distributions.

The formulas of linear algebra are those of Giles, An extended collection of matrix derivative results (2008), and
Murray, Differentiation of the Cholesky decomposition (2016). They are written in the ops themselves, so that they can
be differentiated again."""

from __future__ import annotations

import math
import string
from collections.abc import Callable

import numpy as np

from ppl.errors import EstimatorError
from ppl.ir import ops
from ppl.ir.cdfs import CDF_VJPS
from ppl.ir.external import Result, packed_size, unpack_result, value_args
from ppl.ir.node import Node, make
from ppl.ir.types import Kind

Cotangents = tuple[Node | None, ...]


def _expand(g: Node, n: Node, x: Node) -> Cotangents:
    """Sums over what was broadcast."""
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
    """Each entry gets what was read from it."""
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


def _expand_reduced(g: Node, n: Node, x: Node) -> Node:
    """`g`, broadcast to the argument of the reduction `n`."""
    shape = tuple(1 if d in n.attrs["dims"] else m for d, m in enumerate(x.type.shape))
    return (
        make("expand", ops.reshape(g, shape), axes=n.attrs["axes"], shape=x.type.shape, live=None)
        if n.attrs["axes"]
        else ops.expand(ops.reshape(g, shape), (), x.type.shape)
    )


def _amax(g: Node, n: Node, x: Node) -> Cotangents:
    """To the largest entries, in equal shares."""
    hit = ops.cast(ops.equal(x, _expand_reduced(n, n, x)), "float")
    count = make("sum", hit, axes=n.attrs["axes"], dims=n.attrs["dims"])
    return (ops.mul(_expand_reduced(ops.div(g, count), n, x), hit),)


def _contract_operand(g: Node, n: Node, other: Node, lo: str, mine: Node, lm: str) -> Node:
    lg = n.attrs["out"]
    kept = "".join(c for c in lm if c in lg or c in lo)
    g = make("expand", g, axes=n.attrs["over"], shape=g.type.shape, live=None) if n.attrs["over"] else g
    out = make("contract", g, other, a=lg, b=lo, out=kept, over=())
    shape = tuple(m if c in kept else 1 for c, m in zip(lm, mine.type.shape, strict=True))
    return ops.expand(ops.reshape(out, shape), (), mine.type.shape)


def _contract(g: Node, n: Node, a: Node, b: Node) -> Cotangents:
    """Each operand gets the contraction of `g` with the other."""
    return _contract_operand(g, n, b, n.attrs["b"], a, n.attrs["a"]), _contract_operand(
        g, n, a, n.attrs["a"], b, n.attrs["b"]
    )


def _concat(g: Node, n: Node, *args: Node) -> Cotangents:
    """Each argument gets its window."""
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
    """Reads the rows that were written."""
    return ops.take(make("expand", g, axes=n.attrs["over"], shape=g.type.shape, live=None), index), None


def _inverse_permutation(perm: tuple[int, ...]) -> tuple[int, ...]:
    """The inverse of a permutation."""
    return tuple(perm.index(i) for i in range(len(perm)))


def _external(g: Node, n: Node, *args: Node) -> Cotangents:
    """The user's gradient, where there is one: the parts of what one call of it returns."""
    fn = n.attrs["fn"]
    if fn.gradient is None or n.attrs["output"] is not None:
        return (None,) * len(args)
    slopes = [Result(a.type.shape, "float" if a.type.dtype == "float" else "") for a in value_args(n)]
    given = [unpack_result(g, fn.outputs, i) for i, r in enumerate(fn.outputs) if r.dtype == "float"] or [g]
    packed = make("external", *args, *given, fn=fn, output="gradient", axes=n.attrs["axes"],
                  shape=(packed_size(slopes),), dtype="float")  # fmt: skip
    found = [unpack_result(packed, slopes, i) if slope.dtype else None for i, slope in enumerate(slopes)]
    return (*((None,) if fn.key else ()), *found)


def _batched_einsum(a: Node, la: str, b: Node, lb: str, out: str) -> Node:
    """Products of matrices with these labels, batch by batch."""
    lead = string.ascii_uppercase[: len(a.type.shape) - len(la)]
    return ops.einsum(a, lead + la, b, lead + lb, lead + out)


def _outer_sum(rows: Node, columns: Node, a: Node) -> Node:
    """The outer products of two lists of vectors, added up for each of the matrices `a`."""
    many = len(rows.type.shape) == len(a.type.shape)
    return _batched_einsum(rows, "ri" if many else "i", columns, "rj" if many else "j", "ij")


def _solve(g: Node, n: Node, a: Node, b: Node) -> Cotangents:
    """For x = A^-1 b: b gets u = A^-T g, and A gets -u x^T, of which a triangle takes its half."""
    u = make(n.op, a, g, transposed=not n.attrs["transposed"])
    rows, columns = (n, u) if n.attrs["transposed"] else (u, n)
    weight = -np.tril(np.ones(a.type.shape[-2:])) if n.op == "solve" else -1.0
    return ops.mul(_outer_sum(rows, columns, a), weight), u


def _cholesky(g: Node, n: Node, x: Node) -> Cotangents:
    """The half of L^-T (P + P^T) L^-1 that is read, P the lower triangle of L^T g; diagonals count half."""
    half = np.tril(np.ones(x.type.shape[-2:])) - 0.5 * np.eye(x.type.shape[-1])
    p = ops.mul(_batched_einsum(n, "ki", g, "kj", "ij"), half)
    once = make("solve", n, ops.add(p, ops.matrix_transpose(p)), transposed=True)
    return (ops.mul(make("solve", n, ops.matrix_transpose(once), transposed=True), half),)


def _inverse(g: Node, n: Node, x: Node) -> Cotangents:
    """-X^T g X^T, X the inverse."""
    return (ops.neg(_batched_einsum(_batched_einsum(n, "ki", g, "kj", "ij"), "ij", n, "kj", "ik")),)


def _scaled_inverse_transpose(g: Node, x: Node) -> Node:
    """g X^-T for each number g."""
    shape = x.type.shape
    found = ops.matrix_transpose(make("inverse", x))
    return ops.mul(ops.expand(ops.reshape(g, (*shape[:-2], 1, 1)), (), shape), found)


def _det(g: Node, n: Node, x: Node) -> Cotangents:
    """g det(x) x^-T."""
    return (_scaled_inverse_transpose(ops.mul(g, n), x),)


def _log_det(g: Node, n: Node, x: Node) -> Cotangents:
    """g x^-T."""
    return (_scaled_inverse_transpose(g, x),)


def _nearest_to_zero(a: Node, b: Node) -> tuple[Node, Node, Node]:
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
    low, high, e = _nearest_to_zero(a, b)
    over = ops.exp(ops.neg(n))
    at_a = ops.sub(ops.where(low, a, 0.0), ops.mul(_relative_density(a, e), over))
    at_b = ops.add(ops.where(high, b, 0.0), ops.mul(_relative_density(b, e), over))
    return ops.mul(g, at_a), ops.mul(g, at_b)


def _quantile_between(g: Node, n: Node, p: Node, a: Node, b: Node) -> Cotangents:
    """phi(z) dz = Z dp + (1 - p) phi(a) da + p phi(b) db; less what moving e takes."""
    low, high, e = _nearest_to_zero(a, b)
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
    """By the digamma function, and (k - rate) / rate."""
    slope = ops.where(ops.equal(k, 0.0), -1.0, ops.div(ops.sub(k, rate), rate))
    return ops.mul(g, ops.sub(ops.log(rate), ops.polygamma(0, ops.add(k, 1.0)))), ops.mul(g, slope)


def _log_poisson_log_rate(g: Node, n: Node, k: Node, log_rate: Node) -> Cotangents:
    """By the digamma function, and k - rate."""
    at_k = ops.sub(log_rate, ops.polygamma(0, ops.add(k, 1.0)))
    return ops.mul(g, at_k), ops.mul(g, ops.sub(k, ops.exp(log_rate)))


def _log_choose_slopes(x: Node, y: Node) -> Cotangents:
    """Derivatives of log(gamma(x + y + 1) / (gamma(x + 1) gamma(y + 1)))."""
    top, left, right = (ops.polygamma(0, ops.add(v, 1.0)) for v in (ops.add(x, y), x, y))
    return ops.sub(top, left), ops.sub(top, right)


def _log_binomial(g: Node, n: Node, x: Node, y: Node, p: Node) -> Cotangents:
    """By digamma functions, and x / p - y / (1 - p)."""
    (dx, dy), q = _log_choose_slopes(x, y), ops.sub(1.0, p)
    one, zero = (ops.where(ops.equal(v, 0.0), 0.0, ops.div(v, chance)) for v, chance in ((x, p), (y, q)))
    return (
        ops.mul(g, ops.add(dx, ops.log(p))),
        ops.mul(g, ops.add(dy, ops.log1p(ops.neg(p)))),
        ops.mul(g, ops.sub(one, zero)),
    )


def _log_binomial_logits(g: Node, n: Node, x: Node, y: Node, a: Node) -> Cotangents:
    """As `log_binomial`, at p = sigmoid(a)."""
    dx, dy = _log_choose_slopes(x, y)
    slope = ops.sub(ops.mul(x, ops.sigmoid(ops.neg(a))), ops.mul(y, ops.sigmoid(a)))
    return (
        ops.mul(g, ops.sub(dx, ops.softplus(ops.neg(a)))),
        ops.mul(g, ops.sub(dy, ops.softplus(a))),
        ops.mul(g, slope),
    )


PDF_LOG_NORM = 0.5 * math.log(2 * math.pi)


def _normal_pdf(x: Node) -> Node:
    return ops.exp(ops.sub(ops.mul(ops.mul(x, x), -0.5), PDF_LOG_NORM))


def _split_tie(g: Node, wins: Node, ties: Node) -> Node:
    return ops.where(wins, g, ops.where(ties, ops.mul(g, 0.5), 0.0))


def _pow(g: Node, n: Node, a: Node, b: Node) -> Cotangents:
    slope = ops.where(ops.equal(b, 0.0), 0.0, ops.mul(b, ops.power(a, ops.sub(b, 1.0))))
    log_a = ops.where(ops.less(0.0, a), ops.log(ops.where(ops.less(0.0, a), a, 1.0)), 0.0)
    return ops.mul(g, slope), ops.mul(g, ops.mul(n, log_a))


IMPLICIT_SLOPES = {
    "loggamma_slope": ("a gamma variable", "Gamma, Beta, Dirichlet or StudentT"),
    "vonmises_slope": ("a von Mises variable", "VonMises"),
}


def _no_second_derivative(g: Node, n: Node, *args: Node) -> Cotangents:
    variable, names = IMPLICIT_SLOPES[n.op]
    raise EstimatorError(
        f"the implicit derivative of {variable} has no second derivative here: a Hessian, or an auxiliary "
        f"parameter trained by the second moment, cannot run through a {names} path"
    )


NO_GRADIENT: Callable[..., Cotangents] = lambda g, n, *args: (None,) * len(args)  # noqa: E731

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
    "log_poisson_log_rate": _log_poisson_log_rate,
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
    **dict.fromkeys(("mark", "kept"), lambda g, n, x: (g,)),
    "scale_grad": lambda g, n, x, w: (ops.mul(g, w), None),
    "graft": lambda g, n, value, derivative: (None, g),
    "loggamma_draw": lambda g, n, a, key, column: (ops.mul(g, ops.loggamma_slope(n, a)), None, None),
    "vonmises_draw": lambda g, n, k, key, column: (ops.mul(g, ops.vonmises_slope(n, k)), None, None),
    **dict.fromkeys(IMPLICIT_SLOPES, _no_second_derivative),
    **CDF_VJPS,
    "expand": _expand,
    "route": _route,
    "sum": lambda g, n, x: (_expand_reduced(g, n, x),),
    "amax": _amax,
    "reshape": lambda g, n, x: (ops.reshape(g, x.type.shape),),
    "transpose": lambda g, n, x: (ops.transpose(g, _inverse_permutation(n.attrs["perm"])),),
    "slice": lambda g, n, x: (make("pad", g, window=n.attrs["window"], shape=x.type.shape),),
    "pad": lambda g, n, x: (ops.window(g, n.attrs["window"]),),
    "concat": _concat,
    "take": lambda g, n, x, i: (make("put", g, i, size=x.type.shape[0], over=()), None),
    "put": _put,
    "contract": _contract,
    **dict.fromkeys(("solve", "linsolve"), _solve),
    "cholesky": _cholesky,
    "inverse": _inverse,
    "det": _det,
    "log_det": _log_det,
    "cumsum": _cumsum,
    "collect": lambda g, n, x: (ops.distribute(g, n.attrs["axis"]),),
    "distribute": lambda g, n, x: (ops.collect(g, n.attrs["axis"]),),
    "external": _external,
    **dict.fromkeys(("sign", "floor", "stopped", "lt", "le", "eq", "and", "or", "not", "argmax", "stop"), NO_GRADIENT),
    **dict.fromkeys(("poisson_draw", "binomial_draw", "sign_det"), NO_GRADIENT),
    **dict.fromkeys(("poisson_icdf", "poisson_isf", "negative_binomial_icdf", "negative_binomial_isf"), NO_GRADIENT),
    **dict.fromkeys(
        ("const", "param", "aux", "hyper", "input", "size", "scale", "rowid", "rowkey", "noise", "arg"), NO_GRADIENT
    ),
}
