"""Loops over time: split by rows, then lowered to an op whose body runs once for each iteration.

`split_loops` is loop fission: the values of a body get levels (without rows, of rows, made of sums over rows), and a
loop becomes one loop for each level, so that every loop runs over one row axis or none. What a later loop reads is
stacked. A carry that grows by sums over rows, or a stack of them, belongs to the loop over rows and is marked `summed`:
the body gives what an iteration adds, and every slab adds up its own rows.

`lower_loop` substitutes the constants of a loop, turns slices of its inputs into `take` at the number of the iteration,
and leaves outside what depends on neither carries nor that number. What remains is the op `turns`: its arguments are
the initial carries and the outer nodes that the body reads. A node that is computed first says which iterations have
nothing to do (`idle`). What is stacked every few iterations (`every`) goes to the entry that a second number gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ppl.compiler.lower.request import LINEAR_OPS
from ppl.compiler.lower.views import is_view, row_axis
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.loop import Body, placeholder, remake_loop, slice_type, stop_carry_index
from ppl.ir.node import Node, make, rebuild, remake, substitute, topological
from ppl.ir.op_facts import GIVEN, LINEAR_ARGUMENTS, PRODUCTS
from ppl.ir.types import Axis, Kind, Type

ROW_REDUCTIONS = ("sum", "contract", "put")
"""Ops that add up rows, so that the sums of slabs add up to the whole."""


class CarriedRowsError(ModelError):
    """Rows of `axis` read in a step of a loop what depends on all rows of the step before."""

    def __init__(self, axis: Axis):
        super().__init__(
            f"each step of a loop reads a sum over all of '{axis.name}' of the step before, which cannot be compiled: "
            "carry the sum without feeding it back, or use a plate of fixed size"
        )
        self.axis = axis


class LoopLevel(NamedTuple):
    """A level, and the axis of its rows."""

    level: int
    row: Axis | None

    @property
    def order(self) -> tuple[int, tuple[int, int, str]]:
        """Sort key."""
        return self.level, self.row.order if self.row else (0, 0, "")


def row_axis_of_work(node: Node) -> Axis | None:
    """The row axis over which the work of `node` runs."""
    axes = {a for x in (node, *node.args) for a in x.type.axes}
    if node.op == "loop":
        homes = (row_axis_of_work(n) for n in topological(node.attrs["body"].outputs))
        axes |= {a for a in homes if a is not None}
    return row_axis(tuple(sorted(axes, key=lambda a: a.order)))


class BodyLevels:
    """Home and level of every value of a body with the outputs `outs`; `partial` are sums over the rows of a slab."""

    def __init__(self, body: Body, outs: Sequence[Node]):
        self.outs, self.carries = outs, body.args[: len(body.carries)]
        self.given = {body.index, *body.args} - set(self.carries)
        self.order = topological(outs)
        self.home: dict[Node, Axis | None] = {}
        self.partial: set[Node] = set()
        for node in self.order:
            self._assign_row_axis(node)
        self.added = {i: x for i, c in enumerate(self.carries) if (x := self._added(c, outs[i])) is not None}
        self.level: dict[Node, int] = {}
        self._raise_levels()

    @property
    def rows(self) -> bool:
        """Whether there are rows at all."""
        return any(row is not None for row in self.home.values())

    def group(self, node: Node) -> LoopLevel:
        """Where `node` is computed."""
        return LoopLevel(self.level[node], self.home[node])

    def free(self, node: Node) -> bool:
        """Whether every loop may compute `node`, or is given it."""
        return node in self.given or (node.op in GIVEN and node.op != "arg") or self.group(node) == LoopLevel(0, None)

    def _assign_row_axis(self, node: Node) -> None:
        row = self.home[node.args[0]] if node.op == "get" else row_axis_of_work(node)
        if row is not None and row_axis(node.type.axes) != row:
            if node.op in ROW_REDUCTIONS or node.op == "get":
                self.partial.add(node)
        elif row is None:
            sums = [i for i, a in enumerate(node.args) if a in self.partial]
            if sums and self._linear(node, sums):
                self.partial.add(node)
                row = self.home[node.args[sums[0]]]
        self.home[node] = row

    def _linear(self, node: Node, sums: Sequence[int]) -> bool:
        """Whether `node`, made of slabs' sums number `sums`, is such a sum itself."""
        if len({self.home[node.args[i]] for i in sums}) > 1:
            return False
        if node.op in LINEAR_OPS:
            return len(sums) == len(node.args)
        if node.op in LINEAR_ARGUMENTS:  # of a choice, every slab would add the other side
            rest = set(LINEAR_ARGUMENTS[node.op]) - set(sums)
            return set(sums) <= set(LINEAR_ARGUMENTS[node.op]) and all(ops.is_const(node.args[i], 0.0) for i in rest)
        return len(sums) == 1 and node.op in PRODUCTS

    def _added(self, carry: Node, new: Node) -> Node | None:
        """The sum over rows that a step adds to `carry`, which nothing else reads."""
        reads = sum(a is carry for n in self.order for a in n.args) + sum(o is carry for o in self.outs)
        if reads != 1 or row_axis(carry.type.axes) is not None or new.op != "add" or carry not in new.args:
            return None
        other = new.args[1] if new.args[0] is carry else new.args[0]
        return other if other in self.partial else None

    def _raise_levels(self) -> None:
        """Find levels, from below, to a fixed point."""
        start = dict.fromkeys(self.carries, 0)
        most = 4 * (len(self.carries) + 1)
        while True:
            self.level = {}
            for node in self.order:
                least = start.get(node, 0) + (self.home[node] is not None and not start.get(node))
                needs = (self._least_level(a, node) for a in node.args)
                self.level[node] = max([least, *needs])
            made = zip(self.carries, self.outs, strict=False)
            read = [(c, o) for i, (c, o) in enumerate(made) if i not in self.added and c in self.level]
            new = {**start, **{c: max(start[c], self._least_level(o, c)) for c, o in read}}
            if new == start:
                return
            if max(new.values()) > most:
                raise CarriedRowsError(next(row for row in self.home.values() if row is not None))
            start = new

    def _least_level(self, arg: Node, user: Node) -> int:
        """The least level of what reads `arg`."""
        if arg in self.given or (arg.op in GIVEN and arg.op != "arg") or arg not in self.level:
            return 0
        level, here, there = self.level[arg], self.home[arg], self.home[user]
        if here is None:
            return level + (there is not None)
        whole = arg.op == "loop" or row_axis(arg.type.axes) == here
        if here == there and (whole or (arg in self.partial and user in self.partial)):
            return level
        return level + (1 if there is None else 2)


LoopResults = dict[int, Node]


def split_loops(outputs: Sequence[Node]) -> list[Node]:
    """`outputs` with loops split so, those in bodies as well.

    Where each step of a loop reads sums over rows of the step before, these rows are computed `together`, on one
    thread.
    """
    while True:
        try:
            return _split_nested_loops(outputs)
        except CarriedRowsError as error:
            if error.axis.together or error.axis.kind is not Kind.PLATE:
                raise
            outputs = compute_rows_together(outputs, error.axis)


def _split_nested_loops(outputs: Sequence[Node]) -> list[Node]:
    read: dict[Node, set[int]] = {}
    for node in topological(outputs):
        if node.op == "get":
            read.setdefault(node.args[0], set()).add(node.attrs["index"])
    results: dict[Node, LoopResults] = {}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op == "loop":
            inner = tuple(_split_nested_loops(node.attrs["body"].computed))
            results[node] = _split_loop(node, args, inner, read.get(node, set()))
            return node
        if node.op == "get":
            return results[node.args[0]][node.attrs["index"]]
        return remake(node, args)

    return rebuild(outputs, visit)


def compute_rows_together(outputs: Sequence[Node], axis: Axis) -> list[Node]:
    """`outputs` with all rows of `axis` computed in one place, an inner loop of every step."""
    known: dict[Any, Any] = {axis: replace(axis, together=True)}

    def mapped(x: Any) -> Any:
        if isinstance(x, Axis):
            return known.get(x, x)
        if isinstance(x, Type):
            return replace(x, axes=mapped(x.axes))
        if isinstance(x, Body):
            return x.computing(rebuild(x.computed, visit), tuple(rebuild(x.args, visit)))
        return tuple(map(mapped, x)) if type(x) is tuple else x

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        return make(node.op, *args, **{name: mapped(x) for name, x in node.attrs.items()})

    return rebuild(outputs, visit)


def _split_loop(node: Node, args: tuple[Node, ...], outs: tuple[Node, ...], read: set[int]) -> LoopResults:
    """The results of a loop, on new arguments and with a body that computes `outs`, that are read."""
    body = node.attrs["body"]
    n = len(body.carries)
    body = body.computing((*map(_difference_as_sum, outs[:n], body.args), *outs[n:]))
    outs = body.outputs
    levels = BodyLevels(body, outs)
    if not (levels.rows or any(row_axis(a.type.axes) is not None for a in args)):
        return dict(enumerate(remake_loop(node, body, args)))
    return _LoopSplitter(node, body, args, levels).results(read)


def _difference_as_sum(new: Node, carry: Node) -> Node:
    """What a step makes of a carry without rows; a difference is the sum of the carry and something negative."""
    less = new.op == "sub" and new.args[0] is carry and row_axis(new.type.axes) is None
    return make("add", carry, ops.neg(new.args[1])) if less else new


class _SplitLoop:
    """What one of the loops makes: results, and values that it stacks for the others, from what `reads` names."""

    def __init__(self) -> None:
        self.carries: dict[int, None] = {}
        self.ys: dict[int, None] = {}
        self.stacked: dict[Node, None] = {}
        self.reads: dict[Node, None] = {}
        self.seen: set[Node] = set()


class _LoopSplitter:
    """The loops that one becomes."""

    def __init__(self, node: Node, body: Body, args: tuple[Node, ...], levels: BodyLevels):
        self.node, self.body, self.args, self.levels = node, body, args, levels
        self.n = len(body.carries)
        self.parts: dict[LoopLevel, _SplitLoop] = {}
        self.stacks: dict[Node, Node] = {}

    def results(self, read: set[int]) -> LoopResults:
        """The results that are read, by index."""
        for i in sorted(read):
            self._request_result(i)
        found: LoopResults = {}
        for group in sorted(self.parts, key=lambda g: g.order):
            found |= self._loop(group, self.parts[group])
        return found

    def _part(self, group: LoopLevel) -> _SplitLoop:
        return self.parts.setdefault(group, _SplitLoop())

    def _iteration_result(self, i: int) -> Node:
        """What a step gives for result `i`: of a sum, what it adds."""
        return self.levels.added.get(i, self.body.outputs[i])

    def _request_result(self, i: int) -> None:
        """Let result `i` be made."""
        group = self._level_of_carry(i) if i < self.n else self._group(self.body.outputs[i])
        part = self._part(group)
        (part.carries if i < self.n else part.ys)[i] = None
        self._request_node(group, self._iteration_result(i))

    def _level_of_carry(self, i: int) -> LoopLevel:
        if i in self.levels.added:
            return self.levels.group(self.levels.added[i])
        return self._group(self.body.args[i] if self.body.args[i] in self.levels.level else self.body.outputs[i])

    def _group(self, node: Node) -> LoopLevel:
        """The loop that makes `node`: of something given, one over its rows."""
        if node not in self.levels.given and (node.op not in GIVEN or node.op == "arg"):
            return self.levels.group(node)
        row = row_axis(node.type.axes)
        return LoopLevel(int(row is not None), row)

    def _request_node(self, group: LoopLevel, node: Node) -> None:
        """Let the loop of `group` know `node`: compute it, or read the stack that another makes."""
        part, todo = self._part(group), [node]
        while todo:
            node = todo.pop()
            if node in part.seen:
                continue
            part.seen.add(node)
            if not self.levels.free(node) and self._group(node) != group:
                part.reads[node] = None
                other = self._group(node)
                self._part(other).stacked[node] = None
                self._request_node(other, node)
            elif node in self.levels.carries:
                i = self.levels.carries.index(node)
                part.carries[i] = None
                todo.append(self._iteration_result(i))
            else:
                todo += node.args

    def _loop(self, group: LoopLevel, part: _SplitLoop) -> LoopResults:
        """One of the loops; its results that are wanted."""
        body, levels, n = self.body, self.levels, self.n
        carries, ys, stacked = sorted(part.carries), sorted(part.ys), list(part.stacked)
        mapping = {x: placeholder(x.type) for x in part.reads}
        made = [*(self._iteration_result(i) for i in carries), *(body.outputs[i] for i in ys), *stacked]
        outs = substitute(made, mapping)
        idle = self._idle(group)
        known = set(topological([*outs, *idle]))
        xs = [i for i in range(n, n + body.n_xs) if body.args[i] in known]
        consts = [i for i in range(n + body.n_xs, len(body.args)) if body.args[i] in known]
        inside = (*(body.args[i] for i in (*carries, *xs)), *mapping.values(), *(body.args[i] for i in consts))
        summed = {k for k, i in enumerate(carries) if i in levels.added}
        summed |= {k for k, x in enumerate(made) if k >= len(carries) and x in levels.partial}
        if group.row is not None and any(
            row_axis(x.type.axes) != group.row for x in stacked if x not in levels.partial
        ):
            raise CarriedRowsError(group.row)  # a maximum over rows
        inits = [_zeros_of_type(self.args[i].type) if k in summed else self.args[i] for k, i in enumerate(carries)]
        args = [*inits, *(self.args[i] for i in xs), *(self.stacks[x] for x in part.reads),
                *(self.args[i] for i in consts)]  # fmt: skip
        n_xs = len(xs) + len(mapping)
        new = Body(body.index, inside, tuple(outs[: len(carries)]), tuple(outs[len(carries) :]), n_xs, *idle)
        found = remake_loop(self.node, new, args, summed=frozenset(summed))
        self.stacks |= dict(zip(stacked, found[len(carries) + len(ys) :], strict=True))
        wanted = {
            i: g for i, g in zip((*carries, *ys), found, strict=False) if i >= n or self._level_of_carry(i) == group
        }
        return {i: self._with_start(i, g) if i in levels.added else g for i, g in wanted.items()}

    def _idle(self, group: LoopLevel) -> tuple[Node, ...]:
        """When the loop of `group` has nothing to do; nothing where that is told by rows which it does not have."""
        idle = self.body.computed[len(self.body.outputs) :]
        return tuple(x for x in idle if row_axis(x.type.axes) in (None, group.row))

    def _with_start(self, i: int, total: Node) -> Node:
        """A carried sum with its initial value."""
        return total if ops.is_const(self.args[i], 0.0) else ops.add(total, self.args[i])


def _zeros_of_type(t: Type) -> Node:
    return ops.expand(ops.cast(ops.const(0.0), t.dtype), t.axes, t.shape)


def lower_loop(node: Node, args: tuple[Node, ...], lower: Callable[[Sequence[Node]], list[Node]]) -> Node:
    """The `turns` that run loop `node` on lowered arguments."""
    body, length = node.attrs["body"], node.attrs["length"]
    summed = node.attrs.get("summed", frozenset())
    n = len(body.carries)
    inits, xs, consts = args[:n], args[n : n + body.n_xs], args[n + body.n_xs :]
    index = placeholder(body.index.type)
    carries = [placeholder(a.type) for a in body.args[:n]]
    known = carries, xs, consts
    outs = [
        o.args[0] if o.op in ("kept", "stopped") else o
        for o in _body_over_outer_nodes(body, body.outputs, index, *known)
    ]
    number = placeholder(index.type)
    test = [] if body.idle is None else _body_over_outer_nodes(body, [body.idle], number, *known)
    lowered = lower([*outs, *test])
    outputs, test = lowered[: len(outs)], lowered[len(outs) :]
    every = {i: (o.attrs["every"], placeholder(index.type)) for i, o in enumerate(body.outputs) if o.op == "kept"}
    varying = nodes_depending_on(outputs, (index, *carries))
    results = [_copy_of_handed_carry(o, varying, i in summed) for i, o in enumerate(outputs)]
    test = [make("copy", x) for x in test]
    seeds = (index, *carries, number)
    frontier = _outer_operands([*results, *test], nodes_depending_on([*results, *test], seeds))
    idle = tuple((x, placeholder(x.type), number) for x in test)
    types = tuple(body.result_type(i, length) for i in range(len(outputs)))
    return make("turns", *inits, *frontier, index=index, carries=tuple(carries), outputs=tuple(results), types=types,
                type=types[0], summed=summed, every=tuple(every.items()), stop=stop_carry_index(body), length=length,
                reverse=node.attrs["reverse"], idle=idle[0] if idle else None)  # fmt: skip


def _body_over_outer_nodes(body: Body, nodes: Sequence[Node], index: Node, carries: Sequence[Node], xs: Sequence[Node],
            consts: Sequence[Node]) -> list[Node]:  # fmt: skip
    """`nodes` of a body as nodes over outer ones, in the step number `index`."""
    slices = [make("take", x, ops.expand(index, x.type.axes, ())) for x in xs]
    assert all(s.type == slice_type(x.type) for s, x in zip(slices, xs, strict=True))
    return substitute(nodes, {body.index: index, **dict(zip(body.args, (*carries, *slices, *consts), strict=True))})


def iteration_nodes(turns: Node) -> tuple[Node, ...]:
    """All that a turn computes: outputs, and whether it is idle."""
    idle = turns.attrs["idle"]
    return turns.attrs["outputs"] if idle is None else (*turns.attrs["outputs"], idle[0])


def varying_nodes(turns: Node) -> set[Node]:
    """The nodes that change from turn to turn, and the numbers and carries that they depend on."""
    idle = turns.attrs["idle"]
    numbers = [turns.attrs["index"]] if idle is None else [turns.attrs["index"], idle[2]]
    return nodes_depending_on(iteration_nodes(turns), (*numbers, *turns.attrs["carries"]))


def nodes_depending_on(outputs: Sequence[Node], seeds: Sequence[Node]) -> set[Node]:
    """The nodes below `outputs` that depend on `seeds`, and these."""
    varying = set(seeds)
    for node in topological(outputs):
        if any(a in varying for a in node.args):
            varying.add(node)
    return varying


def loop_bodies(outputs: Sequence[Node]) -> list[list[Node]]:
    """The nodes of the bodies of all turns below `outputs`, each node in the body in whose steps it is computed."""
    found = []
    for node in topological(outputs):
        if node.op == "turns":
            inner, varying = iteration_nodes(node), varying_nodes(node)
            found.append([n for n in topological(inner) if n in varying])
            found += loop_bodies(inner)
    return found


def _outer_operands(outputs: Sequence[Node], varying: set[Node]) -> list[Node]:
    """Outer nodes that the varying part reads, seen through views."""
    found: dict[Node, None] = {}
    for node in topological(outputs):
        if node in varying:
            found.update(dict.fromkeys(a for a in node.args if a not in varying))
    found.update(dict.fromkeys(o for o in outputs if o not in varying))
    return list(found)


def _copy_of_handed_carry(output: Node, varying: set[Node], summed: bool) -> Node:
    """The output; carries that merely hand on another carry are copied first, because they are written one by one."""
    base = output
    while is_view(base):
        base = base.args[0]
    if summed or (base.op != "arg" and base in varying):
        return output
    return make("copy", output)
