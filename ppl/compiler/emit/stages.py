"""Stages: write kernels for fused loops, and a function that calls these and all other steps in order.

The function of a row region takes its rows tile by tile. How it is framed, as a region that finds its arguments in
words or as a device function, is the target's.
Loops over time are written here, too: a tile leaves one when all its rows have stopped, and passes over iterations
that have nothing to do; what iterations that do
not run would have stacked is zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppl.compiler.emit.addresses import buffer_start, tile_start
from ppl.compiler.emit.code import (
    Assign,
    Expression,
    ExpressionLike,
    Function,
    Name,
    Statement,
    Unary,
    While,
    as_expression,
    assign,
    call,
    compare,
    do,
    loop,
    when,
)
from ppl.compiler.emit.kernels import KernelWriter, split_kernel
from ppl.compiler.emit.products import emit_gemm, emit_table_product
from ppl.compiler.emit.products import table_product_function as table_function
from ppl.compiler.emit.scalar import INF
from ppl.compiler.emit.slab_reductions import adjacent_values, total_extent
from ppl.compiler.emit.steps import STEP_EMITTERS
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.lower.sizes import Poly, axis_size
from ppl.compiler.schedule.builder import ScheduleBuilder
from ppl.compiler.schedule.stages import Cluster, Opaque, Stage, Value
from ppl.ir.node import Node
from ppl.ir.types import Axis

RegionFrame = Callable[[Stage, Sequence[Statement], str], Function]
"""Makes a function of a stage and a body."""


class StageWriter:
    """Writes the functions of stages; `kernels` counts those of fused loops.

    `rows` frames the body of a row region, `products` that of the products that a region owns, where these are
    functions; the kernels of row regions have the form `form`.
    """

    def __init__(self, unit: TranslationUnit, rows: RegionFrame | None, products: RegionFrame | None, form: str):
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
        body = [*self.cleared(stage), loop_over_tiles(stage, steps)]
        written = [self.rows(stage, body, stage_doc(stage))]
        return [*functions, *written, *([self._owned(stage)] if stage.partitioned else [])]

    def _steps(self, stage: Stage, prefix: str, functions: list[Function]) -> list[Statement]:
        """The statements of a stage's steps; their kernels are appended to `functions`."""
        return [x for step in stage.steps for x in self.step(step, stage, prefix, functions)]

    def step(self, step: Cluster | Opaque, stage: Stage, prefix: str, functions: list[Function]) -> list[Statement]:
        """The statements of one step."""
        if isinstance(step, Opaque):
            return self._opaque(step, stage, prefix, functions)
        step.name = f"{prefix}_kernel_{len(functions)}"
        writer = self.writer(step, stage.row)
        made = split_kernel(writer.function(step.name, self.types, self.form if stage.row is not None else "jit"))
        functions += made
        self.kernels += len(made)
        return [writer.call(function) for function in made]

    def _opaque(self, step: Opaque, stage: Stage, prefix: str, functions: list[Function]) -> list[Statement]:
        unit, op, name = self.unit, step.node.op, f"{prefix}_{step.target.name}"
        if op == "turns":
            return self.time_loop(step, prefix, functions)
        if op == "gemm":
            return [*emit_gemm(step, unit.builder, stage, unit.dtype)]
        if op in ("table_dot", "table_sum"):
            functions.append(table_function(name, step.node))
            return emit_table_product(step, unit.builder, stage.row, name)
        return STEP_EMITTERS[op](step, unit.builder, stage.row, unit.dtype)

    def time_loop(self, step: Opaque, prefix: str, functions: list[Function]) -> list[Statement]:
        """A loop of the program: what comes before its first turn, and all turns."""
        attrs = step.node.attrs
        assert step.before is not None and step.body is not None
        before = self._steps(step.before, prefix, functions)
        index, length = self.unit.builder.value(attrs["index"]), attrs["length"]
        time = f"t_{index.name}"
        body: list[Statement] = [] if index.buffer is None else [assign(Name("v").at(buffer_start(index)), time)]
        turn = as_expression(length - 1) - time if attrs["reverse"] else Name(time)
        if attrs["stop"] is not None:
            turn = Name(f"turn_{index.name}")
            body.insert(0, assign(time, as_expression(length - 1) - turn if attrs["reverse"] else turn))
        for _, (every, number) in attrs["every"]:
            slot = self.unit.builder.value(number)
            if slot.buffer is not None:
                body.append(assign(Name("v").at(buffer_start(slot)), (turn + (every - 1)) // every))
        if step.test is None:
            body += self._steps(step.body, prefix, functions)
        else:
            body += skip_idle_iteration(
                step.node, self.unit.builder, step.body.row, time,
                self._steps(step.test, prefix, functions), self._steps(step.body, prefix, functions),
            )  # fmt: skip
        before = [*self.clear_loop_sums(step.cleared), *before]
        if attrs["stop"] is not None:
            return [*before, *loop_until_stopped(step.node, self.unit.builder, step.body.row, turn, body)]
        return [*before, loop(time, -1, body, length - 1, -1) if attrs["reverse"] else loop(time, length, body)]

    def _owned(self, stage: Stage) -> Function:
        """The region of the products that `stage` owns."""
        assert stage.row is not None and self.products is not None
        left = call("min", f"chunk_{stage.name}", as_expression(axis_size(stage.row)) - "t0")
        body: list[Statement] = [assign("t0", f"first_{stage.name}"), assign("n", left)]
        for step in stage.partitioned:
            body += self.step(step, stage, stage.name, [])
        doc = "Products over the rows of the chunk that begins at t0: the share of `slab` of every result."
        return self.products(stage, body, doc)

    def clear_loop_sums(self, sums: Sequence[Value]) -> list[Statement]:
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
        for piece in adjacent_values(self.unit, stage.accumulators):
            op = piece[0].node.op
            if op in ("gemm", "amax"):
                clear = [self.clear(value) for value in piece]
                lines += [when(compare("hi", "<=", "lo"), [x]) for x in clear] if op == "gemm" else clear
            else:
                buffer = piece[0].buffer
                assert buffer is not None
                lines.append(do("clear", buffer.array, Name(buffer.symbol), total_extent(piece)))
        if stage.partitioned and lines:
            return [when(compare(f"first_{stage.name}", "==", 0), lines)]
        return lines


def loop_over_tiles(stage: Stage, steps: Sequence[Statement]) -> Statement:
    """The rows of a region, tile by tile."""
    tile, t0 = f"tile_{stage.name}", Name("t0")
    return loop("t0", "hi", [assign("n", call("min", tile, Name("hi") - t0)), *steps], "lo", tile)


def stage_doc(stage: Stage) -> str:
    """What a stage function does."""
    if stage.row is None:
        return f"Unplated stage {stage.level}."
    return f"Rows lo to hi of axis {stage.row.name}, in tiles; sums over rows go to the accumulators of `slab`."


def loop_until_stopped(
    turns: Node, builder: ScheduleBuilder, row: Axis | None, turn: Expression, body: Sequence[Statement]
) -> list[Statement]:
    """The turns of a loop as long as one of the tile's rows goes on; `body` is one of them, number `turn`."""
    attrs, length = turns.attrs, turns.attrs["length"]
    flag, limit = builder.value(attrs["carries"][attrs["stop"]]), Name(f"end_{builder.value(attrs['index']).name}")
    done = _all_rows_set(flag, row)
    rest = [
        x
        for i, value in _stacked_results(turns, builder)
        for x in _clear_entries(value, row, *_iterations_left(turns, i, turn))
    ]
    leave = when(done, [*rest, assign(limit, turn)])
    inside = [*body, leave, assign(turn, turn + 1)]
    return [assign(turn, 0), assign(limit, length), While(compare(turn, "<", limit), tuple(inside))]


def skip_idle_iteration(
    turns: Node,
    builder: ScheduleBuilder,
    row: Axis | None,
    time: ExpressionLike,
    test: Sequence[Statement],
    body: Sequence[Statement],
) -> list[Statement]:
    """The turn of the step `time`: `test` says which rows of the tile have nothing to do, and `body` is the rest."""
    _, place, number = turns.attrs["idle"]
    at = builder.value(number)
    first = [] if at.buffer is None else [assign(Name("v").at(buffer_start(at)), time)]
    zeros = [
        x
        for _, value in _stacked_results(turns, builder)
        for x in _clear_entries(value, row, as_expression(time), as_expression(1))
    ]
    return [*first, *test, when(Unary("not", _all_rows_set(builder.value(place), row)), body, zeros)]


def _all_rows_set(flag: Value, row: Axis | None) -> Expression:
    """Whether the truth value `flag` holds for all rows of a tile."""
    assert flag.buffer is not None
    return call("all_set", flag.buffer.array, tile_start(flag, row), as_expression(_tile_entries(flag, row)))


def _tile_entries(value: Value, row: Axis | None) -> Poly:
    """Entries of a value in the rows of a tile."""
    return value.extent(skip=() if row is None else (row,)) * ("n" if row in value.axes else 1)


def _stacked_results(turns: Node, builder: ScheduleBuilder) -> list[tuple[int, Value]]:
    """What the loop stacks and something reads, but for sums, to which a step adds."""
    first, summed = len(turns.attrs["carries"]), turns.attrs["summed"]
    found = {g.attrs["index"]: builder.value(g) for g in builder.gets.get(turns, [])}
    return [(i, value) for i, value in sorted(found.items()) if i >= first and i not in summed]


def _iterations_left(turns: Node, i: int, turn: Expression) -> tuple[Expression, Expression]:
    """The first entry of stack `i` that the turns after `turn` would write, and how many there are."""
    attrs, every = turns.attrs, dict(turns.attrs["every"])
    if i in every:
        n = every[i][0]
        first = (turn + n) // n
        return first, as_expression(attrs["types"][i].shape[0]) - first
    left = as_expression(attrs["length"] - 1) - turn
    return (as_expression(0), left) if attrs["reverse"] else (turn + 1, left)


def _clear_entries(value: Value, row: Axis | None, first: Expression, count: Expression) -> list[Statement]:
    """Zeros for `count` entries, from `first` on, of a stack in this tile."""
    assert value.buffer is not None
    array, at = value.buffer.array, tile_start(value, row)
    if value.stack is not None:
        far = as_expression(value.stack * value.block)
        return [do("clear", array, at + first * far, count * far)]
    step, outer = value.block // value.shape[0], Poly.of(1)
    for axis in value.axes:
        outer = outer * ("n" if axis == row else axis_size(axis))
    entry = at + Name("j") * value.block + first * step
    return [loop("j", as_expression(outer), [do("clear", array, entry, count * as_expression(step))])]
