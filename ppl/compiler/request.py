"""What a backend is asked to compile, what a run returns, and where outputs lie in the flat vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ppl.compiler.layout import Poly, axis_size
from ppl.compiler.stages import Output
from ppl.ir.node import Node, topological
from ppl.ir.types import Axis, Type

Layout = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Request:
    """What to compute: outputs by kind, and the order and shapes that define the flat vectors."""

    scalars: tuple[tuple[str, Node], ...] = ()
    grads: tuple[tuple[str, Node], ...] = ()
    aux: tuple[tuple[str, Node], ...] = ()
    arrays: tuple[tuple[str, Node], ...] = ()
    params: Layout = ()
    aux_layout: Layout = ()
    hypers: tuple[str, ...] = ()
    inputs: tuple[tuple[str, Type], ...] = ()


class Result(NamedTuple):
    """What a run gives: scalar outputs by name, the flat gradient, the flat new aux vector, and the arrays."""

    scalars: dict[str, float]
    grad: np.ndarray
    aux: np.ndarray
    arrays: dict[str, np.ndarray]


def offsets_of(layout: Layout) -> tuple[dict[str, int], int]:
    out, at = {}, 0
    for name, shape in layout:
        out[name] = at
        at += int(np.prod(shape, dtype=np.int64))
    return out, at


def run_time_axes(nodes: Sequence[Node], request: Request) -> dict[str, Axis]:
    """Axes whose length is known only at run time."""
    found: dict[str, Axis] = {}
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
    request: Request, lowered: Iterator[Node], first: int
) -> tuple[list[Output], list[tuple[str, Type, Poly]], int, int]:
    """Where every output is written."""
    outputs, at = [], first
    for name, _ in request.scalars:
        outputs.append(Output(name, next(lowered), "w", Poly.of(at)))
        at += 1
    where = offsets_of(request.params)[0]
    for name, _ in request.grads:
        outputs.append(Output(name, next(lowered), "grad", Poly.of(where[name])))
    where, n_aux = offsets_of(request.aux_layout)
    for name, _ in request.aux:
        outputs.append(Output(name, next(lowered), "w", Poly.of(at + where[name])))
    layout, start = [], Poly()
    for name, node in request.arrays:
        size = Poly.of(node.type.event_size)
        for axis in node.type.axes:
            size = size * axis_size(axis)
        outputs.append(Output(name, next(lowered), "out", start, rows=True))
        layout.append((name, node.type, size))
        start = start + size
    return outputs, layout, at, at + n_aux
