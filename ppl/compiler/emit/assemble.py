"""The back end: lower a request, schedule it, lay out memory, emit.

`ppl.compiler.pipeline` is to take its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ppl.compiler.emit import python
from ppl.compiler.emit.addresses import array_length
from ppl.compiler.emit.code import Function, Name, assign
from ppl.compiler.emit.cpu.emitter import CpuEmitter
from ppl.compiler.emit.emitter import Emitter
from ppl.compiler.emit.steps import FAILED, FAILED_AT
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.emit.unrolled import can_unroll
from ppl.compiler.emit.unrolled import unrolled_body as straight_line
from ppl.compiler.lower.lowering import lower_request, split_into_particle_windows
from ppl.compiler.lower.request import Request, argument_sizes, leaf_offsets, offsets_of, place_outputs, run_time_axes
from ppl.compiler.lower.sizes import Poly, identifier
from ppl.compiler.lower.target import Target, target_of
from ppl.compiler.schedule.builder import ScheduleBuilder
from ppl.compiler.schedule.memory import lay_out_memory
from ppl.compiler.schedule.scheduler import build_schedule
from ppl.compiler.schedule.slabs import SLABS, estimate_operations
from ppl.compiler.schedule.stages import Opaque, Stage, all_steps
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
    parts = split_into_particle_windows(nodes) if split else None
    in_windows = parts is not None or request.part
    lowered, in_double = lower_request(request, parts or nodes, rules, dtype)
    axes = run_time_axes([*nodes, *(parts or ())], request)
    plates = [identifier(a.name) for a in axes.values() if a.kind is Kind.PLATE]
    words = 8 // np.dtype(dtype).itemsize
    outputs, array_places, aux_at, floats = place_outputs(request, iter(lowered), len(plates), words)
    offsets = leaf_offsets(request)
    n_aux = offsets_of(request.aux_shapes)[1] if request.aux else 0
    # Where particles are a run-time axis, the place of one array among several depends on their number.
    unrolled = can_unroll(lowered, rules.straight) and not (axes and request.arrays)
    small = unrolled and not axes
    builder = ScheduleBuilder([] if small else [o.node for o in outputs], offsets, target)
    builder.in_double = in_double
    builder.windowed = in_windows
    for name, _ in request.inputs:
        builder.inputs[name] = "x_" + identifier(name)
    stages = [] if small else build_schedule(outputs, builder)
    header = [*workspace_header(axes, plates, stages, builder.windowed), *device_flags(stages, target)]
    memory = lay_out_memory(stages, builder, header, floats)
    if FAILED in header:
        memory.symbols[FAILED_AT] = Poly.of(header.index(FAILED))
    for _, t, size in array_places:
        memory.ints = memory.ints + (size * words if t.dtype == "int" else 0)
    arrays = [builder.inputs[n] for n, _ in request.inputs]
    counts = [assign(Name("v").at(list(axes).index(t.axes[0].name)), array_length(builder.inputs[n]))
              for n, t in request.inputs if t.axes and t.axes[0].size is None]  # fmt: skip
    flags = bool(request.arrays), bool(request.scalars)
    flops = estimate_operations(stages)
    flat = [(name, size * (words if t.dtype == "int" else 1)) for name, t, size in array_places]
    unit = TranslationUnit(
        stages,
        builder,
        memory,
        dtype,
        arrays,
        plates,
        n_aux,
        aux_at,
        counts,
        *flags,
        **_arguments_and_results(request),
        sizes=argument_sizes(request),
        flops=flops,
        outputs=flat,
    )
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


def workspace_header(
    axes: Iterable[str], plates: Sequence[str], stages: Sequence[Stage], in_windows: bool
) -> list[str]:
    """The names of what the int workspace begins with."""
    header = [f"n_{identifier(a)}" for a in axes] + [f"total_{p}" for p in plates]
    header += [f"tile_{s.name}" for s in stages if s.row is not None]
    header += [f"{what}_{s.name}" for s in stages if s.partitioned for what in ("chunk", "first")]
    header += ["first_particle"] if in_windows else []
    return header + ([SLABS] if any(s.row is not None for s in stages) else [])


def device_flags(stages: Sequence[Stage], target: Target) -> list[str]:
    """What a device tells the host: whether users' functions have failed that may not."""
    called = (
        t.node.attrs["fn"] for s in stages for t in all_steps(s) if isinstance(t, Opaque) and t.node.op == "external"
    )
    return [FAILED] if target.resident and any(fn.on_error == "raise" for fn in called) else []


def _arguments_and_results(request: Request) -> dict[str, Any]:
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
