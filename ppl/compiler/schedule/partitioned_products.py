"""Output-partitioned products: products over rows that are whole gradients, of whose rows every slab computes a share.

Where every slab adds the products of its own rows to an accumulator of its own, as many copies of a gradient as there
are slabs are written, read again by other processors, and added up. A large gradient is therefore not accumulated. The
row region keeps the operands of its product for a *chunk* of rows: a tile of every slab. Behind a barrier a second
region multiplies them, each slab a share of the rows of the result, straight into the gradient; then comes the next
chunk. So memory does not grow with the rows, what a slab has written is read by its own processor in the optimizer's
step, and a long sum is made in one product. Steps that take all rows of a call at once have one place for their sums,
too."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.lower.products import operand_pairs
from ppl.compiler.lower.sizes import Poly
from ppl.compiler.schedule.builder import ScheduleBuilder
from ppl.compiler.schedule.stages import Buffer, Opaque, Stage, Value, tile_size
from ppl.ir.node import Node
from ppl.ir.types import Axis


def partition_products(stages: Sequence[Stage], builder: ScheduleBuilder) -> None:
    """Move products over rows from the steps of their regions to what these own, where that pays."""
    sharing = builder.target.sharing
    makers = {value: stage for stage in stages for value in stage.accumulators}
    for stage in stages:
        for out in tuple(stage.outputs):
            value = builder.direct(out)
            if value is None or value.node.op != "gemm":
                continue
            maker, rows = makers[value], _result_rows(value.node)
            if (
                rows < sharing.owned_rows
                or (value.extent().constant or 0) < sharing.owned
                or not _keep_operands(maker, value.node, builder)
            ):
                continue
            stage.outputs.remove(out)
            maker.nodes.remove(value.node)
            maker.accumulators.remove(value)
            value.accumulates = False
            value.buffer = Buffer("grad", out.offset, literal=True)
            maker.partitioned.append(Opaque(value.node, value, shared=rows))


def _result_rows(gemm: Node) -> int:
    """Rows of the result."""
    _, a, _ = operand_pairs(gemm)[0]
    total = 1
    for item in gemm.attrs["rows"]:
        total *= 0 if isinstance(item, Axis) else a.type.shape[gemm.attrs["a"].index(item)]
    return total


def _keep_operands(stage: Stage, gemm: Node, builder: ScheduleBuilder) -> bool:
    """Keep the operands of a product for a chunk of rows, if all of them can be."""
    values = [builder.value(builder.base(x)) for _, *operands in operand_pairs(gemm) for x in operands]
    made = [v for v in values if v.buffer is None]
    if any(v.node.op == "get" or stage.row not in v.axes for v in made):
        return False
    for value in made:
        if value.buffer is None:
            _keep_for_chunk(stage, value, builder)
    return True


def _keep_for_chunk(stage: Stage, value: Value, builder: ScheduleBuilder) -> None:
    assert stage.row is not None
    array = "v" if value.dtype == "int" else "w"
    size = tile_size(value, stage.row) * Poly.of(f"chunk_{stage.name}")
    name = f"{value.name}_g"
    value.buffer = Buffer(array, Poly.of(name), True, f"{value.name}_o", size=size, first=f"first_{stage.name}")
    value.in_memory = True
    builder.globals.append(value)
    stage.chunk_values.append(value)


def place_whole_sums(stages: Sequence[Stage], builder: ScheduleBuilder) -> None:
    """Give sums over rows of `whole` steps their places: that of a gradient, or memory of their own."""
    whole = builder.target.fusion.whole
    sums = {value: stage for stage in stages for value in stage.accumulators if value.node.op in whole}
    for stage in stages:
        for out in tuple(stage.outputs):
            value = builder.direct(out)
            if value in sums:
                stage.outputs.remove(out)
                value.buffer = Buffer("grad", out.offset, literal=True)
    for value, stage in sums.items():
        stage.accumulators.remove(value)
        value.accumulates = False
        if value.buffer is None or value.buffer.array != "grad":
            builder.whole(value)
