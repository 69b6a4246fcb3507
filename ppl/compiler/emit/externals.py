"""Emission of calls of users' functions, and of loops over the entries of named axes that such steps run in."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.address import start_of
from ppl.compiler.emit.checks import one, piece
from ppl.compiler.emit.code import (
    Choice,
    Do,
    Expression,
    Literal,
    Name,
    Raise,
    Statement,
    Unary,
    assign,
    call,
    compare,
    loop,
    term,
    when,
)
from ppl.compiler.emit.scalar import literal, to_int, to_word
from ppl.compiler.lower.views import Entry, Poly, View, axis_size
from ppl.compiler.schedule.fusion import Value
from ppl.compiler.schedule.stages import Opaque
from ppl.compiler.schedule.values import Builder
from ppl.ir.node import Node
from ppl.ir.reference.externals import name_of, wrong_shape
from ppl.ir.types import Axis

USER = "an external function"


def each(axes: Sequence[Axis], row: Axis | None, body: Sequence[Statement]) -> list[Statement]:
    """`body` for all entries of named axes, whose indices are i0, i1, …."""
    for depth, axis in reversed(list(enumerate(axes))):
        body = [loop(f"i{depth}", "n" if axis == row else axis_size(axis), body)]
    return list(body)


def first_of(value: Value, view: View | None, row: Axis | None, axes: Sequence[Axis]) -> Expression:
    """Where the event of one entry of `axes` begins, in the array of `value`, seen through `view`."""
    at, offset = start_of(value, row), Poly.of(0 if view is None else view.offset)
    for axis, step in value.steps.items():
        key = axis if view is None else view.axes[axis]
        if isinstance(key, Entry):
            offset = offset + step * key.position
        else:
            assert isinstance(key, Axis)
            at = at + Name(f"i{axes.index(key)}") * step
    return at + offset if offset.terms else at


def external(step: Opaque, builder: Builder, row: Axis | None, dtype: str) -> list[Statement]:
    """Call a user's function once for every entry of the named axes."""
    node, axes = step.node, step.node.attrs["axes"]
    fn, which, called = node.attrs["fn"], node.attrs["output"], name_of(node.attrs["fn"])
    args = []
    for i, arg in enumerate(node.args):
        read = builder.access(arg)
        passed = _argument(read.value, first_of(read.value, read.view, row, axes), arg)
        args.append(to_word(passed) if i == 0 and fn.key else passed)
    result: Expression = call(builder.function(fn, which), *args)
    if which is not None:
        inputs = len(node.args) - 1 - bool(fn.key)
        result = result.at(which) if inputs > 1 else call("only", result)
    body = [assign("result", result), *_kept(step.target, first_of(step.target, None, row, axes), called, which)]
    return each(axes, row, body)


def _kept(value: Value, at: Expression, called: str, which: int | None) -> list[Statement]:
    """The statements that keep the `result`."""
    kind = value.node.type
    if not kind.shape:
        stored = {"bool": Choice(Name("result"), Literal(1), Literal(0)), "int": call("whole", "result")}
        return [assign(one(value, at, called), stored.get(kind.dtype, Name("result")))]
    text = wrong_shape(called, which, kind.shape)
    refusal = Raise(call("SimulatorError", Literal(text), Literal(called)))
    good = call("is_shaped", "result", Literal(kind.shape))
    stored_at = piece(value, at, kind.event_size, called)
    return [when(Unary("not", good), [refusal]), Do(call("put", stored_at, to_int(0), "result"))]


def _argument(value: Value, at: Expression, arg: Node) -> Expression:
    node = value.node
    if node.op == "const" and node.attrs["value"].value.size == 1 and not arg.type.shape:
        return literal(node.attrs["value"].value.ravel()[0], value.dtype)
    if not arg.type.shape:
        entry = one(value, at, USER)
        return compare(entry, "!=", 0) if value.dtype == "bool" else entry
    return call(piece(value, at, arg.type.event_size, USER).dot("reshape"), term(arg.type.shape))
