"""What op `external` calls: a user's function, the results that it returns, and how several of them are kept.

A function with one result has the type of the op. Several results, those of a simulator with its score, and the
cotangents of a gradient are *packed*: one vector of floats, of which each result is a part. So the function is called
once for all of them, and their cotangents meet in one vector. A whole number takes three entries of a packed vector,
since a float32 holds 24 bits of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Any, NamedTuple

import numpy as np

from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

PIECE = 22
"""Bits of a whole number in each entry of a packed vector."""


class Result(NamedTuple):
    """Event shape and dtype of one result; the dtype "" is that of one nobody reads."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Numbers in it."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def entries(self) -> int:
        """Entries of a packed vector that it takes."""
        return self.size * {"int": 3, "": 0}.get(self.dtype, 1)


@dataclass(frozen=True)
class External:
    """The attribute `fn` of op `external`; two are equal if they call the same function objects in the same way.

    Attributes
    ----------
    function, gradient : what is called for values and for cotangents.
    key : whether both get a noise key first.
    name : what messages call it.
    outputs : its results if they are packed; none if the op's type is that of the only one.
    score : whether it returns d log p / d value for each of its values, too, behind the outputs.
    on_error : "raise" a SimulatorError, or "nan".
    python : whether `function` and `gradient` are plain Python; their results are packed.
    line : the user's line.
    check : whether it is tried out when a model is compiled.
    """

    function: Callable[..., Any]
    gradient: Callable[..., Any] | None = None
    key: bool = False
    name: str = ""
    outputs: tuple[Result, ...] = ()
    score: bool = False
    on_error: str = "raise"
    python: bool = False
    line: str = field(default="", compare=False)
    check: bool = field(default=True, compare=False)

    def __repr__(self) -> str:
        return f"External({self.name})"

    @property
    def label(self) -> str:
        """The name of the function in messages."""
        return self.name or str(getattr(self.function, "__name__", "function"))


def calls_python(nodes: Iterable[Node]) -> bool:
    """Whether a user's function among `nodes` runs in the Python interpreter: on one thread, and not without it."""
    return any(n.op == "external" and n.attrs["fn"].python for n in nodes)


def values_of(node: Node) -> tuple[Node, ...]:
    """The arguments of the user's function without key and cotangents."""
    fn = node.attrs["fn"]
    given = node.args[1:] if fn.key else node.args
    return given if node.attrs["output"] is None else given[: len(given) - cotangents(fn)]


def cotangents(fn: External) -> int:
    """How many cotangents `fn.gradient` is passed: one for each result that is a float."""
    return sum(r.dtype == "float" for r in fn.outputs) if fn.outputs else 1


def results_of(node: Node) -> list[Result]:
    """The results of a call, in the order in which the function returns them."""
    fn, output = node.attrs["fn"], node.attrs["output"]
    slopes = [Result(a.type.shape, "float" if a.type.dtype == "float" else "") for a in values_of(node)]
    if output is not None:
        return slopes
    return [*fn.outputs, *(slopes if fn.score else [])] or [Result(node.type.shape, node.type.dtype)]


def is_packed(node: Node) -> bool:
    """Whether the op's value is a packed vector."""
    return node.attrs["output"] is not None or bool(node.attrs["fn"].outputs)


def packed_size(results: Sequence[Result]) -> int:
    """Entries of a packed vector."""
    return sum(r.entries for r in results)


def part(packed: Node, results: Sequence[Result], which: int) -> Node:
    """One result from a packed vector."""
    start, result = packed_size(results[:which]), results[which]
    entries = ops.window(packed, [(start, result.entries, 1)])
    if result.dtype != "int":
        return ops.cast(ops.reshape(entries, result.shape), result.dtype)
    low, middle, high = (ops.cast(ops.window(entries, [(i, result.size, 3)]), "int") for i in range(3))
    whole = ops.add(low, ops.mul(ops.add(middle, ops.mul(high, 1 << PIECE)), 1 << PIECE))
    return ops.reshape(whole, result.shape)


def pack(results: Sequence[Result], found: Sequence[Any]) -> np.ndarray:
    """The packed vector, in float64, of what a function returned."""
    pieces = [_entries(r, np.asarray(x)) for r, x in zip(results, found, strict=True) if r.dtype]
    return np.concatenate([np.zeros(0), *pieces])


def _entries(result: Result, found: np.ndarray) -> np.ndarray:
    if result.dtype != "int":
        return found.astype(np.float64).ravel()
    whole = found.astype(np.int64).ravel()
    mask = (1 << PIECE) - 1
    return np.stack([whole & mask, (whole >> PIECE) & mask, whole >> (2 * PIECE)], -1).ravel().astype(np.float64)
