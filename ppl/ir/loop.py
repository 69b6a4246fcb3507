"""The loop op: a fixed-length loop with carried values, sliced inputs and stacked outputs.

`loop` runs a body graph `length` times. Its arguments are carries, then `xs` (leading event dimension
`length`, one slice per step), then constants; its results are the final carries and the stacked `ys`.
Results are read with `get`. Noise inside takes the step number as its loop time. What the body marks `kept` is
stacked every few steps. The adjoint of a loop (`ppl.ir.adjoints.loop`) is a loop that runs backwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, make, remake
from ppl.ir.types import Type, union_axes
from ppl.records import dataclass

_uids = itertools.count()


@dataclass(frozen=True)
class Body:
    """A body graph: `index` and the `args` stand for its inputs; `carries` and `ys` are its outputs.

    A turn in which the truth value `idle`, which no carry enters, holds for all entries is not run: carries stay as
    they are, and stacks get zeros.
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
        return Type(y.type.axes, (stacked(y, length), *y.type.shape), y.type.dtype)

    @property
    def outputs(self) -> tuple[Node, ...]:
        """Carries, then ys."""
        return self.carries + self.ys

    @property
    def computed(self) -> tuple[Node, ...]:
        """All that a turn computes: the outputs, and `idle` where there is one."""
        return self.outputs if self.idle is None else (*self.outputs, self.idle)

    def computing(self, computed: Sequence[Node], args: tuple[Node, ...] | None = None, n_xs: int | None = None
                  ) -> Body:  # fmt: skip
        """The body that computes these nodes instead, from `args` where they are others."""
        n, end = len(self.carries), len(self.outputs)
        idle = None if self.idle is None else computed[end]
        new, xs = self.args if args is None else args, self.n_xs if n_xs is None else n_xs
        return Body(self.index, new, tuple(computed[:n]), tuple(computed[n:end]), xs, idle)


def kept(y: Node, every: int) -> Node:
    """`y`, to be stacked every few steps: entry k is its value in turn k * `every`, at most in the last turn."""
    return make("kept", y, every=every)


def stopped(flag: Node) -> Node:
    """The new value of a carry that says which entries have stopped; what has stopped stays so.

    It promises that steps after that change no carry of such an entry and stack zeros, so that a loop, or a tile of it,
    may leave once all entries have stopped.
    """
    return make("stopped", flag)


def stop_of(body: Body) -> int | None:
    """The carry that says what has stopped, if there is just one."""
    found = [i for i, c in enumerate(body.carries) if c.op == "stopped"]
    return found[0] if len(found) == 1 else None


def stacked(y: Node, length: int) -> int:
    """Entries of the stack of `y` in a loop of `length` steps."""
    return -(-(length - 1) // y.attrs["every"]) + 1 if y.op == "kept" else length


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
    computed = rewrite(body.computed)
    if all(a is b for a, b in zip(computed, body.computed, strict=True)):
        return remake(node, args)
    return make("loop", *args, **{**node.attrs, "body": body.computing(computed)})
