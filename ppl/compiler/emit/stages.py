"""Emission of stages: kernels for fused loops, and a function that calls these and all other steps in order.

The function of a row region takes its rows tile by tile. How it is framed, as a region that finds its arguments in
words or as a device function, is the target's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppl.compiler.emit.checks import begin
from ppl.compiler.emit.code import Assign, Function, Name, Statement, assign, call, compare, do, loop, term, when
from ppl.compiler.emit.code.pieces import pieces
from ppl.compiler.emit.loops import KernelWriter
from ppl.compiler.emit.products import gemm
from ppl.compiler.emit.scalar import INF
from ppl.compiler.emit.steps import EMIT, table_product
from ppl.compiler.emit.sums import length, runs
from ppl.compiler.emit.tables import function as table_function
from ppl.compiler.emit.turns.stopping import unless_idle, until_stopped
from ppl.compiler.emit.unit import Unit
from ppl.compiler.lower.views import axis_size
from ppl.compiler.schedule.fusion import Value
from ppl.compiler.schedule.stages import Cluster, Opaque, Stage
from ppl.ir.types import Axis

Frame = Callable[[Stage, Sequence[Statement], str], Function]
"""Makes a function of a stage and a body."""


class Stages:
    """Writes the functions of stages; `kernels` counts those of fused loops.

    `rows` frames the body of a row region, `products` that of the products that a region owns, where these are
    functions; the kernels of row regions have the form `form`.
    """

    def __init__(self, unit: Unit, rows: Frame | None, products: Frame | None, form: str):
        self.unit, self.rows, self.products, self.form = unit, rows, products, form
        self.types = unit.types()
        self.kernels = 0

    def writer(self, cluster: Cluster, row: Axis | None) -> KernelWriter:
        """What writes the kernel of a cluster."""
        return KernelWriter(cluster, row)

    def functions(self) -> list[Function]:
        """The functions of all stages."""
        return [f for stage in self.unit.stages for f in self._stage(stage)]

    def _stage(self, stage: Stage) -> list[Function]:
        functions: list[Function] = []
        steps = self._steps(stage, stage.name, functions)
        if stage.row is None:
            return [*functions, self.unit.function(stage.name, self.unit.common, steps, stage_doc(stage))]
        assert self.rows is not None
        body = [*self.cleared(stage), in_tiles(stage, steps)]
        written = [self.rows(stage, body, stage_doc(stage))]
        return [*functions, *written, *([self._owned(stage)] if stage.owned else [])]

    def _steps(self, stage: Stage, prefix: str, functions: list[Function]) -> list[Statement]:
        """The statements of a stage's steps; their kernels are appended to `functions`."""
        return [x for step in stage.steps for x in self.step(step, stage, prefix, functions)]

    def step(self, step: Cluster | Opaque, stage: Stage, prefix: str, functions: list[Function]) -> list[Statement]:
        """The statements of one step."""
        if isinstance(step, Opaque):
            return self._opaque(step, stage, prefix, functions)
        step.name = f"{prefix}_kernel_{len(functions)}"
        writer = self.writer(step, stage.row)
        made = pieces(writer.function(step.name, self.types, self.form if stage.row is not None else "jit"))
        functions += made
        self.kernels += len(made)
        return [writer.call(function) for function in made]

    def _opaque(self, step: Opaque, stage: Stage, prefix: str, functions: list[Function]) -> list[Statement]:
        unit, op, name = self.unit, step.node.op, f"{prefix}_{step.target.name}"
        if op == "turns":
            return self.turns(step, prefix, functions)
        if op == "gemm":
            return [*gemm(step, unit.builder, stage, unit.dtype)]
        if op == "column_dot":  # before the stage, see `ppl.training.columns.emission`
            return []
        if op in ("table_dot", "table_sum"):
            functions.append(table_function(name, step.node))
            return table_product(step, unit.builder, stage.row, name)
        return EMIT[op](step, unit.builder, stage.row, unit.dtype)

    def turns(self, step: Opaque, prefix: str, functions: list[Function]) -> list[Statement]:
        """A loop of the program: what comes before its first turn, and all turns."""
        attrs = step.node.attrs
        assert step.before is not None and step.body is not None
        before = self._steps(step.before, prefix, functions)
        index, length = self.unit.builder.value(attrs["index"]), attrs["length"]
        time = f"t_{index.name}"
        body: list[Statement] = [] if index.buffer is None else [assign(Name("v").at(begin(index)), time)]
        turn = term(length - 1) - time if attrs["reverse"] else Name(time)
        if attrs["stop"] is not None:
            turn = Name(f"turn_{index.name}")
            body.insert(0, assign(time, term(length - 1) - turn if attrs["reverse"] else turn))
        for _, (every, number) in attrs["every"]:
            slot = self.unit.builder.value(number)
            if slot.buffer is not None:
                body.append(assign(Name("v").at(begin(slot)), (turn + (every - 1)) // every))
        if step.test is None:
            body += self._steps(step.body, prefix, functions)
        else:
            body += unless_idle(
                step.node, self.unit.builder, step.body.row, time,
                self._steps(step.test, prefix, functions), self._steps(step.body, prefix, functions),
            )  # fmt: skip
        before = [*self.fresh(step.cleared), *before]
        if attrs["stop"] is not None:
            return [*before, *until_stopped(step.node, self.unit.builder, step.body.row, turn, body)]
        return [*before, loop(time, -1, body, length - 1, -1) if attrs["reverse"] else loop(time, length, body)]

    def _owned(self, stage: Stage) -> Function:
        """The region of the products that `stage` owns."""
        assert stage.row is not None and self.products is not None
        left = call("min", f"chunk_{stage.name}", term(axis_size(stage.row)) - "t0")
        body: list[Statement] = [assign("t0", f"first_{stage.name}"), assign("n", left)]
        for step in stage.owned:
            body += self.step(step, stage, stage.name, [])
        doc = "Products over the rows of the chunk that begins at t0: the share of `slab` of every result."
        return self.products(stage, body, doc)

    def fresh(self, sums: Sequence[Value]) -> list[Statement]:
        """The statements that clear what the turns of a loop add up."""
        return [self.clear(value) for value in sums]

    def clear(self, value: Value) -> Statement:
        """The statement that clears an accumulator."""
        assert value.buffer is not None
        array, at, size = value.buffer.array, Name(value.buffer.symbol), value.extent()
        if value.node.op == "amax":
            return Assign(Name(array).cut(at, size), -INF)
        return do("clear", array, at, size)

    def cleared(self, stage: Stage) -> list[Statement]:
        """The statements that clear the accumulators of a slab."""
        lines: list[Statement] = []
        for piece in runs(self.unit, stage.accumulators):
            op = piece[0].node.op
            if op in ("gemm", "amax"):
                clear = [self.clear(value) for value in piece]
                lines += [when(compare("hi", "<=", "lo"), [x]) for x in clear] if op == "gemm" else clear
            else:
                buffer = piece[0].buffer
                assert buffer is not None
                lines.append(do("clear", buffer.array, Name(buffer.symbol), length(piece)))
        if stage.owned and lines:
            return [when(compare(f"first_{stage.name}", "==", 0), lines)]
        return lines


def in_tiles(stage: Stage, steps: Sequence[Statement]) -> Statement:
    """The rows of a region, tile by tile."""
    tile, t0 = f"tile_{stage.name}", Name("t0")
    return loop("t0", "hi", [assign("n", call("min", tile, Name("hi") - t0)), *steps], "lo", tile)


def stage_doc(stage: Stage) -> str:
    """What a stage function does."""
    if stage.row is None:
        return f"Unplated stage {stage.level}."
    return f"Rows lo to hi of axis {stage.row.name}, in tiles; sums over rows go to the accumulators of `slab`."
