"""The vector-Jacobian product of every op, one line a rule, built from the same ops, so closed under itself.

A rule takes the cotangent `g` of the result, the node itself, and its arguments; it returns one cotangent an
argument, `None` where no gradient flows. Rules that take more than a line stand in `ppl.ir.adjoints`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ppl.errors import EstimatorError
from ppl.ir import ops
from ppl.ir.adjoints import arrays, matrices, special
from ppl.ir.adjoints.arrays import Cotangents
from ppl.ir.incomplete import INCOMPLETE_VJPS
from ppl.ir.node import Node, make

PDF_LOG_NORM = 0.5 * math.log(2 * math.pi)


def _normal_pdf(x: Node) -> Node:
    return ops.exp(ops.sub(ops.mul(ops.mul(x, x), -0.5), PDF_LOG_NORM))


def _split_tie(g: Node, wins: Node, ties: Node) -> Node:
    return ops.where(wins, g, ops.where(ties, ops.mul(g, 0.5), 0.0))


def _pow(g: Node, n: Node, a: Node, b: Node) -> Cotangents:
    slope = ops.where(ops.equal(b, 0.0), 0.0, ops.mul(b, ops.power(a, ops.sub(b, 1.0))))
    log_a = ops.where(ops.less(0.0, a), ops.log(ops.where(ops.less(0.0, a), a, 1.0)), 0.0)
    return ops.mul(g, slope), ops.mul(g, ops.mul(n, log_a))


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
    "log_i0e": special.log_i0e,
    "log_poisson": special.log_poisson,
    "log_poisson_log_rate": special.log_poisson_log_rate,
    "log_binomial": special.log_binomial,
    "log_binomial_logits": special.log_binomial_logits,
    "erf": lambda g, n, x: (ops.mul(g, ops.mul(ops.exp(ops.neg(ops.mul(x, x))), 2 / SQRT_PI)),),
    "erfc": lambda g, n, x: (ops.mul(g, ops.mul(ops.exp(ops.neg(ops.mul(x, x))), -2 / SQRT_PI)),),
    "erfinv": lambda g, n, x: (ops.mul(g, ops.mul(ops.exp(ops.mul(n, n)), SQRT_PI / 2)),),
    "log1mexp": lambda g, n, x: (ops.neg(ops.mul(g, ops.exp(ops.sub(x, n)))),),
    "log_mass_between": special.log_mass_between,
    "quantile_between": special.quantile_between,
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
    **dict.fromkeys(IMPLICIT, _slope),
    **INCOMPLETE_VJPS,
    "expand": arrays.expand,
    "route": arrays.route,
    "sum": lambda g, n, x: (arrays.keepdims(g, n, x),),
    "amax": arrays.amax,
    "reshape": lambda g, n, x: (ops.reshape(g, x.type.shape),),
    "transpose": lambda g, n, x: (ops.transpose(g, arrays.inverse(n.attrs["perm"])),),
    "slice": lambda g, n, x: (make("pad", g, window=n.attrs["window"], shape=x.type.shape),),
    "pad": lambda g, n, x: (ops.window(g, n.attrs["window"]),),
    "concat": arrays.concat,
    "take": lambda g, n, x, i: (make("put", g, i, size=x.type.shape[0], over=()), None),
    "put": arrays.put,
    "contract": arrays.contract,
    **dict.fromkeys(("solve", "linsolve"), matrices.solve),
    "cholesky": matrices.cholesky,
    "inverse": matrices.inverse,
    "det": matrices.det,
    "log_det": matrices.log_det,
    "cumsum": arrays.cumsum,
    "collect": lambda g, n, x: (ops.distribute(g, n.attrs["axis"]),),
    "distribute": lambda g, n, x: (ops.collect(g, n.attrs["axis"]),),
    "external": arrays.external,
    **dict.fromkeys(("sign", "floor", "stopped", "lt", "le", "eq", "and", "or", "not", "argmax", "stop"), NONE),
    **dict.fromkeys(("poisson_draw", "binomial_draw", "sign_det"), NONE),
    **dict.fromkeys(("poisson_icdf", "poisson_isf", "negative_binomial_icdf", "negative_binomial_isf"), NONE),
    **dict.fromkeys(
        ("const", "param", "aux", "hyper", "input", "size", "scale", "rowid", "rowkey", "noise", "arg"), NONE
    ),
}
