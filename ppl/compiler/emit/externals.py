"""Emission of calls of users' functions, and of loops over the entries of named axes that such steps run in."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.address import start_of
from ppl.compiler.emit.checks import one, piece
from ppl.compiler.emit.code import (
    Choice,
    Expression,
    Literal,
    Name,
    Raise,
    Statement,
    Tuple,
    assign,
    call,
    compare,
    do,
    loop,
    names,
    term,
    when,
)
from ppl.compiler.emit.scalar import literal, to_int, to_word
from ppl.compiler.lower.identifiers import identifier
from ppl.compiler.lower.views import Entry, Poly, View, axis_size
from ppl.compiler.schedule.fusion import Value
from ppl.compiler.schedule.stages import Opaque
from ppl.compiler.schedule.values import Builder
from ppl.ir.external import is_packed, results_of
from ppl.ir.node import Node
from ppl.ir.reference.externals import meanings
from ppl.ir.types import Axis, Kind

USER = "an external function"

FAILED, FAILED_AT = "failed", "failed_at"
"""What the header of a workspace says of users' functions on a device, where nothing can be raised, and its place."""


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
    fn, results = node.attrs["fn"], results_of(node)
    given: list[Expression] = []
    for i, arg in enumerate(node.args):
        read = builder.access(arg)
        passed = _argument(read.value, first_of(read.value, read.view, row, axes), arg)
        given.append(to_word(passed) if i == 0 and fn.key else passed)
    shapes = Literal((node.type.shape,) if fn.python else tuple(r.shape if r.dtype else None for r in results))
    function = builder.function(node)
    called = call(function, "given") if fn.python else call("attempt", function, "given")
    failed = compare("state", "!=", 0)
    body: list[Statement] = [
        assign("given", Tuple(tuple(given))),
        assign(names("raised", "result"), called),
        assign("state", call("judged", "raised", "result", shapes, "given")),
    ]
    at = first_of(step.target, None, row, axes)
    keep = [assign("found", call("listed", "result", shapes)), *_kept(step.target, at, node)]
    instead = _blank(step.target, at, node)
    if builder.target.resident:
        told = [] if fn.on_error == "nan" else [assign(Name("v").at(FAILED_AT), to_int(1))]
        body += [when(failed, [*told, *instead], keep)]
    elif fn.on_error == "nan":
        body += [when(failed, [do("propagate", "raised"), *instead], keep)]
    else:
        body += [when(failed, _refused(node, row)), *keep]
    return each(axes, row, body)


def _refused(node: Node, row: Axis | None) -> list[Statement]:
    """The statements that raise a SimulatorError."""
    axes = node.attrs["axes"]
    plate = next((a for a in axes if a.kind is Kind.PLATE), None)
    meaning = Literal("\n{}" if node.attrs["fn"].python else "\n".join(meanings(node)))
    label, where = Literal(node.attrs["fn"].label), Literal("" if plate is None else plate.name)
    given = "state", label, _row_number(axes, plate, row), call("kept", "given"), meaning, where, "raised"
    return [do("propagate", "raised"), Raise(call("SimulatorError", *given))]


def _row_number(axes: Sequence[Axis], plate: Axis | None, row: Axis | None) -> Expression:
    """The number of the present row in the data set; -1 without rows."""
    if plate is None:
        return to_int(-1)
    entry = Name(f"i{list(axes).index(plate)}")
    at: Expression = Name("t0") + entry if plate == row else entry
    if plate.size is not None:
        return call("I", at)
    name = identifier(plate.name)
    return call("row_at", f"ids_{name}", at, f"row0_{name}")


def _blank(value: Value, at: Expression, node: Node) -> list[Statement]:
    """The statements that keep NaN, or 0 among whole numbers, in place of what failed."""
    nothing = Name("NAN") if value.dtype == "float" else to_int(0)
    blank = assign(one(value, at + "e", node.attrs["fn"].label), nothing)
    return [loop("e", node.type.event_size, [blank])]


def _kept(value: Value, at: Expression, node: Node) -> list[Statement]:
    """The statements that keep the results, `found`."""
    label, size, offset = node.attrs["fn"].label, node.type.event_size, 0
    if not is_packed(node) and not node.type.shape:
        only = Name("found").at(0)
        stored = {"bool": Choice(only, Literal(1), Literal(0)), "int": call("whole", only)}
        return [assign(one(value, at, label), stored.get(node.type.dtype, only))]
    if node.attrs["fn"].python:
        return [do("put", piece(value, at, size, label), to_int(0), Name("found").at(0))]
    kept: list[Statement] = []
    for i, result in enumerate(results_of(node)):
        put = "put_whole" if result.dtype == "int" and is_packed(node) else "put"
        if result.dtype:
            kept.append(do(put, piece(value, at, size, label), to_int(offset), Name("found").at(i)))
        offset += result.entries
    return kept


def _argument(value: Value, at: Expression, arg: Node) -> Expression:
    node = value.node
    if node.op == "const" and node.attrs["value"].value.size == 1 and not arg.type.shape:
        return literal(node.attrs["value"].value.ravel()[0], value.dtype)
    if not arg.type.shape:
        entry = one(value, at, USER)
        return compare(entry, "!=", 0) if value.dtype == "bool" else entry
    found = piece(value, at, arg.type.event_size, USER)
    return found if len(arg.type.shape) == 1 else call(found.dot("reshape"), term(arg.type.shape))
