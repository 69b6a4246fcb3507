"""The NumPy reference interpreter: the oracle of every backend.

It evaluates any graph of the IR node by node, with the noise of design section 4: an entry of a noise node is
a pure function of (seed, node name, step, loop time, global row, particle, column), whatever batch the row
arrives in.
Leaves are looked up in an `Env`; the meaning of the other ops is the table in `ppl.ir.reference.numpy_ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from ppl.ir.loop import split_args, stop_of
from ppl.ir.node import Node, topological
from ppl.ir.reference import noise as philox
from ppl.ir.reference.numpy_ops import OPS
from ppl.ir.types import Axis, Kind, Type
from ppl.records import dataclass


@dataclass(frozen=True)
class Env:
    """Everything that a graph reads from outside.

    Parameters
    ----------
    params, aux, hyper, inputs
        Name → array. Arrays have one dimension per named axis of the leaf, in order, and then the event.
    sizes
        Name → length of the axes whose length is known only at run time, "particles" and "repeats" included.
    rows
        Run-time plate → int64 global row ids (default 0, 1, …): which rows of the data set these are.
    scales
        Plate → factor N/B (default 1).
    total_rows
        Plate → rows of the whole data set (default: its size here). Needed only where `repeats` or another
        plate stands before that plate: global row = repeat · total + row.
    seed, step
        Select the noise.
    dtype
        `np.float32` or `np.float64`: the precision of every float.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    aux: Mapping[str, Any] = field(default_factory=dict)
    hyper: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, np.ndarray] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    total_rows: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    step: int = 0
    dtype: Any = np.float64

    def numpy_dtype(self, dtype: str) -> Any:
        """The NumPy dtype of "float", "int" or "bool"."""
        return {"float": self.dtype, "int": np.int64, "bool": np.bool_}[dtype]

    def size(self, axis: Axis) -> int:
        """Length of a named axis."""
        if axis.size is not None:
            return axis.size
        if axis.name in self.sizes:
            return int(self.sizes[axis.name])
        if axis.name in self.rows:
            return len(self.rows[axis.name])
        raise KeyError(f"the size of axis {axis.name!r} is not given")

    def shape(self, t: Type) -> tuple[int, ...]:
        """Shape of the array of a value of type `t`."""
        return (*(self.size(a) for a in t.axes), *t.shape)

    def ids(self, axis: Axis) -> np.ndarray:
        """Global index of every entry of a named axis."""
        if axis.size is None and axis.name in self.rows:
            return np.asarray(self.rows[axis.name], np.int64)
        return np.arange(self.size(axis), dtype=np.int64)

    def total(self, axis: Axis) -> int:
        """Global length of a named axis."""
        return int(self.total_rows.get(axis.name, self.size(axis))) if axis.size is None else axis.size


def evaluate(outputs: Sequence[Node], env: Env) -> list[np.ndarray]:
    """Evaluate `outputs`.

    Returns
    -------
    list of ndarray
        Fresh arrays of shape (sizes of the named axes) + event; floats of `env.dtype`, ints int64, and bools.
    """
    values = _run(outputs, env, {}, keep_all=False)
    return [np.array(values[o]) for o in outputs]


def evaluate_intermediates(outputs: Sequence[Node], env: Env) -> dict[Node, Any]:
    """Evaluate every node that `outputs` need, in topological order; a `loop` has a tuple of results."""
    return _run(outputs, env, {}, keep_all=True)


def _run(outputs: Sequence[Node], env: Env, bound: dict[Node, Any], keep_all: bool) -> dict[Node, Any]:
    """Values of `outputs` (of all nodes, if `keep_all`), with the nodes `bound` given."""
    order = topological(outputs)
    uses = dict.fromkeys(order, 0)
    for node in (*outputs, *(a for n in order for a in n.args)):
        uses[node] += 1
    values: dict[Node, Any] = {}
    with np.errstate(all="ignore"):
        for node in order:
            values[node] = bound[node] if node in bound else _value(node, [values[a] for a in node.args], env)
            for arg in node.args:
                uses[arg] -= 1
                if not uses[arg] and not keep_all:
                    del values[arg]
    return values


def _value(node: Node, args: list[Any], env: Env) -> Any:
    if node.op == "loop":
        return _loop(node, args, env)
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


def _loop(node: Node, args: list[Any], env: Env) -> tuple[np.ndarray, ...]:
    """Run a loop; stacked ys sit on the leading event dimension."""
    body, length = node.attrs["body"], node.attrs["length"]
    n = len(body.carries)
    carries, turn = args[:n], -1
    stacks = [np.zeros(env.shape(body.result_type(n + i, length)), env.numpy_dtype(y.type.dtype))
              for i, y in enumerate(body.ys)]  # fmt: skip
    every = [y.attrs["every"] if y.op == "kept" else 0 for y in body.ys]
    for turn, t, values in turns(node, args, env):
        carries = [values[c] for c in body.carries]
        for stack, y, k in zip(stacks, body.ys, every, strict=True):
            stack[(slice(None),) * len(y.type.axes) + (-(-turn // k) if k else t,)] = values[y]
    if turn + 1 < length and stop_of(body) is not None:
        _zero_kept(stacks, body.ys, turn + 1)
    return (*carries, *stacks)


def turns(
    node: Node, args: Sequence[Any], env: Env, keep_all: bool = False
) -> Iterator[tuple[int, int, dict[Node, Any]]]:
    """The number, the step and the values of every turn of a loop that is run; slices of xs are leading entries."""
    body, length = node.attrs["body"], node.attrs["length"]
    n, stop = len(body.carries), stop_of(body)
    carries, xs, consts = args[:n], args[n : n + body.n_xs], args[n + body.n_xs :]
    x_lead = [len(x.type.axes) for x in split_args(node)[1]]
    for turn in range(length):
        t = length - 1 - turn if node.attrs["reverse"] else turn
        slices = [np.take(x, t, axis=lead) for x, lead in zip(xs, x_lead, strict=True)]
        bound = {
            body.index: np.asarray(t, np.int64),
            **dict(zip(body.args, (*carries, *slices, *consts), strict=True)),
        }
        if body.idle is not None and np.all(_run([body.idle], env, bound, keep_all=False)[body.idle]):
            continue
        values = _run(body.outputs, env, bound, keep_all)
        yield turn, t, values
        carries = [values[c] for c in body.carries]
        if stop is not None and np.all(carries[stop]):
            return


def _zero_kept(stacks: Sequence[np.ndarray], ys: Sequence[Node], turn: int) -> None:
    """Zeros for the entries of stacks of every n-th turn that are not whole before `turn`, in which nothing runs."""
    for stack, y in zip(stacks, ys, strict=True):
        if y.op == "kept":
            stack[(slice(None),) * len(y.type.axes) + (slice(-(-turn // y.attrs["every"]), None),)] = 0


def _named(source: str) -> Callable[[Env, Node, Sequence[Any]], Any]:
    """Look the leaf's name up in one of the dictionaries of the environment."""
    return lambda env, node, args: getattr(env, source)[node.attrs["name"]]


def _mesh(axes: Sequence[Axis], env: Env, kinds: set[Kind]) -> tuple[np.ndarray, int]:
    """Flattened global index over the axes of `kinds`, broadcastable over `axes`, and their global count."""
    index, count = np.zeros((1,) * len(axes), np.int64), 1
    for i, axis in enumerate(axes):
        if axis.kind in kinds:
            shape = [1] * len(axes)
            shape[i] = -1
            index = index * env.total(axis) + env.ids(axis).reshape(shape)
            count *= env.total(axis)
    return index, count


def row_entries(axes: Sequence[Axis], env: Env) -> np.ndarray:
    """row · K + particle for every entry of `axes`: row flattens repeats and plates, K counts particles.

    Enumerated and branch axes do not enter: they share their noise, and have length 1 in the result.
    """
    row, _ = _mesh(axes, env, {Kind.REPEATS, Kind.PLATE})
    particle, count = _mesh(axes, env, {Kind.PARTICLES})
    return row * count + particle


def _noise(env: Env, node: Node, args: Sequence[Any]) -> np.ndarray:
    """Uniforms of entry (row · K + particle) · E + column.

    The last argument is the time of the innermost loop. Those of loops around it, outermost first, change the key.
    """
    t = node.type
    columns = np.arange(t.event_size, dtype=np.int64)
    entries = row_entries(t.axes, env)[..., None] * t.event_size + columns
    key = philox.mix(env.seed, philox.node_hash(node.attrs["name"]))
    for time in args[:-1]:
        key = philox.mix(key, int(time) % 2**64)
    time = int(args[-1]) if args else 0
    flat = philox.uniforms(entries.ravel(), key, time, env.step, node.attrs["purpose"], env.dtype)
    shape = (*entries.shape[:-1], *t.shape)
    return np.broadcast_to(np.reshape(flat, shape), env.shape(t))


def _rowkey(env: Env, node: Node, args: Sequence[Any]) -> np.ndarray:
    """mix(mix(seed, node_hash(name)), entry · 2³² + step modulo 2⁶⁴), stored as int64 bits.

    The entry is that of the row and particle. Times of loops, outermost first, are mixed in after it, one by one.
    """
    base = philox.mix(env.seed, philox.node_hash(node.attrs["name"]))
    entries = row_entries(node.type.axes, env)
    places = (entries.astype(np.uint64) << np.uint64(32)) + np.uint64(env.step % 2**64)
    keys = philox.mix_all(base, places)
    for time in args:
        keys = philox.mix_all(keys, np.asarray(time).astype(np.uint64))
    return np.broadcast_to(keys.view(np.int64).reshape(entries.shape), env.shape(node.type))


def _plate_name(node: Node) -> str:
    axis = node.attrs["axis"]
    return axis.name if isinstance(axis, Axis) else str(axis)


LEAVES: dict[str, Callable[[Env, Node, Sequence[Any]], Any]] = {
    "const": lambda env, node, args: node.attrs["value"].value,
    "param": _named("params"),
    "aux": _named("aux"),
    "hyper": _named("hyper"),
    "input": _named("inputs"),
    "size": lambda env, node, args: env.size(node.attrs["axis"]),
    "scale": lambda env, node, args: env.scales.get(_plate_name(node), 1.0),
    "rowid": lambda env, node, args: env.ids(node.attrs["axis"]),
    "noise": _noise,
    "rowkey": _rowkey,
}
