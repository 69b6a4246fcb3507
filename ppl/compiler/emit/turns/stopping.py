"""Emission of loops of which not all steps run.

A tile leaves when all its rows have stopped; in the loop that runs backwards, it passes over the steps before which all
had stopped. What steps that do not run would have stacked is zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.address import start_of
from ppl.compiler.emit.checks import begin
from ppl.compiler.emit.code import (
    Expression,
    Given,
    Name,
    Statement,
    Unary,
    While,
    assign,
    call,
    compare,
    do,
    loop,
    term,
    when,
)
from ppl.compiler.lower.views import Poly, axis_size
from ppl.compiler.schedule.fusion import Value
from ppl.compiler.schedule.values import Builder
from ppl.ir.node import Node
from ppl.ir.types import Axis


def until_stopped(
    turns: Node, builder: Builder, row: Axis | None, turn: Expression, body: Sequence[Statement]
) -> list[Statement]:
    """The turns of a loop as long as one of the tile's rows goes on; `body` is one of them, number `turn`."""
    attrs, length = turns.attrs, turns.attrs["length"]
    flag, limit = builder.value(attrs["carries"][attrs["stop"]]), Name(f"end_{builder.value(attrs['index']).name}")
    done = _all_set(flag, row)
    rest = [x for i, value in _stacks(turns, builder) for x in _zeros(value, row, *_left(turns, i, turn))]
    leave = when(done, [*rest, assign(limit, turn)])
    inside = [*body, leave, assign(turn, turn + 1)]
    return [assign(turn, 0), assign(limit, length), While(compare(turn, "<", limit), tuple(inside))]


def unless_idle(
    turns: Node, builder: Builder, row: Axis | None, time: Given, test: Sequence[Statement], body: Sequence[Statement]
) -> list[Statement]:
    """The turn of the step `time`: `test` says which rows of the tile have nothing to do, and `body` is the rest."""
    _, place, number = turns.attrs["idle"]
    at = builder.value(number)
    first = [] if at.buffer is None else [assign(Name("v").at(begin(at)), time)]
    zeros = [x for _, value in _stacks(turns, builder) for x in _zeros(value, row, term(time), term(1))]
    return [*first, *test, when(Unary("not", _all_set(builder.value(place), row)), body, zeros)]


def _all_set(flag: Value, row: Axis | None) -> Expression:
    """Whether the truth value `flag` holds for all rows of a tile."""
    assert flag.buffer is not None
    return call("all_set", flag.buffer.array, start_of(flag, row), term(_entries(flag, row)))


def _entries(value: Value, row: Axis | None) -> Poly:
    """Entries of a value in the rows of a tile."""
    return value.extent(skip=() if row is None else (row,)) * ("n" if row in value.axes else 1)


def _stacks(turns: Node, builder: Builder) -> list[tuple[int, Value]]:
    """What the loop stacks and something reads, but for sums, to which a step adds."""
    first, summed = len(turns.attrs["carries"]), turns.attrs["summed"]
    found = {g.attrs["index"]: builder.value(g) for g in builder.gets.get(turns, [])}
    return [(i, value) for i, value in sorted(found.items()) if i >= first and i not in summed]


def _left(turns: Node, i: int, turn: Expression) -> tuple[Expression, Expression]:
    """The first entry of stack `i` that the turns after `turn` would write, and how many there are."""
    attrs, every = turns.attrs, dict(turns.attrs["every"])
    if i in every:
        n = every[i][0]
        first = (turn + n) // n
        return first, term(attrs["types"][i].shape[0]) - first
    left = term(attrs["length"] - 1) - turn
    return (term(0), left) if attrs["reverse"] else (turn + 1, left)


def _zeros(value: Value, row: Axis | None, first: Expression, count: Expression) -> list[Statement]:
    """Zeros for `count` entries, from `first` on, of a stack in this tile."""
    assert value.buffer is not None
    array, at = value.buffer.array, start_of(value, row)
    if value.stack is not None:
        far = term(value.stack * value.block)
        return [do("clear", array, at + first * far, count * far)]
    step, outer = value.block // value.shape[0], Poly.of(1)
    for axis in value.axes:
        outer = outer * ("n" if axis == row else axis_size(axis))
    entry = at + Name("j") * value.block + first * step
    return [loop("j", term(outer), [do("clear", array, entry, count * term(step))])]
