"""Memory layout: one float buffer `w`, one int buffer `v`, and the symbols of what lies where.

`v` begins with the run-time sizes, `w` with the plates' factors N/B and the scalar results. Then come constants, values
that live for the whole call or for a chunk of rows (see `partitioned_products`), the accumulators of every slab, and
one *lane* for each thread, with tile buffers and scratch for the slab that the thread works on. `sums` is `v` seen as
float64: in float32 programs the sums over rows that scalar outputs are made of accumulate there.
`choose_structure_of_arrays` lets values of a tile that loops over rows walk through have their rows side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from heapq import heappop, heappush

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.lower.sizes import Poly
from ppl.compiler.lower.target import Buffers
from ppl.compiler.lower.views import FixedIndex
from ppl.compiler.schedule.builder import ScheduleBuilder
from ppl.compiler.schedule.stages import Access, Cluster, Loop, Op, Opaque, Stage, Value, all_steps, tile_size
from ppl.ir.types import Axis
from ppl.records import dataclass

GUARD_WORDS = 8
"""Entries of a guard between two parts of a workspace, in the checked build."""


@dataclass
class MemoryLayout:
    """Where everything lies; `symbols` maps a name to its offset, a polynomial in run-time sizes."""

    header: list[str]
    floats: int
    rules: Buffers = field(default_factory=Buffers)
    symbols: dict[str, Poly] = field(default_factory=dict)
    slab: dict[str, Poly] = field(default_factory=dict)
    lane: dict[str, Poly] = field(default_factory=dict)
    totals: dict[str, Poly] = field(default_factory=dict)
    accumulators: dict[str, tuple[str, Poly]] = field(default_factory=dict)
    per_row: dict[str, Poly] = field(default_factory=dict)
    stacks: dict[str, Poly] = field(default_factory=dict)
    consts: dict[str, np.ndarray] = field(default_factory=dict)
    ints: Poly = field(default_factory=Poly)
    guards: list[tuple[str, str, Poly]] = field(default_factory=list)

    def guard(self, at: dict[str, Poly], array: str, name: str, area: str = "") -> None:
        """In the checked build, put guard words behind the buffer `name`; its `area` is "slab", "lane" or shared."""
        if CHECKED:
            self.guards.append((array, name, at[array] + (f"{area}_{array}" if area else 0)))
            at[array] = at[array] + GUARD_WORDS

    @property
    def areas(self) -> tuple[dict[str, Poly], ...]:
        """Sizes of what all share, of a slab and of a lane, for each buffer."""
        return self.totals, self.slab, self.lane

    def lines(self, at: Poly) -> Poly:
        """The next multiple of a cache line."""
        line = self.rules.line
        return Poly(tuple((names, -(-coef // line) * line) for names, coef in at.terms))

    def apart(self, size: Poly) -> Poly:
        """The distance between areas of this size: whole cache lines, and one more between what two threads write."""
        return self.lines(size + self.rules.line) if size.terms else size

    def aligned(self, at: Poly, size: Poly, array: str) -> Poly:
        """Where a buffer of `size` begins that comes after `at`."""
        long = min((coef for _, coef in size.terms), default=0) >= self.rules.long
        return self.lines(at) if array == "w" and long else at

    def tile(self, stage: Stage, sizes: Mapping[str, int], rows: int, itemsize: int) -> int:
        """Rows per tile: as many as fit, split evenly."""
        tiles = max(1, -(-rows // self._fitting(stage, sizes, itemsize)))
        return self._in_blocks(stage, max(1, -(-rows // tiles)))

    def longest_tile(self, stage: Stage, sizes: Mapping[str, int], rows: int, itemsize: int) -> int:
        """Rows of the longest tile that any slab of up to `rows` has."""
        return self._in_blocks(stage, max(1, min(rows, self._fitting(stage, sizes, itemsize))))

    def _fitting(self, stage: Stage, sizes: Mapping[str, int], itemsize: int) -> int:
        """Rows of a tile that fit."""
        row_bytes, stacked = (p[stage.name].evaluate(sizes) * itemsize for p in (self.per_row, self.stacks))
        products = any(isinstance(t, Opaque) and t.node.op == "gemm" for t in all_steps(stage))
        most = min(self.rules.tile_rows, self.rules.product_tile // max(1, row_bytes))
        if not products:
            most = min(most, self.rules.stream_tile // max(1, row_bytes - stacked))
        return max(1, most)

    def _in_blocks(self, stage: Stage, length: int) -> int:
        """The length of a tile, in whole blocks of noise where it has loops."""
        block = self.rules.noise_block
        return -(-length // block) * block if self.stacks[stage.name].terms and length > block // 2 else length

    def window(self, sizes: Mapping[str, int], itemsize: int) -> int:
        """Particles per run: as many as fit, with tiles of one row."""
        bytes_ = []
        for count in (1, 2):
            known = {n: 1 for n in self.header if n.startswith("tile_")} | {**sizes, "n_particles": count}
            pairs = [(self.totals[a] + self.slab[a] + self.lane[a], size) for a, size in (("w", itemsize), ("v", 8))]
            bytes_.append(sum(p.evaluate(known) * size for p, size in pairs))
        return max(1, self.rules.window // max(1, bytes_[1] - bytes_[0]))


def lay_out_memory(stages: Sequence[Stage], builder: ScheduleBuilder, header: list[str], floats: int) -> MemoryLayout:
    """Lay out the buffers of all stages."""
    memory = MemoryLayout(header, floats, builder.target.buffers)
    at = {"v": Poly.of(len(header)), "w": Poly.of(floats)}
    for array in "wv":
        data = [np.zeros(0), *builder.consts[array]]
        memory.consts[array] = np.concatenate(data)
        at[array] = memory.aligned(at[array], Poly.of(memory.consts[array].size), array)
        memory.symbols[f"c_{array}"] = at[array]
        at[array] = at[array] + memory.consts[array].size
        memory.guard(at, array, "constants")
    for value in builder.globals:
        assert value.buffer is not None
        array, size = value.buffer.array, value.buffer.size
        at[array] = memory.aligned(at[array], size, array)
        memory.symbols[str(value.buffer.offset)] = at[array]
        at[array] = at[array] + size
        memory.guard(at, array, value.name)
    for stage in stages:
        if stage.row is None:
            _place_scratch(stage, memory, at)
    memory.totals = {array: memory.lines(p) for array, p in at.items()}
    slab, lane = ({"v": Poly(), "w": Poly()} for _ in range(2))
    for stage in stages:
        if stage.row is not None:
            _place_accumulators(stage, memory, slab)
            _place_tiles(stage, memory, lane)
            _place_scratch(stage, memory, lane, inside=True)
    memory.slab, memory.lane = ({a: memory.apart(p) for a, p in area.items()} for area in (slab, lane))
    return memory


def _place_scratch(stage: Stage, memory: MemoryLayout, at: dict[str, Poly], inside: bool = False) -> None:
    for step in all_steps(stage):
        for value in step.scratch if isinstance(step, Cluster) else ():
            assert value.buffer is not None
            size = value.buffer.size
            at[value.buffer.array] = memory.aligned(at[value.buffer.array], size, value.buffer.array)
            memory.symbols[value.buffer.symbol] = _offset_in_area(at, value, "lane" if inside else "")
            at[value.buffer.array] = at[value.buffer.array] + size
            memory.guard(at, value.buffer.array, value.name, "lane" if inside else "")


def _offset_in_area(at: dict[str, Poly], value: Value, kind: str) -> Poly:
    """The offset of a value: in the area of its `kind`, a slab or a lane, or in what all share."""
    assert value.buffer is not None
    area = workspace_vector(value.buffer.array)
    return at[area] + (f"{kind}_{area}" if kind else 0)


def workspace_vector(array: str) -> str:
    """The buffer that holds `array`."""
    return "v" if array == "sums" else array


def _place_accumulators(stage: Stage, memory: MemoryLayout, at: dict[str, Poly]) -> None:
    for value in stage.accumulators:
        assert value.buffer is not None
        area = workspace_vector(value.buffer.array)
        value.buffer.size = value.extent()
        at[area] = memory.aligned(at[area], value.extent(), value.buffer.array)
        memory.symbols[value.buffer.symbol] = _offset_in_area(at, value, "slab")
        at[area] = at[area] + value.extent()
        memory.guard(at, area, value.name, "slab")


class _ReusablePlaces:
    """Places of one size: `used` by the last step that uses them, `idle` by when they were given."""

    def __init__(self) -> None:
        self.used: list[tuple[int, int, Poly]] = []
        self.idle: list[tuple[int, Poly]] = []
        self.given = 0

    def free(self, step: int) -> Poly | None:
        """The place given longest ago of those that nobody uses from `step` on; steps are asked for in their order."""
        while self.used and self.used[0][0] < step:
            heappush(self.idle, heappop(self.used)[1:])
        return heappop(self.idle)[1] if self.idle else None

    def give(self, place: Poly, last: int) -> None:
        """Have `place` used up to step `last`."""
        heappush(self.used, (last, self.given, place))
        self.given += 1


def _place_tiles(stage: Stage, memory: MemoryLayout, at: dict[str, Poly]) -> None:
    """Tile buffers, sharing memory where lives do not overlap and sizes agree."""
    assert stage.row is not None
    tile = Poly.of(f"tile_{stage.name}")
    places: dict[tuple[str, Poly], _ReusablePlaces] = {}
    total, stacked = Poly(), Poly()
    for value in sorted(stage.tiles, key=lambda v: stage.lives[v]):
        assert value.buffer is not None
        first, last = stage.lives[value]
        size, array = tile_size(value, stage.row), value.buffer.array
        whole = size * (tile if stage.row in value.axes else 1)
        value.buffer.size = whole
        alike = places.setdefault((array, whole), _ReusablePlaces())
        place = alike.free(first)
        if place is not None:
            memory.symbols[value.buffer.symbol] = place
        else:
            at[array] = memory.aligned(at[array], size, array)
            memory.symbols[value.buffer.symbol] = _offset_in_area(at, value, "lane")
            at[array] = at[array] + whole
            memory.guard(at, array, value.name, "lane")
            total = total + size
            stacked = stacked + (size if value.stack is not None else 0)
        alike.give(memory.symbols[value.buffer.symbol], last)
    for value in stage.chunk_values:
        total = total + tile_size(value, stage.row)
    memory.per_row[stage.name], memory.stacks[stage.name] = total, stacked


ValueUse = tuple[Op, Access | None]
"""An operation that reads a value, or makes it (None)."""


def choose_structure_of_arrays(stages: Sequence[Stage], builder: ScheduleBuilder, short: int) -> None:
    """Let values of tiles lie column by column where their innermost loops are those over rows, or sums of fewer than
    `short` entries.

    Only fused operations may read and write them, and not where data say; not products, nor loops some of whose turns
    do not run.
    """
    uses: dict[Value, list[ValueUse]] = {}
    elsewhere: set[Value] = set()
    for step in (step for stage in stages if stage.row is not None for step in all_steps(stage)):
        if isinstance(step, Opaque):
            if step.node.op != "turns" or step.test is not None or step.node.attrs["stop"] is not None:
                elsewhere.update(builder.touched(step))
            continue
        for op in step.ops:
            uses.setdefault(op.target, []).append((op, None))
            for read in op.reads:
                uses.setdefault(read.value, []).append((op, read))
    for value, row in ((v, stage.row) for stage in stages if stage.row is not None for v in stage.tiles):
        several = row in value.axes and value.extent(skip=(row,)).constant != value.stack_length
        if several and value not in elsewhere and value in uses:
            value.rows_adjacent = _only_row_loops_walk(uses[value], row, short)


def _only_row_loops_walk(uses: Sequence[ValueUse], row: Axis, short: int) -> bool:
    """Whether an innermost loop over rows walks through a value with these uses, and no other does, but short sums."""
    over_rows = False
    for op, read in uses:
        if not _is_direct_access(op, read):
            return False
        inner = op.loops[-1] if op.loops else None
        if inner is not None and inner.token == row:
            over_rows = True
        elif inner is not None and _moves_access(op, read, inner) and not _is_short_sum(op, short):
            return False
    return over_rows


def _is_short_sum(op: Op, short: int) -> bool:
    """Whether the innermost loop of `op` adds up a few entries, which fills no vectors."""
    last = op.domain[-1]
    return op.in_register and last.key in op.scattered and (last.size.constant or short) < short


def _is_direct_access(op: Op, read: Access | None) -> bool:
    """Whether `op` reads or makes entries that no data choose, but for the step of a stack, and clears none or all."""
    value, gather = (op.target, op.gather) if read is None else (read.value, read.gather)
    if gather is not None and (value.stack is None or gather[1] != value.block or gather[0].value.axes):
        return False
    return read is not None or op.kind in ("map", "output") or op.in_register or op.begins == 0


def _moves_access(op: Op, read: Access | None, inner: Loop) -> bool:
    """Whether the loop `inner` of `op` moves the entry that it writes, or reads through `read`."""
    axes, coefs = (op.axes, op.coefs) if read is None else (read.view.axes, read.view.coefs)
    keys = [k for k in axes.values() if not isinstance(k, FixedIndex)] + [k for k, coef in coefs.items() if coef]
    return any(op.loop_of(key) is inner for key in keys)
