"""What every op of a trace means, in NumPy and SciPy: one table, op -> function of (layout, node, arguments).

Arguments of one op have equal event shapes; named dimensions broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from ppl.ir.node import Node
from tests.oracle.exact.errors import Unsupported
from tests.oracle.exact.layout import Layout, spread

Array = np.ndarray
DTYPES = {"float": np.float64, "int": np.int64, "bool": np.bool_}


def _log_i0e(x: Array, n: int) -> Array:
    ratio = special.ive(1, x) / special.ive(0, x)
    if n == 0:
        return np.log(special.ive(0, x))
    if n == 1:
        return ratio - 1
    raise Unsupported("the second derivative of log_i0e")


PLAIN: dict[str, Callable[..., Any]] = {
    "neg": np.negative, "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1, "sqrt": np.sqrt,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "atan": np.arctan, "tanh": np.tanh, "abs": np.abs, "sign": np.sign,
    "floor": np.floor, "sigmoid": special.expit, "softplus": lambda x: np.logaddexp(0.0, x), "lgamma": special.gammaln,
    "erf": special.erf, "erfc": special.erfc, "erfinv": special.erfinv, "ndtr": special.ndtr, "ndtri": special.ndtri,
    "log_ndtr": special.log_ndtr, "log1mexp": lambda x: np.log(-np.expm1(-np.abs(x))), "add": np.add,
    "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "pow": np.power, "max": np.maximum,
    "min": np.minimum, "lt": np.less, "le": np.less_equal, "eq": np.equal, "and": np.logical_and,
    "or": np.logical_or, "not": np.logical_not, "where": np.where, "gammainc": special.gammainc,
    "gammaincc": special.gammaincc, "betainc": special.betainc, "own_density": lambda x: x, "mark": lambda x: x,
    "stop": lambda x: x, "scale_grad": lambda x, weight: x, "log_poisson": stats.poisson.logpmf,
    "log_poisson_log_rate": lambda k, x: k * x - np.exp(x) - special.gammaln(k + 1),
}  # fmt: skip


def _cast(layout: Layout, node: Node, x: Array) -> Array:
    dtype = node.attrs["dtype"]
    return x != 0 if dtype == "bool" else np.trunc(x) if dtype == "int" else x.astype(DTYPES[dtype])


def _expand(layout: Layout, node: Node, x: Array) -> Array:
    lead, event = x.shape[: layout.rank], x.shape[layout.rank :]
    shape = node.attrs["shape"]
    padded = x.reshape(*lead, *(1,) * (len(shape) - len(event)), *event)
    return np.broadcast_to(padded, (*lead, *shape))


def _dims(layout: Layout, node: Node) -> tuple[int, ...]:
    if node.attrs["axes"]:
        raise Unsupported(f"{node.op} over a named axis")
    return tuple(layout.rank + d for d in node.attrs["dims"])


def _window(layout: Layout, node: Node, x: Array) -> Array:
    out: list[Any] = [slice(None)] * layout.rank
    for start, length, step in node.attrs["window"]:
        stop = start + step * length
        out.append(slice(start, stop if stop >= 0 else None, step) if length else slice(0, 0))
    return x[tuple(out)]


def _take(layout: Layout, node: Node, table: Array, index: Array) -> Array:
    """Rows of the table at the index; an index outside is cut to the ends."""
    table, index = spread(table, index, rank=layout.rank)
    missing = np.isnan(index)
    index = np.where(missing, 0, index).astype(np.int64)
    lead, rest = table.shape[: layout.rank], table.shape[layout.rank + 1 :]
    n, count = table.shape[layout.rank], int(np.prod(lead))
    flat = np.clip(index, 0, n - 1).reshape(count, -1)
    out = table.reshape(count, n, -1)[np.arange(count)[:, None], flat]
    out = out.reshape(*lead, *index.shape[layout.rank :], *rest)
    return np.where(missing.reshape(*missing.shape, *(1,) * len(rest)), np.nan, out) if missing.any() else out


def _contract(layout: Layout, node: Node, a: Array, b: Array) -> Array:
    if node.attrs["over"]:
        raise Unsupported("a product over a named axis")
    return np.einsum(f"...{node.attrs['a']},...{node.attrs['b']}->...{node.attrs['out']}", a, b)


def _solve(layout: Layout, node: Node, matrix: Array, b: Array) -> Array:
    """A vector, or rows, for each matrix, of which `solve` reads the lower triangle."""
    matrix = np.tril(matrix) if node.op == "solve" else matrix
    matrix = np.swapaxes(matrix, -1, -2) if node.attrs["transposed"] else matrix
    matrix, b = spread(matrix, b, rank=layout.rank)
    if len(node.type.shape) < len(node.args[0].type.shape):
        return np.linalg.solve(matrix, b[..., None])[..., 0]
    return np.swapaxes(np.linalg.solve(matrix, np.swapaxes(b, -1, -2)), -1, -2)


def _external(layout: Layout, node: Node, *args: Array) -> Array:
    fn = node.attrs["fn"]
    if fn.key or node.attrs["output"] is not None:
        raise Unsupported("an external function with noise")
    rows = spread(*args, rank=layout.rank)
    lead = rows[0].shape[: layout.rank]
    if np.prod(lead) > 200_000:
        raise Unsupported("an external function on many states")
    out = np.empty((*lead, *node.type.shape), DTYPES[node.type.dtype])
    for at in np.ndindex(*lead):
        out[at] = fn.function(*(np.ascontiguousarray(x[at]) if x[at].ndim else x[at] for x in rows))
    return out


def _concat(layout: Layout, node: Node, *args: Array) -> Array:
    return np.concatenate(spread(*args, rank=layout.rank), axis=layout.rank + node.attrs["dim"])


def _graft(layout: Layout, node: Node, value: Array, derivative: Array) -> Array:
    if not node.attrs.get("exact"):
        raise Unsupported("a straight-through value")
    return value


def _polygamma(layout: Layout, node: Node, x: Array) -> Array:
    n = node.attrs["n"]
    return special.digamma(x) if n == 0 else special.polygamma(n, x)


SHAPED: dict[str, Callable[..., Any]] = {
    "cast": _cast,
    "expand": _expand,
    "sum": lambda layout, node, x: np.sum(x, axis=_dims(layout, node)),
    "amax": lambda layout, node, x: np.max(x, axis=_dims(layout, node)),
    "argmax": lambda layout, node, x: np.argmax(x, axis=-1),
    "cumsum": lambda layout, node, x: np.cumsum(x, axis=-1),
    "reshape": lambda layout, node, x: x.reshape(*x.shape[: layout.rank], *node.attrs["shape"]),
    "transpose": lambda layout, node, x: np.transpose(
        x, (*range(layout.rank), *(layout.rank + p for p in node.attrs["perm"]))
    ),
    "slice": _window,
    "concat": _concat,
    "take": _take,
    "contract": _contract,
    "solve": _solve,
    "linsolve": _solve,
    "cholesky": lambda layout, node, x: np.linalg.cholesky(x),
    "inverse": lambda layout, node, x: np.linalg.inv(x),
    "det": lambda layout, node, x: np.linalg.det(x),
    "log_det": lambda layout, node, x: np.linalg.slogdet(x)[1],
    "sign_det": lambda layout, node, x: np.linalg.slogdet(x)[0],
    "external": _external,
    "graft": _graft,
    "polygamma": _polygamma,
    "log_i0e": lambda layout, node, x: _log_i0e(x, node.attrs["n"]),
    "collect": lambda layout, node, x: layout.to_event(
        x, layout.plates[node.attrs["axis"].name], node.attrs["axis"].size
    ),
    "distribute": lambda layout, node, x: layout.from_event(x, layout.plates[node.attrs["axis"].name]),
}


def apply(layout: Layout, node: Node, args: Sequence[Array]) -> Array:
    """The value of `node` for values of its arguments; integers that are not known yet stay NaN."""
    if node.op in PLAIN:
        out = np.asarray(PLAIN[node.op](*args))
    elif node.op in SHAPED:
        out = np.asarray(SHAPED[node.op](layout, node, *args))
    else:
        raise Unsupported(f"op {node.op}")
    unknown = node.type.dtype == "int" and out.dtype.kind == "f" and np.isnan(out).any()
    return out if unknown else np.asarray(out, DTYPES[node.type.dtype])
