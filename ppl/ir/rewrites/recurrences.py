"""Rewrites of loops as wholes: what nobody reads is not run, carried or stored, and what can run in one loop does.

Reverse mode makes loops that read what others have stacked: the recurrence of the model, that of a return, the one
that runs backwards. Each pass here is linear in the graph and preserves values up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ppl.ir import ops
from ppl.ir.loop import Body, placeholder, remade, sliced, split_args, stop_of
from ppl.ir.node import Node, make, rebuild, remake, substitute, topological
from ppl.ir.op_facts import CHEAP
from ppl.ir.rewrites.match import transparent
from ppl.ir.types import Axis, Kind, Type

Results = dict[int, Node]


def tidy_loops(outputs: Sequence[Node]) -> list[Node]:
    """Apply all passes to the loops of `outputs` (not to those inside their bodies)."""
    if not any(n.op == "loop" for n in topological(outputs)):
        return list(outputs)
    return drop_unread(sum_inside(fuse(slice_inside(drop_unread(outputs)))))


def _replaced(outputs: Sequence[Node], replace: Callable[[Node, tuple[Node, ...]], Results | None]) -> list[Node]:
    """`outputs` with the results of each loop (by index) as `replace(loop, new arguments)` gives them."""
    results: dict[Node, Results | None] = {}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op == "loop":
            results[node] = replace(node, args)
        if node.op == "get" and (found := results[node.args[0]]) is not None:
            return found[node.attrs["index"]]
        return remake(node, args)

    return rebuild(outputs, visit)


def _read(outputs: Sequence[Node]) -> dict[Node, set[int]]:
    """The results of each loop that something reads."""
    found: dict[Node, set[int]] = {}
    for node in topological(outputs):
        if node.op == "get":
            found.setdefault(node.args[0], set()).add(node.attrs["index"])
    return found


def drop_unread(outputs: Sequence[Node]) -> list[Node]:
    """Leave out carries and stacks that no result depends on, and arguments that are unread or passed twice."""
    read = _read(outputs)

    def replace(node: Node, args: tuple[Node, ...]) -> Results | None:
        body = node.attrs["body"]
        n, live, idle = len(body.carries), read[node], body.computed[len(body.outputs) :]
        while True:
            used = set(topological([*(body.outputs[i] for i in live), *idle]))
            more = live | {i for i in range(n) if body.args[i] in used}
            if more == live:
                break
            live = more
        first: dict[tuple[bool, Node], Node] = {}
        kept, same = sorted(i for i in live if i < n), {}
        for i in (i for i in range(n, len(args)) if body.args[i] in used):
            place = first.setdefault((i < n + body.n_xs, args[i]), body.args[i])
            if place is body.args[i]:
                kept.append(i)
            else:
                same[body.args[i]] = place
        if len(kept) == len(args) and len(live) == len(body.outputs):
            return None
        order = sorted(live)
        new = tuple(substitute([*(body.outputs[i] for i in order), *idle], same))
        count, xs = sum(i < n for i in kept), sum(n <= i < n + body.n_xs for i in kept)
        inside, end = tuple(body.args[i] for i in kept), len(order)
        smaller = Body(body.index, inside, new[:count], new[count:end], xs, *new[end:])
        return dict(zip(order, remade(node, smaller, [args[i] for i in kept]), strict=True))

    return _replaced(outputs, replace)


def slice_inside(outputs: Sequence[Node]) -> list[Node]:
    """Slice what a loop reads before cheap operations and broadcasts instead of after them."""

    def replace(node: Node, args: tuple[Node, ...]) -> Results | None:
        body = node.attrs["body"]
        n, m = len(body.carries), len(body.carries) + body.n_xs
        slicer = _Slicer()
        mapping = {p: slicer.slice(x) for p, x in zip(body.args[n:m], args[n:m], strict=True)}
        if list(slicer.xs) == list(args[n:m]) and not slicer.consts:
            return None
        inside = (*body.args[:n], *slicer.xs.values(), *slicer.consts.values(), *body.args[m:])
        new = body.computing(substitute(body.computed, mapping), inside, len(slicer.xs))
        return dict(enumerate(remade(node, new, [*args[:n], *slicer.xs, *slicer.consts, *args[m:]])))

    return _replaced(outputs, replace)


class _Slicer:
    """Slices of stacked values as expressions over slices of others (`xs`) and over constants of the loop."""

    def __init__(self) -> None:
        self.xs: dict[Node, Node] = {}
        self.consts: dict[Node, Node] = {}

    def slice(self, x: Node) -> Node:
        """One step's slice of `x`."""
        t = sliced(x.type)
        if transparent(x):
            core = x.args[0]
            rank = len(core.type.shape)
            if rank < len(x.type.shape):
                return ops.expand(self.consts.setdefault(core, placeholder(core.type)), t.axes, t.shape)
            if core.type.shape[0] == x.type.shape[0]:
                return ops.expand(self.slice(core), t.axes, t.shape)
        if x.op in CHEAP:  # done on slices inside the loop instead of on whole stacks before it
            return make(x.op, *(self.slice(a) for a in x.args), **x.attrs)
        return self.xs.setdefault(x, placeholder(t))


def fuse(outputs: Sequence[Node]) -> list[Node]:
    """Convert a loop and a later one that reads its stacks step by step, in the same direction, to one loop."""
    outputs = list(outputs)
    while (pair := _pair([n for n in topological(outputs) if n.op == "loop"])) is not None:
        first, second = pair
        results = _joined(first, second)
        n = len(first.attrs["body"].outputs)
        mapping = {g: results[g.attrs["index"] + (0 if g.args[0] is first else n)]
                   for g in topological(outputs) if g.op == "get" and g.args[0] in pair}  # fmt: skip
        outputs = substitute(outputs, mapping)
    return outputs


def _pair(loops: Sequence[Node]) -> tuple[Node, Node] | None:
    for second in loops:
        _, xs, _ = split_args(second)
        for first in dict.fromkeys(x.args[0] for x in xs if x.op == "get"):
            if _joinable(first, second):
                return first, second
    return None


def _stacked(x: Node, loop: Node) -> bool:
    """Whether `x` is a stack of all steps that `loop` makes."""
    if x.op != "get" or x.args[0] is not loop:
        return False
    body, i = loop.attrs["body"], x.attrs["index"]
    return i >= len(body.carries) and body.outputs[i].op != "kept"


def _joinable(first: Node, second: Node) -> bool:
    same = all(first.attrs[k] == second.attrs[k] for k in first.attrs if k not in ("body", "remat"))
    bodies = [x.attrs["body"] for x in (first, second)]
    if any(stop_of(b) is not None or b.idle is not None for b in bodies):
        return False  # one runs turns that the other does not
    if not same or _rows(first.attrs["body"].outputs) != _rows(second.attrs["body"].outputs):
        return False
    inits, xs, consts = split_args(second)
    others = [x for x in (*inits, *xs, *consts) if not _stacked(x, first)]
    direct = all(not _stacked(x, first) for x in (*inits, *consts))
    return direct and first not in set(topological(others))


def _rows(outputs: Iterable[Node]) -> set[Axis]:
    """The outermost plates over which a loop runs."""
    plates = [[a for a in n.type.axes if a.kind in (Kind.PLATE, Kind.REPEATS)] for n in topological(outputs)]
    return {axes[0] for axes in plates if axes}


def _joined(first: Node, second: Node) -> list[Node]:
    """The results of both loops (carries and stacks of `first`, then those of `second`) from one."""
    one, two = first.attrs["body"], second.attrs["body"]
    mapping = {two.index: one.index}
    fresh = [placeholder(p.type) for p in two.args]
    mapping |= dict(zip(two.args, fresh, strict=True))
    for p, x in zip(two.args, second.args, strict=True):
        if _stacked(x, first):
            mapping[p] = one.outputs[x.attrs["index"]]
    outs = substitute(two.outputs, mapping)
    (i1, x1, c1), (i2, x2, c2) = split_args(first), split_args(second)
    n1, n2, m1, m2 = len(i1), len(i2), len(i1) + len(x1), len(i2) + len(x2)
    own = [(x, p) for x, p in zip(x2, fresh[n2:m2], strict=True) if not _stacked(x, first)]
    inside = (*one.args[:n1], *fresh[:n2], *one.args[n1:m1], *(p for _, p in own), *one.args[m1:], *fresh[m2:])
    carries, ys = (*one.carries, *outs[:n2]), (*one.ys, *outs[n2:])
    body = Body(one.index, inside, carries, ys, len(x1) + len(own))
    remat = first.attrs["remat"] if first.attrs["remat"] == second.attrs["remat"] else "auto"
    found = remade(first, body, [*i1, *i2, *x1, *(x for x, _ in own), *c1, *c2], remat=remat)
    n = n1 + n2
    order = [*range(n1), *range(n, n + len(one.ys)), *range(n1, n), *range(n + len(one.ys), len(found))]
    return [found[i] for i in order]


def sum_inside(outputs: Sequence[Node]) -> list[Node]:
    """Convert a sum over the steps of a stack to a carried sum."""
    sums: dict[Node, dict[tuple[int, tuple[int, ...]], None]] = {}
    for node in topological(outputs):
        if _sums_steps(node):
            stack = node.args[0]
            sums.setdefault(stack.args[0], {})[stack.attrs["index"], tuple(node.attrs["dims"])] = None
    if not sums:
        return list(outputs)
    totals: dict[Node, dict[tuple[int, tuple[int, ...]], Node]] = {}
    results: dict[Node, Results] = {}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op == "loop" and node in sums:
            results[node], totals[node] = _with_sums(node, args, list(sums[node]))
        if node.op == "get" and node.args[0] in results:
            return results[node.args[0]][node.attrs["index"]]
        if _sums_steps(node):
            stack, dims = node.args[0], tuple(node.attrs["dims"])
            total = totals[stack.args[0]][stack.attrs["index"], dims]
            return ops.sum_axes(total, node.attrs["axes"])
        return remake(node, args)

    return rebuild(outputs, visit)


def _sums_steps(node: Node) -> bool:
    return node.op == "sum" and node.args[0].op == "get" and 0 in node.attrs["dims"] and _stacked(
        node.args[0], node.args[0].args[0]
    )  # fmt: skip


def _with_sums(
    node: Node, args: tuple[Node, ...], wanted: Sequence[tuple[int, tuple[int, ...]]]
) -> tuple[Results, dict[tuple[int, tuple[int, ...]], Node]]:
    body, n = node.attrs["body"], len(node.attrs["body"].carries)
    terms = [make("sum", body.outputs[i], axes=(), dims=tuple(d - 1 for d in dims if d)) if len(dims) > 1
             else body.outputs[i] for i, dims in wanted]  # fmt: skip
    held = [placeholder(Type(t.type.axes, t.type.shape, t.type.dtype)) for t in terms]
    carries = (*body.carries, *(ops.add(h, t) for h, t in zip(held, terms, strict=True)))
    new = Body(body.index, (*body.args[:n], *held, *body.args[n:]), carries, body.ys, body.n_xs, body.idle)
    starts = [ops.cast(ops.zeros_like(Type(t.type.axes, t.type.shape)), t.type.dtype) for t in terms]
    found = remade(node, new, [*args[:n], *starts, *args[n:]])
    k = len(terms)
    kept = {i: found[i if i < n else i + k] for i in range(len(body.outputs))}
    return kept, dict(zip(wanted, found[n : n + k], strict=True))
