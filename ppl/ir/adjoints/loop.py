"""The adjoint of a loop: a loop that runs backwards.

It reads what the loop had stored: the carries of every step and what is costly to compute again (noise, transcendental
functions, products). Steps that the loop did not run, because all had stopped, its adjoint does not run either: what
they had stored is zeros, at which nothing may be computed. Where storing all is too much, only the carries of every
n-th turn are stored; the adjoint is then a loop over *segments* of n turns, which runs a segment once more, stores it,
and goes back through it. Cotangents pass from segment to segment as carries, so that sums have the same order either
way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ppl.ir import ops
from ppl.ir.loop import Body, build, kept, placeholder, split_args, stop_of
from ppl.ir.node import Node, make, substitute, topological
from ppl.ir.op_facts import COSTLY
from ppl.ir.types import Axis, Kind, Type
from ppl.tuning import LOOP_ROWS, STORED_ENTRIES, STORED_ROW_ENTRIES

Nodes = Sequence[Node]


def loop_vjp(node: Node, cotangents: Sequence[Node | None], differentiate: Callable) -> list[Node | None]:
    """Cotangents of a loop's arguments."""
    adjoint = _Adjoint(node, differentiate)
    body, length = adjoint.body, adjoint.length
    bars = [_zeros(body.result_type(i, length)) if c is None else c for i, c in enumerate(cotangents)]
    n = len(body.carries)
    every = None if body.idle is not None else adjoint.segment()
    run = adjoint.whole if every is None else adjoint.in_segments(every)
    carries, sums, xs = run(bars[:n], [adjoint.by_step(y, b) for y, b in zip(body.ys, bars[n:], strict=True)])
    found = [*carries, *xs, *sums]
    return [g if a.type.dtype == "float" else None for g, a in zip(found, node.args, strict=True)]


def _zeros(t: Type) -> Node:
    """Zeros as a cotangent of a value of type `t`."""
    return ops.zeros_like(Type(t.axes, t.shape))


Backward = tuple[list[Node], list[Node], list[Node]]
"""Cotangents of carries, of constants and of slices."""


class _Adjoint:
    """The backward step of a loop: placeholders for what it reads, and what it makes of them."""

    def __init__(self, node: Node, differentiate: Callable):
        self.node = node
        self.body, self.length, self.reverse = (node.attrs[k] for k in ("body", "length", "reverse"))
        self.inits, self.xs, self.consts = split_args(node)
        body, n, m = self.body, len(self.inits), len(self.xs)
        self.index = placeholder(body.index.type)
        parts = (body.carries, self.consts, body.ys)
        self.carry_bars, self.sums, self.y_bars = ([placeholder(Type(x.type.axes, x.type.shape)) for x in part]
                                                   for part in parts)  # fmt: skip
        self.ins = [placeholder(a.type) for a in body.args]
        values = topological(body.outputs)
        self._inside = {body.index: self.index, **dict(zip(body.args, self.ins, strict=True))}
        copies = substitute(values, self._inside)
        copy_of = dict(zip(values, copies, strict=True))
        seeds = [(copy_of[o], s) for o, s in zip(body.outputs, [*self.carry_bars, *self.y_bars], strict=True)]
        grads = differentiate([(o, s) for o, s in seeds if o.type.dtype == "float"], self.ins)
        filled = [_zeros(i.type) if g is None else g for g, i in zip(grads, self.ins, strict=True)]
        stored = _costly(filled, dict(zip(copies, values, strict=True)), {self.index, *self.ins[: n + m]})
        self.stored = list(stored.values())
        self.made = [placeholder(copy.type) for copy in stored]
        filled = substitute(filled, dict(zip(stored, self.made, strict=True)))
        new_sums = [ops.add(s, g) for s, g in zip(self.sums, filled[n + m :], strict=True)]
        self.carried, self.stacks = [*filled[:n], *new_sums], filled[n : n + m]
        self.idle = substitute(body.computed[len(body.outputs) :], self._inside)
        self.stop = stop_of(body)
        if self.stop is not None:
            flag = self.ins[self.stop]
            going = self.ins[self.stop] = placeholder(flag.type)
            self.idle = [ops.logical_not(going)]
            outs = substitute((*self.carried, *self.stacks), {flag: self.idle[0]})
            self.carried, self.stacks = outs[: len(self.carried)], outs[len(self.carried) :]

    def turned(self, carries: Nodes) -> list[Node]:
        """Carries as they are stored, or as they are used: "has stopped" as "goes on", 0 in steps that do not run."""
        return [ops.logical_not(c) if i == self.stop else c for i, c in enumerate(carries)]

    def by_step(self, y: Node, bar: Node) -> Node:
        """The cotangent of a stack for every step, where it has fewer entries."""
        if y.op != "kept":
            return bar
        every, shape = y.attrs["every"], y.type.shape
        entries = -(-self.length // every)
        start, step = (self.length - 1, -every) if self.reverse else (0, every)
        inner = tuple((0, k, 1) for k in shape)
        bar = ops.window(bar, ((0, entries, 1), *inner))
        return make("pad", bar, window=((start, entries, step), *inner), shape=(self.length, *shape))

    def segment(self) -> int | None:
        """Turns of a segment; None where all are stored."""
        remat = self.node.attrs["remat"]
        if remat != "auto":
            return None if remat is None or remat >= self.length else remat
        values, apart = (*self.inits, *self.stored), self._apart()
        carries, rest = (sum(_entries(x, apart) for x in part) for part in (self.inits, self.stored))
        rows = any(a.size is None or a in apart for x in values for a in x.type.axes)
        if (carries + rest) * self.length <= (STORED_ROW_ENTRIES if rows else STORED_ENTRIES):
            return None
        return _divisor(self.length, math.sqrt(self.length * carries / (carries + rest))) if carries else None

    def _apart(self) -> set[Axis]:
        """Outermost plates of a fixed size of which, as of data, some rows are in memory at a time.

        They are large enough to be shared by threads, and no step reads one row for another.
        """
        values = topological(self.body.outputs)
        large = {a for v in values for a in v.type.axes if _large(a)}
        return {a for a in large if all(a in v.type.axes for v in values if any(a in x.type.axes for x in v.args))}

    # everything stored

    def whole(self, carry_bars: Nodes, y_bars: Nodes) -> Backward:
        """The adjoint as one loop over the stored steps."""
        n = len(self.inits)
        recorded = self._recorded(self.body)
        attrs = self.length, self.reverse, self.node.attrs["remat"]
        history = build(recorded, self.inits, self.xs, self.consts, *attrs)[n + len(self.body.ys) :]
        return self._back([*carry_bars, *(_zeros(c.type) for c in self.consts)], [*history, *self.xs, *y_bars])

    def _recorded(self, body: Body) -> Body:
        """`body`, which also stacks its carries and what is costly."""
        carries = self.turned(body.args[: len(body.carries)])
        return Body(body.index, body.args, body.carries, (*body.ys, *carries, *self.stored), body.n_xs, body.idle)

    def _back(self, bars: Nodes, stacks: Nodes) -> Backward:
        n, m = len(self.inits), len(self.xs)
        ins = self.ins
        slices = (*ins[:n], *self.made, *ins[n : n + m], *self.y_bars)
        args = (*self.carry_bars, *self.sums, *slices, *ins[n + m :])
        body = Body(self.index, args, tuple(self.carried), tuple(self.stacks), len(slices), *self.idle)
        attrs = self.length, not self.reverse, self.node.attrs["remat"]
        found = build(body, bars, stacks, self.consts, *attrs)
        return found[:n], found[n : n + len(self.consts)], found[n + len(self.consts) :]

    # segments

    def in_segments(self, every: int) -> Callable[[Nodes, Nodes], Backward]:
        """The adjoint as a loop over segments of `every` turns, of which the last may be shorter."""
        return lambda carry_bars, y_bars: _Segments(self, every).run(carry_bars, y_bars)


Turn = tuple[Nodes, Nodes, Nodes]
"""What a turn makes of carries, what it stacks, and whether it is idle, if that may be."""


class _Segments:
    """Forward and backward through segments; steps are known by their times, stacks lie in their order."""

    def __init__(self, of: _Adjoint, every: int):
        self.of, self.every = of, every
        self.count, self.rest = divmod(of.length, every)
        body, n = of.body, len(of.inits)
        few = [kept(c, every) for c in of.turned(body.args[:n])]
        marked = Body(body.index, body.args, body.carries, (*body.ys, *few), body.n_xs)
        attrs = of.length, of.reverse, of.node.attrs["remat"]
        self.starts = build(marked, of.inits, of.xs, of.consts, *attrs)[n + len(body.ys) :]

    def run(self, carry_bars: Nodes, y_bars: Nodes) -> Backward:
        """Cotangents of the loop's arguments."""
        of = self.of
        n, k = len(of.inits), len(of.consts)
        bars = [*carry_bars, *(_zeros(c.type) for c in of.consts)]
        given = [*of.xs, *y_bars, *of.consts]
        pieces: list[list[Node]] = []
        if self.rest:
            first = 0 if of.reverse else self.count * self.every
            starts = of.turned([ops.take(s, self.count) for s in self.starts])
            bars, stacks = self._segment(ops.const(first), self.rest, starts, bars, given)
            pieces.append(stacks)

        def step(i: Node, cs: Nodes, _: Nodes, ks: Nodes) -> Turn:
            first, slot = ops.mul(i, self.every), i
            if of.reverse:
                first, slot = ops.add(first, self.rest), ops.sub(self.count - 1, i)
            starts = of.turned([ops.take(s, slot) for s in ks[:n]])
            return *self._segment(first, self.every, starts, list(cs), ks[n:]), ()

        bars, stacks = _traced(step, bars, [*self.starts, *given], self.count, not of.reverse)
        pieces.append([ops.reshape(x, (self.count * self.every, *x.type.shape[2:])) for x in stacks])
        parts = pieces if of.reverse else pieces[::-1]
        return bars[:n], bars[n : n + k], [ops.concat(x) for x in zip(*parts, strict=True)]

    def _segment(self, first: Node, length: int, starts: Nodes, bars: Nodes, given: Nodes
                 ) -> tuple[list[Node], list[Node]]:  # fmt: skip
        """Cotangents of carries and constants before a segment of times from `first` on, and of its slices."""
        of = self.of
        n, m, k = len(of.inits), len(of.xs), len(of.body.ys)
        body = of.body

        def forward(j: Node, cs: Nodes, _: Nodes, ks: Nodes) -> Turn:
            time = ops.add(ks[0], j)
            inside = (*cs, *(ops.take(x, time) for x in ks[1 : 1 + m]), *ks[1 + m + k : len(given) + 1])
            known = {body.index: time, **dict(zip(body.args, inside, strict=True))}
            outs = substitute((*body.carries, *of.stored), known)
            return outs[:n], [*of.turned(cs), *outs[n:]], ks[len(given) + 1 :]

        def backward(j: Node, cs: Nodes, xs: Nodes, ks: Nodes) -> Turn:
            time = ops.add(ks[0], j)
            slices = [ops.take(x, time) for x in ks[1 : 1 + m + k]]
            inside = (*xs[:n], *slices[:m], *ks[1 + m + k :])
            known = {of.index: time, **dict(zip(of.ins, inside, strict=True))}
            known |= dict(zip((*of.carry_bars, *of.sums), cs, strict=True))
            known |= dict(zip((*of.made, *of.y_bars), (*xs[n:], *slices[m:]), strict=True))
            outs, end = substitute((*of.carried, *of.stacks, *of.idle), known), len(cs) + len(of.stacks)
            return outs[: len(cs)], outs[len(cs) : end], outs[end:]

        over = [] if of.stop is None else [starts[of.stop]]
        _, history = _traced(forward, starts, [first, *given, *over], length, of.reverse)
        return _traced(backward, bars, [first, *given], length, not of.reverse, history)


def _traced(step: Callable, inits: Nodes, consts: Nodes, length: int, reverse: bool, xs: Nodes = ()
            ) -> tuple[list[Node], list[Node]]:  # fmt: skip
    """The results of a loop whose adjoint stores every step."""
    index = placeholder(Type((), (), "int"))
    cs, ks = ([placeholder(x.type) for x in part] for part in (inits, consts))
    vs = [placeholder(Type(x.type.axes, x.type.shape[1:], x.type.dtype)) for x in xs]
    carries, ys, idle = step(index, cs, vs, ks)
    if not (carries or ys):
        return [], []
    body = Body(index, (*cs, *vs, *ks), tuple(carries), tuple(ys), len(vs), *idle)
    found = build(body, inits, xs, consts, length, reverse, None)
    return found[: len(inits)], found[len(inits) :]


def _large(axis: Axis) -> bool:
    return axis.kind is Kind.PLATE and axis.depth == 0 and axis.size is not None and axis.size >= 2 * LOOP_ROWS


def _entries(x: Node, apart: set[Axis]) -> int:
    """Entries of a value in one row, of data or of the plates `apart`, and particle, as far as they are known."""
    return x.type.event_size * math.prod(a.size or 1 for a in x.type.axes if a not in apart)


def _divisor(length: int, wanted: float) -> int:
    """About `wanted`: a divisor of `length` if there is one near."""
    near = range(max(2, round(wanted / 2)), round(2 * wanted) + 1)
    exact = [k for k in near if length % k == 0]
    return min(exact, key=lambda k: abs(math.log(k / wanted))) if exact else max(2, round(wanted))


def _costly(outputs: Nodes, originals: dict[Node, Node], moving: set[Node]) -> dict[Node, Node]:
    """Those of the values `originals` (by copy) that `outputs` read, that change from step to step and are costly."""
    for node in topological(originals):
        if any(a in moving for a in node.args):
            moving.add(node)
    found: dict[Node, Node] = {}
    stack, seen = list(outputs), set(outputs)
    while stack:
        node = stack.pop()
        if node in originals and node in moving and node.op in COSTLY and node.type.dtype == "float":
            found[node] = originals[node]
            continue
        stack += [a for a in reversed(node.args) if a not in seen]
        seen.update(node.args)
    return found
