"""Loops with rows and without, apart: every loop that is left runs over one row axis, or over none.

A loop becomes one loop for every level of its body (see `levels`). What a later level reads is stacked, but for values
of level 0, which are computed again. Sums over rows are the exception: a slab adds its own rows up, so a carry that
grows by such sums, or a stack of them, belongs to the loop over rows. It is marked `summed`: the body gives what a step
adds, the carry starts at zero, and its initial value is added outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ppl.compiler.lower.loops.levels import CarriedRowsError, Group, Levels
from ppl.compiler.lower.views import row_axis
from ppl.ir import ops
from ppl.ir.loop import Body, placeholder, remade
from ppl.ir.node import Node, make, rebuild, remake, substitute, topological
from ppl.ir.op_facts import GIVEN
from ppl.ir.types import Axis, Kind, Type

Results = dict[int, Node]


def apart(outputs: Sequence[Node]) -> list[Node]:
    """`outputs` with loops split so, those in bodies as well.

    Where each step of a loop reads sums over rows of the step before, these rows are computed `together`, on one
    thread.
    """
    while True:
        try:
            return _apart(outputs)
        except CarriedRowsError as error:
            if error.axis.together or error.axis.kind is not Kind.PLATE:
                raise
            outputs = together(outputs, error.axis)


def _apart(outputs: Sequence[Node]) -> list[Node]:
    read: dict[Node, set[int]] = {}
    for node in topological(outputs):
        if node.op == "get":
            read.setdefault(node.args[0], set()).add(node.attrs["index"])
    results: dict[Node, Results] = {}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op == "loop":
            inner = tuple(_apart(node.attrs["body"].computed))
            results[node] = _split(node, args, inner, read.get(node, set()))
            return node
        if node.op == "get":
            return results[node.args[0]][node.attrs["index"]]
        return remake(node, args)

    return rebuild(outputs, visit)


def together(outputs: Sequence[Node], axis: Axis) -> list[Node]:
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


def _split(node: Node, args: tuple[Node, ...], outs: tuple[Node, ...], read: set[int]) -> Results:
    """The results of a loop, on new arguments and with a body that computes `outs`, that are read."""
    body = node.attrs["body"]
    n = len(body.carries)
    body = body.computing((*map(_as_sum, outs[:n], body.args), *outs[n:]))
    outs = body.outputs
    levels = Levels(body, outs)
    if not (levels.rows or any(row_axis(a.type.axes) is not None for a in args)):
        return dict(enumerate(remade(node, body, args)))
    return _Parts(node, body, args, levels).results(read)


def _as_sum(new: Node, carry: Node) -> Node:
    """What a step makes of a carry without rows; a difference is the sum of the carry and something negative."""
    less = new.op == "sub" and new.args[0] is carry and row_axis(new.type.axes) is None
    return make("add", carry, ops.neg(new.args[1])) if less else new


class _Part:
    """What one of the loops makes: results, and values that it stacks for the others, from what `reads` names."""

    def __init__(self) -> None:
        self.carries: dict[int, None] = {}
        self.ys: dict[int, None] = {}
        self.stacked: dict[Node, None] = {}
        self.reads: dict[Node, None] = {}
        self.seen: set[Node] = set()


class _Parts:
    """The loops that one becomes."""

    def __init__(self, node: Node, body: Body, args: tuple[Node, ...], levels: Levels):
        self.node, self.body, self.args, self.levels = node, body, args, levels
        self.n = len(body.carries)
        self.parts: dict[Group, _Part] = {}
        self.stacks: dict[Node, Node] = {}

    def results(self, read: set[int]) -> Results:
        """The results that are read, by index."""
        for i in sorted(read):
            self._want(i)
        found: Results = {}
        for group in sorted(self.parts, key=lambda g: g.order):
            found |= self._loop(group, self.parts[group])
        return found

    def _part(self, group: Group) -> _Part:
        return self.parts.setdefault(group, _Part())

    def _made(self, i: int) -> Node:
        """What a step gives for result `i`: of a sum, what it adds."""
        return self.levels.added.get(i, self.body.outputs[i])

    def _want(self, i: int) -> None:
        """Let result `i` be made."""
        group = self._carry_group(i) if i < self.n else self._group(self.body.outputs[i])
        part = self._part(group)
        (part.carries if i < self.n else part.ys)[i] = None
        self._need(group, self._made(i))

    def _carry_group(self, i: int) -> Group:
        if i in self.levels.added:
            return self.levels.group(self.levels.added[i])
        return self._group(self.body.args[i] if self.body.args[i] in self.levels.level else self.body.outputs[i])

    def _group(self, node: Node) -> Group:
        """The loop that makes `node`: of something given, one over its rows."""
        if node not in self.levels.given and (node.op not in GIVEN or node.op == "arg"):
            return self.levels.group(node)
        row = row_axis(node.type.axes)
        return Group(int(row is not None), row)

    def _need(self, group: Group, node: Node) -> None:
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
                self._need(other, node)
            elif node in self.levels.carries:
                i = self.levels.carries.index(node)
                part.carries[i] = None
                todo.append(self._made(i))
            else:
                todo += node.args

    def _loop(self, group: Group, part: _Part) -> Results:
        """One of the loops; its results that are wanted."""
        body, levels, n = self.body, self.levels, self.n
        carries, ys, stacked = sorted(part.carries), sorted(part.ys), list(part.stacked)
        mapping = {x: placeholder(x.type) for x in part.reads}
        made = [*(self._made(i) for i in carries), *(body.outputs[i] for i in ys), *stacked]
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
        inits = [_zeros(self.args[i].type) if k in summed else self.args[i] for k, i in enumerate(carries)]
        args = [*inits, *(self.args[i] for i in xs), *(self.stacks[x] for x in part.reads),
                *(self.args[i] for i in consts)]  # fmt: skip
        n_xs = len(xs) + len(mapping)
        new = Body(body.index, inside, tuple(outs[: len(carries)]), tuple(outs[len(carries) :]), n_xs, *idle)
        found = remade(self.node, new, args, summed=frozenset(summed))
        self.stacks |= dict(zip(stacked, found[len(carries) + len(ys) :], strict=True))
        wanted = {i: g for i, g in zip((*carries, *ys), found, strict=False) if i >= n or self._carry_group(i) == group}
        return {i: self._with_start(i, g) if i in levels.added else g for i, g in wanted.items()}

    def _idle(self, group: Group) -> tuple[Node, ...]:
        """When the loop of `group` has nothing to do; nothing where that is told by rows which it does not have."""
        idle = self.body.computed[len(self.body.outputs) :]
        return tuple(x for x in idle if row_axis(x.type.axes) in (None, group.row))

    def _with_start(self, i: int, total: Node) -> Node:
        """A carried sum with its initial value."""
        return total if ops.is_const(self.args[i], 0.0) else ops.add(total, self.args[i])


def _zeros(t: Type) -> Node:
    return ops.expand(ops.cast(ops.const(0.0), t.dtype), t.axes, t.shape)
