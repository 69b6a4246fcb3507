"""What lowering and scheduling assume of the machine that a program runs on: one record a target.

A second target is a second record here and a second printer in `ppl.compiler.emit`; no stage asks for its name. Limits
are numbers that may be infinite: `NEVER` turns a rewrite off. What was chosen for speed, and what was measured, is in
`ppl.tuning`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from ppl import tuning
from ppl.records import dataclass

NEVER = math.inf

Number = int | float


@dataclass(frozen=True)
class Rewrites:
    """Sizes from which programs are rewritten before they are scheduled.

    Attributes
    ----------
    product, single : multiplications from which a product with rows, whose number is left out, is a call of a library,
        and from which one without rows is; below, it is fused.
    joined : whether products over rows that are added up become one, with one accumulator.
    choices : entries of a table up to which it is read by comparisons.
    table_width : width of a table from which products with its rows are steps that read it where it lies.
    lanes : entries, of an event or of all named axes without rows, from which draws by rejection are a step of their
        own instead of fused.
    long_event : length of the leading dimension of a program without plates from which it is run over as rows.
    short, flat, vector : last dimensions below `short` that are no multiple of `vector` are flattened under costly
        functions, in events of at least `flat` entries.
    sparse_table : entries of a table from which training keeps its gradient sparse; below, passing over all of it costs
        less.
    double_sums : whether sums over rows that scalar outputs are made of accumulate in float64 in float32 programs.
    windows : whether outputs that are sums over particles are computed in windows of particles.
    straight : entries of all computed values together up to which a program is unrolled.
    """

    product: Number = tuning.PRODUCT_SIZE
    single: Number = tuning.SINGLE_PRODUCT
    joined: bool = True
    choices: Number = tuning.COMPARED_TABLE
    table_width: Number = tuning.IN_PLACE_WIDTH
    lanes: int = tuning.OWN_DRAWS
    long_event: Number = tuning.LONG_EVENT
    short: int = tuning.SHORT_DIMENSION
    flat: Number = tuning.FLAT_EVENT
    vector: int = tuning.VECTOR
    sparse_table: Number = tuning.SPARSE_TABLE
    double_sums: bool = True
    windows: bool = True
    straight: int = tuning.UNROLLED_ENTRIES


@dataclass(frozen=True)
class Fusion:
    """Which operations share a loop, and where regions end.

    Attributes
    ----------
    arrays : arrays that one innermost loop may touch and still vectorise.
    operations : operations that may share a loop; what others read then lies in memory.
    innermost : the innermost loop of operations in a region: the event's last dimension; the rows, for elementary
        functions of events of fewer than `short` entries, which fill no vectors; or the rows always.
    short : see `innermost`.
    split_vector_loops : whether elementary functions share no loop with operations that go on with loops inside it (see
        `schedule/phases.py`); so it is in the bodies of loops over time.
    cuts : ops before and behind which a region of rows ends.
    whole : ops that take all rows of a call in one step; they are regions of their own.
    register_reuse : iterations of short loops side by side up to which a team of threads holds their entries in
    registers.
    rematerialise : whether cheap values are computed again where a loop would read them from memory.
    noise : whether uniforms are computed where they are read; else a step makes all of a tile, in vectors.
    """

    arrays: int = tuning.LOOP_ARRAYS
    operations: Number = NEVER
    innermost: Literal["event", "short", "rows"] = "short"
    short: int = tuning.ROWS_INNERMOST
    split_vector_loops: bool = False
    cuts: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    noise: bool = False
    rematerialise: bool = False
    register_reuse: int = 0


@dataclass(frozen=True)
class Buffers:
    """Where values of rows lie between the steps of a region.

    Attributes
    ----------
    whole : whether they hold all rows of a call; else those of a tile.
    product_tile : bytes that the tile buffers of one slab may take where products want long tiles.
    stream_tile : the same where there are no products: they should stay in the first caches.
    tile_rows : rows of the longest tile.
    noise_block : tiles of programs with loops are multiples of this: scalar noise of fewer rows costs as much.
    line : entries (of float32) in a cache line: areas of two writers begin at least so far apart.
    long : entries from which on a buffer begins at a cache line.
    window : bytes that the particles of one row, or of a program without rows, may take in one run.
    """

    whole: bool = False
    product_tile: int = tuning.PRODUCT_TILE_BYTES
    stream_tile: int = tuning.STREAM_TILE_BYTES
    tile_rows: int = tuning.TILE_ROWS
    noise_block: int = 256
    line: int = tuning.CACHE_LINE
    long: int = tuning.LONG_BUFFER
    window: int = tuning.WINDOW_BYTES


@dataclass(frozen=True)
class Sharing:
    """How rows are shared: how many slabs a call has, each with accumulators of its own.

    Attributes
    ----------
    most : slabs at most.
    operations : operations of a slab at least: below, a second thread gains less than it costs to wake it.
    pair : operations of a call from which on it has two slabs all the same, for threads that are awake.
    sums : a call takes at least so many operations for each entry of all accumulators, which are cleared and added up.
    product_rows : rows of a slab at least where rows are multiplied by matrices, which shorter products read again too
        often.
    loop_rows : the same where a loop runs over time: innermost loops run over rows, noise is drawn in blocks of rows.
    quiet_loop_rows : the same of loops without noise.
    plain_rows : the same of other programs.
    owned : entries of a gradient from which on its product over rows is computed by shares of the result.
    owned_rows : rows of the result from which on they are shared.
    part_rows : rows of such a result at least that one part takes.
    """

    most: int = tuning.MOST_SLABS
    operations: int = tuning.SLAB_OPERATIONS
    pair: Number = tuning.PAIR_OPERATIONS
    sums: int = tuning.OPERATIONS_PER_SUM
    product_rows: int = tuning.PRODUCT_ROWS
    loop_rows: int = tuning.LOOP_ROWS
    quiet_loop_rows: int = tuning.QUIET_LOOP_ROWS
    plain_rows: int = tuning.PLAIN_ROWS
    owned: Number = tuning.OWNED_GRADIENT
    owned_rows: int = tuning.OWNED_ROWS
    part_rows: int = tuning.OWNED_PART_ROWS


@dataclass(frozen=True)
class Target:
    """A kind of machine: its name, which emitter prints for it, and what the stages before assume of it.

    `resident` says that a state that is trained stays on a device, `clocked` whether modules can count the cycles of
    every step. `threads` is how many threads share the loops of one slab, a power of two: of what one of them writes in
    a turn of a loop, others must not write in theirs. `device` is which one of its kind it is.
    """

    name: str
    printer: str
    threads: int = 1
    device: int = 0
    resident: bool = False
    clocked: bool = True
    rewrites: Rewrites = field(default_factory=Rewrites)
    fusion: Fusion = field(default_factory=Fusion)
    buffers: Buffers = field(default_factory=Buffers)
    sharing: Sharing = field(default_factory=Sharing)


CPU = Target("cpu", "cpu", fusion=Fusion(split_vector_loops=True))

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"

CUDA = Target(
    "cuda",
    "cuda",
    threads=tuning.SIMULATED_THREADS if SIMULATED else tuning.CUDA_THREADS,
    resident=True,
    clocked=False,
    rewrites=Rewrites(
        product=tuning.CUDA_PRODUCT, single=tuning.CUDA_PRODUCT, table_width=NEVER, windows=False, flat=NEVER
    ),
    fusion=Fusion(
        arrays=1 << 20,
        innermost="event",
        whole=frozenset({"gemm"}),
        noise=True,
        rematerialise=True,
        register_reuse=tuning.SIMULATED_HELD if SIMULATED else tuning.CUDA_HELD,
    ),
    buffers=Buffers(whole=True, product_tile=1 << 60, stream_tile=1 << 60, tile_rows=1 << 40),
    sharing=Sharing(
        most=tuning.CUDA_BLOCKS,
        operations=tuning.CUDA_OPERATIONS,
        pair=NEVER,
        sums=1,
        product_rows=tuning.CUDA_ROWS,
        loop_rows=tuning.CUDA_ROWS,
        quiet_loop_rows=tuning.CUDA_ROWS,
        plain_rows=tuning.CUDA_ROWS,
        owned=NEVER,
    ),
)

TARGETS: Mapping[str, Target] = {"cpu": CPU, "cuda": CUDA}


def target_of(target: str | Target) -> Target:
    """The record of that name; a record is its own.

    Raises
    ------
    ValueError : there is none.
    """
    if isinstance(target, Target):
        return target
    if target not in TARGETS:
        raise ValueError(f"target {target!r} is not one of {sorted(TARGETS)}")
    return TARGETS[target]
