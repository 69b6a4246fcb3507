"""Putting the compiler's stages together: lower, schedule, lay out memory, emit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ppl.compiler.emit.checks import length
from ppl.compiler.emit.code import Function, Name, assign, python
from ppl.compiler.emit.cpu.module import CpuEmitter
from ppl.compiler.emit.emitter import Emitter
from ppl.compiler.emit.externals import FAILED, FAILED_AT
from ppl.compiler.emit.straight.body import body as straight_line
from ppl.compiler.emit.straight.body import suits
from ppl.compiler.emit.unit import SLABS, Unit
from ppl.compiler.lower.identifiers import identifier
from ppl.compiler.lower.joined import joined, multiplications
from ppl.compiler.lower.long_events import run_as_rows
from ppl.compiler.lower.loops.apart import apart
from ppl.compiler.lower.matrices import KERNELS, size_of
from ppl.compiler.lower.request import Request, offsets_of, output_places, run_time_axes, windowed
from ppl.compiler.lower.rewrites import double_sums, lower
from ppl.compiler.lower.target import Rewrites, Target, target_of
from ppl.compiler.lower.views import Poly, entries
from ppl.compiler.schedule.memory import all_steps, plan
from ppl.compiler.schedule.regions import schedule
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.compiler.schedule.values import Builder
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Kind
from ppl.lazy import cuda_emission

EMITTERS: dict[str, Callable[..., Emitter]] = {"cpu": CpuEmitter, "cuda": cuda_emission.later("CudaEmitter")}
"""The emitters that targets name."""


def assemble(
    request: Request, dtype: str, target: str | Target, kind: Callable[..., Emitter] | None = None
) -> tuple[dict[str, Any], Emitter]:
    """Compile `request` to source with the emitter `kind` (default: the target's).

    Returns the fields of an `Executable`, and the emitter.
    """
    target = target_of(target)
    rules = target.rewrites
    nodes = [n for group in (request.scalars, request.grads, request.aux, request.arrays) for _, n in group]
    split = rules.windows and not (request.grads or request.aux or request.whole or request.part)
    parts = windowed(nodes) if split else None
    in_windows = parts is not None or request.part
    lowered, in_double = _lowered(request, parts or nodes, rules, dtype)
    axes = run_time_axes([*nodes, *(parts or ())], request)
    plates = [identifier(a.name) for a in axes.values() if a.kind is Kind.PLATE]
    words = 8 // np.dtype(dtype).itemsize
    outputs, array_places, aux_at, floats = output_places(request, iter(lowered), len(plates), words)
    offsets = _offsets(request)
    n_aux = offsets_of(request.aux_shapes)[1] if request.aux else 0
    # Where particles are a run-time axis, the place of one array among several depends on their number.
    unrolled = suits(lowered, rules.straight) and not (axes and request.arrays)
    small = unrolled and not axes
    builder = Builder([] if small else [o.node for o in outputs], offsets, target)
    builder.in_double = in_double
    builder.windowed = in_windows
    for name, _ in request.inputs:
        builder.inputs[name] = "x_" + identifier(name)
    stages = [] if small else schedule(outputs, builder)
    header = [*_header(axes, plates, stages, builder.windowed), *_told(stages, target)]
    memory = plan(stages, builder, header, floats)
    if FAILED in header:
        memory.symbols[FAILED_AT] = Poly.of(header.index(FAILED))
    for _, t, size in array_places:
        memory.ints = memory.ints + (size * words if t.dtype == "int" else 0)
    arrays = [builder.inputs[n] for n, _ in request.inputs]
    counts = [assign(Name("v").at(list(axes).index(t.axes[0].name)), length(builder.inputs[n]))
              for n, t in request.inputs if t.axes and t.axes[0].size is None]  # fmt: skip
    flags = bool(request.arrays), bool(request.scalars)
    flops = _work_estimate(stages)
    flat = [(name, size * (words if t.dtype == "int" else 1)) for name, t, size in array_places]
    unit = Unit(stages, builder, memory, dtype, arrays, plates, n_aux, aux_at, counts, *flags,
                **_data_and_results(request), sizes=_sizes(request), flops=flops, outputs=flat)  # fmt: skip
    emitter = (kind or EMITTERS[target.printer])(unit)
    body = straight_line(outputs, offsets, builder.inputs, dtype, n_aux, aux_at) if unrolled else []
    module = emitter.module(body, general=not small)
    functions = tuple(item for item in module.items if isinstance(item, Function))
    fields = {"source": python.module(module), "functions": functions, "stages": stages, "memory": memory,
            "kernels": emitter.kernels, "axes": axes,
            "plates": plates, "array_places": array_places, "injected": emitter.injected,
            "flops": flops, "unrolled": unrolled, "windowed": in_windows,
            "trains": unit.trained > 0, "target": target, "passed": unit.driver_arguments}  # fmt: skip
    return fields, emitter


def _lowered(request: Request, nodes: Sequence[Node], rules: Rewrites, dtype: str) -> tuple[list[Node], set[Node]]:
    """The nodes of a request as the target can run them, and those that add up to float64."""
    kept = len(nodes) - len(request.arrays)
    cast = [n if n.type.dtype == "int" and i >= kept else ops.cast(n, "float") for i, n in enumerate(nodes)]
    cast = (None if request.arrays else run_as_rows(cast, rules.long_event)) or cast
    made = lower(apart(cast), rules)
    made = joined(made) if rules.joined else made
    return double_sums(made, len(request.scalars) if dtype == "float32" and rules.double_sums else 0)


def _offsets(request: Request) -> dict[tuple[str, str], int]:
    """Where parameters, auxiliary variables and hypers lie in their vectors."""
    offsets = {("param", n): o for n, o in offsets_of(request.params)[0].items()}
    offsets |= {("aux", n): o for n, o in offsets_of(request.aux_shapes)[0].items()}
    return offsets | {("hyper", n): i for i, n in enumerate(request.hypers)}


def _sizes(request: Request) -> dict[str, int]:
    """Entries of the flat vectors, and of one row of every data argument."""
    found = {"params": offsets_of(request.params)[1], "aux": offsets_of(request.aux_shapes)[1]}
    found |= {"hyper": len(request.hypers), "grad": found["params"] if request.grads else 0}
    rows = {n: t.event_size * math.prod(a.size or 1 for a in t.axes) for n, t in request.inputs}
    return found | {"x_" + identifier(name): size for name, size in rows.items()}


def _header(axes: Iterable[str], plates: Sequence[str], stages: Sequence[Stage], in_windows: bool) -> list[str]:
    """The names of what the int workspace begins with."""
    header = [f"n_{identifier(a)}" for a in axes] + [f"total_{p}" for p in plates]
    header += [f"tile_{s.name}" for s in stages if s.row is not None]
    header += [f"{what}_{s.name}" for s in stages if s.owned for what in ("chunk", "first")]
    header += ["first_particle"] if in_windows else []
    return header + ([SLABS] if any(s.row is not None for s in stages) else [])


def _told(stages: Sequence[Stage], target: Target) -> list[str]:
    """What a device tells the host: whether users' functions have failed that may not."""
    called = (
        t.node.attrs["fn"] for s in stages for t in all_steps(s) if isinstance(t, Opaque) and t.node.op == "external"
    )
    return [FAILED] if target.resident and any(fn.on_error == "raise" for fn in called) else []


def _data_and_results(request: Request) -> dict[str, Any]:
    """What emitters must know of data and results; whole gradients, of `trained` entries, have a training loop."""
    whole = {n for n, _ in request.grads} == {n for n, _ in request.params} and not request.arrays
    leading = [identifier(t.axes[0].name) if t.axes and t.axes[0].size is None else "" for _, t in request.inputs]
    trained = offsets_of(request.params)[1] if whole else 0
    return {
        "kinds": ["int32" if name in request.int32 else t.dtype for name, t in request.inputs],
        "leading": leading,
        "trained": trained,
        "results": len(request.scalars),
    }


def _work_estimate(stages: Sequence[Stage]) -> Poly:
    """Rough number of operations of what threads share."""
    total = Poly()
    for stage in stages:
        steps = [t.node for t in stage.steps if isinstance(t, Opaque) and t.node.op == "column_dot"]
        total = total + _work_of(stage) if stage.row is not None else sum(map(_opaque_work, steps), total)
    return total


def _work_of(stage: Stage) -> Poly:
    total = Poly()
    for step in (*stage.steps, *stage.owned):
        for op in getattr(step, "ops", ()):
            size = Poly.of(4)
            for dim in op.domain:
                size = size * dim.size
            total = total + size
        if isinstance(step, Opaque):
            turn = Poly() if step.body is None else _work_of(step.body)
            total = total + _opaque_work(step.node) + turn * step.node.attrs.get("length", 0)
    return total


def _opaque_work(node: Node) -> Poly:
    made = entries(node.type) * (size_of(node) if node.op in KERNELS else node.attrs.get("width", 1))
    return (multiplications(node) if node.op == "gemm" else made) * 4
