"""The compiler from top to bottom: a model becomes a plan, one estimator a node, and a plan becomes source that runs.

    PlannedModel    model -> Trace -> StochasticGraph -> Plan       once for a signature of data
    build_variant   plan  -> ProgramVariant                         estimators become expressions, and their gradients
    emit_request    Request -> LoweredRequest -> Schedule -> EmittedSource

Every stage is a call with a typed result, and every result prints itself. `ppl.runtime` binds data to what comes out.
`docs/architecture.md` shows all of them for one model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ppl.compiler.emit import python
from ppl.compiler.emit.addresses import array_length
from ppl.compiler.emit.code import Function, Name, assign
from ppl.compiler.emit.cpu.emitter import CpuEmitter
from ppl.compiler.emit.emitter import Emitter
from ppl.compiler.emit.steps import FAILED, FAILED_AT
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.emit.unrolled import can_unroll, unrolled_body
from ppl.compiler.lower.lowering import lower_request, split_into_particle_windows
from ppl.compiler.lower.request import (
    Output,
    Request,
    Shapes,
    argument_sizes,
    floats_per_int,
    leaf_offsets,
    offsets_of,
    place_outputs,
    run_time_axes,
)
from ppl.compiler.lower.sizes import Poly, identifier
from ppl.compiler.lower.target import Target, target_of
from ppl.compiler.plan.decision_table import (
    EstimatorRequest,
    choose_estimators,
    graph_with_named,
    named_estimators,
)
from ppl.compiler.plan.feasibility import errors_without_step_numbers, plan_needs_unrolling
from ppl.compiler.plan.plan import JointChoice, MeasuredCandidate, Plan, TuningReport
from ppl.compiler.schedule.builder import ScheduleBuilder
from ppl.compiler.schedule.memory import MemoryLayout, lay_out_memory
from ppl.compiler.schedule.scheduler import build_schedule
from ppl.compiler.schedule.slabs import SLABS, estimate_operations
from ppl.compiler.schedule.stages import Opaque, Stage, all_steps, show_schedule
from ppl.compiler.surrogate import variants
from ppl.compiler.surrogate.guards import check_constants, find_guards
from ppl.compiler.surrogate.posterior import draw_builder
from ppl.compiler.surrogate.second_order import HVP_VECTOR, build_hvp
from ppl.compiler.surrogate.traces import (
    TraceModel,
    expand_plan_to_steps,
    require_few_steps,
    simplify_trace,
    sketch_graph,
    unroll_graph,
)
from ppl.compiler.surrogate.variants import ProgramVariant
from ppl.errors import ModelError
from ppl.estimators.base import Estimator
from ppl.graph.lost_gradients import refuse_black_boxes, require_no_lost_path
from ppl.graph.stochastic import StochasticGraph
from ppl.ir.external import why_not_on_target
from ppl.ir.node import Node, topological
from ppl.ir.show import show
from ppl.ir.types import Axis, Kind, Type
from ppl.lang.carried import require_carried, require_one_particle
from ppl.lang.context import UnrollPolicy
from ppl.lang.scan_fusion import fuse_scans
from ppl.lang.trace import Trace
from ppl.lazy import cuda_emission, cuda_presence
from ppl.records import dataclass

AUTO = "auto"

VIOLATIONS_PREFIX = "violations of "


@dataclass(frozen=True)
class Settings:
    """Everything that `ppl.compile` fixes. Estimators `first`, by node, come before the decision table's."""

    estimators: EstimatorRequest
    allow_bias: bool
    particles: int
    max_copies: int
    dtype: str
    target: str
    device: int = 0
    measured: Mapping[str, Sequence[MeasuredCandidate]] = field(default_factory=dict)
    tuning: TuningReport | None = None
    particles_because: str = ""
    weighed: tuple[JointChoice, ...] = ()
    first: Mapping[str, Estimator] = field(default_factory=dict)


# From a model to a plan.


class PlannedModel:
    """A model with an estimator for every random node.

    `graph` is that of the model as written. `working` is the graph that gradients and values are made of: the same, or
    with loops over time unrolled where an estimator of the plan needs that. `retrace` runs the model again.
    """

    def __init__(self, retrace: TraceModel, settings: Settings):
        self.retrace, self.settings = retrace, settings
        self.trace = trace_model(retrace, settings)
        self.graph = analyse(self.trace, retrace, settings.estimators)
        self.target = choose_target(self.graph, settings.target, settings.device)
        self.plan = plan_estimators(self.graph, settings)
        self.working = self._unroll() if plan_needs_unrolling(self.graph, self.plan.estimators) else self.graph

    @cached_property
    def working_plan(self) -> dict[str, Estimator]:
        """The estimators of the nodes of `working`."""
        return expand_plan_to_steps(self.working, self.plan.estimators)

    @property
    def posterior_graph(self) -> StochasticGraph:
        """The graph that posteriors are drawn from: loops are written out only where summed-out nodes need that."""
        summed = any(estimator.within_cost for estimator in self.working_plan.values())
        return self.working if summed else self.graph

    @cached_property
    def flat(self) -> StochasticGraph:
        """The graph without loops over time that have random nodes; an EstimatorError where these are too long."""
        looped = any(n.site.scan is not None or n.enters_loops for n in self.graph.nodes.values())
        if self.working is not self.graph or not looped:
            return self.working
        require_few_steps(self.graph)
        return self._unroll()

    def _unroll(self) -> StochasticGraph:
        estimators, settings = self.plan.estimators, self.settings
        return unroll_graph(self.retrace, lambda t: simplify_model(t, settings), estimators, settings.particles)


def trace_model(retrace: TraceModel, settings: Settings) -> Trace:
    """Run the model once on symbols: what it samples, observes, declares and costs."""
    trace = retrace(UnrollPolicy())
    require_carried(trace)
    require_one_particle(trace, settings.particles)
    simplify_model(trace, settings)
    return trace


def simplify_model(trace: Trace, settings: Settings) -> None:
    """Find the conditions of a trace that have to be computed, and simplify it, in place."""
    fuse_scans(trace)
    trace.guards = find_guards(trace)
    check_constants(trace, np.dtype(settings.dtype))
    simplify_trace(trace)


def analyse(trace: Trace, retrace: TraceModel, estimators: EstimatorRequest) -> StochasticGraph:
    """Find out what depends on what, how smoothly, where a derivative would be lost, and what users' `estimators` sum.

    The graph is complete then: later stages read it.
    """
    graph = StochasticGraph(trace, sketch_graph(trace, retrace))
    with errors_without_step_numbers():
        refuse_black_boxes((graph.sketch or graph).trace)
        require_no_lost_path(graph.sketch or graph)
    return graph_with_named(graph, named_estimators(graph, estimators))


def choose_target(graph: StochasticGraph, name: str, device: int) -> Target:
    """Choose the target of a model: with "auto" CUDA where there is a device that can run it, else the CPU.

    Raises
    ------
    ModelError : the target that is named cannot call the users' functions of the model.
    """
    called = [n.attrs["fn"] for n in graph.order if n.op == "external"]
    called += [n.attrs["site"].dist.function for n in graph.samples if n.attrs["site"].dist.score_only]
    if name == AUTO:
        name = "cpu" if cuda_presence.missing() or why_not_on_target(called, "cuda") else "cuda"
    if obstacle := why_not_on_target(called, name):
        raise ModelError(obstacle)
    target = target_of(name)
    return replace(target, device=device) if target.resident else target


def plan_estimators(graph: StochasticGraph, settings: Settings) -> Plan:
    """Choose an estimator for every random node, and keep the reasons and what was measured."""
    s = settings
    plan = choose_estimators(graph, s.estimators, s.allow_bias, s.particles, s.max_copies, s.first)
    return plan.with_measurements(s.measured, s.tuning, s.particles_because, s.weighed)


# From a plan to what one call computes.


def build_variant(
    planned: PlannedModel, key: str, sites: Sequence[str] = (), particles: int | None = None
) -> ProgramVariant:
    """Expand the estimators of a plan into expressions without random nodes, and differentiate them.

    `key` says for what: "gradient", "value", "rows", "repeats", "hvp", "sample" or another of draws, or "violations of"
    one of them. `particles` fixes the number of particles of "gradient" or "value"; None leaves it to run time.
    """
    graph, plan, draws = planned.working, planned.working_plan, draw_builder(key)
    if draws is not None:
        return variants.build_sample(planned.posterior_graph, sites, draws, plan)
    if key.startswith(VIOLATIONS_PREFIX):
        return variants.build_violations(graph, plan, key.removeprefix(VIOLATIONS_PREFIX), particles)
    builders: dict[str, Callable[[], ProgramVariant]] = {
        "gradient": lambda: variants.build_gradient(graph, plan, particles=particles),
        "repeats": lambda: variants.build_gradient(graph, plan, repeats=True),
        "value": lambda: variants.build_value(graph, plan, particles=particles),
        "rows": lambda: variants.build_rows(graph, plan),
        "sample": lambda: variants.build_sample(planned.graph, sites),
        "hvp": lambda: build_hvp(planned.flat, expand_plan_to_steps(planned.flat, planned.plan.estimators)),
    }
    return builders[key]()


def make_request(variant: ProgramVariant, key: str, arguments: ProgramArguments, int32: tuple[str, ...]) -> Request:
    """Say what a back end is to compile: the outputs of a variant, and the order of what it is passed."""
    scalars, grads, arrays = dict(variant.scalars), dict(variant.grads), dict(variant.arrays)
    if key == "repeats":  # every repeat has a loss and a gradient of its own
        arrays = {"loss": scalars["loss"], **{f"grad {name}": g for name, g in grads.items()}}
        scalars, grads = {}, {}
    vectors = tuple((HVP_VECTOR + name, shape) for name, shape in arguments.params) if key == "hvp" else ()
    nodes = topological([n for group in (scalars, grads, variant.aux, arrays) for n in group.values()])
    all_64_bits = any(n.op in ("external", "loop") for n in nodes)  # users' functions are promised 64 bits
    return Request(
        scalars=tuple(scalars.items()),
        grads=tuple(grads.items()),
        aux=tuple(variant.aux.items()),
        arrays=tuple(arrays.items()),
        params=(*arguments.params, *vectors),
        aux_shapes=arguments.aux,
        hypers=arguments.hypers,
        inputs=arguments.inputs,
        int32=() if all_64_bits else int32,
    )


class ProgramArguments(NamedTuple):
    """What all variants of a program are passed: names and shapes, in order."""

    params: Shapes
    aux: Shapes
    hypers: tuple[str, ...]
    inputs: tuple[tuple[str, Type], ...]


# From a request to source.


@dataclass(eq=False)
class LoweredRequest:
    """A request in the ops that a target runs: products, draws, loops, reads of tables.

    `outputs` says where each result is written. `axes` are those whose length is known at run time, `plates` their
    names in emitted code. Nodes `in_double` add up in float64. `unrolled`: the program is one straight line of code for
    one particle; `small`: for any call, so that it needs no schedule.
    """

    request: Request
    dtype: str
    target: Target
    outputs: list[Output]
    array_places: list[tuple[str, Type, Poly]]
    axes: dict[str, Axis]
    plates: list[str]
    in_double: set[Node]
    windowed: bool
    unrolled: bool
    aux_at: int
    floats: int

    @property
    def small(self) -> bool:
        """Whether straight-line code is all that there is to emit."""
        return self.unrolled and not self.axes

    def __str__(self) -> str:
        return show([o.node for o in self.outputs], [o.name for o in self.outputs])


@dataclass(eq=False)
class Schedule:
    """Stages and their steps in order, fused into loops, with the memory that they use."""

    stages: list[Stage]
    builder: ScheduleBuilder
    memory: MemoryLayout
    flops: Poly

    def __str__(self) -> str:
        return show_schedule(self.stages) or "one straight-line function"


@dataclass(eq=False)
class EmittedSource:
    """The source of a program, and what a call of it must know. `passed` are the arguments of its drivers."""

    request: Request
    dtype: str
    target: Target
    source: str
    functions: tuple[Function, ...]
    stages: list[Stage]
    memory: MemoryLayout
    kernels: int
    axes: dict[str, Axis]
    plates: list[str]
    array_places: list[tuple[str, Type, Poly]]
    injected: Mapping[str, Any]
    flops: Poly
    unrolled: bool
    windowed: bool
    trains: bool
    passed: Sequence[str]

    def __str__(self) -> str:
        return self.source


def emit_request(
    request: Request, dtype: str, target: str | Target, kind: Callable[..., Emitter] | None = None
) -> tuple[EmittedSource, Emitter]:
    """Compile a request to source with the emitter `kind` (default: the target's), and return that emitter, too."""
    lowered = lower(request, dtype, target_of(target))
    schedule = fuse(lowered)
    return emit(lowered, schedule, kind)


def lower(request: Request, dtype: str, target: Target) -> LoweredRequest:
    """Rewrite a request into ops that the target runs, and place its results."""
    rules = target.rewrites
    nodes = [n for group in (request.scalars, request.grads, request.aux, request.arrays) for _, n in group]
    split = rules.windows and not (request.grads or request.aux or request.whole or request.part)
    parts = split_into_particle_windows(nodes) if split else None
    lowered, in_double = lower_request(request, parts or nodes, rules, dtype)
    axes = run_time_axes([*nodes, *(parts or ())], request)
    plates = [identifier(a.name) for a in axes.values() if a.kind is Kind.PLATE]
    outputs, array_places, aux_at, floats = place_outputs(request, iter(lowered), len(plates), floats_per_int(dtype))
    # Where particles are a run-time axis, the place of one array among several depends on their number.
    unrolled = can_unroll(lowered, rules.straight) and not (axes and request.arrays)
    windowed = parts is not None or request.part
    return LoweredRequest(
        request, dtype, target, outputs, array_places, axes, plates, in_double, windowed, unrolled, aux_at, floats
    )


def fuse(lowered: LoweredRequest) -> Schedule:
    """Cut a lowered request into stages, fuse their steps into loops, and lay out the memory of a call."""
    target, request = lowered.target, lowered.request
    nodes = [] if lowered.small else [o.node for o in lowered.outputs]
    builder = ScheduleBuilder(nodes, leaf_offsets(request), target)
    builder.in_double, builder.windowed = lowered.in_double, lowered.windowed
    for name, _ in request.inputs:
        builder.inputs[name] = "x_" + identifier(name)
    stages = [] if lowered.small else build_schedule(lowered.outputs, builder)
    header = [*_workspace_header(lowered, stages), *_device_flags(stages, target)]
    memory = lay_out_memory(stages, builder, header, lowered.floats)
    if FAILED in header:
        memory.symbols[FAILED_AT] = Poly.of(header.index(FAILED))
    for _, t, size in lowered.array_places:
        memory.ints = memory.ints + (size * floats_per_int(lowered.dtype) if t.dtype == "int" else 0)
    return Schedule(stages, builder, memory, estimate_operations(stages))


def emit(
    lowered: LoweredRequest, schedule: Schedule, kind: Callable[..., Emitter] | None = None
) -> tuple[EmittedSource, Emitter]:
    """Write a schedule as the source of a module."""
    request, dtype, target, builder = lowered.request, lowered.dtype, lowered.target, schedule.builder
    n_aux, words = offsets_of(request.aux_shapes)[1] if request.aux else 0, floats_per_int(dtype)
    counts = [
        assign(Name("v").at(list(lowered.axes).index(t.axes[0].name)), array_length(builder.inputs[n]))
        for n, t in request.inputs
        if t.axes and t.axes[0].size is None
    ]
    unit = TranslationUnit(
        schedule.stages,
        builder,
        schedule.memory,
        dtype,
        arrays=[builder.inputs[n] for n, _ in request.inputs],
        plates=lowered.plates,
        n_aux=n_aux,
        aux_at=lowered.aux_at,
        counts=counts,
        sampling=bool(request.arrays),
        has_scalars=bool(request.scalars),
        kinds=["int32" if name in request.int32 else t.dtype for name, t in request.inputs],
        leading=[identifier(t.axes[0].name) if t.axes and t.axes[0].size is None else "" for _, t in request.inputs],
        trained=_trained_entries(request),
        results=len(request.scalars),
        sizes=argument_sizes(request),
        flops=schedule.flops,
        outputs=[(name, size * (words if t.dtype == "int" else 1)) for name, t, size in lowered.array_places],
    )
    emitter = (kind or EMITTERS[target.printer])(unit)
    body = []
    if lowered.unrolled:
        body = unrolled_body(lowered.outputs, leaf_offsets(request), builder.inputs, dtype, n_aux, lowered.aux_at)
    module = emitter.module(body, general=not lowered.small)
    emitted = EmittedSource(
        request,
        dtype,
        target,
        source=python.module(module),
        functions=tuple(item for item in module.items if isinstance(item, Function)),
        stages=schedule.stages,
        memory=schedule.memory,
        kernels=emitter.kernels,
        axes=lowered.axes,
        plates=lowered.plates,
        array_places=lowered.array_places,
        injected=emitter.injected,
        flops=schedule.flops,
        unrolled=lowered.unrolled,
        windowed=lowered.windowed,
        trains=unit.trained > 0,
        passed=unit.driver_arguments,
    )
    return emitted, emitter


EMITTERS: dict[str, Callable[..., Emitter]] = {"cpu": CpuEmitter, "cuda": cuda_emission.later("CudaEmitter")}
"""The emitters that targets name."""


def _workspace_header(lowered: LoweredRequest, stages: Sequence[Stage]) -> list[str]:
    """Return the names of what the int workspace begins with."""
    header = [f"n_{identifier(a)}" for a in lowered.axes] + [f"total_{p}" for p in lowered.plates]
    header += [f"tile_{s.name}" for s in stages if s.row is not None]
    header += [f"{what}_{s.name}" for s in stages if s.partitioned for what in ("chunk", "first")]
    header += ["first_particle"] if lowered.windowed else []
    return header + ([SLABS] if any(s.row is not None for s in stages) else [])


def _device_flags(stages: Sequence[Stage], target: Target) -> list[str]:
    """Return what a device tells the host: whether users' functions have failed that may not."""
    steps = (t for s in stages for t in all_steps(s) if isinstance(t, Opaque) and t.node.op == "external")
    return [FAILED] if target.resident and any(t.node.attrs["fn"].on_error == "raise" for t in steps) else []


def _trained_entries(request: Request) -> int:
    """Return the entries of a gradient that is whole, and so has a training loop; 0 for other requests."""
    whole = {n for n, _ in request.grads} == {n for n, _ in request.params} and not request.arrays
    return offsets_of(request.params)[1] if whole else 0
