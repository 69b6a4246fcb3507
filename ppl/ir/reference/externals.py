"""Users' functions in the interpreter: called row by row, and checked as compiled code checks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.errors import SimulatorError
from ppl.ir.node import Node
from ppl.ir.types import Kind

if TYPE_CHECKING:
    from ppl.ir.reference.interpret import Env


def name_of(fn: Any) -> str:
    """The name of an external function in messages."""
    return str(getattr(fn, "name", "") or getattr(fn.function, "__name__", "function"))


def wrong_shape(name: str, which: int | None, shape: tuple[int, ...]) -> str:
    """The message about a result of another shape than declared."""
    what = "the result" if which is None else f"the gradient with respect to argument {which}"
    return f"external function '{name}': {what} has not the declared shape {shape}"


def external(env: Env, node: Node, args: Sequence[np.ndarray]) -> np.ndarray:
    """Call the user's function once per row (every entry of the named axes)."""
    out = np.empty(env.shape(node.type), env.numpy_dtype(node.type.dtype))
    for at in np.ndindex(out.shape[: len(node.type.axes)]):
        rows: list[Any] = [np.ascontiguousarray(x[at]) if x[at].ndim else x[at] for x in args]
        if node.attrs["fn"].key:
            rows[0] = np.uint64(int(rows[0]) % 2**64)
        try:
            out[at] = _checked(node, _called(node, rows))
        except Exception as error:
            raise _refusal(env, node, at, tuple(rows), error) from error
    return out


def _called(node: Node, rows: Sequence[Any]) -> Any:
    fn, which = node.attrs["fn"], node.attrs["output"]
    if which is None:
        return fn.function(*rows)
    result = fn.gradient(*rows)
    return result[which] if isinstance(result, tuple) else result


def _checked(node: Node, result: Any) -> np.ndarray:
    found = np.asarray(result)
    if found.shape != node.type.shape:
        raise SimulatorError(wrong_shape(name_of(node.attrs["fn"]), node.attrs["output"], node.type.shape))
    if node.type.dtype == "int" and found.dtype.kind not in "iub":
        raise TypeError(f"an integer is declared, the function returns {found.dtype}")
    return found


def _refusal(env: Env, node: Node, at: tuple[int, ...], rows: tuple[Any, ...], error: Exception) -> SimulatorError:
    name, places = name_of(node.attrs["fn"]), []
    for axis, i in zip(node.type.axes, at, strict=True):
        if axis.kind is Kind.PLATE:
            places.append((int(env.ids(axis)[i]), axis.name))
    where = "".join(f" in row {row} of '{plate}'" for row, plate in places)
    text = str(error) if isinstance(error, SimulatorError) else f"{raised(name, error)}"
    return SimulatorError(f"{text}{where}", name, places[0][0] if places else None, rows)


def raised(name: str, error: BaseException) -> str:
    """The message about an exception in a user's function."""
    return f"external function '{name}' raised {type(error).__name__}: {error}"
