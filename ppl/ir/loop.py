"""The loop op: how loops are made and read, and the loop that is its adjoint.

`trace_loop` runs a body graph `length` times. Its arguments are carries, then `xs` (leading event dimension
`length`, one slice per step), then constants; its results are the final carries and the stacked `ys`.
Results are read with `get`. Noise inside takes the step number as its loop time. What the body marks `kept` is
stacked every few steps.

The adjoint of a loop is a loop that runs backwards and reads what the loop has stored: the carries of every step and
what is costly to compute again (noise, transcendental functions, products). Steps that the loop did not run, because
all entries had stopped, the adjoint does not run either: zeros are stored for them, at which nothing may be computed.
Where storing everything takes too much memory, only the carries of every n-th iteration are stored; the adjoint is then
a loop over *segments* of n iterations, which runs a segment once more, stores it, and goes back through it. Cotangents
pass from segment to segment as carries, so that sums have the same order either way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, make, remake, substitute, topological
from ppl.ir.op_facts import COSTLY
from ppl.ir.types import Axis, Kind, Type, union_axes
from ppl.records import dataclass
from ppl.tuning import LOOP_ROWS, STORED_ENTRIES, STORED_ROW_ENTRIES

_placeholder_ids = itertools.count()


@dataclass(frozen=True)
class Body:
    """A body graph: `index` and the `args` stand for its inputs; `carries` and `ys` are its outputs.

    A iteration in which the truth value `idle`, which no carry enters, holds for all entries is not run: carries stay
    as they are, and stacks get zeros.
    """

    index: Node
    args: tuple[Node, ...]
    carries: tuple[Node, ...]
    ys: tuple[Node, ...]
    n_xs: int
    idle: Node | None = None

    def result_type(self, i: int, length: int) -> Type:
        """Type of result `i` of a loop of `length` steps."""
        if i < len(self.carries):
            return self.carries[i].type
        y = self.ys[i - len(self.carries)]
        return Type(y.type.axes, (stack_length(y, length), *y.type.shape), y.type.dtype)

    @property
    def outputs(self) -> tuple[Node, ...]:
        """Carries, then ys."""
        return self.carries + self.ys

    @property
    def computed(self) -> tuple[Node, ...]:
        """All that a iteration computes: the outputs, and `idle` where there is one."""
        return self.outputs if self.idle is None else (*self.outputs, self.idle)

    def computing(self, computed: Sequence[Node], args: tuple[Node, ...] | None = None, n_xs: int | None = None
                  ) -> Body:  # fmt: skip
        """The body that computes these nodes instead, from `args` where they are others."""
        n, end = len(self.carries), len(self.outputs)
        idle = None if self.idle is None else computed[end]
        new, xs = self.args if args is None else args, self.n_xs if n_xs is None else n_xs
        return Body(self.index, new, tuple(computed[:n]), tuple(computed[n:end]), xs, idle)


def stack_every(y: Node, every: int) -> Node:
    """`y`, to be stacked every few steps: entry k is its value in iteration k * `every`, at most in the last
    iteration."""
    return make("kept", y, every=every)


def mark_stopped(flag: Node) -> Node:
    """The new value of a carry that says which entries have stopped; what has stopped stays so.

    It promises that steps after that change no carry of such an entry and stack zeros, so that a loop, or a tile of it,
    may leave once all entries have stopped.
    """
    return make("stopped", flag)


def stop_carry_index(body: Body) -> int | None:
    """The carry that says what has stopped, if there is just one."""
    found = [i for i, c in enumerate(body.carries) if c.op == "stopped"]
    return found[0] if len(found) == 1 else None


def stack_length(y: Node, length: int) -> int:
    """Entries of the stack of `y` in a loop of `length` steps."""
    return -(-(length - 1) // y.attrs["every"]) + 1 if y.op == "kept" else length


def placeholder(t: Type) -> Node:
    """A fresh body input of type `t`."""
    return make("arg", uid=next(_placeholder_ids), axes=t.axes, shape=t.shape, dtype=t.dtype)


def slice_type(t: Type) -> Type:
    """The type of one step's slice of `t`."""
    return Type(t.axes, t.shape[1:], t.dtype)


Remat = int | Literal["auto"] | None


def make_loop(
    body: Body,
    inits: Sequence[Node],
    xs: Sequence[Node],
    consts: Sequence[Node],
    length: int,
    reverse: bool,
    remat: Remat = "auto",
) -> list[Node]:
    """Make the loop node and the `get` nodes of its results.

    `remat` says how many steps apart the carries lie that reverse mode stores; None: it stores all steps.
    """
    for init, carry in zip(inits, body.carries, strict=True):
        if init.type != carry.type:
            raise ShapeError(f"a carried value changes type from {init.type} to {carry.type}")
    return _loop_results(make("loop", *inits, *xs, *consts, body=body, length=length, reverse=reverse, remat=remat))


def _loop_results(node: Node) -> list[Node]:
    """The `get` nodes of a loop's results."""
    body, length = node.attrs["body"], node.attrs["length"]
    return [make("get", node, index=i, type=body.result_type(i, length)) for i in range(len(body.outputs))]


def remake_loop(node: Node, body: Body, args: Sequence[Node], **changes: Any) -> list[Node]:
    """The results of a loop of another body and arguments, with the other attributes of `node` but for `changes`."""
    return _loop_results(make("loop", *args, **{**node.attrs, "body": body, **changes}))


Step = Callable[[Node, list[Node], list[Node], list[Node]], tuple[Sequence[Node], Sequence[Node]]]


def trace_loop(
    step: Step,
    inits: Sequence[Node],
    xs: Sequence[Node],
    consts: Sequence[Node],
    length: int,
    reverse: bool = False,
    remat: Remat = "auto",
) -> tuple:
    """Trace `step(index, carries, x_slices, consts) -> (carries, ys)` and run it `length` times.

    With `reverse` the last time comes first; its slice and its stacked outputs stay the last ones. Returns (final
    carries, stacked ys). Carries get the axes that the body gives them (found by iterating to a fixed point), so a
    carry that starts unplated may become plated. `remat`: see `build`.
    """
    inits, xs, consts = list(inits), list(xs), list(consts)
    index = placeholder(Type((), (), "int"))
    while True:
        cs, vs, ks = (
            [placeholder(t) for t in types]
            for types in ([n.type for n in inits], [slice_type(n.type) for n in xs], [n.type for n in consts])
        )
        carries, ys = step(index, cs, vs, ks)
        carries = [ops.expand(c, i.type.axes, i.type.shape) for c, i in zip(carries, inits, strict=True)]
        if all(c.type.axes == i.type.axes for c, i in zip(carries, inits, strict=True)):
            break
        inits = [ops.expand(i, union_axes(c.type.axes, i.type.axes)) for c, i in zip(carries, inits, strict=True)]
    body = Body(index, (*cs, *vs, *ks), tuple(carries), tuple(ys), len(vs))
    results = make_loop(body, inits, xs, consts, length, reverse, remat)
    return results[: len(inits)], results[len(inits) :]


def split_args(node: Node) -> tuple[tuple[Node, ...], tuple[Node, ...], tuple[Node, ...]]:
    """The arguments of a loop as (carry inits, xs, constants)."""
    body = node.attrs["body"]
    a, b = len(body.carries), len(body.carries) + body.n_xs
    return node.args[:a], node.args[a:b], node.args[b:]


def map_body(node: Node, args: tuple[Node, ...], rewrite: Callable[[Sequence[Node]], list[Node]]) -> Node:
    """The loop with other arguments of equal types and `rewrite` applied to its body's outputs."""
    body = node.attrs["body"]
    computed = rewrite(body.computed)
    if all(a is b for a, b in zip(computed, body.computed, strict=True)):
        return remake(node, args)
    return make("loop", *args, **{**node.attrs, "body": body.computing(computed)})


Nodes = Sequence[Node]


def loop_vjp(node: Node, cotangents: Sequence[Node | None], differentiate: Callable) -> list[Node | None]:
    """Cotangents of a loop's arguments."""
    adjoint = _BackwardStep(node, differentiate)
    body, length = adjoint.body, adjoint.length
    bars = [_zero_cotangent(body.result_type(i, length)) if c is None else c for i, c in enumerate(cotangents)]
    n = len(body.carries)
    every = None if body.idle is not None else adjoint.segment()
    run = adjoint.over_all_steps if every is None else adjoint.in_segments(every)
    carries, sums, xs = run(bars[:n], [adjoint.by_step(y, b) for y, b in zip(body.ys, bars[n:], strict=True)])
    found = [*carries, *xs, *sums]
    return [g if a.type.dtype == "float" else None for g, a in zip(found, node.args, strict=True)]


def _zero_cotangent(t: Type) -> Node:
    """Zeros as a cotangent of a value of type `t`."""
    return ops.zeros_like(Type(t.axes, t.shape))


LoopCotangents = tuple[list[Node], list[Node], list[Node]]
"""Cotangents of carries, of constants and of slices."""


class _BackwardStep:
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
        self.inputs = [placeholder(a.type) for a in body.args]
        values = topological(body.outputs)
        self._inside = {body.index: self.index, **dict(zip(body.args, self.inputs, strict=True))}
        copies = substitute(values, self._inside)
        copy_of = dict(zip(values, copies, strict=True))
        seeds = [(copy_of[o], s) for o, s in zip(body.outputs, [*self.carry_bars, *self.y_bars], strict=True)]
        grads = differentiate([(o, s) for o, s in seeds if o.type.dtype == "float"], self.inputs)
        filled = [_zero_cotangent(i.type) if g is None else g for g, i in zip(grads, self.inputs, strict=True)]
        stored = _costly_values(filled, dict(zip(copies, values, strict=True)), {self.index, *self.inputs[: n + m]})
        self.stored = list(stored.values())
        self.stored_slices = [placeholder(copy.type) for copy in stored]
        filled = substitute(filled, dict(zip(stored, self.stored_slices, strict=True)))
        new_sums = [ops.add(s, g) for s, g in zip(self.sums, filled[n + m :], strict=True)]
        self.carried, self.stacks = [*filled[:n], *new_sums], filled[n : n + m]
        self.idle = substitute(body.computed[len(body.outputs) :], self._inside)
        self.stop = stop_carry_index(body)
        if self.stop is not None:
            flag = self.inputs[self.stop]
            going = self.inputs[self.stop] = placeholder(flag.type)
            self.idle = [ops.logical_not(going)]
            outs = substitute((*self.carried, *self.stacks), {flag: self.idle[0]})
            self.carried, self.stacks = outs[: len(self.carried)], outs[len(self.carried) :]

    def with_stop_negated(self, carries: Nodes) -> list[Node]:
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
        """Iterations of a segment; None where all are stored."""
        remat = self.node.attrs["remat"]
        if remat != "auto":
            return None if remat is None or remat >= self.length else remat
        values, row_blocked = (*self.inits, *self.stored), self._row_blocked_plates()
        carries, rest = (sum(_entries_per_row(x, row_blocked) for x in part) for part in (self.inits, self.stored))
        rows = any(a.size is None or a in row_blocked for x in values for a in x.type.axes)
        if (carries + rest) * self.length <= (STORED_ROW_ENTRIES if rows else STORED_ENTRIES):
            return None
        return _near_divisor(self.length, math.sqrt(self.length * carries / (carries + rest))) if carries else None

    def _row_blocked_plates(self) -> set[Axis]:
        """Outermost plates of a fixed size of which, as of data, some rows are in memory at a time.

        They are large enough to be shared by threads, and no step reads one row for another.
        """
        values = topological(self.body.outputs)
        large = {a for v in values for a in v.type.axes if _is_large_plate(a)}
        return {a for a in large if all(a in v.type.axes for v in values if any(a in x.type.axes for x in v.args))}

    # everything stored

    def over_all_steps(self, carry_bars: Nodes, y_bars: Nodes) -> LoopCotangents:
        """The adjoint as one loop over the stored steps."""
        n = len(self.inits)
        recorded = self._recording_body(self.body)
        attrs = self.length, self.reverse, self.node.attrs["remat"]
        history = make_loop(recorded, self.inits, self.xs, self.consts, *attrs)[n + len(self.body.ys) :]
        return self._backward_loop(
            [*carry_bars, *(_zero_cotangent(c.type) for c in self.consts)], [*history, *self.xs, *y_bars]
        )

    def _recording_body(self, body: Body) -> Body:
        """`body`, which also stacks its carries and what is costly."""
        carries = self.with_stop_negated(body.args[: len(body.carries)])
        return Body(body.index, body.args, body.carries, (*body.ys, *carries, *self.stored), body.n_xs, body.idle)

    def _backward_loop(self, bars: Nodes, stacks: Nodes) -> LoopCotangents:
        n, m = len(self.inits), len(self.xs)
        inputs = self.inputs
        slices = (*inputs[:n], *self.stored_slices, *inputs[n : n + m], *self.y_bars)
        args = (*self.carry_bars, *self.sums, *slices, *inputs[n + m :])
        body = Body(self.index, args, tuple(self.carried), tuple(self.stacks), len(slices), *self.idle)
        attrs = self.length, not self.reverse, self.node.attrs["remat"]
        found = make_loop(body, bars, stacks, self.consts, *attrs)
        return found[:n], found[n : n + len(self.consts)], found[n + len(self.consts) :]

    # segments

    def in_segments(self, every: int) -> Callable[[Nodes, Nodes], LoopCotangents]:
        """The adjoint as a loop over segments of `every` iterations, of which the last may be shorter."""
        return lambda carry_bars, y_bars: _SegmentedAdjoint(self, every).run(carry_bars, y_bars)


Iteration = tuple[Nodes, Nodes, Nodes]
"""What a iteration makes of carries, what it stacks, and whether it is idle, if that may be."""


class _SegmentedAdjoint:
    """Forward and backward through segments; steps are known by their times, stacks lie in their order."""

    def __init__(self, of: _BackwardStep, every: int):
        self.of, self.every = of, every
        self.count, self.rest = divmod(of.length, every)
        body, n = of.body, len(of.inits)
        few = [stack_every(c, every) for c in of.with_stop_negated(body.args[:n])]
        marked = Body(body.index, body.args, body.carries, (*body.ys, *few), body.n_xs)
        attrs = of.length, of.reverse, of.node.attrs["remat"]
        self.starts = make_loop(marked, of.inits, of.xs, of.consts, *attrs)[n + len(body.ys) :]

    def run(self, carry_bars: Nodes, y_bars: Nodes) -> LoopCotangents:
        """Cotangents of the loop's arguments."""
        of = self.of
        n, k = len(of.inits), len(of.consts)
        bars = [*carry_bars, *(_zero_cotangent(c.type) for c in of.consts)]
        given = [*of.xs, *y_bars, *of.consts]
        pieces: list[list[Node]] = []
        if self.rest:
            first = 0 if of.reverse else self.count * self.every
            starts = of.with_stop_negated([ops.take(s, self.count) for s in self.starts])
            bars, stacks = self._segment(ops.const(first), self.rest, starts, bars, given)
            pieces.append(stacks)

        def step(i: Node, cs: Nodes, _: Nodes, ks: Nodes) -> Iteration:
            first, slot = ops.mul(i, self.every), i
            if of.reverse:
                first, slot = ops.add(first, self.rest), ops.sub(self.count - 1, i)
            starts = of.with_stop_negated([ops.take(s, slot) for s in ks[:n]])
            return *self._segment(first, self.every, starts, list(cs), ks[n:]), ()

        bars, stacks = _trace_stored_loop(step, bars, [*self.starts, *given], self.count, not of.reverse)
        pieces.append([ops.reshape(x, (self.count * self.every, *x.type.shape[2:])) for x in stacks])
        parts = pieces if of.reverse else pieces[::-1]
        return bars[:n], bars[n : n + k], [ops.concat(x) for x in zip(*parts, strict=True)]

    def _segment(self, first: Node, length: int, starts: Nodes, bars: Nodes, given: Nodes
                 ) -> tuple[list[Node], list[Node]]:  # fmt: skip
        """Cotangents of carries and constants before a segment of times from `first` on, and of its slices."""
        of = self.of
        n, m, k = len(of.inits), len(of.xs), len(of.body.ys)
        body = of.body

        def forward(j: Node, cs: Nodes, _: Nodes, ks: Nodes) -> Iteration:
            time = ops.add(ks[0], j)
            inside = (*cs, *(ops.take(x, time) for x in ks[1 : 1 + m]), *ks[1 + m + k : len(given) + 1])
            known = {body.index: time, **dict(zip(body.args, inside, strict=True))}
            outs = substitute((*body.carries, *of.stored), known)
            return outs[:n], [*of.with_stop_negated(cs), *outs[n:]], ks[len(given) + 1 :]

        def backward(j: Node, cs: Nodes, xs: Nodes, ks: Nodes) -> Iteration:
            time = ops.add(ks[0], j)
            slices = [ops.take(x, time) for x in ks[1 : 1 + m + k]]
            inside = (*xs[:n], *slices[:m], *ks[1 + m + k :])
            known = {of.index: time, **dict(zip(of.inputs, inside, strict=True))}
            known |= dict(zip((*of.carry_bars, *of.sums), cs, strict=True))
            known |= dict(zip((*of.stored_slices, *of.y_bars), (*xs[n:], *slices[m:]), strict=True))
            outs, end = substitute((*of.carried, *of.stacks, *of.idle), known), len(cs) + len(of.stacks)
            return outs[: len(cs)], outs[len(cs) : end], outs[end:]

        over = [] if of.stop is None else [starts[of.stop]]
        _, history = _trace_stored_loop(forward, starts, [first, *given, *over], length, of.reverse)
        return _trace_stored_loop(backward, bars, [first, *given], length, not of.reverse, history)


def _trace_stored_loop(step: Callable, inits: Nodes, consts: Nodes, length: int, reverse: bool, xs: Nodes = ()
            ) -> tuple[list[Node], list[Node]]:  # fmt: skip
    """The results of a loop whose adjoint stores every step."""
    index = placeholder(Type((), (), "int"))
    cs, ks = ([placeholder(x.type) for x in part] for part in (inits, consts))
    vs = [placeholder(Type(x.type.axes, x.type.shape[1:], x.type.dtype)) for x in xs]
    carries, ys, idle = step(index, cs, vs, ks)
    if not (carries or ys):
        return [], []
    body = Body(index, (*cs, *vs, *ks), tuple(carries), tuple(ys), len(vs), *idle)
    found = make_loop(body, inits, xs, consts, length, reverse, None)
    return found[: len(inits)], found[len(inits) :]


def _is_large_plate(axis: Axis) -> bool:
    return axis.kind is Kind.PLATE and axis.depth == 0 and axis.size is not None and axis.size >= 2 * LOOP_ROWS


def _entries_per_row(x: Node, row_blocked: set[Axis]) -> int:
    """Entries of a value in one row, of data or of the plates `row_blocked`, and particle, as far as they are known."""
    return x.type.event_size * math.prod(a.size or 1 for a in x.type.axes if a not in row_blocked)


def _near_divisor(length: int, wanted: float) -> int:
    """About `wanted`: a divisor of `length` if there is one near."""
    near = range(max(2, round(wanted / 2)), round(2 * wanted) + 1)
    exact = [k for k in near if length % k == 0]
    return min(exact, key=lambda k: abs(math.log(k / wanted))) if exact else max(2, round(wanted))


def _costly_values(outputs: Nodes, originals: dict[Node, Node], moving: set[Node]) -> dict[Node, Node]:
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
