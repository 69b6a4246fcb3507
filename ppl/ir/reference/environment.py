"""The environment of the interpreter: leaves of graphs (parameters, data, sizes, noise) and the values they read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from ppl.ir.node import Node
from ppl.ir.reference import noise as philox
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


def _lookup(source: str) -> Callable[[Env, Node, Sequence[Any]], Any]:
    """Look the leaf's name up in one of the dictionaries of the environment."""
    return lambda env, node, args: getattr(env, source)[node.attrs["name"]]


def _flat_index(axes: Sequence[Axis], env: Env, kinds: set[Kind]) -> tuple[np.ndarray, int]:
    """Flattened global index over the axes of `kinds`, broadcastable over `axes`, and their global count."""
    index, count = np.zeros((1,) * len(axes), np.int64), 1
    for i, axis in enumerate(axes):
        if axis.kind in kinds:
            shape = [1] * len(axes)
            shape[i] = -1
            index = index * env.total(axis) + env.ids(axis).reshape(shape)
            count *= env.total(axis)
    return index, count


def row_particle_index(axes: Sequence[Axis], env: Env) -> np.ndarray:
    """row · K + particle for every entry of `axes`: row flattens repeats and plates, K counts particles.

    Enumerated and branch axes do not enter: they share their noise, and have length 1 in the result.
    """
    row, _ = _flat_index(axes, env, {Kind.REPEATS, Kind.PLATE})
    particle, count = _flat_index(axes, env, {Kind.PARTICLES})
    return row * count + particle


def _noise_uniforms(env: Env, node: Node, args: Sequence[Any]) -> np.ndarray:
    """Uniforms of entry (row · K + particle) · E + column.

    The last argument is the time of the innermost loop. Those of loops around it, outermost first, change the key.
    """
    t = node.type
    columns = np.arange(t.event_size, dtype=np.int64)
    entries = row_particle_index(t.axes, env)[..., None] * t.event_size + columns
    key = philox.mix(env.seed, philox.node_hash(node.attrs["name"]))
    for time in args[:-1]:
        key = philox.mix(key, int(time) % 2**64)
    time = int(args[-1]) if args else 0
    flat = philox.uniforms(entries.ravel(), key, time, env.step, node.attrs["purpose"], env.dtype)
    shape = (*entries.shape[:-1], *t.shape)
    return np.broadcast_to(np.reshape(flat, shape), env.shape(t))


def _row_keys(env: Env, node: Node, args: Sequence[Any]) -> np.ndarray:
    """mix(mix(seed, node_hash(name)), entry · 2³² + step modulo 2⁶⁴), stored as int64 bits.

    The entry is that of the row and particle. Times of loops, outermost first, are mixed in after it, one by one.
    """
    base = philox.mix(env.seed, philox.node_hash(node.attrs["name"]))
    entries = row_particle_index(node.type.axes, env)
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
    "param": _lookup("params"),
    "aux": _lookup("aux"),
    "hyper": _lookup("hyper"),
    "input": _lookup("inputs"),
    "size": lambda env, node, args: env.size(node.attrs["axis"]),
    "scale": lambda env, node, args: env.scales.get(_plate_name(node), 1.0),
    "rowid": lambda env, node, args: env.ids(node.attrs["axis"]),
    "noise": _noise_uniforms,
    "rowkey": _row_keys,
}
