"""`program.profile`: the time of a call, step by step of the schedule.

The program is emitted once more in an instrumented serial form, with every step between two reads of the cycle counter;
the program itself does not change. Cycles become seconds by the total, which is timed by both clocks."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ppl.arguments import MANY, choice, integer
from ppl.choosing.cost_model import bytes_moved
from ppl.compiler.emit.addresses import array_length
from ppl.compiler.emit.code import Assign, Expression, Function, Module, Name, Statement, add_to, assign, call
from ppl.compiler.emit.cpu.drivers import DriverWriter, RegionWriter
from ppl.compiler.emit.cpu.emitter import CpuEmitter
from ppl.compiler.emit.stages import RegionFrame, StageWriter
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.lower.products import multiplication_count
from ppl.compiler.lower.request import Request
from ppl.compiler.lower.sizes import Poly
from ppl.compiler.lower.target import Target
from ppl.compiler.pipeline import emit_request
from ppl.compiler.schedule.stages import Cluster, Opaque, Stage, all_steps
from ppl.errors import DataError
from ppl.ir.node import Node
from ppl.program.roofline import Rates, measure_rates
from ppl.records import dataclass
from ppl.runtime.call import Call, bind_call, run_variant
from ppl.runtime.executable import Executable
from ppl.runtime.state import State, require_state

STEP_KINDS = {"gemm": "product", "turns": "loop", "rowid": "ids", "rowkey": "ids"}


class StepClock:
    """Counters of steps, at the end of the int workspace; the last one counts everything."""

    def __init__(self, unit: TranslationUnit):
        self.steps: list[tuple[str, str, str, Poly, Poly]] = []
        self.slots = sum(len(all_steps(s)) + 1 for s in unit.stages) + 3

    def timed(self, body: Sequence[Statement], stage: str, kind: str, name: str, flops: Poly | None = None,
              size: Poly | None = None) -> list[Statement]:  # fmt: skip
        """`body` with a counter of its own."""
        if not body:
            return []
        at = len(self.steps)
        self.steps.append((stage, kind, name, flops or Poly(), size or Poly()))
        end = array_length("v") - self.slots
        return [assign("begin", call("cycles")), *body, _add_elapsed_cycles(end + at, "begin")]

    def whole(self, body: Sequence[Statement]) -> list[Statement]:
        """`body` with everything counted but the final return."""
        return [
            assign("start", call("cycles")),
            *body[:-1],
            _add_elapsed_cycles(array_length("v") - 1, "start"),
            body[-1],
        ]


def _add_elapsed_cycles(slot: Expression, since: str) -> Statement:
    return add_to(Name("v").at(slot), call("cycles") - since)


class ClockedStages(StageWriter):
    """Writes stages with a counter for every step."""

    repeated = 1

    def __init__(self, clock: StepClock, unit: TranslationUnit, rows: RegionFrame, products: RegionFrame):
        super().__init__(unit, rows, products, "shared")
        self.clock = clock

    def step(self, step: Cluster | Opaque, stage: Stage, prefix: str, functions: list[Function]) -> list[Statement]:
        """A step between two reads of the counter."""
        body = super().step(step, stage, prefix, functions)
        size = bytes_moved(step, np.dtype(self.unit.dtype).itemsize) * self.repeated
        if isinstance(step, Cluster):
            made = sorted({op.target.name for op in step.ops if op.target.in_memory}) or [step.name]
            return self.clock.timed(body, prefix, "kernel", f"{step.name}: {', '.join(made)}", None, size)
        op = step.node.op
        if op == "turns":
            return body
        name = str(step.node.attrs.get("name", step.target.name))
        return self.clock.timed(
            body, prefix, STEP_KINDS.get(op, op), name, product_flops(step.node) * self.repeated, size
        )

    def time_loop(self, step: Opaque, prefix: str, functions: list[Function]) -> list[Statement]:
        """A loop, whose steps count as often as they run."""
        outer, self.repeated = self.repeated, self.repeated * step.node.attrs["length"]
        body = super().time_loop(step, prefix, functions)
        self.repeated = outer
        return body

    def cleared(self, stage: Stage) -> list[Statement]:
        """The clearing of accumulators is a step too."""
        return self.clock.timed(super().cleared(stage), stage.name, "reduction", "clear accumulators")


class ClockedDrivers(DriverWriter):
    """Writes drivers that count sums and everything."""

    def __init__(self, clock: StepClock, unit: TranslationUnit, regions: RegionWriter):
        super().__init__(unit, regions)
        self.clock = clock

    def merge(self, parallel: bool) -> list[Statement]:
        """The sums into the gradient are a step too."""
        body = super().merge(parallel)
        return body if parallel else self.clock.timed(body, "serial", "reduction", "write gradients")

    def sequence(self, parallel: bool) -> list[Statement]:
        """The body of a driver, counted as a whole."""
        body = super().sequence(parallel)
        return body if parallel else self.clock.whole(body)

    def parallel(self) -> list[Function | Assign]:
        """Counters know one thread."""
        return []


class ClockedEmitter(CpuEmitter):
    """Writes the serial form with a counter per step."""

    def __init__(self, unit: TranslationUnit):
        self.clock = StepClock(unit)
        super().__init__(unit)

    def writer(self) -> StageWriter:
        """The writer of stages."""
        return ClockedStages(self.clock, self.unit, self.regions.stage, self._products)

    def runs(self) -> DriverWriter:
        """The writer of drivers."""
        return ClockedDrivers(self.clock, self.unit, self.regions)

    def module(self, unrolled: Sequence[Statement] = (), general: bool = True) -> Module:
        """The module; its unrolled form is one step."""
        if not unrolled:
            return super().module()
        timed = self.clock.timed(unrolled[:-1], "one", "kernel", "straight-line code")
        return super().module(self.clock.whole([*timed, unrolled[-1]]), general)


def product_flops(node: Node) -> Poly:
    """Floating point operations of a product."""
    if node.op != "gemm":
        return Poly()
    return multiplication_count(node) * 2


class TimedExecutable(Executable):
    """An executable that keeps the time spent in emitted code, sizes and memory; of a clocked one also the cycles."""

    may_be_plain = False
    seconds: float = 0.0
    cycles: int = 0
    slots: int = 0
    bytes: int = 0
    sizes: Mapping[str, int]
    ticks: np.ndarray

    def reset(self) -> None:
        """Forget what was measured."""
        self.seconds, self.cycles, self.ticks = 0.0, 0, np.zeros(self.slots, np.int64)

    def _buffers(
        self, sizes: dict[str, int], slabs: int, lanes: int, old: Sequence[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        w, v = super()._buffers(sizes, slabs, lanes)
        return w, np.concatenate([v, np.zeros(self.slots, np.int64)])

    def _call(self, arguments: tuple[Any, ...], threads: int, sizes: Mapping[str, int]) -> None:
        from ppl.kernels.cpu.measurement import cycles  # imports Numba

        given = dict(zip(self.passed, arguments, strict=True))
        w, v = given["w"], given["v"]
        counters = v[v.size - self.slots :]
        counters[:] = 0
        start, first = time.perf_counter(), cycles()
        super()._call(arguments, threads, sizes)
        last, end = cycles(), time.perf_counter()
        self.seconds, self.cycles = self.seconds + end - start, self.cycles + last - first
        self.ticks += counters
        self.sizes, self.bytes = sizes, max(self.bytes, w.nbytes + v.nbytes)


def time_executable(executable: Executable) -> TimedExecutable:
    """`executable` with its module, timed."""
    out = object.__new__(TimedExecutable)
    out.__dict__.update(executable.__dict__)
    out._local, out.plain = type(executable._local)(), False
    out.reset()
    return out


def emit_clocked(request: Request, dtype: str, target: Target) -> tuple[TimedExecutable, ClockedEmitter]:
    """The instrumented form of a request, and its emitter, which knows the steps."""
    emitted, emitter = emit_request(request, dtype, target, ClockedEmitter)
    assert isinstance(emitter, ClockedEmitter)
    out = TimedExecutable(**vars(emitted))
    out.slots = emitter.clock.slots
    out.reset()
    return out, emitter


CALL_OPTIONS = ("seed", "particles", "total_rows", "rows", "hyper")


@dataclass(frozen=True)
class Row:
    """One step: its kind, what it computes, seconds per call of the serial program, share of its time.

    `flops` counts products only; `bytes` are read or written. `roof` is the least time that they take at the measured
    rates over the time taken: above 1 where they stay in caches nearer than the others.
    """

    stage: str
    kind: str
    name: str
    seconds: float
    share: float
    flops: int = 0
    bytes: int = 0
    roof: float = 0.0

    @property
    def rate(self) -> float:
        """Floating point operations per second (products only)."""
        return self.flops / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Profile:
    """Seconds per call and where they go; prints as a table, `rows` are the steps as data.

    `seconds` is the median time of a call with its own threads, `python` the part of it outside emitted code, `serial`
    that of the emitted code on one thread, which the shares of the rows refer to. `flops` counts products only. `rates`
    are what one core does at best. `compiled` are functions of the program with the seconds that this process has spent
    on compiling them, or on reading their machine code from disk, without what they call; the costliest first.
    """

    seconds: float
    python: float
    serial: float
    rows: tuple[Row, ...]
    kernels: int
    regions: int
    workspace: int
    rates: Rates
    compiled: tuple[tuple[str, float], ...]

    @property
    def flops(self) -> int:
        """Operations of all products of a call."""
        return sum(r.flops for r in self.rows)

    @property
    def rate(self) -> float:
        """Operations per second that the products reach together."""
        seconds = sum(r.seconds for r in self.rows if r.flops)
        return self.flops / seconds if seconds > 0 else 0.0

    def table(self) -> str:
        """The profile as text."""
        from ppl.program.profile import format_profile  # imports rich

        return format_profile(self)

    def __str__(self) -> str:
        return self.table()


def profile_call(
    program: Any, state: State, data: Sequence[Any], repeats: int, kind: str, options: Mapping[str, Any]
) -> Profile:
    """Profile calls of `program`; see `Program.profile`."""
    require_state(state)
    choice("profile: kind", kind, ("gradient", "value", "rows"))
    repeats = integer("profile: repeats", repeats, 1, MANY)
    unknown = sorted(set(options) - {*CALL_OPTIONS})
    if unknown:
        raise DataError(f"profile: no option {unknown}; there are {[*CALL_OPTIONS]}")
    call = Call(state, data, **options)
    bound = bind_call(program, call)
    target = bound.compiled.target
    if not target.clocked:
        raise DataError(f"profile: steps of programs for {target.name!r} cannot be timed one by one")
    run_variant(bound, kind)
    executable = bound.compiled.executable(kind, (), bound.particles, bound.int32)
    return profile_executable(lambda: run_variant(bind_call(program, call), kind), bound.run, executable, repeats)


def profile_executable(
    call: Callable[[], Any], run: Callable[..., Any], executable: Executable, repeats: int
) -> Profile:
    """Profile `executable`: `call` makes a whole call, ``run(executable, **options)`` what it runs."""
    plain, (inside, emitter) = (
        time_executable(executable),
        emit_clocked(executable.request, executable.dtype, executable.target),
    )
    for _ in range(2):
        call(), run(plain), run(inside, threads=1)
    whole, native = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        whole.append(time.perf_counter() - start)
        plain.reset()
        run(plain)
        native.append(plain.seconds)
    inside.reset()
    for _ in range(repeats):
        run(inside, threads=1)
    scale = inside.seconds / max(inside.cycles, 1) / repeats
    total = int(inside.ticks[-1])
    full = {**inside.sizes, "n_particles": inside.sizes.get("n_particles_total", inside.sizes.get("n_particles", 1))}
    best = measure_rates(executable.dtype, max(plain.bytes, 1 << 16))
    rows = []
    for i, (stage, kind, name, operations, size) in enumerate(emitter.clock.steps):
        spent, flops, number = int(inside.ticks[i]) * scale, operations.evaluate(full), size.evaluate(full)
        roof = best.seconds(flops, number) / spent if spent > 0 else 0.0
        rows.append(Row(stage, kind, name, spent, int(inside.ticks[i]) / max(total, 1), flops, number, roof))
    rest = max(0, total - sum(int(inside.ticks[i]) for i in range(len(rows))))
    rows.append(Row("serial", "driver", "calls and offsets", rest * scale, rest / max(total, 1)))
    seconds = np.median(whole)
    python = max(0.0, seconds - np.median(native))
    return Profile(seconds, python, total * scale, tuple(rows), executable.kernels, executable.regions, plain.bytes,
                   best, compile_seconds(executable))  # fmt: skip


def compile_seconds(executable: Executable) -> tuple[tuple[str, float], ...]:
    """Functions of an executable, shared kernels included, with the seconds spent on them in this process."""
    from ppl.kernels import dispatchers  # imports Numba

    own = [f.py_func for f in vars(executable.module).values() if hasattr(f, "py_func")]
    found = {f: f.__name__ for f in own} | {
        v.py_func: v.__name__ for f in own for v in dispatchers.reachable_functions(f)
    }
    often = Counter(name for f, name in found.items() if f in dispatchers.compile_seconds)
    full = {f: name if often[name] == 1 else f"{f.__module__}.{name}" for f, name in found.items()}
    spent = [(full[f], dispatchers.compile_seconds[f]) for f in found if f in dispatchers.compile_seconds]
    return tuple(sorted(spent, key=lambda item: -item[1]))


SHOWN_FUNCTIONS = 6
"""Functions whose time of compiling is shown."""


def format_profile(profile: Profile, width: int = 110) -> str:
    """The profile as a table, one row a step, and a line of totals."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("stage", "kind", "step"):
        table.add_column(column, overflow="fold")
    for column in ("µs", "share", "Gflop/s", "KiB", "of roof"):
        table.add_column(column, justify="right")
    for r in profile.rows:
        rate = f"{r.rate / 1e9:.1f}" if r.flops else ""
        memory = (f"{r.bytes / 1024:.1f}", f"{r.roof:.0%}") if r.bytes else ("", "")
        table.add_row(r.stage, r.kind, escape(r.name), f"{r.seconds * 1e6:.2f}", f"{r.share:.1%}", rate, *memory)
    console.print(table)
    parts = [f"{profile.seconds * 1e6:.1f} µs a call", f"{profile.python * 1e6:.1f} µs of it in Python",
             f"{profile.serial * 1e6:.1f} µs on one thread", f"{profile.kernels} kernels",
             f"{profile.regions} row regions", f"{profile.workspace / 1024:.0f} KiB workspace"]  # fmt: skip
    if profile.flops:
        parts.append(f"products {profile.flops / 1e6:.2f} Mflop at {profile.rate / 1e9:.1f} Gflop/s")
    console.print(", ".join(parts), markup=False, highlight=False, soft_wrap=True)
    roof = f"roof: {profile.rates.flops / 1e9:.0f} Gflop/s, {profile.rates.bytes / 1e9:.0f} GB/s on one thread"
    total, most = sum(s for _, s in profile.compiled), profile.compiled[:SHOWN_FUNCTIONS]
    named = ", ".join(f"{name} {s:.2f} s" for name, s in most)
    console.print(f"{roof}; compiled or read from disk in {total:.2f} s: {named}", markup=False, highlight=False,
                  soft_wrap=True)  # fmt: skip
    return out.getvalue().rstrip()
