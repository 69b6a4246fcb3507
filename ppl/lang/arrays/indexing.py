"""NumPy indexing of event axes: integers, slices, None, Ellipsis, static arrays, symbolic integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppl.arguments import masked
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.arrays.elementwise import move


def get_item(x: Node, key: Any, used: list[tuple[Node, int, Node]]) -> Node:
    """`x[key]` on event axes. Symbolic integers must lie in [0, n), which is checked at run time.

    They are added to `used`, each with n and the `take` that reads it.
    """
    entries = _normalise(x.type.shape, key if isinstance(key, tuple) else (key,))
    shape = iter(x.type.shape)
    x = ops.reshape(x, [1 if e is None else next(shape) for e in entries])
    filled = [slice(None) if e is None else e for e in entries]
    if any(isinstance(e, Node) for e in filled):
        out = read = _advanced(x, filled)
        while read.op == "transpose":
            read = read.args[0]
        places = zip(filled, x.type.shape, strict=True)
        used += [(e, n, read) for e, n in places if isinstance(e, Node) and e.op != "const"]
        return out
    return _basic(x, filled)


def _normalise(shape: tuple[int, ...], key: tuple[Any, ...]) -> list[Any]:
    """Entries (int, slice, None or index node), one per axis of `shape` apart from None."""
    used = sum(_consumes(e) for e in key)
    if used > len(shape):
        raise ShapeError(f"too many indices: {used} for event shape {shape}")
    if sum(e is Ellipsis for e in key) > 1:
        raise ShapeError("an index has at most one Ellipsis")
    if not any(e is Ellipsis for e in key):
        key = (*key, Ellipsis)
    entries: list[Any] = []
    dim = 0
    for e in key:
        if e is Ellipsis:
            entries += [slice(None)] * (len(shape) - used)
            dim += len(shape) - used
        elif e is None or isinstance(e, slice):
            ends = () if e is None else (e.start, e.stop, e.step)
            if not all(n is None or isinstance(n, (int, np.integer)) for n in ends):
                raise ShapeError(f"the ends of a slice are whole numbers, not {e}")
            if e is not None and e.step is not None and e.step == 0:
                raise ShapeError(f"the step of a slice must not be 0: {e}")
            entries.append(e)
            dim += e is not None
        else:
            entries += _index(e, shape[dim : dim + _consumes(e)])
            dim += _consumes(e)
    return entries


def _consumes(entry: Any) -> int:
    if entry is None or entry is Ellipsis:
        return 0
    if isinstance(entry, (slice, int, np.integer)) or hasattr(entry, "__ppl_node__"):
        return 1
    array = _array(entry)
    return array.ndim if array.dtype == bool else 1


def _array(entry: Any) -> np.ndarray:
    """A static index as an array."""
    if masked(entry):
        raise ShapeError("an index is a masked array")
    try:
        array = np.asarray(entry)
    except ValueError as error:
        raise ShapeError(f"an index is no array: {error}") from None
    if array.dtype == bool and array.ndim == 0:
        raise ShapeError("a truth value is no index")
    return array


def _index(entry: Any, lengths: tuple[int, ...]) -> list[Any]:
    """An int, or the index nodes that `entry` (array or symbolic) stands for, on axes of `lengths`."""
    node = getattr(entry, "__ppl_node__", None)
    if node is not None:
        if node.type.dtype != "int":
            hint = "; select with np.where" if node.type.dtype == "bool" else "; use .astype(int)"
            raise ShapeError(f"a symbolic index must be an integer, not {node.type.dtype}{hint}")
        return [node]
    array = _array(entry)
    if array.dtype == bool:
        if array.shape != lengths:
            raise ShapeError(f"boolean index of shape {array.shape} on axes of shape {lengths}")
        return [ops.const(i) for i in np.nonzero(array)]
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise ShapeError(f"an index must be an integer, not {array.dtype}")
    (n,) = lengths
    if np.any(array < -n) or np.any(array >= n):
        raise ShapeError(f"index {array if array.size < 5 else 'array'} is out of range for an axis of length {n}")
    array = np.where(array < 0, array + n, array)
    return [int(array) if array.ndim == 0 else ops.const(array)]


def _slices(x: Node, entries: list[Any]) -> Node:
    """Apply the slices among `entries`; ints become windows of length 1, index nodes leave axes whole."""
    window, flipped = [], {}
    for dim, (e, n) in enumerate(zip(entries, x.type.shape, strict=True)):
        if isinstance(e, slice):
            places = range(*e.indices(n))
            step = places.step if len(places) > 1 else 1
            if step < 0:
                places, step = places[::-1], -step
                flipped[dim] = len(places)
            window.append((places.start if len(places) else 0, len(places), step))
        else:
            window.append((e, 1, 1) if isinstance(e, int) else (0, n, 1))
    x = ops.window(x, window)
    for dim, n in flipped.items():
        x = move(ops.take(move(x, dim, 0), np.arange(n)[::-1]), 0, dim)
    return x


def _basic(x: Node, entries: list[Any]) -> Node:
    x = _slices(x, entries)
    return ops.reshape(x, [n for e, n in zip(entries, x.type.shape, strict=True) if not isinstance(e, int)])


def _advanced(x: Node, entries: list[Any]) -> Node:
    """Index arrays broadcast; their axes go where they stood if they are adjacent, else to the front."""
    entries = [ops.const(e) if isinstance(e, int) else e for e in entries]
    x = _slices(x, entries)
    dims = [d for d, e in enumerate(entries) if isinstance(e, Node)]
    rest = [d for d in range(len(entries)) if d not in dims]
    lengths = [x.type.shape[d] for d in dims]
    index = entries[dims[0]]
    for d, n in zip(dims[1:], lengths[1:], strict=True):
        index = ops.add(ops.mul(index, n), entries[d])
    kept = [x.type.shape[d] for d in rest]
    table = ops.reshape(ops.transpose(x, dims + rest), [math.prod(lengths), *kept])
    out = ops.take(table, index)
    rank = len(index.type.shape)
    front = dims[0] if dims == list(range(dims[0], dims[-1] + 1)) else 0
    total = rank + len(rest)
    order = [*range(rank, rank + front), *range(rank), *range(rank + front, total)]
    return ops.transpose(out, order) if total else out
