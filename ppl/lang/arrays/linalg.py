"""`np.linalg` on values, and systems of triangles: matrices are the last two event axes, plates and others are batches.

Where NumPy raises an error because a matrix is singular, or not positive definite, a value is NaN: it is known only
when the program runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import array, flag
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.reference.interpret import Env, evaluate
from ppl.lang.value import Value, lift
from ppl.names import keywords


class Slogdet(NamedTuple):
    """Sign and logarithm of the absolute value of determinants, as NumPy returns them."""

    sign: Value
    logabsdet: Value


def cholesky(a: Any, /, *, upper: bool = False) -> Value:
    """np.linalg.cholesky: of the lower triangle, or of the upper one if `upper`; NaN if not positive definite."""
    flag("upper", upper, ShapeError)
    if not upper:
        return lift("np.linalg.cholesky", ops.cholesky, a)
    return lift("np.linalg.cholesky", lambda x: ops.flipped(ops.cholesky(_turned(x))), a)


def _turned(x: Node) -> Node:
    """Matrices transposed; anything else as it is, to be refused."""
    return ops.flipped(x) if len(x.type.shape) >= 2 else x


def slogdet(a: Any) -> Slogdet:
    """np.linalg.slogdet: (0, -inf) of singular matrices."""
    sign, size = (lift("np.linalg.slogdet", rule, a) for rule in (ops.sign_det, ops.log_det))
    return Slogdet(sign, size)


LINALG: dict[Callable[..., Any], Callable[..., Any]] = {
    np.linalg.cholesky: cholesky,
    np.linalg.solve: lambda a, b: lift("np.linalg.solve", ops.solve, a, b),
    np.linalg.inv: lambda a: lift("np.linalg.inv", ops.inverse, a),
    np.linalg.det: lambda a: lift("np.linalg.det", ops.det, a),
    np.linalg.slogdet: slogdet,
}


@keywords
def solve_triangular(a: Any, b: Any, lower: bool = True, trans: bool = False) -> Any:
    """x with a x = b, or with a^T x = b if `trans`, for triangular matrices a, on values and arrays.

    Parameters
    ----------
    a : shape (…, d, d); what stands on the other side of the diagonal is not read.
    b : a vector (d,), or columns (…, d, k); leading axes broadcast, as in `np.linalg.solve`.
    lower : whether `a` is a lower triangle, else an upper one.
    trans : whether the transpose of `a` is meant.

    Returns
    -------
    A value, or an array if `a` and `b` are arrays; infinite or NaN where the diagonal has a 0.

    Raises
    ------
    ShapeError
        The shapes do not fit.
    """
    flag("solve_triangular: lower", lower, ShapeError)
    flag("solve_triangular: trans", trans, ShapeError)
    if isinstance(a, Value) or isinstance(b, Value):
        return lift("solve_triangular", ops.solve_triangular, a, b, lower=lower, trans=trans)
    a, b = array("solve_triangular: a", a, ShapeError), array("solve_triangular: b", b, ShapeError)
    kind = np.float32 if a.dtype == b.dtype == np.float32 else np.float64
    return evaluate([ops.solve_triangular(a, b, lower, trans)], Env(dtype=kind))[0]
