"""Lowering of `loop`: its body becomes a graph over outer nodes, whose varying part runs once per step.

Constants of the loop are substituted, slices of its inputs become `take` at the step number, and everything that
depends on neither carries nor step is left outside. What remains are its `turns`, an op whose arguments are the
initial carries and the outer nodes that the body reads.

A carry without rows that grows by sums over rows (the gradient of a shared parameter) is an *accumulator*: it starts at
zero, every slab adds to its own, and the initial value is added outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppl.compiler.lower.views import is_view, row_axis
from ppl.ir import ops
from ppl.ir.loop import placeholder, sliced, split_args
from ppl.ir.node import Node, make, substitute, topological


def lower_loop(node: Node, args: tuple[Node, ...], lower: Callable[[Sequence[Node]], list[Node]]) -> Node:
    """The `turns` that run loop `node` on lowered arguments."""
    body, length = node.attrs["body"], node.attrs["length"]
    n = len(body.carries)
    inits, xs, consts = list(args[:n]), args[n : n + body.n_xs], args[n + body.n_xs :]
    assert len(split_args(node)[2]) == len(consts)
    index = placeholder(body.index.type)
    carries = [placeholder(a.type) for a in body.args[:n]]
    slices = []
    for x in xs:
        at = ops.expand(index, x.type.axes, ())
        slices.append(make("take", x, at) if x.type.shape else x)
        assert slices[-1].type == sliced(x.type)
    mapping = {body.index: index, **dict(zip(body.args, (*carries, *slices, *consts), strict=True))}
    outputs = lower(substitute(body.outputs, mapping))
    varying = _varying(outputs, {index, *carries})
    summed = _accumulators(inits, carries, outputs)
    results = [_settled(o, varying, i in summed) for i, o in enumerate(outputs)]
    varying = _varying(results, {index, *carries})
    frontier = _frontier(results, varying)
    types = tuple(body.result_type(i, length) for i in range(len(outputs)))
    inits = [ops.zeros_like(c.type) if i in summed else x for i, (x, c) in enumerate(zip(inits, carries, strict=True))]
    return make("turns", *inits, *frontier, index=index, carries=tuple(carries), outputs=tuple(results), types=types,
                summed=frozenset(summed), length=length, reverse=node.attrs["reverse"], type=types[0])  # fmt: skip


def lower_get(node: Node, turns: Node, args: tuple[Node, ...]) -> Node:
    """A result of `turns`; accumulators get their initial value (from the loop's `args`) added."""
    i = node.attrs["index"]
    out = make("get", turns, index=i, type=node.type)
    if i in turns.attrs["summed"] and not ops.is_const(args[i], 0.0):
        return ops.add(out, args[i])
    return out


def _varying(outputs: Sequence[Node], seeds: set[Node]) -> set[Node]:
    varying = set(seeds)
    for node in topological(outputs):
        if any(a in varying for a in node.args):
            varying.add(node)
    return varying


def _frontier(outputs: Sequence[Node], varying: set[Node]) -> list[Node]:
    """Outer nodes that the varying part reads, seen through views."""
    found: dict[Node, None] = {}
    for node in topological(outputs):
        if node in varying:
            found.update(dict.fromkeys(a for a in node.args if a not in varying))
    found.update(dict.fromkeys(o for o in outputs if o not in varying))
    return list(found)


def _settled(output: Node, varying: set[Node], summed: bool) -> Node:
    """The output; carries that merely hand on another carry are copied first, because they are written one by one."""
    base = output
    while is_view(base):
        base = base.args[0]
    if summed or (base.op != "arg" and base in varying):
        return output
    return make("copy", output)


def _accumulators(inits: Sequence[Node], carries: Sequence[Node], outputs: list[Node]) -> set[int]:
    """Carries that are sums over rows; their outputs are replaced by what each step adds."""
    nodes = topological(outputs)
    rows = any(row_axis(x.type.axes) is not None for x in (*nodes, *inits))
    users: dict[Node, int] = {}
    for node in nodes:
        for a in node.args:
            users[a] = users.get(a, 0) + 1
    out = set()
    for i, (carry, new) in enumerate(zip(carries, list(outputs), strict=False)):
        if not rows or row_axis(carry.type.axes) is not None:
            continue
        if new.op == "add" and carry in new.args and users.get(carry, 0) == 1:
            other = new.args[1] if new.args[0] is carry else new.args[0]
            outputs[i] = other
            out.add(i)
        elif _sums_rows(new):
            raise NotImplementedError("a loop carries a value that depends on a sum over rows of the same loop")
    return out


def _sums_rows(node: Node) -> bool:
    """Whether an unplated value depends, inside the loop, on values of rows."""
    return any(row_axis(n.type.axes) is not None for n in topological([node]))
