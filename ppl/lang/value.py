"""`Value`: a symbolic value during tracing. It behaves like a NumPy array of its event shape and wraps an IR node.

All operations act on event axes; plates broadcast by name and cannot be reduced over. An operation that needs a number
(`if`, `float`, `np.array([v, v])`) raises a `ModelError` that says what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from ppl.arguments import shown
from ppl.distributions.base import Distribution, distinct_from_parameters, register_model_wrapper
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind
from ppl.lang import formulas as ar
from ppl.lang.context import current_context, require_open_plates
from ppl.lang.formulas import get_item
from ppl.lang.source import CALL_ERRORS, raise_malformed_call, user_line
from ppl.lang.trace import FormulaUse, SymbolicIndex, dtype_name

_numpy_handlers: dict[str, Callable[..., Any]] = {}


def register_numpy_handlers(ufunc: Callable[..., Any], function: Callable[..., Any]) -> None:
    """Say what NumPy's ufuncs and functions do with values: the tables of both build on `Value`."""
    _numpy_handlers.update(ufunc=ufunc, function=function)


class NumpyDispatch:
    """Base class of `Value`: NumPy's ufuncs and functions find their answers here."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _numpy_handlers["ufunc"](ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Callable, types: Any, args: Any, kwargs: Any) -> Any:
        return _numpy_handlers["function"](function, args, kwargs)


def refuse_operation(what: str, hint: str) -> NoReturn:
    """Raise the ModelError for an operation that needs a number."""
    raise ModelError(f"{what}, but the model is being traced and values are symbolic: {hint}\n  at {user_line()}")


ASSIGNMENT_LINE = re.compile(r":\d+: .*?\][ ]*([-+*/%@&|^]|//|\*\*)?=(?!=)|:\d+: .*\.(fill|itemset)\(")
"""A user's line that assigns entries of something."""

STACK_INSTEAD = (
    "collect the entries in a list and write np.stack(entries); np.concatenate joins blocks, np.where(mask, a, b) "
    "changes some entries"
)

IN_PLACE_FUNCTIONS = dict.fromkeys(
    ("copyto", "put", "put_along_axis", "place", "putmask", "fill_diagonal"), STACK_INSTEAD
)
"""Functions of NumPy that write into an array, and what to do instead."""


def _refuse_conversion(what: str, hint: str) -> NoReturn:
    """`refuse` a conversion, or what the user's line is about where it writes into an array."""
    line = user_line()
    if ASSIGNMENT_LINE.search(line) and not re.search(r"math\.|\b(float|int|abs|round)\(", line):
        refuse_operation("a value was written into an array", f"an array holds numbers; {STACK_INSTEAD}")
    refuse_operation(what, hint)


class RefusedOperations:
    """Base class of `Value`: conversions to Python numbers, truth values and arrays, and assignment."""

    __slots__ = ()

    def __bool__(self) -> bool:
        refuse_operation("a value was used as a truth value (if, while, and, or, not, max, min)",
               "use np.where(condition, a, b), np.logical_and, np.maximum")  # fmt: skip

    def __float__(self) -> float:
        _refuse_conversion("a value was converted to a float", "use np.exp instead of math.exp, and so on")

    def __int__(self) -> int:
        _refuse_conversion("a value was converted to an int", "use value.astype(int)")

    def __complex__(self) -> complex:
        refuse_operation("a value was converted to a complex number", "values are real")

    def __index__(self) -> int:
        refuse_operation(
            "a value was used as a Python index or range",
            "a symbolic integer indexes Values only; wrap an array with ppl.constant(array)",
        )

    def __round__(self, digits: int | None = None) -> Any:
        refuse_operation("a value was rounded", "use np.floor(value + 0.5)")

    def __format__(self, spec: str) -> str:
        if spec:
            refuse_operation("a value was formatted as a number", 'f"{value}" shows its type and shape')
        return repr(self)

    def __trunc__(self) -> int:
        refuse_operation("a value was truncated", "use np.trunc(value)")

    def __divmod__(self, other: Any) -> Any:
        refuse_operation("divmod was called with a value", "use value // other and value % other")

    __rdivmod__ = __divmod__

    def __lshift__(self, other: Any) -> Any:
        refuse_operation("the bits of a value were shifted", "multiply by 2**n, or use value // 2**n")

    __rlshift__ = __rshift__ = __rrshift__ = __lshift__

    def __contains__(self, item: Any) -> bool:
        refuse_operation("a value was asked for membership", "use np.any(value == item)")

    def __setitem__(self, key: Any, item: Any) -> None:
        refuse_operation(
            "an entry of a value was assigned",
            f"values are immutable; {STACK_INSTEAD}",
        )

    def __delitem__(self, key: Any) -> None:
        refuse_operation("an entry of a value was deleted", "values are immutable; use np.concatenate of what stays")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        _refuse_conversion(
            "a value was converted to an array",
            "use np.stack([a, b]) instead of np.array([a, b]), ppl.constant(array)[index] for a symbolic "
            "index, and NumPy ufuncs or ppl.softmax, ppl.logsumexp instead of functions that call np.asarray",
        )


def lift(label: str, function: Callable[..., Node], *operands: Any, **options: Any) -> Value:
    """Apply a function of nodes to values or arrays; errors get `label` and the user's line."""
    try:
        node = function(*(ops.as_node(x) for x in operands), **options)
    except ShapeError as error:
        if "\n  at " in str(error):
            raise
        raise ShapeError(f"{label}: {error}\n  at {user_line()}") from None
    except CALL_ERRORS as error:
        raise_malformed_call(label, operands, options, error)
    return Value(node)


def as_value(x: Any) -> Value:
    """`x` as a Value; arrays and numbers become constants."""
    return x if isinstance(x, Value) else lift("constant", ops.as_node, x)


class Value(NumpyDispatch, RefusedOperations):
    """A symbolic value of event shape `shape` and IR dtype `dtype` inside the plates `plates`."""

    __slots__ = ("_node",)
    __hash__ = object.__hash__

    def __init__(self, node: Node):
        if not isinstance(node, Node):
            raise ModelError(f"Value: {shown(node)} is no node; ppl.constant(array) makes a value\n  at {user_line()}")
        require_open_plates(node.type.axes)
        self._node = node

    @property
    def node(self) -> Node:
        """The IR node."""
        return self._node

    @property
    def __ppl_node__(self) -> Node:
        return self.node

    @property
    def shape(self) -> tuple[int, ...]:
        """Event shape."""
        return self.node.type.shape

    @property
    def dtype(self) -> str:
        """ "float", "int" or "bool"; precision is chosen by `ppl.compile`."""
        return self.node.type.dtype

    @property
    def ndim(self) -> int:
        """Number of event axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of event entries."""
        return self.node.type.event_size

    @property
    def plates(self) -> tuple[Axis, ...]:
        """Plates that the value varies over."""
        return tuple(a for a in self.node.type.axes if a.kind is Kind.PLATE)

    @property
    def T(self) -> Value:
        """The event transposed."""
        return lift(".T", ops.transpose, self)

    def __repr__(self) -> str:
        return f"Value({self.node.type})"

    # --- operators

    def __add__(self, other: Any) -> Value:
        return lift("+", ar.add, self, other)

    def __radd__(self, other: Any) -> Value:
        return lift("+", ar.add, other, self)

    def __sub__(self, other: Any) -> Value:
        return lift("-", ar.subtract, self, other)

    def __rsub__(self, other: Any) -> Value:
        return lift("-", ar.subtract, other, self)

    def __mul__(self, other: Any) -> Value:
        return lift("*", ar.multiply, self, other)

    def __rmul__(self, other: Any) -> Value:
        return lift("*", ar.multiply, other, self)

    def __truediv__(self, other: Any) -> Value:
        return lift("/", ops.div, self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return lift("/", ops.div, other, self)

    def __floordiv__(self, other: Any) -> Value:
        return lift("//", ar.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Value:
        return lift("//", ar.floor_divide, other, self)

    def __mod__(self, other: Any) -> Value:
        return lift("%", ar.remainder, self, other)

    def __rmod__(self, other: Any) -> Value:
        return lift("%", ar.remainder, other, self)

    def __pow__(self, other: Any, modulo: Any = None) -> Value:
        if modulo is not None:
            refuse_operation("pow was called with a modulus", "use value**n % m")
        return lift("**", ar.power, self, other)

    def __rpow__(self, other: Any) -> Value:
        return lift("**", ar.power, other, self)

    def __matmul__(self, other: Any) -> Value:
        return lift("@", ar.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Value:
        return lift("@", ar.matmul, other, self)

    def __neg__(self) -> Value:
        return lift("-", ar.negative, self)

    def __pos__(self) -> Value:
        return lift("+", ar.positive, self)

    def __abs__(self) -> Value:
        return lift("abs", ar.absolute, self)

    def __lt__(self, other: Any) -> Value:
        return lift("<", ops.less, self, other)

    def __le__(self, other: Any) -> Value:
        return lift("<=", ops.less_equal, self, other)

    def __gt__(self, other: Any) -> Value:
        return lift(">", ops.less, other, self)

    def __ge__(self, other: Any) -> Value:
        return lift(">=", ops.less_equal, other, self)

    def __eq__(self, other: object) -> Value:  # type: ignore[override]
        return lift("==", ops.equal, self, other)

    def __ne__(self, other: object) -> Value:  # type: ignore[override]
        return lift("!=", ar.not_equal, self, other)

    def __and__(self, other: Any) -> Value:
        return lift("&", ar.bit_and, self, other)

    __rand__ = __and__

    def __or__(self, other: Any) -> Value:
        return lift("|", ar.bit_or, self, other)

    __ror__ = __or__

    def __xor__(self, other: Any) -> Value:
        return lift("^", ar.bit_xor, self, other)

    __rxor__ = __xor__

    def __invert__(self) -> Value:
        return lift("~", ar.bit_not, self)

    # --- shape, indexing, reductions

    def __getitem__(self, key: Any) -> Value:
        context = current_context()
        used: list[tuple[Node, int, Node]] = []
        found = lift(f"indexing event shape {self.shape}", get_item, self, key=key, used=used)
        if context is not None:
            context.trace.indices += [SymbolicIndex(node, n, read, user_line()) for node, n, read in used]
        return found

    def __len__(self) -> int:
        if not self.shape:
            refuse_operation("the length of a scalar value was asked for", "give it an event axis, or a plate")
        return self.shape[0]

    def __iter__(self) -> Iterator[Value]:
        if not self.shape:
            refuse_operation("a scalar value was iterated over", "give it an event axis, or a plate")
        return (self[i] for i in range(self.shape[0]))

    def reshape(self, *shape: Any) -> Value:
        """The event in another shape; one entry may be -1."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return lift("reshape", ar.reshape, self, shape=tuple(wanted))

    def ravel(self) -> Value:
        """The event as a vector."""
        return self.reshape(-1)

    flatten = ravel

    def transpose(self, *axes: Any) -> Value:
        """The event with its axes permuted (reversed by default)."""
        perm = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return lift("transpose", ar.transpose, self, perm=tuple(perm) if axes and axes != (None,) else None)

    def squeeze(self, axis: Any = None) -> Value:
        """The event without axes of length 1."""
        return lift("squeeze", ar.squeeze, self, axis=axis)

    def astype(self, dtype: Any) -> Value:
        """The value as "float", "int" or "bool" (or the NumPy dtype of such a kind)."""
        return lift("astype", ops.cast, self, dtype=dtype_name(dtype))

    def sum(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Sum over event axes."""
        return lift("sum", ops.reduce_sum, self, dims=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Mean over event axes."""
        return lift("mean", ar.mean, self, dims=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Maximum over event axes."""
        return lift("max", ar.amax, self, dims=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Minimum over event axes."""
        return lift("min", ar.amin, self, dims=axis, keepdims=keepdims)

    def var(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Value:
        """Variance over event axes."""
        return lift("var", ar.variance, self, dims=axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Value:
        """Standard deviation over event axes."""
        return lift("std", lambda x, **o: ops.sqrt(ar.variance(x, **o)), self, dims=axis, ddof=ddof, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Whether some entry is true."""
        return lift("any", ar.any_true, self, dims=axis, keepdims=keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Whether all entries are true."""
        return lift("all", ar.all_true, self, dims=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Value:
        """Index of the first maximum along an event axis."""
        return lift("argmax", ar.argmax, self, axis=axis, keepdims=keepdims)

    def dot(self, other: Any) -> Value:
        """Matrix product on event axes."""
        return lift("dot", ar.dot, self, other)

    def clip(self, min: Any = None, max: Any = None) -> Value:
        """The value limited to [min, max]; None is no bound."""
        out = self if min is None else lift("clip", ops.maximum, self, min)
        return out if max is None else lift("clip", ops.minimum, out, max)


def note_formula_use(dists: Sequence[Distribution], found: Node) -> Value:
    """A formula's result in a model, whose trace takes note of what the distributions are used for."""
    context = current_context()
    if context is not None and dists:
        line, found = user_line(), distinct_from_parameters(dists, found)
        context.trace.uses += [FormulaUse(dist, found, line) for dist in dists]
    return Value(found)


register_model_wrapper(note_formula_use)
