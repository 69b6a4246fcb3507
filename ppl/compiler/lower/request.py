"""Requests to the back end: the nodes to compile, the results of a run, and the places of outputs in the flat vectors.

A `Request` is what the surrogate gives to the back end; `place_outputs` says where each of its outputs is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppl.compiler.lower.sizes import Poly, entry_count, identifier
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import LINEAR, MARKERS
from ppl.ir.types import Axis, Kind, Type
from ppl.records import dataclass

Shapes = tuple[tuple[str, tuple[int, ...]], ...]

ALL_PARTICLES = Axis("particles_total", Kind.PARTICLES)
"""Stands for the number of all particles where the axis "particles" is a window of them."""

LINEAR_OPS = LINEAR | MARKERS
"""Ops that are linear in all arguments, as far as values go."""


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

    def __str__(self) -> str:
        """Say what is computed, of what, one kind a line."""
        kinds = {"scalars": self.scalars, "grads": self.grads, "aux": self.aux, "arrays": self.arrays}
        lines = [f"{kind}: {', '.join(name for name, _ in outputs)}" for kind, outputs in kinds.items() if outputs]
        given = [f"{name}{list(shape)}" for name, shape in self.params] + [f"{name} {t}" for name, t in self.inputs]
        return "\n".join([*lines, f"of: {', '.join(given) or 'nothing'}"])


class Result(NamedTuple):
    """The results of a run: scalar outputs by name, the flat gradient, the flat new aux vector, and the arrays."""

    scalars: dict[str, float]
    grad: np.ndarray
    aux: np.ndarray
    arrays: dict[str, np.ndarray]


def floats_per_int(dtype: Any) -> int:
    """Return how many entries of a float array of this dtype an int64 takes."""
    return 8 // np.dtype(dtype).itemsize


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


def place_outputs(
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
        size = entry_count(node.type)
        array = "iout" if node.type.dtype == "int" else "out"
        outputs.append(Output(name, made, array, starts[array], rows=True))
        places.append((name, node.type, size))
        starts["out"] = starts["out"] + size * (words if array == "iout" else 1)
        starts["iout"] = starts["iout"] + size
    return outputs, places, at, at + n_aux


def leaf_offsets(request: Request) -> dict[tuple[str, str], int]:
    """Where parameters, auxiliary variables and hypers lie in their vectors."""
    offsets = {("param", n): o for n, o in offsets_of(request.params)[0].items()}
    offsets |= {("aux", n): o for n, o in offsets_of(request.aux_shapes)[0].items()}
    return offsets | {("hyper", n): i for i, n in enumerate(request.hypers)}


def argument_sizes(request: Request) -> dict[str, int]:
    """Entries of the flat vectors, and of one row of every data argument."""
    found = {"params": offsets_of(request.params)[1], "aux": offsets_of(request.aux_shapes)[1]}
    found |= {"hyper": len(request.hypers), "grad": found["params"] if request.grads else 0}
    rows = {n: t.event_size * math.prod(a.size or 1 for a in t.axes) for n, t in request.inputs}
    return found | {"x_" + identifier(name): size for name, size in rows.items()}
