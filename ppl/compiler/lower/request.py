"""Requests to a backend, results of a run, and the places of outputs in the flat vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ppl.compiler.lower.views import Poly, entries
from ppl.ir import ops
from ppl.ir.node import Node, remake, topological
from ppl.ir.op_facts import LINEAR, MARKERS, PARTS, PRODUCTS
from ppl.ir.types import PARTICLES, Axis, Kind, Type
from ppl.records import dataclass

Shapes = tuple[tuple[str, tuple[int, ...]], ...]

ALL_PARTICLES = Axis("particles_total", Kind.PARTICLES)
"""Stands for the number of all particles where the axis "particles" is a window of them."""

ADDITIVE = LINEAR | MARKERS
"""Ops that are linear in all arguments, as far as values go."""
BILINEAR = {**dict.fromkeys(PRODUCTS, (0, 1)), **PARTS}
"""Ops that are linear in each of these arguments, and the arguments."""


@dataclass(eq=False)
class Output:
    """A node that is written to `array` at `offset`."""

    name: str
    node: Node
    array: str
    offset: Poly
    rows: bool = False


@dataclass(frozen=True)
class Request:
    """A request to compile: outputs by kind, and the order and shapes that define the flat vectors.

    `whole`: arrays hold all particles of a call, which is then not cut into windows of them. `int32`: names of inputs
    that are given as 32-bit integers. `part`: a call computes a window of the particles, and its results are those of
    the window alone.
    """

    scalars: tuple[tuple[str, Node], ...] = ()
    grads: tuple[tuple[str, Node], ...] = ()
    aux: tuple[tuple[str, Node], ...] = ()
    arrays: tuple[tuple[str, Node], ...] = ()
    params: Shapes = ()
    aux_shapes: Shapes = ()
    hypers: tuple[str, ...] = ()
    inputs: tuple[tuple[str, Type], ...] = ()
    whole: bool = False
    part: bool = False
    int32: tuple[str, ...] = ()


class Result(NamedTuple):
    """The results of a run: scalar outputs by name, the flat gradient, the flat new aux vector, and the arrays."""

    scalars: dict[str, float]
    grad: np.ndarray
    aux: np.ndarray
    arrays: dict[str, np.ndarray]


def offsets_of(shapes: Shapes) -> tuple[dict[str, int], int]:
    """Where every part of a flat vector begins, by name, and the vector's length."""
    out, at = {}, 0
    for name, shape in shapes:
        out[name] = at
        at += int(np.prod(shape, dtype=np.int64))
    return out, at


def run_time_axes(nodes: Sequence[Node], request: Request) -> dict[str, Axis]:
    """Axes whose length is known only at run time."""
    found: dict[str, Axis] = {ALL_PARTICLES.name: ALL_PARTICLES} if request.part else {}
    stack = list(nodes)
    while stack:
        for node in topological(stack):
            for axis in (*node.type.axes, *((node.attrs["axis"],) if node.op in ("size", "rowid") else ())):
                if axis.size is None:
                    found[axis.name] = axis
            if node.op == "loop":
                body = node.attrs["body"]
                stack = [*stack, *body.outputs] if body.outputs[0] not in stack else stack
        break
    for _, t in request.inputs:
        for axis in t.axes:
            if axis.size is None:
                found[axis.name] = axis
    return dict(sorted(found.items(), key=lambda item: item[1].order))


def output_places(
    request: Request, lowered: Iterator[Node], first: int, words: int
) -> tuple[list[Output], list[tuple[str, Type, Poly]], int, int]:
    """Where every output is written.

    Int arrays lie before the float arrays in `out`, as int64 of `words` entries each: floats could not hold them.
    """
    outputs, at = [], first
    for name, _ in request.scalars:
        outputs.append(Output(name, next(lowered), "w", Poly.of(at)))
        at += 1
    where = offsets_of(request.params)[0]
    for name, _ in request.grads:
        made = next(lowered)
        outputs.append(Output(name, made, "grad", Poly.of(where[name]), rows=bool(made.type.axes)))
    where, n_aux = offsets_of(request.aux_shapes)
    for name, _ in request.aux:
        made = next(lowered)
        outputs.append(Output(name, made, "w", Poly.of(at + where[name]), rows=bool(made.type.axes)))
    arrays = sorted(zip(request.arrays, lowered, strict=False), key=lambda item: item[0][1].type.dtype != "int")
    places, starts = [], {"iout": Poly(), "out": Poly()}
    for (name, node), made in arrays:
        size = entries(node.type)
        array = "iout" if node.type.dtype == "int" else "out"
        outputs.append(Output(name, made, array, starts[array], rows=True))
        places.append((name, node.type, size))
        starts["out"] = starts["out"] + size * (words if array == "iout" else 1)
        starts["iout"] = starts["iout"] + size
    return outputs, places, at, at + n_aux


def windowed(nodes: Sequence[Node]) -> list[Node] | None:
    """Rewrite outputs so that their sums over windows of particles are the outputs for all particles.

    That needs outputs that are linear in sums over particles, and no sum over particles that is used again per
    particle; otherwise, or if there is nothing to sum, the result is None. Summands that do not depend on particles
    get the window's share of all particles as a factor.
    """
    share = ops.div(ops.size(PARTICLES), ops.size(ALL_PARTICLES))
    order = topological(nodes)
    made: dict[Node, Node] = {}
    summed: dict[Node, bool] = {}
    for node in order:
        state = _summed(node, summed)
        if state is None:
            return None
        args = [made[a] for a in node.args]
        if state and node.op in ("add", "sub", "concat", "route", "where"):
            first = 1 if node.op == "where" else 0
            parts = [a if i < first or summed[old] else ops.mul(a, share)
                     for i, (a, old) in enumerate(zip(args, node.args, strict=True))]  # fmt: skip
            args = [ops.expand(a, old.type.axes, old.type.shape) for a, old in zip(parts, node.args, strict=True)]
        summed[node] = state
        total = node.op == "size" and node.attrs["axis"] == PARTICLES
        made[node] = ops.size(ALL_PARTICLES) if total else remake(node, tuple(args))
    if not any(summed[n] for n in nodes) or any(PARTICLES in n.type.axes for n in nodes):
        return None
    return [made[n] if summed[n] else ops.mul(made[n], share) for n in nodes]


def _summed(node: Node, known: dict[Node, bool]) -> bool | None:
    """Whether `node` is a linear function of sums over particles; None if it is another function of them."""
    sums = [i for i, a in enumerate(node.args) if known[a]]
    inner = [a for a in node.args if PARTICLES in a.type.axes]
    if any(a.kind is Kind.REPEATS for a in node.type.axes) or (node.op == "loop" and (sums or _sums_inside(node))):
        return None
    if PARTICLES in node.type.axes or node.op == "loop":
        return None if sums else False
    if inner:
        return True if node.op in ("sum", "contract", "put") and not sums and node.type.dtype == "float" else None
    if not sums:
        return False
    linear = node.op in ADDITIVE or (
        set(sums) <= set(BILINEAR.get(node.op, ())) and (len(sums) == 1 or node.op == "where")
    )
    return True if linear and node.type.dtype == "float" else None


def _sums_inside(loop: Node) -> bool:
    """Whether the body of `loop` reduces over particles, or counts them."""
    return any(
        n.op in ("loop", "size") or (PARTICLES not in n.type.axes and any(PARTICLES in a.type.axes for a in n.args))
        for n in topological(loop.attrs["body"].outputs)
    )
