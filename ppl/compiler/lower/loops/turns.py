"""Lowering of `loop`: its body becomes a graph over outer nodes, whose varying part runs once per step.

Constants of the loop are substituted, slices of its inputs become `take` at the step number, and everything that
depends on neither carries nor step is left outside. What remains are its `turns`, an op whose arguments are the
initial carries and the outer nodes that the body reads. Loops in bodies become turns in bodies.

Turns with nothing to do are told by a node that is computed before the rest of the turn (`idle`: the node, where it is
kept, and the number of the step that it reads). What is stacked every few steps (`every`) goes to the entry that a
second number of the step tells. Results that are sums over rows (`summed`, see `apart`) are *accumulators*: they start
at zero, and every slab adds to its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppl.compiler.lower.views import is_view
from ppl.ir import ops
from ppl.ir.loop import Body, placeholder, sliced, stop_of
from ppl.ir.node import Node, make, substitute, topological


def lower_loop(node: Node, args: tuple[Node, ...], lower: Callable[[Sequence[Node]], list[Node]]) -> Node:
    """The `turns` that run loop `node` on lowered arguments."""
    body, length = node.attrs["body"], node.attrs["length"]
    summed = node.attrs.get("summed", frozenset())
    n = len(body.carries)
    inits, xs, consts = args[:n], args[n : n + body.n_xs], args[n + body.n_xs :]
    index = placeholder(body.index.type)
    carries = [placeholder(a.type) for a in body.args[:n]]
    known = carries, xs, consts
    outs = [o.args[0] if o.op in ("kept", "stopped") else o for o in _inside(body, body.outputs, index, *known)]
    number = placeholder(index.type)
    test = [] if body.idle is None else _inside(body, [body.idle], number, *known)
    lowered = lower([*outs, *test])
    outputs, test = lowered[: len(outs)], lowered[len(outs) :]
    every = {i: (o.attrs["every"], placeholder(index.type)) for i, o in enumerate(body.outputs) if o.op == "kept"}
    varying = varying_part(outputs, (index, *carries))
    results = [_settled(o, varying, i in summed) for i, o in enumerate(outputs)]
    test = [make("copy", x) for x in test]
    seeds = (index, *carries, number)
    frontier = _frontier([*results, *test], varying_part([*results, *test], seeds))
    idle = tuple((x, placeholder(x.type), number) for x in test)
    types = tuple(body.result_type(i, length) for i in range(len(outputs)))
    return make("turns", *inits, *frontier, index=index, carries=tuple(carries), outputs=tuple(results), types=types,
                type=types[0], summed=summed, every=tuple(every.items()), stop=stop_of(body), length=length,
                reverse=node.attrs["reverse"], idle=idle[0] if idle else None)  # fmt: skip


def _inside(body: Body, nodes: Sequence[Node], index: Node, carries: Sequence[Node], xs: Sequence[Node],
            consts: Sequence[Node]) -> list[Node]:  # fmt: skip
    """`nodes` of a body as nodes over outer ones, in the step number `index`."""
    slices = [make("take", x, ops.expand(index, x.type.axes, ())) for x in xs]
    assert all(s.type == sliced(x.type) for s, x in zip(slices, xs, strict=True))
    return substitute(nodes, {body.index: index, **dict(zip(body.args, (*carries, *slices, *consts), strict=True))})


def computed(turns: Node) -> tuple[Node, ...]:
    """All that a turn computes: outputs, and whether it is idle."""
    idle = turns.attrs["idle"]
    return turns.attrs["outputs"] if idle is None else (*turns.attrs["outputs"], idle[0])


def varying_of(turns: Node) -> set[Node]:
    """The nodes that change from turn to turn, and the numbers and carries that they depend on."""
    idle = turns.attrs["idle"]
    numbers = [turns.attrs["index"]] if idle is None else [turns.attrs["index"], idle[2]]
    return varying_part(computed(turns), (*numbers, *turns.attrs["carries"]))


def varying_part(outputs: Sequence[Node], seeds: Sequence[Node]) -> set[Node]:
    """The nodes below `outputs` that depend on `seeds`, and these."""
    varying = set(seeds)
    for node in topological(outputs):
        if any(a in varying for a in node.args):
            varying.add(node)
    return varying


def bodies(outputs: Sequence[Node]) -> list[list[Node]]:
    """The nodes of the bodies of all turns below `outputs`, each node in the body in whose steps it is computed."""
    found = []
    for node in topological(outputs):
        if node.op == "turns":
            inner, varying = computed(node), varying_of(node)
            found.append([n for n in topological(inner) if n in varying])
            found += bodies(inner)
    return found


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
