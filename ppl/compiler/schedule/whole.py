"""Steps that take all rows of a call at once: what they add up over rows has one place, not one for every slab."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.schedule.fusion import Buffer
from ppl.compiler.schedule.stages import Stage
from ppl.compiler.schedule.values import Builder


def keep_whole(stages: Sequence[Stage], builder: Builder) -> None:
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
