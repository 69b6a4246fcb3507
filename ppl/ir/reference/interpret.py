"""The NumPy reference interpreter: the meaning of every op, and the walk that evaluates a graph; the oracle of every
backend.

The table `OPS` has a function of (environment, node, argument values) for each op. An array has one dimension per named
axis of its type, in order, and then the event. Compiled backends are tested against this table, so it is written to be
right, not fast. Leaves are looked up in an `Env` (`ppl.ir.reference.environment`). Linear algebra that raises an error
in NumPy gives NaN, as that of kernels does."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ppl.ir.external import evaluate_external
from ppl.ir.loop import split_args, stop_carry_index
from ppl.ir.node import Node, topological
from ppl.ir.reference import numpy_cdfs as between
from ppl.ir.reference.environment import LEAVES, Env
from ppl.ir.reference.numpy_cdfs import CDFS
from ppl.ir.reference.numpy_samplers import ANGLES, COUNTS, DRAWS
from ppl.ir.types import Type
from ppl.lazy import special


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
        return np.swapaxes(_each_or_nan(np.linalg.solve, a, np.swapaxes(b, -1, -2)), -1, -2)
    return _each_or_nan(np.linalg.solve, a, b[..., None])[..., 0]


def _each_or_nan(function: Callable[..., Array], *args: Array) -> Array:
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
    found = _each_or_nan(np.linalg.cholesky, x)
    bad = np.isnan(found).any((-1, -2), keepdims=True)
    return np.tril(np.where(bad, found.dtype.type(np.nan), found))


def _unary_rule(function: Callable[[Array], Any]) -> Callable[[Env, Node, Sequence[Array]], Any]:
    return lambda env, node, args: function(args[0])


MATRICES = {
    "solve": solve_lower,
    "linsolve": linsolve,
    "cholesky": _unary_rule(cholesky),
    "inverse": _unary_rule(lambda x: _each_or_nan(np.linalg.inv, x)),
    "det": _unary_rule(np.linalg.det),
    "log_det": _unary_rule(lambda x: np.linalg.slogdet(x)[1]),
    "sign_det": _unary_rule(lambda x: np.linalg.slogdet(x)[0]),
}

Array = np.ndarray

Rule = Callable[["Env", Node, Sequence[Array]], Any]


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


def _reduced_dims(node: Node) -> tuple[int, ...]:
    """Array dimensions over which a `sum` or `amax` node reduces."""
    t = node.args[0].type
    named = [i for i, a in enumerate(t.axes) if a in node.attrs["axes"]]
    return (*named, *(len(t.axes) + d for d in node.attrs["dims"]))


def _sum(env: Env, node: Node, args: Sequence[Array]) -> Array:
    accumulator = np.float64 if node.type.dtype == "float" else np.int64
    return np.asarray(np.sum(args[0], axis=_reduced_dims(node), dtype=accumulator))


def _reshape(env: Env, node: Node, args: Sequence[Array]) -> Array:
    return args[0].reshape(env.shape(node.type))


def _transpose(env: Env, node: Node, args: Sequence[Array]) -> Array:
    n = len(node.type.axes)
    return np.transpose(args[0], (*range(n), *(n + p for p in node.attrs["perm"])))


def _window_index(node: Node) -> tuple[Any, ...]:
    """The index expression of a `slice` or `pad` node's window."""
    out: list[Any] = [slice(None)] * len(node.type.axes)
    for start, length, step in node.attrs["window"]:
        stop = start + step * length
        out.append(slice(start, stop if stop >= 0 else None, step) if length else slice(0, 0))
    return tuple(out)


def _pad(env: Env, node: Node, args: Sequence[Array]) -> Array:
    out = np.zeros(env.shape(node.type), args[0].dtype)
    out[_window_index(node)] = args[0]
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


def _pointwise_rule(function: Callable[..., Any]) -> Rule:
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

OPS: dict[str, Rule] = {
    **{op: _pointwise_rule(function) for op, function in UFUNCS.items()},
    **DRAWS,
    **ANGLES,
    **CDFS,
    **COUNTS,
    **MATRICES,
    "polygamma": _polygamma,
    "cast": _cast,
    "expand": _expand,
    "route": _route,
    "sum": _sum,
    "amax": lambda env, node, args: np.max(args[0], axis=_reduced_dims(node)),
    "argmax": lambda env, node, args: np.argmax(args[0], axis=-1),
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": lambda env, node, args: args[0][_window_index(node)],
    "pad": _pad,
    "concat": lambda env, node, args: np.concatenate(args, axis=len(node.type.axes) + node.attrs["dim"]),
    "cumsum": lambda env, node, args: np.cumsum(args[0], axis=-1),
    "take": _take,
    "put": _put,
    "contract": _contract,
    "collect": _collect,
    "distribute": _distribute,
    "external": evaluate_external,
}


def evaluate(outputs: Sequence[Node], env: Env) -> list[np.ndarray]:
    """Evaluate `outputs`.

    Returns
    -------
    list of ndarray
        Fresh arrays of shape (sizes of the named axes) + event; floats of `env.dtype`, ints int64, and bools.
    """
    values = _evaluate_nodes(outputs, env, {}, keep_all=False)
    return [np.array(values[o]) for o in outputs]


def evaluate_intermediates(outputs: Sequence[Node], env: Env) -> dict[Node, Any]:
    """Evaluate every node that `outputs` need, in topological order; a `loop` has a tuple of results."""
    return _evaluate_nodes(outputs, env, {}, keep_all=True)


def _evaluate_nodes(outputs: Sequence[Node], env: Env, bound: dict[Node, Any], keep_all: bool) -> dict[Node, Any]:
    """Values of `outputs` (of all nodes, if `keep_all`), with the nodes `bound` given."""
    order = topological(outputs)
    uses = dict.fromkeys(order, 0)
    for node in (*outputs, *(a for n in order for a in n.args)):
        uses[node] += 1
    values: dict[Node, Any] = {}
    with np.errstate(all="ignore"):
        for node in order:
            values[node] = bound[node] if node in bound else _evaluate_node(node, [values[a] for a in node.args], env)
            for arg in node.args:
                uses[arg] -= 1
                if not uses[arg] and not keep_all:
                    del values[arg]
    return values


def _evaluate_node(node: Node, args: list[Any], env: Env) -> Any:
    if node.op == "loop":
        return _evaluate_loop(node, args, env)
    if node.op == "get":
        return args[0][node.attrs["index"]]
    rule = LEAVES.get(node.op) or OPS[node.op]
    out = np.asarray(rule(env, node, args), env.numpy_dtype(node.type.dtype))
    if out.shape != env.shape(node.type):
        label = node.attrs.get("name", "")
        raise ValueError(
            f"{node.op} {label!r} has shape {out.shape}, its type {node.type} needs {env.shape(node.type)}"
        )
    return out


def _evaluate_loop(node: Node, args: list[Any], env: Env) -> tuple[np.ndarray, ...]:
    """Run a loop; stacked ys sit on the leading event dimension."""
    body, length = node.attrs["body"], node.attrs["length"]
    n = len(body.carries)
    carries, iteration = args[:n], -1
    stacks = [np.zeros(env.shape(body.result_type(n + i, length)), env.numpy_dtype(y.type.dtype))
              for i, y in enumerate(body.ys)]  # fmt: skip
    every = [y.attrs["every"] if y.op == "kept" else 0 for y in body.ys]
    for iteration, t, values in run_iterations(node, args, env):
        carries = [values[c] for c in body.carries]
        for stack, y, k in zip(stacks, body.ys, every, strict=True):
            stack[(slice(None),) * len(y.type.axes) + (-(-iteration // k) if k else t,)] = values[y]
    if iteration + 1 < length and stop_carry_index(body) is not None:
        _zero_unreached_stacks(stacks, body.ys, iteration + 1)
    return (*carries, *stacks)


def run_iterations(
    node: Node, args: Sequence[Any], env: Env, keep_all: bool = False
) -> Iterator[tuple[int, int, dict[Node, Any]]]:
    """The number, the step and the values of every iteration of a loop that is run; slices of xs are leading
    entries."""
    body, length = node.attrs["body"], node.attrs["length"]
    n, stop = len(body.carries), stop_carry_index(body)
    carries, xs, consts = args[:n], args[n : n + body.n_xs], args[n + body.n_xs :]
    x_lead = [len(x.type.axes) for x in split_args(node)[1]]
    for iteration in range(length):
        t = length - 1 - iteration if node.attrs["reverse"] else iteration
        slices = [np.take(x, t, axis=lead) for x, lead in zip(xs, x_lead, strict=True)]
        bound = {
            body.index: np.asarray(t, np.int64),
            **dict(zip(body.args, (*carries, *slices, *consts), strict=True)),
        }
        if body.idle is not None and np.all(_evaluate_nodes([body.idle], env, bound, keep_all=False)[body.idle]):
            continue
        values = _evaluate_nodes(body.outputs, env, bound, keep_all)
        yield iteration, t, values
        carries = [values[c] for c in body.carries]
        if stop is not None and np.all(carries[stop]):
            return


def _zero_unreached_stacks(stacks: Sequence[np.ndarray], ys: Sequence[Node], iteration: int) -> None:
    """Zeros for the entries of stacks of every n-th iteration that are not whole before `iteration`, in which
    nothing runs."""
    for stack, y in zip(stacks, ys, strict=True):
        if y.op == "kept":
            stack[(slice(None),) * len(y.type.axes) + (slice(-(-iteration // y.attrs["every"]), None),)] = 0
