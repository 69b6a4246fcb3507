"""What every op means, in NumPy: one table, op → function of (environment, node, argument values).

An array has one dimension per named axis of its type, in order, and then the event. `ppl.ir.reference.interpret` walks
graphs with this table; the compiled backends are tested against it, so it is written to be right, not fast.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.ir.node import Node
from ppl.ir.reference import numpy_between as between
from ppl.ir.reference.externals import external
from ppl.ir.reference.numpy_angles import ANGLES
from ppl.ir.reference.numpy_counts import COUNTS
from ppl.ir.reference.numpy_draws import DRAWS
from ppl.ir.reference.numpy_incomplete import INCOMPLETE
from ppl.ir.reference.numpy_matrices import MATRICES
from ppl.ir.types import Type
from ppl.lazy import special

if TYPE_CHECKING:
    from ppl.ir.reference.interpret import Env

Array = np.ndarray
Function = Callable[["Env", Node, Sequence[Array]], Any]


def _polygamma(env: Env, node: Node, args: Sequence[Array]) -> Any:
    n, x = node.attrs["n"], args[0].astype(np.float64)
    if n == 0:
        return special.digamma(x)
    return np.where(x > 0, special.polygamma(n, x), _polygamma_reflected(n, x))


def _polygamma_reflected(n: int, x: Array) -> Array:
    """polygamma(n, x) for x < 0, by recurrence up to a positive argument; poles give NaN or infinity."""
    out, x = np.zeros_like(x), x.copy()
    lowest = np.min(x, initial=0.0, where=np.isfinite(x))
    for _ in range(int(min(-np.floor(lowest), 1_000))):
        step = x <= 0
        out = np.where(step, out + (-1.0) ** (n + 1) * special.factorial(n) / x ** (n + 1), out)
        x = np.where(step, x + 1, x)
    return out + special.polygamma(n, x)


def _cast(env: Env, node: Node, args: Sequence[Array]) -> Array:
    x = args[0]
    return x != 0 if node.attrs["dtype"] == "bool" else x.astype(env.numpy_dtype(node.attrs["dtype"]))


def _expand(env: Env, node: Node, args: Sequence[Array]) -> Array:
    (t,) = (a.type for a in node.args)
    sizes = [env.size(a) if a in t.axes else 1 for a in node.type.axes]
    padding = [1] * (len(node.type.shape) - len(t.shape))
    return np.broadcast_to(args[0].reshape([*sizes, *padding, *t.shape]), env.shape(node.type))


def _route(env: Env, node: Node, args: Sequence[Array]) -> Array:
    to, terms = node.attrs["to"], node.attrs["terms"]
    plain = len(node.args[0].type.axes) - (node.args[0].type.branch is not None)
    entries = []
    for pairs in terms:
        total = np.zeros(env.shape(Type(node.type.axes[:plain], node.type.shape)), env.numpy_dtype(node.type.dtype))
        for i, (arg, entry) in enumerate(pairs):
            has_branch = node.args[arg].type.branch is not None
            piece = np.take(args[arg], entry, axis=plain) if has_branch else args[arg]
            total = piece if i == 0 else total + piece
        entries.append(total)
    return entries[0] if to is None else np.stack(entries, axis=plain)


def _reduced(node: Node) -> tuple[int, ...]:
    """Array dimensions over which a `sum` or `amax` node reduces."""
    t = node.args[0].type
    named = [i for i, a in enumerate(t.axes) if a in node.attrs["axes"]]
    return (*named, *(len(t.axes) + d for d in node.attrs["dims"]))


def _sum(env: Env, node: Node, args: Sequence[Array]) -> Array:
    accumulator = np.float64 if node.type.dtype == "float" else np.int64
    return np.asarray(np.sum(args[0], axis=_reduced(node), dtype=accumulator))


def _reshape(env: Env, node: Node, args: Sequence[Array]) -> Array:
    return args[0].reshape(env.shape(node.type))


def _transpose(env: Env, node: Node, args: Sequence[Array]) -> Array:
    n = len(node.type.axes)
    return np.transpose(args[0], (*range(n), *(n + p for p in node.attrs["perm"])))


def _window(node: Node) -> tuple[Any, ...]:
    """The index expression of a `slice` or `pad` node's window."""
    out: list[Any] = [slice(None)] * len(node.type.axes)
    for start, length, step in node.attrs["window"]:
        stop = start + step * length
        out.append(slice(start, stop if stop >= 0 else None, step) if length else slice(0, 0))
    return tuple(out)


def _pad(env: Env, node: Node, args: Sequence[Array]) -> Array:
    out = np.zeros(env.shape(node.type), args[0].dtype)
    out[_window(node)] = args[0]
    return out


def _batch_index(sizes: Sequence[int], keep: Sequence[int], rank: int) -> list[Array]:
    """Open-mesh indices of the named dimensions `keep`, broadcastable to an index of event rank `rank`."""
    out = []
    for i in keep:
        shape = [1] * (len(sizes) + rank)
        shape[i] = sizes[i]
        out.append(np.arange(sizes[i]).reshape(shape))
    return out


def _take(env: Env, node: Node, args: Sequence[Array]) -> Array:
    named = len(node.type.axes)
    table, index = args[0], np.clip(args[1], 0, args[0].shape[named] - 1)
    batch = _batch_index(table.shape[:named], range(named), index.ndim - named)
    return table[(*batch, index)]


def _put(env: Env, node: Node, args: Sequence[Array]) -> Array:
    value, index = args
    axes = node.args[0].type.axes
    keep = [i for i, a in enumerate(axes) if a not in node.attrs["over"]]
    out = np.zeros(env.shape(node.type), np.float64 if node.type.dtype == "float" else np.int64)
    batch = _batch_index(value.shape[: len(axes)], keep, index.ndim - len(axes))
    np.add.at(out, (*batch, index), value)
    return out


def _drop_broadcast(x: Array, labels: str) -> tuple[Array, str]:
    """`x` without the dimensions along which it is a broadcast view, and the labels that remain."""
    stay = [i for i, n in enumerate(x.shape) if not (x.strides[i] == 0 and n > 1)]
    x = x[tuple(slice(None) if i in stay else 0 for i in range(x.ndim))]
    return x, "".join(labels[i] for i in stay)


def _contract(env: Env, node: Node, args: Sequence[Array]) -> Array:
    """einsum, without the copies that repeating a shared weight for every row would cost."""
    axes, over = node.args[0].type.axes, node.attrs["over"]
    used = node.attrs["a"] + node.attrs["b"]
    free = iter(c for c in string.ascii_letters if c not in used)
    names = {a: next(free) for a in axes}
    lead = "".join(names.values())
    out = "".join(names[a] for a in axes if a not in over) + node.attrs["out"]
    full = [lead + node.attrs["a"], lead + node.attrs["b"]]
    sizes = {c: n for x, labels in zip(args, full, strict=True) for c, n in zip(labels, x.shape, strict=True)}
    (a, la), (b, lb) = (_drop_broadcast(x, labels) for x, labels in zip(args, full, strict=True))
    repeated = [n for c, n in sizes.items() if c not in out and c not in la + lb]
    kept = "".join(c for c in out if c in la + lb)
    result = np.einsum(f"{la},{lb}->{kept}", a, b, optimize=True) * np.prod(repeated, dtype=a.dtype)
    shape = [sizes[c] if c in kept else 1 for c in out]
    return np.broadcast_to(np.reshape(result, shape), env.shape(node.type))


def _collect(env: Env, node: Node, args: Sequence[Array]) -> Array:
    return np.moveaxis(args[0], node.args[0].type.axes.index(node.attrs["axis"]), len(node.type.axes))


def _distribute(env: Env, node: Node, args: Sequence[Array]) -> Array:
    return np.moveaxis(args[0], len(node.args[0].type.axes), node.type.axes.index(node.attrs["axis"]))


def _plain(function: Callable[..., Any]) -> Function:
    """Lift a NumPy function of the argument values alone."""
    return lambda env, node, args: function(*args)


UFUNCS: dict[str, Callable[..., Any]] = {
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "atan": np.arctan,
    "tanh": np.tanh,
    "sigmoid": special.later("expit"),
    "softplus": lambda x: np.logaddexp(x, x.dtype.type(0)),
    "abs": np.abs,
    "sign": np.sign,
    "floor": np.floor,
    "lgamma": special.later("gammaln"),
    "erf": special.later("erf"),
    "erfc": special.later("erfc"),
    "erfinv": special.later("erfinv"),
    "log1mexp": between.log1mexp,
    "log_mass_between": between.log_mass_between,
    "quantile_between": between.quantile_between,
    "ndtr": special.later("ndtr"),
    "ndtri": special.later("ndtri"),
    "log_ndtr": special.later("log_ndtr"),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "pow": np.power,
    "max": np.maximum,
    "min": np.minimum,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "where": np.where,
    "stop": lambda x: x,
    "own_density": lambda x: x,
    **dict.fromkeys(("mark", "kept", "stopped"), lambda x: x),
    "scale_grad": lambda x, weight: x,
    "graft": lambda value, derivative: value,
}

OPS: dict[str, Function] = {
    **{op: _plain(function) for op, function in UFUNCS.items()},
    **DRAWS,
    **ANGLES,
    **INCOMPLETE,
    **COUNTS,
    **MATRICES,
    "polygamma": _polygamma,
    "cast": _cast,
    "expand": _expand,
    "route": _route,
    "sum": _sum,
    "amax": lambda env, node, args: np.max(args[0], axis=_reduced(node)),
    "argmax": lambda env, node, args: np.argmax(args[0], axis=-1),
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": lambda env, node, args: args[0][_window(node)],
    "pad": _pad,
    "concat": lambda env, node, args: np.concatenate(args, axis=len(node.type.axes) + node.attrs["dim"]),
    "cumsum": lambda env, node, args: np.cumsum(args[0], axis=-1),
    "take": _take,
    "put": _put,
    "contract": _contract,
    "collect": _collect,
    "distribute": _distribute,
    "external": external,
}
