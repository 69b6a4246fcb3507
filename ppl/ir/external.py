"""Users' functions in the graph: what op `external` calls, how several results are packed, and how a call is checked.

A function with one result has the type of the op. Several results, those of a simulator with its score, and the
cotangents of a gradient are *packed*: one vector of floats, of which each result is a part. So the function is called
once for all of them, and their cotangents meet in one vector. A whole number takes three entries of a packed vector,
since a float32 holds 24 bits of it.

The interpreter calls a function row by row (`evaluate_external`) and checks results as compiled code checks them;
`python_callback` lets compiled code call a function in the Python interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppl.arguments import masked
from ppl.errors import SimulatorError, called_with, in_words, with_lines
from ppl.interrupts import pass_on
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Kind
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.ir.reference.environment import Env

INT_PIECE_BITS = 22
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


def why_not_on_target(functions: Iterable[External], target: str) -> str:
    """Say which of a model's functions a target cannot call, and why; "" if it can call all of them."""
    functions = list(functions)
    if not functions or target == "cpu":
        return ""
    from numba.extending import is_jitted  # importing Numba takes time

    for fn in functions:
        if fn.python:
            return f"external function '{fn.label}' runs in Python, not on {target}\n  at {fn.line}"
        if any(f is not None and not is_jitted(f) for f in (fn.function, fn.gradient)):
            return (
                f"external function '{fn.label}' is no function of @numba.njit, so it runs on the CPU, not on {target}"
                f"\n  at {fn.line}"
            )
    return ""


def any_python_call(nodes: Iterable[Node]) -> bool:
    """Whether a user's function among `nodes` runs in the Python interpreter: on one thread, and not without it."""
    return any(n.op == "external" and n.attrs["fn"].python for n in nodes)


def value_args(node: Node) -> tuple[Node, ...]:
    """The arguments of the user's function without key and cotangents."""
    fn = node.attrs["fn"]
    given = node.args[1:] if fn.key else node.args
    return given if node.attrs["output"] is None else given[: len(given) - cotangent_count(fn)]


def cotangent_count(fn: External) -> int:
    """How many cotangents `fn.gradient` is passed: one for each result that is a float."""
    return sum(r.dtype == "float" for r in fn.outputs) if fn.outputs else 1


def declared_results(node: Node) -> list[Result]:
    """The results of a call, in the order in which the function returns them."""
    fn, output = node.attrs["fn"], node.attrs["output"]
    slopes = [Result(a.type.shape, "float" if a.type.dtype == "float" else "") for a in value_args(node)]
    if output is not None:
        return slopes
    return [*fn.outputs, *(slopes if fn.score else [])] or [Result(node.type.shape, node.type.dtype)]


def is_packed(node: Node) -> bool:
    """Whether the op's value is a packed vector."""
    return node.attrs["output"] is not None or bool(node.attrs["fn"].outputs)


def packed_size(results: Sequence[Result]) -> int:
    """Entries of a packed vector."""
    return sum(r.entries for r in results)


def unpack_result(packed: Node, results: Sequence[Result], which: int) -> Node:
    """One result from a packed vector."""
    start, result = packed_size(results[:which]), results[which]
    entries = ops.window(packed, [(start, result.entries, 1)])
    if result.dtype != "int":
        return ops.cast(ops.reshape(entries, result.shape), result.dtype)
    low, middle, high = (ops.cast(ops.window(entries, [(i, result.size, 3)]), "int") for i in range(3))
    whole = ops.add(low, ops.mul(ops.add(middle, ops.mul(high, 1 << INT_PIECE_BITS)), 1 << INT_PIECE_BITS))
    return ops.reshape(whole, result.shape)


def pack_results(results: Sequence[Result], found: Sequence[Any]) -> np.ndarray:
    """The packed vector, in float64, of what a function returned."""
    pieces = [_result_entries(r, np.asarray(x)) for r, x in zip(results, found, strict=True) if r.dtype]
    return np.concatenate([np.zeros(0), *pieces])


def _result_entries(result: Result, found: np.ndarray) -> np.ndarray:
    if result.dtype != "int":
        return found.astype(np.float64).ravel()
    whole = found.astype(np.int64).ravel()
    mask = (1 << INT_PIECE_BITS) - 1
    return (
        np.stack([whole & mask, (whole >> INT_PIECE_BITS) & mask, whole >> (2 * INT_PIECE_BITS)], -1)
        .ravel()
        .astype(np.float64)
    )


def call_status_messages(node: Node) -> list[str]:
    """What the states of a call mean (see `ppl.kernels.cpu.externals`), in words: one line each."""
    results, slopes = declared_results(node), node.attrs["output"] is not None
    first = len(node.attrs["fn"].outputs) or 1
    labels = []
    for i in range(len(results)):
        score = not slopes and i >= first
        what = "the gradient with respect to" if slopes else "the score of" if score else ""
        number = i if slopes else i - first
        labels.append(f"{what} argument {number}" if what else "the result" if first == 1 else f"result {i}")
    shapes = [f": {x} has not the declared shape {r.shape}" for x, r in zip(labels, results, strict=True)]
    return ["", " raised {}", *shapes, *(f": {x} is NaN" for x in labels)]


class CallRefused(Exception):
    """A call that went wrong, in words."""


def evaluate_external(env: Env, node: Node, args: Sequence[np.ndarray]) -> np.ndarray:
    """Call the user's function once per row (every entry of the named axes)."""
    out = np.empty(env.shape(node.type), env.numpy_dtype(node.type.dtype))
    fn, results = node.attrs["fn"], declared_results(node)
    for at in np.ndindex(out.shape[: len(node.type.axes)]):
        rows: list[Any] = [np.ascontiguousarray(x[at]) if x[at].ndim else x[at] for x in args]
        if fn.key:
            rows[0] = np.uint64(int(rows[0]) % 2**64)
        try:
            found = call_user_function(node, rows)
        except CallRefused as error:
            if fn.on_error != "nan":
                raise _simulator_error(env, node, at, tuple(rows), str(error)) from error.__cause__
            out[at] = np.nan
        else:
            out[at] = pack_results(results, found) if is_packed(node) else found[0]
    return out


def call_user_function(node: Node, rows: Sequence[Any]) -> list[np.ndarray]:
    """The results of one call.

    Raises
    ------
    Refusal
        The function raises an exception, or does not return what is declared.
    """
    fn, results, words = node.attrs["fn"], declared_results(node), call_status_messages(node)
    try:
        returned = (fn.function if node.attrs["output"] is None else fn.gradient)(*rows)
    except Exception as error:
        pass_on(error)
        raise CallRefused(words[1].format(in_words(error))) from error
    several = returned if isinstance(returned, tuple) else (returned,)
    if len(several) != len(results):
        raise CallRefused(
            f" returns {len(several)} results, {len(results)} {'is' if len(results) == 1 else 'are'} declared"
        )
    if masked(several):
        raise CallRefused(": a result is a masked array: return its .data, or .filled(...)")
    found = [np.asarray(x) for x in several]
    for i, (result, value) in enumerate(zip(results, found, strict=True)):
        _check_result(result, value, words[2 + i])
    if not any(_has_nan(x) for x in rows):
        for i, (result, value) in enumerate(zip(results, found, strict=True)):
            if result.dtype and _has_nan(value):
                raise CallRefused(words[2 + len(results) + i])
    return found


def python_callback(node: Node) -> Any:
    """A compiled function that has Python call the user's function, on a tuple of arguments."""
    from ppl.kernels.cpu.externals import python_call  # imports Numba

    results = declared_results(node)

    def run(rows: tuple[Any, ...]) -> np.ndarray:
        given = (np.uint64(rows[0]), *rows[1:]) if node.attrs["fn"].key else rows
        return pack_results(results, call_user_function(node, given))

    return python_call(run, node.type.event_size)


def _check_result(result: Result, found: np.ndarray, misshapen: str) -> None:
    if result.dtype and found.shape != result.shape:
        raise CallRefused(misshapen)
    if result.dtype == "int" and found.dtype.kind not in "iub":
        raise CallRefused(f": an integer is declared, the function returns {found.dtype}")
    if result.dtype and found.dtype.kind not in "fiub":
        raise CallRefused(f": a number is declared, the function returns {found.dtype}")


def _has_nan(value: Any) -> bool:
    found = np.asarray(value)
    return found.dtype.kind == "f" and bool(np.isnan(found).any())


def _simulator_error(env: Env, node: Node, at: tuple[int, ...], rows: tuple[Any, ...], what: str) -> SimulatorError:
    fn, places = node.attrs["fn"], []
    for axis, i in zip(node.type.axes, at, strict=True):
        if axis.kind is Kind.PLATE:
            places.append((int(env.ids(axis)[i]), axis.name))
    where = "".join(f" in row {row} of '{plate}'" for row, plate in places[:1])
    text = with_lines(f"external function '{fn.label}'{what}{where}{called_with(rows)}", fn.line)
    return SimulatorError(text, fn.label, places[0][0] if places else None, rows)
