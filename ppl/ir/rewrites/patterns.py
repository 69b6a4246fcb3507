"""What the rewrite rules share: seeing through broadcasts, recognising constants, and building broadcasts.

A rule is a function of one node (whose arguments are in normal form) that returns an equal node, or None
where it does not apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ppl.ir.node import Array, Node, make
from ppl.ir.types import Axis, Kind, Type, sort_axes

Rule = Callable[[Node], Node | None]

Shape = tuple[int, ...]

FOLD_LIMIT = 4096

NUMPY_DTYPES = {"float": np.float64, "int": np.int64, "bool": np.bool_}


class Unexpanded(NamedTuple):
    """A value seen through its broadcast: `core` is smaller than, or the same as, the `full` node."""

    core: Node
    full: Node

    @property
    def added(self) -> tuple[Axis, ...]:
        """Named axes that only the broadcast adds."""
        return tuple(a for a in self.full.type.axes if a not in self.core.type.axes)

    @property
    def padded(self) -> Shape:
        """The core's event shape with leading ones, up to the rank of the full event."""
        return (1,) * (len(self.full.type.shape) - len(self.core.type.shape)) + self.core.type.shape

    def missing(self, dims: Iterable[int]) -> tuple[int, ...]:
        """Those of the event dimensions `dims` along which the value is only repeated."""
        return tuple(d for d in dims if self.padded[d] == 1 != self.full.type.shape[d])


def is_plain_expand(x: Node) -> bool:
    """Whether `x` is an expand that simplification may move: no branch entry of it refuses gradient."""
    if x.op != "expand":
        return False
    live = x.attrs["live"]
    return live is None or all(live) or x.args[0].op == "const"


def strip_expands(x: Node) -> Unexpanded:
    """`x` seen through its expands."""
    core = x
    while is_plain_expand(core):
        core = core.args[0]
    return Unexpanded(core, x)


def expand_to(x: Node, axes: Iterable[Axis], shape: Shape) -> Node:
    """Broadcast `x` to all of `axes` and event `shape`, passing gradient from every branch entry."""
    new = sort_axes(a for a in axes if a not in x.type.axes)
    return x if not new and shape == x.type.shape else make("expand", x, axes=new, shape=shape, live=None)


def expand_like(x: Node, t: Type) -> Node:
    """Broadcast `x` to the axes and event shape of `t`."""
    return expand_to(x, t.axes, t.shape)


def without_axes(x: Node, axes: Iterable[Axis]) -> Node:
    """`x` lacking those of `axes` that its broadcast added; the event stays as it is."""
    core, full = strip_expands(x)
    gone = set(axes) - set(core.type.axes)
    return expand_to(core, tuple(a for a in full.type.axes if a not in gone), full.type.shape)


def constant(value: Any, dtype: str = "float") -> Node:
    """A constant node of the given dtype."""
    return make("const", value=Array(np.array(value, NUMPY_DTYPES[dtype])))


def constant_of_type(value: Any, t: Type) -> Node:
    """A constant of type `t` with equal entries."""
    return expand_like(constant(value, t.dtype), t)


def uniform_value(x: Node) -> Any:
    """The Python number that every entry of `x` equals, or None."""
    core = strip_expands(x).core
    if core.op != "const" or core.type.shape:
        return None
    return core.attrs["value"].value.item()


def is_constant(x: Node, value: float) -> bool:
    """Whether every entry of `x` is the constant `value`."""
    found = uniform_value(x)
    return found is not None and found == value


def op(name: str, *args: Node, **attrs: Any) -> Node:
    """`make`, under a shorter name for formulas."""
    return make(name, *args, **attrs)


def reshape_event(x: Node, shape: Shape) -> Node:
    """`x` with another event shape."""
    return x if x.type.shape == shape else make("reshape", x, shape=shape)


def sum_over(x: Node, axes: Iterable[Axis], dims: Iterable[int]) -> Node:
    """`x` summed over named axes and event dimensions."""
    axes, dims = sort_axes(axes), tuple(sorted(dims))
    return make("sum", x, axes=axes, dims=dims) if axes or dims else x


def multiply_by_sizes(x: Node, axes: Iterable[Axis], count: int = 1) -> Node:
    """`x` multiplied by the lengths of `axes` and by `count`."""
    if is_constant(x, 0):
        return x
    known = count
    for axis in (axes := tuple(axes)):
        known *= 1 if axis.size is None else axis.size
    if known != 1:
        x = make("mul", x, constant_of_type(known, x.type))
    for axis in axes:
        if axis.size is None:
            length = make("size", axis=axis)
            length = length if x.type.dtype == "float" else make("cast", length, dtype=x.type.dtype)
            x = make("mul", x, expand_like(length, x.type))
    return x


def has_branch(axes: Iterable[Axis]) -> bool:
    """Whether a branch axis is among `axes`."""
    return any(a.kind is Kind.BRANCH for a in axes)
