"""The verifier, run between passes: it re-derives every type and checks what passes promise one another."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from ppl.ir.loop import slice_type, split_args
from ppl.ir.node import Node, topological, type_rules
from ppl.ir.op_facts import FACTS
from ppl.ir.types import Kind, Type, sort_axes

# A loop is differentiated with respect to its arguments, so a learnable leaf inside would lose its gradient.
FORBIDDEN_IN_LOOPS = ("param", "aux")


def verify(outputs: Sequence[Node]) -> None:
    """Check a graph.

    Checked: every op is known and its type is what its shape rule says; named axes are in canonical order,
    with at most one branch axis, last, whose copies are sorted (`narrow` may drop the primal); `arg` occurs only inside
    loop bodies and is one of that body's; a `get` reads a result that its loop has; loops fit their bodies,
    which are checked too.

    Raises
    ------
    AssertionError
        Naming the op that is wrong.
    """
    _verify(outputs, inside=None)


def verify_if_enabled(outputs: Sequence[Node]) -> None:
    """`verify`, if PPL_VERIFY is set, as it is in the tests: every pass of the compiler calls this on its result."""
    if os.environ.get("PPL_VERIFY"):
        verify(outputs)


def _verify(outputs: Sequence[Node], inside: Collection[Node] | None) -> None:
    for node in topological(outputs):
        _check(node.op in type_rules, node, "is not a known op")
        arity = FACTS[node.op].arity
        _check(arity is None or len(node.args) == arity, node, "has a wrong number of arguments")
        _check_type(node)
        if node.op == "arg":
            _check(
                inside is not None and node in inside,
                node,
                "is not an argument of the loop body it occurs in",
            )
        if node.op in FORBIDDEN_IN_LOOPS:
            _check(inside is None, node, "occurs in a loop body; pass it as an argument of the loop")
        if node.op == "loop":
            _check_loop(node)
        elif node.op == "get":
            _check_get(node)
        else:
            _check(all(a.op != "loop" for a in node.args), node, "uses a loop other than through get")


def _check(ok: bool, node: Node, message: str) -> None:
    if not ok:
        raise AssertionError(f"{node.op} {node!r} {message}")


def _check_type(node: Node) -> None:
    try:
        derived = type_rules[node.op](tuple(a.type for a in node.args), node.attrs)
    except Exception as error:
        raise AssertionError(f"{node.op} {node!r} is ill-typed: {error}") from error
    _check(derived == node.type, node, f"has type {node.type}, its shape rule says {derived}")
    axes = node.type.axes
    _check(axes == sort_axes(axes), node, f"has axes out of canonical order: {node.type}")
    _check(len({a.name for a in axes}) == len(axes), node, f"has two axes of one name: {node.type}")
    branches = [a for a in axes if a.kind is Kind.BRANCH]
    _check(len(branches) <= 1, node, "has several branch axes")
    for branch in branches:
        _check(branch is axes[-1], node, "has a branch axis that is not last")
        _check(len(branch.copies) > 0, node, "has an empty branch axis")
        _check(branch.copies == tuple(sorted(set(branch.copies))), node, "has unsorted branch copies")
        _check(branch.size == len(branch.copies), node, "has a branch axis of the wrong size")


def _check_get(node: Node) -> None:
    (loop,) = node.args
    _check(loop.op == "loop", node, "does not read a loop")
    body = loop.attrs["body"]
    _check(0 <= node.attrs["index"] < len(body.outputs), node, "reads a result that the loop does not have")
    _check(node.type == body.result_type(node.attrs["index"], loop.attrs["length"]), node, "has the wrong type")


def _check_loop(node: Node) -> None:
    body, length = node.attrs["body"], node.attrs["length"]
    _check(len(node.args) == len(body.args), node, "does not have as many arguments as its body")
    _check(body.index.type == Type((), (), "int"), node, "has an index that is not an int scalar")
    inits, xs, consts = split_args(node)
    expected = [*(i.type for i in inits), *(slice_type(x.type) for x in xs), *(c.type for c in consts)]
    for arg, t in zip(body.args, expected, strict=True):
        _check(arg.op == "arg" and arg.type == t, node, f"passes {t} for a body argument {arg.type}")
    for x in xs:
        _check(x.type.shape[:1] == (length,), node, f"slices {x.type} over {length} steps")
    for init, carry in zip(inits, body.carries, strict=True):
        _check(init.type == carry.type, node, f"carries {init.type} into {carry.type}")
    _check(body.idle is None or body.idle.type.dtype == "bool", node, "is idle where no truth value holds")
    _verify(body.computed, inside={body.index, *body.args})
