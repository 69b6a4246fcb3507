"""Rewrites of whole loops: the same recurrence is run once, and results that nobody reads are not stacked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ppl.ir.loop import Body
from ppl.ir.node import Node, make, rebuild, remake, topological
from ppl.ir.rewrites.match import Rule


def merge_loops(outputs: Sequence[Node]) -> list[Node]:
    """Convert loops that carry the same values to one loop with the stacked results of all that are read.

    Models make such loops, one for each value that is seen from outside, and so does reverse mode: the loop of the
    model, and one that also records its carries. A loop that reads what another one of the same recurrence makes stays
    apart.
    """
    if not any(n.op == "loop" for n in topological(outputs)):
        return list(outputs)
    outputs = _pruned(outputs)
    done: set[tuple] = set()
    while True:
        groups = {k: g for k, g in _groups(outputs).items() if k not in done and len(g) > 1}
        if not groups:
            return outputs
        key, loops = next(iter(groups.items()))
        done.add(key)
        outputs = _merged(outputs, loops)


def _groups(outputs: Sequence[Node]) -> dict[tuple, list[Node]]:
    """Loops by their recurrence."""
    groups: dict[tuple, list[Node]] = {}
    for node in topological(outputs):
        if node.op == "loop":
            groups.setdefault(_recurrence(node), []).append(node)
    return groups


def _recurrence(loop: Node) -> tuple:
    """What loops share when they carry the same values."""
    body = loop.attrs["body"]
    n = len(body.carries)
    others = tuple((k, v) for k, v in sorted(loop.attrs.items()) if k != "body")
    return (body.index, body.args[:n], body.carries, body.idle, loop.args[:n], others)


def _pruned(outputs: Sequence[Node]) -> list[Node]:
    """Loops without stacks that nobody reads, and without slices and constants that no step reads."""
    read: dict[Node, set[int]] = {}
    for node in topological(outputs):
        if node.op == "get":
            read.setdefault(node.args[0], set()).add(node.attrs["index"])
    places: dict[Node, dict[int, int]] = {}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op == "get":
            return make("get", args[0], index=places[node.args[0]][node.attrs["index"]], type=node.type)
        if node.op != "loop":
            return remake(node, args)
        body, n = node.attrs["body"], len(node.attrs["body"].carries)
        kept = sorted(i for i in read[node] if i >= n)
        places[node] = {**{i: i for i in range(n)}, **{i: n + k for k, i in enumerate(kept)}}
        return _loop(node, dict(zip(body.args, args, strict=True)), [body.outputs[i] for i in kept])

    return rebuild(outputs, visit)


def _loop(like: Node, given: dict[Node, Node], ys: Sequence[Node]) -> Node:
    """The loop of the recurrence of `like` with stacks `ys`; `given` has its arguments by what stands for them inside.

    Slices and constants that no step reads are left out.
    """
    body = like.attrs["body"]
    n = len(body.carries)
    used = set(topological((*body.carries, *ys, *body.computed[len(body.outputs) :])))
    time = like.attrs["length"]
    inside = [p for p in given if p not in body.args[:n] and p in used]
    xs = [p for p in inside if given[p].type != p.type]
    consts = [p for p in inside if given[p].type == p.type]
    order = (*body.args[:n], *xs, *consts)
    assert all(given[p].type.shape[:1] == (time,) for p in xs)
    new = Body(body.index, order, body.carries, tuple(ys), len(xs), body.idle)
    return make("loop", *(given[p] for p in order), **{**like.attrs, "body": new})


def _merged(outputs: Sequence[Node], loops: Sequence[Node]) -> list[Node]:
    """`outputs` with those of `loops`, all of one recurrence, merged that do not read one another."""
    depth: dict[Node, int] = {}
    members = set(loops)
    for node in topological(outputs):
        below = max((depth[a] for a in node.args), default=0)
        depth[node] = below + (node in members)
    levels: dict[int, list[Node]] = {}
    for loop in loops:
        levels.setdefault(depth[loop], []).append(loop)
    stacks = {d: list(dict.fromkeys(y for loop in g for y in loop.attrs["body"].ys)) for d, g in levels.items()}
    made: dict[int, Node] = {}
    new_args: dict[Node, Node] = {}

    def merged(level: int) -> Node:
        if level not in made:
            given: dict[Node, Node] = {}
            for loop in levels[level]:
                for p, a in zip(loop.attrs["body"].args, loop.args, strict=True):
                    given.setdefault(p, new_args[a])
            made[level] = _loop(levels[level][0], given, stacks[level])
        return made[level]

    for node in _by_levels(outputs, levels):
        if node in members:
            new_args[node] = node
        elif node.op == "get" and node.args[0] in members:
            loop = node.args[0]
            level, i, n = depth[loop], node.attrs["index"], len(loop.attrs["body"].carries)
            place = i if i < n else n + stacks[level].index(loop.attrs["body"].ys[i - n])
            new_args[node] = make("get", merged(level), index=place, type=node.type)
        else:
            new_args[node] = remake(node, tuple(new_args[a] for a in node.args))
    return [new_args[o] for o in outputs]


def _by_levels(outputs: Sequence[Node], levels: dict[int, list[Node]]) -> Iterable[Node]:
    """All nodes, arguments of all loops of a level before any result of one."""
    seen: dict[Node, None] = {}
    for level in sorted(levels):
        seen.update(dict.fromkeys(topological([a for loop in levels[level] for a in loop.args])))
        seen.update(dict.fromkeys(levels[level]))
    seen.update(dict.fromkeys(topological(outputs)))
    return seen


def constant_carry(n: Node) -> Node | None:
    """Convert a carry that the body hands on unchanged to a constant of the loop, its result to its start."""
    (loop,), i = n.args, n.attrs["index"]
    body = loop.attrs["body"]
    count = len(body.carries)
    fixed = [k for k in range(count) if body.carries[k] is body.args[k]]
    if not fixed:
        return None
    if i in fixed:
        return loop.args[i]
    kept = [k for k in range(count) if k not in fixed]
    order = [*kept, *range(count, len(body.args)), *fixed]
    new = Body(
        body.index,
        tuple(body.args[k] for k in order),
        tuple(body.carries[k] for k in kept),
        body.ys,
        body.n_xs,
        body.idle,
    )
    args = (loop.args[k] for k in order)
    smaller = make("loop", *args, **{**loop.attrs, "body": new})
    return make("get", smaller, index=kept.index(i) if i < count else i - len(fixed), type=n.type)


RULES: dict[str, list[Rule]] = {"get": [constant_carry]}
