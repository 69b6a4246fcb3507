"""`Value`: a symbolic value during tracing. It looks like a NumPy array of its event shape and wraps an IR
node.

All operations act on event axes; plates broadcast by name and cannot be reduced over. What would need a
number (`if`, `float`, `np.array([v, v])`) raises a `ModelError` that says what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ppl.arguments import shown
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind
from ppl.lang.arrays import arithmetic as ar
from ppl.lang.arrays import elementwise as el
from ppl.lang.arrays.answers import Answers
from ppl.lang.arrays.indexing import get_item
from ppl.lang.arrays.malformed import RAISED, malformed
from ppl.lang.arrays.refusals import Refusals, refuse
from ppl.lang.context import check_open, current, dtype_name
from ppl.lang.source import user_line
from ppl.lang.trace import Index


def lift(label: str, function: Callable[..., Node], *operands: Any, **options: Any) -> Value:
    """Apply a function of nodes to values or arrays; errors get `label` and the user's line."""
    try:
        node = function(*(ops.as_node(x) for x in operands), **options)
    except ShapeError as error:
        if "\n  at " in str(error):
            raise
        raise ShapeError(f"{label}: {error}\n  at {user_line()}") from None
    except RAISED as error:
        malformed(label, operands, options, error)
    return Value(node)


def as_value(x: Any) -> Value:
    """`x` as a Value; arrays and numbers become constants."""
    return x if isinstance(x, Value) else lift("constant", ops.as_node, x)


class Value(Answers, Refusals):
    """A symbolic value of event shape `shape` and IR dtype `dtype` inside the plates `plates`."""

    __slots__ = ("_node",)
    __hash__ = object.__hash__

    def __init__(self, node: Node):
        if not isinstance(node, Node):
            raise ModelError(f"Value: {shown(node)} is no node; ppl.constant(array) makes a value\n  at {user_line()}")
        check_open(node.type.axes)
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
            refuse("pow was called with a modulus", "use value**n % m")
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
        return lift("!=", el.not_equal, self, other)

    def __and__(self, other: Any) -> Value:
        return lift("&", el.bit_and, self, other)

    __rand__ = __and__

    def __or__(self, other: Any) -> Value:
        return lift("|", el.bit_or, self, other)

    __ror__ = __or__

    def __xor__(self, other: Any) -> Value:
        return lift("^", el.bit_xor, self, other)

    __rxor__ = __xor__

    def __invert__(self) -> Value:
        return lift("~", el.bit_not, self)

    # --- shape, indexing, reductions

    def __getitem__(self, key: Any) -> Value:
        context = current()
        used: list[tuple[Node, int, Node]] = []
        found = lift(f"indexing event shape {self.shape}", get_item, self, key=key, used=used)
        if context is not None:
            context.trace.indices += [Index(node, n, read, user_line()) for node, n, read in used]
        return found

    def __len__(self) -> int:
        if not self.shape:
            refuse("the length of a scalar value was asked for", "give it an event axis, or a plate")
        return self.shape[0]

    def __iter__(self) -> Iterator[Value]:
        if not self.shape:
            refuse("a scalar value was iterated over", "give it an event axis, or a plate")
        return (self[i] for i in range(self.shape[0]))

    def reshape(self, *shape: Any) -> Value:
        """The event in another shape; one entry may be -1."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return lift("reshape", el.reshape, self, shape=tuple(wanted))

    def ravel(self) -> Value:
        """The event as a vector."""
        return self.reshape(-1)

    flatten = ravel

    def transpose(self, *axes: Any) -> Value:
        """The event with its axes permuted (reversed by default)."""
        perm = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return lift("transpose", el.transpose, self, perm=tuple(perm) if axes and axes != (None,) else None)

    def squeeze(self, axis: Any = None) -> Value:
        """The event without axes of length 1."""
        return lift("squeeze", el.squeeze, self, axis=axis)

    def astype(self, dtype: Any) -> Value:
        """The value as "float", "int" or "bool" (or the NumPy dtype of such a kind)."""
        return lift("astype", ops.cast, self, dtype=dtype_name(dtype))

    def sum(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Sum over event axes."""
        return lift("sum", ops.reduce_sum, self, dims=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Mean over event axes."""
        return lift("mean", el.mean, self, dims=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Maximum over event axes."""
        return lift("max", el.amax, self, dims=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Minimum over event axes."""
        return lift("min", el.amin, self, dims=axis, keepdims=keepdims)

    def var(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Value:
        """Variance over event axes."""
        return lift("var", el.variance, self, dims=axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Value:
        """Standard deviation over event axes."""
        return lift("std", lambda x, **o: ops.sqrt(el.variance(x, **o)), self, dims=axis, ddof=ddof, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Whether some entry is true."""
        return lift("any", el.any_true, self, dims=axis, keepdims=keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Whether all entries are true."""
        return lift("all", el.all_true, self, dims=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Value:
        """Index of the first maximum along an event axis."""
        return lift("argmax", el.argmax, self, axis=axis, keepdims=keepdims)

    def dot(self, other: Any) -> Value:
        """Matrix product on event axes."""
        return lift("dot", el.dot, self, other)

    def clip(self, min: Any = None, max: Any = None) -> Value:
        """The value limited to [min, max]; None is no bound."""
        out = self if min is None else lift("clip", ops.maximum, self, min)
        return out if max is None else lift("clip", ops.minimum, out, max)
