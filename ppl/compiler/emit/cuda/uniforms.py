"""Uniforms computed where they are read: the entry of a node's noise from the loops around it."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.address import Passed
from ppl.compiler.emit.code import Expression, Literal, Name, call, total
from ppl.compiler.emit.scalar import noise_key, to_word
from ppl.compiler.emit.steps import Rows
from ppl.compiler.lower.views import Poly, strides_of
from ppl.compiler.schedule.fusion import Op, Value
from ppl.ir.types import Axis, Kind


def uniform(op: Op, row: Axis | None, times: Sequence[Expression], passed: Passed, dtype: str) -> Expression:
    """The uniform of the entry that `op` is at, in loops over time at `times`."""
    node, value, rows = op.node, op.target, Rows(op.target, row)
    *around, time = times or [Literal(0)]
    # not known further outside: else the keys of all rounds would stay in registers
    key = to_word(call("here", passed.name(f"key_{value.name}", noise_key(node))))
    for turn in around:
        key = to_word(call("mix", key, to_word(turn)))
    counted = _counted(value, row)
    inside = total([Literal(0), *(_moved(op, k, step, passed) for k, step in _steps(value) if k != counted)])
    if counted is None:
        entry = inside
    else:
        ids, start, first = (passed.name(f"{what}_{value.name}", x) for what, x in zip(
            ("ids", "start", "first"), (rows.ids, rows.start, rows.first), strict=True))  # fmt: skip
        number = call("numbered", ids, start, first, _turn(op, counted))
        entry = number * passed.size(rows.each) + inside
    given = to_word(entry), key, time, passed.name("step"), Literal(node.attrs["purpose"])
    return call(f"uniform_{'f32' if dtype == 'float32' else 'f64'}", *given)


def _counted(value: Value, row: Axis | None) -> Axis | None:
    """The axis whose entries have numbers of their own."""
    if row is not None:
        return row if row in value.axes else None
    plate = next((a for a in value.axes if a.kind is Kind.PLATE and a.size is None), None)
    return plate if plate is not None and value.axes[0] == plate else None


def _steps(value: Value) -> list[tuple[Axis | int, Poly]]:
    """How far every axis and dimension of a value moves the entry of its noise."""
    events = [(k, Poly.of(s)) for k, s in enumerate(strides_of(value.shape))]
    return [*value.steps.items(), *((k, s) for k, s in events if value.shape[k] != 1)]


def _turn(op: Op, key: Axis | int) -> Expression:
    loop = op.loop_of(key)
    return Literal(0) if loop is None else Name(loop.var)


def _moved(op: Op, key: Axis | int, step: Poly, passed: Passed) -> Expression:
    """How far an axis or dimension has moved the entry."""
    return _turn(op, key) * passed.size(step)
