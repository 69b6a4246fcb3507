"""Small programs with loops, written on the IR, as requests: what the compiler must make of loops, alone and nested.

Every program is a function of its row axis (None: no rows) and of its parameters; it gives the cost and what else is
read, by name. `request` adds the gradient of the cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ppl.compiler.lower.request import Request
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.loop import Remat, map_body, mark_stopped, trace_loop
from ppl.ir.node import Node, make, rebuild, remake
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.ir.types import Axis, Kind, Type

ROWS = Axis("rows", Kind.PLATE)

UNITS = Axis("units", Kind.PLATE, 3, depth=1)

SHAPES = (("a", ()), ("w", (3,)), ("m", (3, 3)))

VALUES = np.array([0.4, 0.9, -0.3, 0.2, 0.3, -0.2, 0.1, 0.5, 0.2, -0.4, 0.1, 0.3, 0.6])

Params = dict[str, Node]

Found = tuple[Node, dict[str, Node]]

Program = Callable[[tuple[Axis, ...], Params], Found]


def uniform(name: str, axes: tuple[Axis, ...], *times: Node, shape: tuple[int, ...] = ()) -> Node:
    """Noise at loop times, outermost first."""
    return make("noise", *times, name=name, purpose=0, axes=axes, shape=shape)


def key(name: str, axes: tuple[Axis, ...], *times: Node) -> Node:
    """Row keys at loop times."""
    return make("rowkey", *times, name=name, axes=axes)


def total(x: Node, axes: tuple[Axis, ...]) -> Node:
    """The sum of all entries."""
    return ops.sum_axes(ops.reduce_sum(x), tuple(a for a in x.type.axes))


def nested(axes: tuple[Axis, ...], p: Params) -> Found:
    """A noisy recurrence inside another; both carry, both stack."""

    def outer(i: Node, cs: Sequence[Node], _: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        def inner(j: Node, ds: Sequence[Node], __: Sequence[Node], qs: Sequence[Node]) -> tuple[list[Node], list[Node]]:
            u = uniform("inner", axes, qs[1], j)
            new = ops.tanh(ops.add(ops.mul(ds[0], qs[0]), ops.add(u, ops.mul(0.1, ops.cast(j, "float")))))
            return [new], [ops.mul(new, new)]

        v = uniform("outer", axes, i)
        (x,), (squares,) = trace_loop(inner, [cs[0]], [], [ks[0], i], 3)
        return [ops.add(ops.mul(0.5, x), v)], [ops.reduce_sum(squares), ops.sin(x)]

    start = ops.expand(ops.const(0.3), axes)
    (x,), (squares, sines) = trace_loop(outer, [start], [], [p["a"]], 4)
    cost = ops.add(total(squares, axes), ops.add(total(sines, axes), total(ops.mul(x, x), axes)))
    return cost, {"x": x, "sines": sines}


def deep(axes: tuple[Axis, ...], p: Params) -> Found:
    """Three loops inside one another, with draws by rejection under keys of all times."""

    def first(i: Node, cs: Sequence[Node], _: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        def second(j: Node, ds: Sequence[Node], _: Sequence[Node], qs: Sequence[Node]
                   ) -> tuple[list[Node], list[Node]]:  # fmt: skip
            def third(k: Node, es: Sequence[Node], _: Sequence[Node], ps: Sequence[Node]
                      ) -> tuple[list[Node], list[Node]]:  # fmt: skip
                a, *times = ps
                count = ops.poisson_draw(ops.exp(ops.mul(0.1, es[0])), key("count", axes, *times, k))
                u = uniform("deep", axes, *times, k)
                return [ops.add(ops.mul(es[0], a), ops.mul(u, ops.cast(count, "float")))], [count]

            (x,), (counts,) = trace_loop(third, [ds[0]], [], [*qs, j], 2)
            return [x], [ops.reduce_sum(counts)]

        (x,), (counts,) = trace_loop(second, [cs[0]], [], [*ks, i], 3)
        return [ops.sin(x)], [counts]

    (x,), (counts,) = trace_loop(first, [ops.expand(ops.const(0.3), axes)], [], [p["a"]], 2)
    return ops.add(total(x, axes), total(ops.cast(counts, "float"), axes)), {"counts": counts}


def walkers(axes: tuple[Axis, ...], p: Params) -> Found:
    """Int and bool carries; rows of tables at a carried state; the costs to go are a second loop."""

    def step(t: Node, cs: Sequence[Node], _: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        state, done = cs
        probs = ops.sigmoid(ops.take(ks[0], state))
        up = ops.less(uniform("move", axes, t), probs)
        moved = ops.add(state, ops.where(up, 1, -1))
        state = ops.where(done, state, ops.maximum(ops.minimum(moved, 2), 0))
        score = ops.where(done, 0.0, ops.log(ops.where(up, probs, ops.sub(1.0, probs))))
        new = ops.logical_or(done, ops.less_equal(state, 0))
        return [state, new], [score, ops.where(done, 0.0, ops.cast(state, "float")), state, new]

    def ahead(_: Node, cs: Sequence[Node], xs: Sequence[Node], __: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        new = ops.add(cs[0], xs[0])
        return [new], [new]

    start = [ops.expand(ops.const(1), axes), ops.expand(ops.const(False), axes)]
    (state, done), (scores, costs, states, stops) = trace_loop(step, start, [], [p["w"]], 6)
    _, (to_go,) = trace_loop(ahead, [ops.expand(ops.const(0.0), axes)], [ops.stop(costs)], [], 6, reverse=True)
    cost = total(ops.mul(scores, ops.stop(to_go)), axes)
    return cost, {"state": state, "done": done, "states": states, "stops": stops}


def products(axes: tuple[Axis, ...], p: Params) -> Found:
    """A product with a matrix in every step of both loops, and one long enough to be a call."""
    wide = ops.const(np.cos(np.arange(40.0 * 40.0)).reshape(40, 40) / 40.0)

    def outer(i: Node, cs: Sequence[Node], _: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        def inner(j: Node, ds: Sequence[Node], _: Sequence[Node], qs: Sequence[Node]) -> tuple[list[Node], list[Node]]:
            new = ops.tanh(ops.matmul(ds[0], qs[0]))
            return [new], [new]

        (x,), (stack,) = trace_loop(inner, [cs[0]], [], [ks[0]], 2)
        long = ops.tanh(ops.add(ops.matmul(cs[1], wide), ops.reduce_sum(x)))
        return [ops.add(x, 0.1), long], [ops.reduce_sum(ops.mul(stack, stack))]

    start = ops.add(ops.expand(ops.const(np.array([0.1, 0.5, -0.2])), axes), uniform("start", axes, shape=(3,)))
    (x, long), (squares,) = trace_loop(outer, [start, ops.expand(ops.const(np.ones(40)), axes)], [], [p["m"]], 3)
    return ops.add(total(squares, axes), ops.add(total(long, axes), total(x, axes))), {"x": x}


def plates(axes: tuple[Axis, ...], p: Params) -> Found:
    """A plate of three inside the step, and a carry that depends on a sum over it."""
    inside = (*axes, UNITS)

    def step(t: Node, cs: Sequence[Node], _: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        units = ops.add(ops.mul(cs[1], ks[0]), uniform("unit", inside, t))
        return [ops.tanh(ops.sum_axes(units, (UNITS,))), ops.add(ops.sin(units), ops.mul(0.1, cs[0]))], [units]

    start = [ops.expand(ops.const(0.1), axes), ops.expand(ops.const(0.2), inside)]
    (x, units), (stack,) = trace_loop(step, start, [], [p["a"]], 5)
    return ops.add(total(x, axes), total(ops.mul(stack, stack), axes)), {"units": units, "stack": stack}


def mixed(axes: tuple[Axis, ...], p: Params) -> Found:
    """Carries with and without rows; those without are read after the loop, stacked, and count."""

    def step(t: Node, cs: Sequence[Node], _: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        x, common, count = cs
        common = ops.mul(ops.sin(ops.add(common, ks[0])), uniform("common", (), t))
        return [ops.add(ops.mul(x, common), uniform("row", axes, t)), common, ops.add(count, 1)], [common, x]

    start = [ops.expand(ops.const(0.1), axes), ops.const(0.5), ops.const(2)]
    (x, common, count), (stack, xs) = trace_loop(step, start, [], [p["a"]], 5)
    cost = ops.add(total(x, axes), ops.add(total(stack, axes), ops.mul(common, ops.cast(count, "float"))))
    return ops.add(cost, total(xs, axes)), {"common": stack, "count": count}


def row_sums(axes: tuple[Axis, ...], p: Params) -> Found:
    """Every step adds up rows; what is made of the sum is stacked and carried, and no row reads it."""

    def step(t: Node, cs: Sequence[Node], _: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        x = ops.tanh(ops.add(ops.mul(cs[0], ks[0]), uniform("x", axes, t)))
        mean = ops.div(ops.sum_axes(x, axes), 7.0)
        return [x, ops.add(ops.mul(0.9, cs[1]), ops.sin(mean))], [mean, ops.exp(ops.mul(0.1, mean))]

    start = [ops.expand(ops.const(0.1), axes), ops.const(0.5)]
    (x, slow), (means, exps) = trace_loop(step, start, [], [p["a"]], 4)
    return ops.add(ops.add(slow, total(x, axes)), ops.add(total(means, axes), total(exps, axes))), {"means": means}


def bare(axes: tuple[Axis, ...], p: Params) -> Found:
    """No carries at all, a length of 1 inside, several loops, one of which reads another's stack backwards."""

    def draw(t: Node, _: Sequence[Node], __: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        def once(j: Node, _: Sequence[Node], __: Sequence[Node], qs: Sequence[Node]) -> tuple[list[Node], list[Node]]:
            return [], [ops.exp(ops.mul(qs[0], uniform("once", axes, qs[1], j)))]

        _, (y,) = trace_loop(once, [], [], [*ks, t], 1)
        return [], [ops.reshape(y, ())]

    def back(t: Node, cs: Sequence[Node], xs: Sequence[Node], _: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        new = ops.add(ops.mul(0.5, cs[0]), xs[0])
        return [new], [ops.sin(new)]

    _, (ys,) = trace_loop(draw, [], [], [p["a"]], 5)
    (x,), (sines,) = trace_loop(back, [ops.expand(ops.const(0.0), axes)], [ys], [], 5, reverse=True)
    return ops.add(total(x, axes), total(sines, axes)), {"ys": ys}


def stopping(axes: tuple[Axis, ...], p: Params, length: int = 40) -> Found:
    """Rows stop where they leave an interval; what has stopped is frozen, and the cost has a pole at 0."""

    def step(t: Node, cs: Sequence[Node], _: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        x, steps, done = cs
        new = ops.add(ops.mul(x, ops.exp(ops.mul(0.3, ks[0]))), uniform("x", axes, t))
        over = ops.logical_or(done, ops.less(3.0, new))
        frozen = ops.where(done, x, new)
        return [frozen, ops.where(done, steps, ops.add(steps, 1)), mark_stopped(over)], [
            ops.where(done, 0.0, ops.log(frozen)),
            ops.where(done, 0, t),
        ]

    start = [ops.expand(ops.const(x), axes) for x in (0.1, 0, False)]
    (x, steps, done), (logs, times) = trace_loop(step, start, [], [p["a"]], length)
    return ops.add(total(x, axes), total(logs, axes)), {"steps": steps, "done": done, "logs": logs, "times": times}


def mean_field(axes: tuple[Axis, ...], p: Params) -> Found:
    """Every row moves towards the mean of all rows, and away from the largest."""

    def step(t: Node, cs: Sequence[Node], _: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        mean, top = (
            ops.div(ops.sum_axes(cs[0], axes), ops.size(ROWS) if axes else 1.0),
            make("amax", cs[0], axes=axes, dims=()) if axes else cs[0],
        )
        new = ops.add(ops.mul(ks[0], ops.add(cs[0], ops.sin(mean))), ops.sub(uniform("x", axes, t), ops.mul(0.1, top)))
        return [new], [new, top]

    (x,), (xs, tops) = trace_loop(step, [ops.expand(ops.const(0.1), axes)], [], [p["a"]], 4)
    return ops.add(total(x, axes), total(ops.mul(xs, xs), axes)), {"tops": tops}


LONG = Axis("long", Kind.PLATE, 300, depth=1)


def long_plate(axes: tuple[Axis, ...], p: Params) -> Found:
    """A plate of 300 inside the step, which the next step reads the sum of."""
    inside = (*axes, LONG)

    def step(t: Node, cs: Sequence[Node], _: Sequence[Node], ks: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        units = ops.sin(ops.add(ops.mul(cs[1], ks[0]), ops.add(uniform("unit", inside, t), cs[0])))
        return [ops.tanh(ops.mul(0.01, ops.sum_axes(units, (LONG,)))), units], []

    start = [ops.expand(ops.const(0.1), axes), ops.expand(ops.const(0.2), inside)]
    (x, units), _ = trace_loop(step, start, [], [p["a"]], 3)
    return ops.add(total(x, axes), total(units, axes)), {"x": x}


PROGRAMS: dict[str, Program] = {
    f.__name__: f
    for f in (nested, deep, walkers, products, plates, mixed, row_sums, bare, stopping, mean_field, long_plate)
}  # fmt: skip


def rematerialised(outputs: Sequence[Node], remat: Remat) -> list[Node]:
    """`outputs` with loops that store the carries of every `remat` steps."""

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op != "loop":
            return remake(node, args)
        inner = map_body(node, args, lambda outputs: rematerialised(outputs, remat))
        return make("loop", *args, **{**inner.attrs, "remat": remat})

    return rebuild(outputs, visit)


def request(program: str, rows: bool, simplified: bool = True, remat: Remat = "auto") -> Request:
    """Cost, gradient and arrays of a program."""
    params = {name: make("param", name=name, shape=shape, dtype="float") for name, shape in SHAPES}
    cost, arrays = PROGRAMS[program]((ROWS,) if rows else (), params)
    assert cost.type == Type()
    cost, *kept = rematerialised([cost, *arrays.values()], remat)
    arrays = dict(zip(arrays, kept, strict=True))
    nodes = [cost, *gradient(cost, list(params.values())), *arrays.values()]
    if simplified:
        nodes = simplify(erase_markers(nodes), strict=True)
    grads = tuple((name, g) for (name, _), g in zip(SHAPES, nodes[1:], strict=False))
    named = tuple(zip(arrays, nodes[1 + len(SHAPES) :], strict=True))
    return Request((("cost", nodes[0]),), grads, (), named, SHAPES, (), (), ())
