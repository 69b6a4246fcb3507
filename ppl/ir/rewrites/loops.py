"""Rewrites of whole loops: loops of one recurrence are merged, and results that nobody reads are not computed.

Models make a loop for each value that is seen from outside, and reverse mode makes loops that read stacks of others:
the recurrence of the model, that of a return, the one that runs backwards. `merge_loops` and `tidy_loops` are passes
over graphs, linear in the graph, that preserve values up to the order of sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ppl.ir import ops
from ppl.ir.loop import Body, placeholder, remake_loop, slice_type, split_args, stop_carry_index
from ppl.ir.node import Node, make, rebuild, remake, substitute, topological
from ppl.ir.op_facts import CHEAP
from ppl.ir.rewrites.patterns import Rule, is_plain_expand
from ppl.ir.types import Axis, Kind, Type


def merge_loops(outputs: Sequence[Node]) -> list[Node]:
    """Convert loops that carry the same values to one loop with the stacked results of all that are read.

    Models make such loops, one for each value that is seen from outside, and so does reverse mode: the loop of the
    model, and one that also records its carries. A loop that reads what another one of the same recurrence makes stays
    apart.
    """
    if not any(n.op == "loop" for n in topological(outputs)):
        return list(outputs)
    outputs = _prune_loops(outputs)
    done: set[tuple] = set()
    while True:
        groups = {k: g for k, g in _loops_by_recurrence(outputs).items() if k not in done and len(g) > 1}
        if not groups:
            return outputs
        key, loops = next(iter(groups.items()))
        done.add(key)
        outputs = _merge_group(outputs, loops)


def _loops_by_recurrence(outputs: Sequence[Node]) -> dict[tuple, list[Node]]:
    """Loops by their recurrence."""
    groups: dict[tuple, list[Node]] = {}
    for node in topological(outputs):
        if node.op == "loop":
            groups.setdefault(_recurrence_key(node), []).append(node)
    return groups


def _recurrence_key(loop: Node) -> tuple:
    """What loops share when they carry the same values."""
    body = loop.attrs["body"]
    n = len(body.carries)
    others = tuple((k, v) for k, v in sorted(loop.attrs.items()) if k != "body")
    return (body.index, body.args[:n], body.carries, body.idle, loop.args[:n], others)


def _prune_loops(outputs: Sequence[Node]) -> list[Node]:
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
        return _loop_with_stacks(node, dict(zip(body.args, args, strict=True)), [body.outputs[i] for i in kept])

    return rebuild(outputs, visit)


def _loop_with_stacks(like: Node, given: dict[Node, Node], ys: Sequence[Node]) -> Node:
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


def _merge_group(outputs: Sequence[Node], loops: Sequence[Node]) -> list[Node]:
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
            made[level] = _loop_with_stacks(levels[level][0], given, stacks[level])
        return made[level]

    for node in _order_by_level(outputs, levels):
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


def _order_by_level(outputs: Sequence[Node], levels: dict[int, list[Node]]) -> Iterable[Node]:
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


LOOP_RULES: dict[str, list[Rule]] = {"get": [constant_carry]}

LoopResults = dict[int, Node]


def tidy_loops(outputs: Sequence[Node]) -> list[Node]:
    """Apply all passes to the loops of `outputs` (not to those inside their bodies)."""
    if not any(n.op == "loop" for n in topological(outputs)):
        return list(outputs)
    return drop_unread_results(carry_sums(fuse_loops(slice_inside(drop_unread_results(outputs)))))


def _replace_loops(
    outputs: Sequence[Node], replace: Callable[[Node, tuple[Node, ...]], LoopResults | None]
) -> list[Node]:
    """`outputs` with the results of each loop (by index) as `replace(loop, new arguments)` gives them."""
    results: dict[Node, LoopResults | None] = {}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op == "loop":
            results[node] = replace(node, args)
        if node.op == "get" and (found := results[node.args[0]]) is not None:
            return found[node.attrs["index"]]
        return remake(node, args)

    return rebuild(outputs, visit)


def _results_read(outputs: Sequence[Node]) -> dict[Node, set[int]]:
    """The results of each loop that something reads."""
    found: dict[Node, set[int]] = {}
    for node in topological(outputs):
        if node.op == "get":
            found.setdefault(node.args[0], set()).add(node.attrs["index"])
    return found


def drop_unread_results(outputs: Sequence[Node]) -> list[Node]:
    """Leave out carries and stacks that no result depends on, and arguments that are unread or passed twice."""
    read = _results_read(outputs)

    def replace(node: Node, args: tuple[Node, ...]) -> LoopResults | None:
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
        return dict(zip(order, remake_loop(node, smaller, [args[i] for i in kept]), strict=True))

    return _replace_loops(outputs, replace)


def slice_inside(outputs: Sequence[Node]) -> list[Node]:
    """Slice what a loop reads before cheap operations and broadcasts instead of after them."""

    def replace(node: Node, args: tuple[Node, ...]) -> LoopResults | None:
        body = node.attrs["body"]
        n, m = len(body.carries), len(body.carries) + body.n_xs
        slicer = _Slicer()
        mapping = {p: slicer.slice(x) for p, x in zip(body.args[n:m], args[n:m], strict=True)}
        if list(slicer.xs) == list(args[n:m]) and not slicer.consts:
            return None
        inside = (*body.args[:n], *slicer.xs.values(), *slicer.consts.values(), *body.args[m:])
        new = body.computing(substitute(body.computed, mapping), inside, len(slicer.xs))
        return dict(enumerate(remake_loop(node, new, [*args[:n], *slicer.xs, *slicer.consts, *args[m:]])))

    return _replace_loops(outputs, replace)


class _Slicer:
    """Slices of stacked values as expressions over slices of others (`xs`) and over constants of the loop."""

    def __init__(self) -> None:
        self.xs: dict[Node, Node] = {}
        self.consts: dict[Node, Node] = {}

    def slice(self, x: Node) -> Node:
        """One step's slice of `x`."""
        t = slice_type(x.type)
        if is_plain_expand(x):
            core = x.args[0]
            rank = len(core.type.shape)
            if rank < len(x.type.shape):
                return ops.expand(self.consts.setdefault(core, placeholder(core.type)), t.axes, t.shape)
            if core.type.shape[0] == x.type.shape[0]:
                return ops.expand(self.slice(core), t.axes, t.shape)
        if x.op in CHEAP:  # done on slices inside the loop instead of on whole stacks before it
            return make(x.op, *(self.slice(a) for a in x.args), **x.attrs)
        return self.xs.setdefault(x, placeholder(t))


def fuse_loops(outputs: Sequence[Node]) -> list[Node]:
    """Convert a loop and a later one that reads its stacks step by step, in the same direction, to one loop."""
    outputs = list(outputs)
    while (pair := _fusable_pair([n for n in topological(outputs) if n.op == "loop"])) is not None:
        first, second = pair
        results = _fuse_pair(first, second)
        n = len(first.attrs["body"].outputs)
        mapping = {g: results[g.attrs["index"] + (0 if g.args[0] is first else n)]
                   for g in topological(outputs) if g.op == "get" and g.args[0] in pair}  # fmt: skip
        outputs = substitute(outputs, mapping)
    return outputs


def _fusable_pair(loops: Sequence[Node]) -> tuple[Node, Node] | None:
    for second in loops:
        _, xs, _ = split_args(second)
        for first in dict.fromkeys(x.args[0] for x in xs if x.op == "get"):
            if _can_fuse(first, second):
                return first, second
    return None


def _is_stack_of(x: Node, loop: Node) -> bool:
    """Whether `x` is a stack of all steps that `loop` makes."""
    if x.op != "get" or x.args[0] is not loop:
        return False
    body, i = loop.attrs["body"], x.attrs["index"]
    return i >= len(body.carries) and body.outputs[i].op != "kept"


def _can_fuse(first: Node, second: Node) -> bool:
    same = all(first.attrs[k] == second.attrs[k] for k in first.attrs if k not in ("body", "remat"))
    bodies = [x.attrs["body"] for x in (first, second)]
    if any(stop_carry_index(b) is not None or b.idle is not None for b in bodies):
        return False  # one runs turns that the other does not
    if not same or _outer_plates(first.attrs["body"].outputs) != _outer_plates(second.attrs["body"].outputs):
        return False
    inits, xs, consts = split_args(second)
    others = [x for x in (*inits, *xs, *consts) if not _is_stack_of(x, first)]
    direct = all(not _is_stack_of(x, first) for x in (*inits, *consts))
    return direct and first not in set(topological(others))


def _outer_plates(outputs: Iterable[Node]) -> set[Axis]:
    """The outermost plates over which a loop runs."""
    plates = [[a for a in n.type.axes if a.kind in (Kind.PLATE, Kind.REPEATS)] for n in topological(outputs)]
    return {axes[0] for axes in plates if axes}


def _fuse_pair(first: Node, second: Node) -> list[Node]:
    """The results of both loops (carries and stacks of `first`, then those of `second`) from one."""
    one, two = first.attrs["body"], second.attrs["body"]
    mapping = {two.index: one.index}
    fresh = [placeholder(p.type) for p in two.args]
    mapping |= dict(zip(two.args, fresh, strict=True))
    for p, x in zip(two.args, second.args, strict=True):
        if _is_stack_of(x, first):
            mapping[p] = one.outputs[x.attrs["index"]]
    outs = substitute(two.outputs, mapping)
    (i1, x1, c1), (i2, x2, c2) = split_args(first), split_args(second)
    n1, n2, m1, m2 = len(i1), len(i2), len(i1) + len(x1), len(i2) + len(x2)
    own = [(x, p) for x, p in zip(x2, fresh[n2:m2], strict=True) if not _is_stack_of(x, first)]
    inside = (*one.args[:n1], *fresh[:n2], *one.args[n1:m1], *(p for _, p in own), *one.args[m1:], *fresh[m2:])
    carries, ys = (*one.carries, *outs[:n2]), (*one.ys, *outs[n2:])
    body = Body(one.index, inside, carries, ys, len(x1) + len(own))
    remat = first.attrs["remat"] if first.attrs["remat"] == second.attrs["remat"] else "auto"
    found = remake_loop(first, body, [*i1, *i2, *x1, *(x for x, _ in own), *c1, *c2], remat=remat)
    n = n1 + n2
    order = [*range(n1), *range(n, n + len(one.ys)), *range(n1, n), *range(n + len(one.ys), len(found))]
    return [found[i] for i in order]


def carry_sums(outputs: Sequence[Node]) -> list[Node]:
    """Convert a sum over the steps of a stack to a carried sum."""
    sums: dict[Node, dict[tuple[int, tuple[int, ...]], None]] = {}
    for node in topological(outputs):
        if _is_sum_over_steps(node):
            stack = node.args[0]
            sums.setdefault(stack.args[0], {})[stack.attrs["index"], tuple(node.attrs["dims"])] = None
    if not sums:
        return list(outputs)
    totals: dict[Node, dict[tuple[int, tuple[int, ...]], Node]] = {}
    results: dict[Node, LoopResults] = {}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op == "loop" and node in sums:
            results[node], totals[node] = _loop_with_sums(node, args, list(sums[node]))
        if node.op == "get" and node.args[0] in results:
            return results[node.args[0]][node.attrs["index"]]
        if _is_sum_over_steps(node):
            stack, dims = node.args[0], tuple(node.attrs["dims"])
            total = totals[stack.args[0]][stack.attrs["index"], dims]
            return ops.sum_axes(total, node.attrs["axes"])
        return remake(node, args)

    return rebuild(outputs, visit)


def _is_sum_over_steps(node: Node) -> bool:
    return node.op == "sum" and node.args[0].op == "get" and 0 in node.attrs["dims"] and _is_stack_of(
        node.args[0], node.args[0].args[0]
    )  # fmt: skip


def _loop_with_sums(
    node: Node, args: tuple[Node, ...], wanted: Sequence[tuple[int, tuple[int, ...]]]
) -> tuple[LoopResults, dict[tuple[int, tuple[int, ...]], Node]]:
    body, n = node.attrs["body"], len(node.attrs["body"].carries)
    terms = [make("sum", body.outputs[i], axes=(), dims=tuple(d - 1 for d in dims if d)) if len(dims) > 1
             else body.outputs[i] for i, dims in wanted]  # fmt: skip
    held = [placeholder(Type(t.type.axes, t.type.shape, t.type.dtype)) for t in terms]
    carries = (*body.carries, *(ops.add(h, t) for h, t in zip(held, terms, strict=True)))
    new = Body(body.index, (*body.args[:n], *held, *body.args[n:]), carries, body.ys, body.n_xs, body.idle)
    starts = [ops.cast(ops.zeros_like(Type(t.type.axes, t.type.shape)), t.type.dtype) for t in terms]
    found = remake_loop(node, new, [*args[:n], *starts, *args[n:]])
    k = len(terms)
    kept = {i: found[i if i < n else i + k] for i in range(len(body.outputs))}
    return kept, dict(zip(wanted, found[n : n + k], strict=True))
