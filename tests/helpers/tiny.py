"""Tiny slabs and tiles: small graphs run as large ones do, in several slabs of two or three rows with tiles of two.

The thresholds of `ppl.tuning` make one slab and one tile of all that tests can afford. Here slabs have two rows at
least, tiles two at most, and plates of fixed size from two rows on are regions; everything else is as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from ppl.compiler.lower import target as targets
from ppl.compiler.lower.target import NEVER, Target
from ppl.runtime.executable import EmittedProgram

ROWS = (1, 2, 5, 7, 13)
"""Numbers of rows that are worth a run: one slab with one row, one slab, two slabs twice, and four of several tiles."""

KINDS = ("plain", "owned")
"""`owned`: all products are calls, and all gradients that are products over rows are computed by shares."""


def tiny_target(kind: str = "plain", tile: int = 2) -> Target:
    """The CPU's record with slabs of two rows at least and tiles of `tile` rows at most."""
    cpu, owned = targets.CPU, kind == "owned"
    rewrites = {"product": 1, "table_width": 1, "choices": 2, "sparse_table": 2} if owned else {}
    return replace(
        cpu,
        rewrites=replace(cpu.rewrites, straight=0, **rewrites),
        buffers=replace(cpu.buffers, tile_rows=tile, noise_block=1),
        sharing=replace(cpu.sharing, operations=1, sums=1, product_rows=2, loop_rows=2, quiet_loop_rows=2,
                        plain_rows=2, owned=2 if owned else NEVER, owned_rows=2, part_rows=1),
    )  # fmt: skip


@contextmanager
def tiny(kind: str = "plain", tile: int = 2, plate: int = 2) -> Iterator[Counter[tuple[int, int]]]:
    """Compile for tiny slabs; counts the layouts of calls by (slabs, most tiles of a slab in any region)."""
    found: Counter[tuple[int, int]] = Counter()
    lay_out = EmittedProgram.layout_sizes

    def counted(self: Any, sizes: Any, slabs: int) -> Any:
        full = lay_out(self, sizes, slabs)
        tiles = [-(-_longest(s, full, slabs) // full[f"tile_{s.name}"]) for s in self.stages if s.row is not None]
        found[slabs, max(tiles, default=0)] += 1
        return full

    with ExitStack() as stack:
        cpu = {**targets.TARGETS, "cpu": tiny_target(kind, tile)}
        stack.enter_context(mock.patch.object(targets, "TARGETS", cpu))
        stack.enter_context(mock.patch("ppl.compiler.lower.views.LONG_PLATE", plate))
        stack.enter_context(mock.patch.object(EmittedProgram, "layout_sizes", counted))
        yield found


def _longest(stage: Any, full: Any, slabs: int) -> int:
    from ppl.compiler.lower.sizes import axis_size
    from ppl.compiler.schedule.slabs import longest_slab

    return longest_slab(axis_size(stage.row).evaluate(full), slabs)
