"""Tiles of float32 matrix products whose sums stay in vector registers, written out for LLVM.

A tile reads its operands where they lie, nothing is packed or transposed: `outer_tile` adds up outer products of a
column of the first operand with a row of the second, `dot_tile` scalar products of rows of both. Goto and van de Geijn,
"Anatomy of High-Performance Matrix Multiplication", 2008, describe the former.

The width of the vectors and the size of the tiles are those for which the host has registers; `LANES` is 0 where
nothing is known to pay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from ppl.kernels.cpu.memory.prefetch import fetch
from ppl.kernels.cpu.products.panels import Panel
from ppl.kernels.internals import cgutils
from ppl.tuning import DOT_COLUMNS, NARROW_TILE, WIDE_TILE


def host_lanes() -> int:
    """Float32 numbers in a vector of the machine that Numba compiles for: 16 with AVX-512, 8 with AVX2, else 0."""
    features = numba.config.CPU_FEATURES
    if features is None:
        features = "" if numba.config.CPU_NAME else binding.get_host_cpu_features().flatten()
    present = features.split(",")
    if "+avx512f" in present:
        return 16
    return 8 if "+avx2" in present and "+fma" in present else 0


LANES = host_lanes()
ROWS, VECTORS, DOT_ROWS = WIDE_TILE if LANES == 16 else NARROW_TILE
"""Rows and vectors of the larger outer tile, rows of the larger tile of scalar products; the smaller have one less."""


Sums = Sequence[Sequence[Any]]


class _Tile:
    """Builds code on vectors of a tile's sums, row after row."""

    def __init__(self, context: Any, builder: Any, like: Any):
        self.builder, self.panel = builder, Panel(context, builder, like, LANES)

    def zeros(self, rows: int, columns: int) -> Sums:
        """Sums of nothing."""
        return [[self.panel.zero] * columns for _ in range(rows)]

    def add(self, x: Any, ys: Sequence[Any], sums: Sequence[Any]) -> list[Any]:
        """A row of sums, plus x times each of `ys`."""
        return [self.fma(x, y, total) for y, total in zip(ys, sums, strict=True)]

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """X y + z, rounded once."""
        kind = x.type
        name = f"llvm.fma.v{kind.count}f32"
        callee = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return self.builder.call(callee, [x, y, z])

    def starts(self, array: Any, at: Any, step: Any, count: int) -> list[Any]:
        """Pointers to `count` entries of an array from `at` on, `step` apart."""
        places = [self.builder.add(at, self.builder.mul(step, ir.Constant(step.type, i))) for i in range(count)]
        return [self.builder.gep(array, [place]) for place in places]

    def write(self, panel: Panel, values: Sequence[Sequence[Any]], rows: Sequence[Any], places: Sequence[Any],
              beta: Any, final: Callable[[Any, Any], Any] = lambda new, old: new) -> None:  # fmt: skip
        """Rows of c = values + beta c; a row is read before it is written, and not at all where beta is 0.

        Else `final` has the last word, of what is new and what was there.
        """
        with self.builder.if_else(self.builder.fcmp_ordered("==", beta, ir.Constant(beta.type, 0.0))) as (new, old):
            with new:
                for row, start in zip(values, rows, strict=True):
                    self._store(panel, row, start, places)
            with old:
                factor = panel.spread(beta)
                for row, start in zip(values, rows, strict=True):
                    before = [panel.load(start, place) for place in places]
                    sums = [final(self.fma(factor, c, x), c) for c, x in zip(before, row, strict=True)]
                    self._store(panel, sums, start, places)

    def _store(self, panel: Panel, values: Sequence[Any], start: Any, places: Sequence[Any]) -> None:
        for value, place in zip(values, places, strict=True):
            panel.store(value, start, place)


def _rolled(builder: Any, stop: Any, step: int, sums: Sums, body: Callable[[Any, Sums], Sums]) -> Sums:
    """What `body` makes of sums at 0, `step`, 2 `step`, ... below `stop`.

    LLVM is told not to unroll the loop: sums and operands of two steps want more registers than there are.
    """
    head, inside, after = map(builder.append_basic_block, ("head", "inside", "after"))
    before = builder.block
    builder.branch(head)
    builder.position_at_end(head)
    at = builder.phi(stop.type)
    at.add_incoming(ir.Constant(stop.type, 0), before)
    held = _merged(builder, sums, before)
    builder.cbranch(builder.icmp_signed("<", at, stop), inside, after)
    builder.position_at_end(inside)
    found = body(at, held)
    at.add_incoming(builder.add(at, ir.Constant(stop.type, step)), builder.block)
    _come_in(held, found, builder.block)
    mark = builder.module.add_metadata([ir.MetaDataString(builder.module, "llvm.loop.unroll.disable")])
    loop = builder.module.add_metadata([ir.MetaDataString(builder.module, "tile"), mark])
    loop.operands = (loop, mark)  # LLVM knows the marks of a loop by their naming themselves first
    builder.branch(head).set_metadata("llvm.loop", loop)
    builder.position_at_end(after)
    return held


def _merged(builder: Any, sums: Sums, block: Any) -> Sums:
    """What is `sums` after `block`, and what `_come_in` says after others."""
    held = [[builder.phi(total.type) for total in row] for row in sums]
    _come_in(held, sums, block)
    return held


def _come_in(held: Sums, sums: Sums, block: Any) -> None:
    for phis, row in zip(held, sums, strict=True):
        for phi, total in zip(phis, row, strict=True):
            phi.add_incoming(total, block)


@intrinsic
def outer_tile(typing_context, tall, wide, a, a0, row_step, inner_step, b, b0, ldb, k, alpha, beta, c, c0, ldc, last):
    """c = alpha a b + beta c; a[a0 + i row_step + l inner_step] (l < k), b[b0 + l ldb + j], c[c0 + i ldc + j].

    The rows i are `ROWS` if `tall`, else one less; the columns j are `VECTORS` vectors side by side if `wide`, else one
    less. The last vector begins at column `last`, so that the tile ends where the matrix does; columns that two vectors
    share get the same numbers twice.
    """
    size, number, flag = types.intp, types.float32, types.boolean
    signature = types.void(flag, flag, a, size, size, size, b, size, size, size, number, number, c, size, size, size)

    def codegen(context, builder, signature, arguments):
        tall, wide, a, a0, row_step, inner_step, b, b0, ldb, k, alpha, beta, c, c0, ldc, last = arguments

        def emit(rows: int, vectors: int) -> None:
            tile = _Tile(context, builder, signature.args[2])
            panel = tile.panel
            left = tile.starts(panel.data(a), a0, row_step, rows)
            right = builder.gep(panel.data(b), [b0])
            places = [*(ir.Constant(k.type, LANES * j) for j in range(vectors - 1)), last]

            def step(l, sums):  # noqa: E741
                start, shift = builder.mul(l, ldb), builder.mul(l, inner_step)
                row = [panel.load(right, builder.add(start, place)) for place in places]
                column = [panel.spread(builder.load(builder.gep(x, [shift]))) for x in left]
                return [tile.add(x, row, total) for x, total in zip(column, sums, strict=True)]

            out = tile.starts(panel.data(c), c0, ldc, rows)
            for start in out:
                for place in places:
                    fetch(builder, builder.gep(start, [place]), 1)
            sums = _rolled(builder, k, 1, tile.zeros(rows, vectors), step)
            factor = panel.spread(alpha)
            values = [[builder.fmul(factor, total) for total in row] for row in sums]
            tile.write(panel, values, out, places, beta)

        _either(builder, tall, lambda i: _either(builder, wide, lambda j: emit(ROWS - i, VECTORS - j)))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def dot_tile(typing_context, tall, a, a0, lda, b, b0, ldb, k, alpha, beta, c, c0, ldc, fresh):
    """c = alpha a b' + beta c; a[a0 + i lda + l] (l < k), b[b0 + j ldb + l], c[c0 + i ldc + j].

    The rows i are `DOT_ROWS` if `tall`, else one less, the columns j are `DOT_COLUMNS`; k is at least `LANES`. All
    columns but the last `fresh` hold their results already, and keep them.
    """
    size, number, flag = types.intp, types.float32, types.boolean
    signature = types.void(flag, a, size, size, b, size, size, size, number, number, c, size, size, size)

    def codegen(context, builder, signature, arguments):
        tall, a, a0, lda, b, b0, ldb, k, alpha, beta, c, c0, ldc, fresh = arguments
        whole, zero = builder.and_(k, ir.Constant(k.type, -LANES)), ir.Constant(k.type, 0)

        def emit(rows: int) -> None:
            tile = _Tile(context, builder, signature.args[1])
            left = tile.starts(tile.panel.data(a), a0, lda, rows)
            right = tile.starts(tile.panel.data(b), b0, ldb, DOT_COLUMNS)

            def step(at, sums, keep=lambda x: x):
                columns = [keep(tile.panel.load(start, at)) for start in right]
                return [tile.add(keep(tile.panel.load(x, at)), columns, row) for x, row in zip(left, sums, strict=True)]

            sums = _rolled(builder, whole, LANES, tile.zeros(rows, DOT_COLUMNS), step)
            before = builder.block
            with builder.if_then(builder.icmp_signed("<", whole, k)):
                others = _last(builder, builder.sub(k, whole), LANES)
                keep = lambda x: builder.select(others, x, tile.panel.zero)  # noqa: E731
                further, inside = step(builder.sub(k, ir.Constant(k.type, LANES)), sums, keep), builder.block
            sums = _merged(builder, sums, before)
            _come_in(sums, further, inside)
            short = Panel(context, builder, signature.args[1], DOT_COLUMNS)
            factor, new = short.spread(alpha), _last(builder, fresh, DOT_COLUMNS)
            values = [[builder.fmul(factor, _row_sums(builder, row))] for row in sums]
            out = tile.starts(tile.panel.data(c), c0, ldc, rows)
            tile.write(short, values, out, [zero], beta, lambda x, old: builder.select(new, x, old))

        _either(builder, tall, lambda i: emit(DOT_ROWS - i))
        return context.get_dummy_value()

    return signature, codegen


def _either(builder: Any, flag: Any, emit: Callable[[int], None]) -> None:
    """Code for 0 where `flag` is set, for 1 where it is not."""
    with builder.if_else(cgutils.is_true(builder, flag)) as (yes, no):
        with yes:
            emit(0)
        with no:
            emit(1)


def _last(builder: Any, count: Any, lanes: int) -> Any:
    """A mask of the last `count` of some lanes."""
    words = ir.VectorType(count.type, lanes)
    undefined = ir.Constant(words, ir.Undefined)
    one = builder.insert_element(undefined, count, ir.IntType(32)(0))
    counts = builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), None))
    return builder.icmp_signed("<", ir.Constant(words, list(reversed(range(lanes)))), counts)


def _row_sums(builder: Any, row: Any) -> Any:
    """A vector of the sums over the lanes of four vectors."""

    def mix(x: Any, y: Any, order: Sequence[int]) -> Any:
        return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order)))

    def quarters(x: Any, y: Any, order: Sequence[int]) -> Any:
        """Within each four lanes, lanes of x (0 to 3) and of y (4 to 7)."""
        return mix(x, y, [at + i % 4 + i // 4 * LANES for at in range(0, LANES, 4) for i in order])

    def pair(x: Any, y: Any, low: Sequence[int], high: Sequence[int]) -> Any:
        return builder.fadd(quarters(x, y, low), quarters(x, y, high))

    a, b, c, d = row
    halves = pair(a, b, (0, 4, 1, 5), (2, 6, 3, 7)), pair(c, d, (0, 4, 1, 5), (2, 6, 3, 7))
    total, width = pair(*halves, (0, 1, 4, 5), (2, 3, 6, 7)), LANES
    while width > DOT_COLUMNS:
        width //= 2
        total = builder.fadd(mix(total, total, range(width)), mix(total, total, range(width, 2 * width)))
    return total
