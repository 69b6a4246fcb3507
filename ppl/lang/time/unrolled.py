"""Loops of a trace that are written out: all steps, or a few that stand for any (a sketch).

A program is unrolled where an estimator needs branches or states of its own for every step. A sketch is what analyses
read: every step begins with carries of which nothing is known but what they depend on, so that what holds in the sketch
holds in all steps.
"""

from __future__ import annotations

from typing import Any

from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Type, union_axes
from ppl.lang.context import Context
from ppl.lang.time.declared import Declared, halting
from ppl.lang.time.record import Turn, any_step, entered


def unrolled(context: Context, declared: Declared) -> tuple[Any, Any]:
    """The loop step by step."""
    sketched = context.sketched(declared.name, declared.line)
    length = declared.length if sketched is None else min(declared.length, sketched)
    halts = halting(declared)
    carry = [ops.expand(x, union_axes(context.axes, x.type.axes)) for x in (*declared.carry.leaves, *halts.inits)]
    stacks: list[list[Node]] = []
    own = len(declared.carry.leaves)
    shape = None
    for number in reversed(range(length)) if declared.reverse else range(length):
        if sketched is not None:
            carry = [entered(x) for x in carry]
        index = ops.const(number) if sketched is None else any_step(declared.length)
        given, extra = carry[:own], carry[own:]
        turn = Turn(index, number, declared.length)
        with context.stepping(turn, halts.running(given, extra)):
            xs = [turn.slice(x) for x in declared.xs.leaves]
            made, shape = declared.call(context, given, xs, index)
        outs = halts.frozen([ops.cast(n, o.type.dtype) for n, o in zip(made.leaves, given, strict=True)], given)
        carry = [ops.expand(n, o.type.axes) for n, o in zip(outs + halts.outs(), carry, strict=True)]
        stacks.append([halts.cleared(y) for y in shape.leaves])
    if sketched is not None:
        carry = [entered(x) for x in carry]
    stacks = stacks[::-1] if declared.reverse else stacks
    assert shape is not None
    results = [_stacked(values, declared.length) for values in zip(*stacks, strict=True)]
    halts.declare(context, declared, carry)
    return declared.carry.rebuilt(carry[:own]), shape.rebuilt(results)


def _stacked(values: tuple[Node, ...], length: int) -> Node:
    """The results of all steps; the last one that was written out stands for those that were not."""
    axes = union_axes(*(v.type.axes for v in values))
    pieces = []
    for i, value in enumerate(values):
        t: Type = value.type
        count = 1 if i < len(values) - 1 else length - len(values) + 1
        piece = ops.reshape(ops.expand(value, axes), (1, *t.shape))
        pieces.append(ops.expand(piece, axes, (count, *t.shape)))
    return ops.concat(pieces)
