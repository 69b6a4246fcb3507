"""The loop op: a fixed-length loop with carried values, sliced inputs and stacked outputs.

`loop` runs a body graph `length` times. Its arguments are carries, then `xs` (leading event dimension
`length`, one slice per step), then constants; its results are the final carries and the stacked `ys`.
Results are read with `get`. Noise inside takes the step number as its loop time. The adjoint of a loop is a
loop that runs backwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, make, remake, substitute, topological
from ppl.ir.op_facts import COSTLY
from ppl.ir.types import Type, union_axes

_uids = itertools.count()


@dataclass(frozen=True)
class Body:
    """A body graph: `index` and the `args` stand for its inputs; `carries` and `ys` are its outputs."""

    index: Node
    args: tuple[Node, ...]
    carries: tuple[Node, ...]
    ys: tuple[Node, ...]
    n_xs: int

    def result_type(self, i: int, length: int) -> Type:
        """Type of result `i` of a loop of `length` steps."""
        if i < len(self.carries):
            return self.carries[i].type
        y = self.ys[i - len(self.carries)].type
        return Type(y.axes, (length, *y.shape), y.dtype)

    @property
    def outputs(self) -> tuple[Node, ...]:
        """Carries, then ys."""
        return self.carries + self.ys


def placeholder(t: Type) -> Node:
    """A fresh body input of type `t`."""
    return make("arg", uid=next(_uids), axes=t.axes, shape=t.shape, dtype=t.dtype)


def sliced(t: Type) -> Type:
    """The type of one step's slice of `t`."""
    return Type(t.axes, t.shape[1:], t.dtype)


Remat = int | Literal["auto"] | None


def build(
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
    return _results(make("loop", *inits, *xs, *consts, body=body, length=length, reverse=reverse, remat=remat))


def _results(node: Node) -> list[Node]:
    """The `get` nodes of a loop's results."""
    body, length = node.attrs["body"], node.attrs["length"]
    return [make("get", node, index=i, type=body.result_type(i, length)) for i in range(len(body.outputs))]


def remade(node: Node, body: Body, args: Sequence[Node], **changes: Any) -> list[Node]:
    """The results of a loop of another body and arguments, with the other attributes of `node` but for `changes`."""
    return _results(make("loop", *args, **{**node.attrs, "body": body, **changes}))


Step = Callable[[Node, list[Node], list[Node], list[Node]], tuple[Sequence[Node], Sequence[Node]]]


def loop(
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
            for types in ([n.type for n in inits], [sliced(n.type) for n in xs], [n.type for n in consts])
        )
        carries, ys = step(index, cs, vs, ks)
        carries = [ops.expand(c, i.type.axes, i.type.shape) for c, i in zip(carries, inits, strict=True)]
        if all(c.type.axes == i.type.axes for c, i in zip(carries, inits, strict=True)):
            break
        inits = [ops.expand(i, union_axes(c.type.axes, i.type.axes)) for c, i in zip(carries, inits, strict=True)]
    body = Body(index, (*cs, *vs, *ks), tuple(carries), tuple(ys), len(vs))
    results = build(body, inits, xs, consts, length, reverse, remat)
    return results[: len(inits)], results[len(inits) :]


def split_args(node: Node) -> tuple[tuple[Node, ...], tuple[Node, ...], tuple[Node, ...]]:
    """The arguments of a loop as (carry inits, xs, constants)."""
    body = node.attrs["body"]
    a, b = len(body.carries), len(body.carries) + body.n_xs
    return node.args[:a], node.args[a:b], node.args[b:]


def map_body(node: Node, args: tuple[Node, ...], rewrite: Callable[[Sequence[Node]], list[Node]]) -> Node:
    """The loop with other arguments of equal types and `rewrite` applied to its body's outputs."""
    body = node.attrs["body"]
    outputs = rewrite(body.outputs)
    if all(a is b for a, b in zip(outputs, body.outputs, strict=True)):
        return remake(node, args)
    n = len(body.carries)
    new = Body(body.index, body.args, tuple(outputs[:n]), tuple(outputs[n:]), body.n_xs)
    return make("loop", *args, **{**node.attrs, "body": new})


def loop_vjp(node: Node, cotangents: list[Node | None], differentiate: Callable) -> list[Node | None]:
    """Cotangents of a loop's arguments, by a loop over the stored carries in the opposite direction.

    What is costly to compute and read again (noise, transcendental functions, products) is stored beside them.
    """
    body, length, reverse = node.attrs["body"], node.attrs["length"], node.attrs["reverse"]
    inits, xs, consts = split_args(node)
    n, m = len(inits), len(xs)
    bars = [ops.zeros_like(body.result_type(i, length)) if c is None else c for i, c in enumerate(cotangents)]

    index = placeholder(body.index.type)
    carry_bars, sums, y_bars = (
        [placeholder(Type(x.type.axes, x.type.shape)) for x in part] for part in (body.carries, consts, body.ys)
    )
    ins = [placeholder(a.type) for a in body.args]
    values = topological(body.outputs)
    copies = substitute(values, {body.index: index, **dict(zip(body.args, ins, strict=True))})
    copy_of = dict(zip(values, copies, strict=True))
    seeds = [(copy_of[o], s) for o, s in zip(body.outputs, [*carry_bars, *y_bars], strict=True)]
    grads = differentiate([(o, s) for o, s in seeds if o.type.dtype == "float"], ins)
    filled = [
        ops.zeros_like(Type(i.type.axes, i.type.shape)) if g is None else g for g, i in zip(grads, ins, strict=True)
    ]
    stored = _costly(filled, dict(zip(copies, values, strict=True)), {index, *ins[: n + m]})
    made = {copy: placeholder(copy.type) for copy in stored}
    filled = substitute(filled, made)
    recorded = Body(body.index, body.args, body.carries, (*body.ys, *body.args[:n], *stored.values()), body.n_xs)
    history = build(recorded, inits, xs, consts, length, reverse)[n + len(body.ys) :]
    new_sums = [ops.add(s, g) for s, g in zip(sums, filled[n + m :], strict=True)]
    args = (*carry_bars, *sums, *ins[:n], *made.values(), *ins[n : n + m], *y_bars, *ins[n + m :])
    n_xs = n + len(made) + m + len(y_bars)
    backward = Body(index, args, (*filled[:n], *new_sums), tuple(filled[n : n + m]), n_xs)
    starts = [*bars[:n], *(ops.zeros_like(Type(c.type.axes, c.type.shape)) for c in consts)]
    results = build(backward, starts, [*history, *xs, *bars[n:]], consts, length, not reverse)
    carry_part, const_part, x_part = results[:n], results[n : n + len(consts)], results[n + len(consts) :]
    out = [*carry_part, *x_part, *const_part]
    return [g if a.type.dtype == "float" else None for g, a in zip(out, node.args, strict=True)]


def _costly(outputs: Sequence[Node], originals: dict[Node, Node], moving: set[Node]) -> dict[Node, Node]:
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
