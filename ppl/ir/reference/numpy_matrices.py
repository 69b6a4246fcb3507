"""Linear algebra in NumPy. Where it raises an error, the result is NaN, as that of kernels is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.ir.node import Node

if TYPE_CHECKING:
    from ppl.ir.reference.interpret import Env

Array = np.ndarray


def solve_lower(env: Env, node: Node, args: Sequence[Array]) -> Array:
    """Substitution, entry after entry, in all rows at once."""
    tril, x, d = args[0], np.array(args[1]), node.type.shape[-1]
    if len(node.type.shape) == len(node.args[0].type.shape):
        tril = tril[..., None, :, :]
    for i in reversed(range(d)) if node.attrs["transposed"] else range(d):
        done = slice(i + 1, d) if node.attrs["transposed"] else slice(0, i)
        row = tril[..., done, i] if node.attrs["transposed"] else tril[..., i, done]
        x[..., i] = (x[..., i] - (row * x[..., done]).sum(-1)) / tril[..., i, i]
    return x


def linsolve(env: Env, node: Node, args: Sequence[Array]) -> Array:
    """The systems of each matrix."""
    a, b = args
    a = np.swapaxes(a, -1, -2) if node.attrs["transposed"] else a
    if len(node.type.shape) == len(node.args[0].type.shape):
        return np.swapaxes(_each(np.linalg.solve, a, np.swapaxes(b, -1, -2)), -1, -2)
    return _each(np.linalg.solve, a, b[..., None])[..., 0]


def _each(function: Callable[..., Array], *args: Array) -> Array:
    """A function of matrices, of one after another if it raises an error for some of them."""
    try:
        return function(*args)
    except np.linalg.LinAlgError:
        out = np.empty_like(args[-1])
    for at in np.ndindex(*out.shape[:-2]):
        try:
            out[at] = function(*(x[at] for x in args))
        except np.linalg.LinAlgError:
            out[at] = np.nan
    return out


def cholesky(x: Array) -> Array:
    """The lower factor of each matrix."""
    found = _each(np.linalg.cholesky, x)
    bad = np.isnan(found).any((-1, -2), keepdims=True)
    return np.tril(np.where(bad, found.dtype.type(np.nan), found))


def _alone(function: Callable[[Array], Any]) -> Callable[[Env, Node, Sequence[Array]], Any]:
    return lambda env, node, args: function(args[0])


MATRICES = {
    "solve": solve_lower,
    "linsolve": linsolve,
    "cholesky": _alone(cholesky),
    "inverse": _alone(lambda x: _each(np.linalg.inv, x)),
    "det": _alone(np.linalg.det),
    "log_det": _alone(lambda x: np.linalg.slogdet(x)[1]),
    "sign_det": _alone(lambda x: np.linalg.slogdet(x)[0]),
}
