"""Users' functions in the interpreter: called row by row, and checked as compiled code checks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import masked
from ppl.errors import SimulatorError, called_with, in_words, with_lines
from ppl.interrupts import pass_on
from ppl.ir.external import Result, is_packed, pack, results_of
from ppl.ir.node import Node
from ppl.ir.types import Kind

if TYPE_CHECKING:
    from ppl.ir.reference.interpret import Env


def meanings(node: Node) -> list[str]:
    """What the states of a call mean (see `ppl.kernels.cpu.attempts`), in words: one line each."""
    results, slopes = results_of(node), node.attrs["output"] is not None
    first = len(node.attrs["fn"].outputs) or 1
    labels = []
    for i in range(len(results)):
        score = not slopes and i >= first
        what = "the gradient with respect to" if slopes else "the score of" if score else ""
        number = i if slopes else i - first
        labels.append(f"{what} argument {number}" if what else "the result" if first == 1 else f"result {i}")
    shapes = [f": {x} has not the declared shape {r.shape}" for x, r in zip(labels, results, strict=True)]
    return ["", " raised {}", *shapes, *(f": {x} is NaN" for x in labels)]


class Refusal(Exception):
    """A call that went wrong, in words."""


def external(env: Env, node: Node, args: Sequence[np.ndarray]) -> np.ndarray:
    """Call the user's function once per row (every entry of the named axes)."""
    out = np.empty(env.shape(node.type), env.numpy_dtype(node.type.dtype))
    fn, results = node.attrs["fn"], results_of(node)
    for at in np.ndindex(out.shape[: len(node.type.axes)]):
        rows: list[Any] = [np.ascontiguousarray(x[at]) if x[at].ndim else x[at] for x in args]
        if fn.key:
            rows[0] = np.uint64(int(rows[0]) % 2**64)
        try:
            found = called(node, rows)
        except Refusal as error:
            if fn.on_error != "nan":
                raise _refusal(env, node, at, tuple(rows), str(error)) from error.__cause__
            out[at] = np.nan
        else:
            out[at] = pack(results, found) if is_packed(node) else found[0]
    return out


def called(node: Node, rows: Sequence[Any]) -> list[np.ndarray]:
    """The results of one call.

    Raises
    ------
    Refusal
        The function raises an exception, or does not return what is declared.
    """
    fn, results, words = node.attrs["fn"], results_of(node), meanings(node)
    try:
        returned = (fn.function if node.attrs["output"] is None else fn.gradient)(*rows)
    except Exception as error:
        pass_on(error)
        raise Refusal(words[1].format(in_words(error))) from error
    several = returned if isinstance(returned, tuple) else (returned,)
    if len(several) != len(results):
        raise Refusal(
            f" returns {len(several)} results, {len(results)} {'is' if len(results) == 1 else 'are'} declared"
        )
    if masked(several):
        raise Refusal(": a result is a masked array: return its .data, or .filled(...)")
    found = [np.asarray(x) for x in several]
    for i, (result, value) in enumerate(zip(results, found, strict=True)):
        _require(result, value, words[2 + i])
    if not any(_has_nan(x) for x in rows):
        for i, (result, value) in enumerate(zip(results, found, strict=True)):
            if result.dtype and _has_nan(value):
                raise Refusal(words[2 + len(results) + i])
    return found


def in_python(node: Node) -> Any:
    """A compiled function that has Python call the user's function, on a tuple of arguments."""
    from ppl.kernels.cpu.python_calls import python_call  # imports Numba

    results = results_of(node)

    def run(rows: tuple[Any, ...]) -> np.ndarray:
        given = (np.uint64(rows[0]), *rows[1:]) if node.attrs["fn"].key else rows
        return pack(results, called(node, given))

    return python_call(run, node.type.event_size)


def _require(result: Result, found: np.ndarray, misshapen: str) -> None:
    if result.dtype and found.shape != result.shape:
        raise Refusal(misshapen)
    if result.dtype == "int" and found.dtype.kind not in "iub":
        raise Refusal(f": an integer is declared, the function returns {found.dtype}")
    if result.dtype and found.dtype.kind not in "fiub":
        raise Refusal(f": a number is declared, the function returns {found.dtype}")


def _has_nan(value: Any) -> bool:
    found = np.asarray(value)
    return found.dtype.kind == "f" and bool(np.isnan(found).any())


def _refusal(env: Env, node: Node, at: tuple[int, ...], rows: tuple[Any, ...], what: str) -> SimulatorError:
    fn, places = node.attrs["fn"], []
    for axis, i in zip(node.type.axes, at, strict=True):
        if axis.kind is Kind.PLATE:
            places.append((int(env.ids(axis)[i]), axis.name))
    where = "".join(f" in row {row} of '{plate}'" for row, plate in places[:1])
    text = with_lines(f"external function '{fn.label}'{what}{where}{called_with(rows)}", fn.line)
    return SimulatorError(text, fn.label, places[0][0] if places else None, rows)
