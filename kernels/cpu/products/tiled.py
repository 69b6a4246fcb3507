"""Dense float32 products of our own, for the few rows of a slab: tiles whose sums stay in vector registers.

A BLAS copies its operands to packed panels first, which pays when they are used often. With the 25 to 200 rows of a
slab they are not, so a tile reads its operands where they lie: `outer_tile` adds up outer products of a column of
the first operand with a row of the second, `dot_tile` scalar products of rows of both. Goto and van de Geijn,
"Anatomy of High-Performance Matrix Multiplication", 2008, describe the former.

The width of the vectors and the size of the tiles are those for which the host has registers; `LANES` is 0 where
nothing is known to pay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from ppl.kernels.cpu.memory import emit_prefetch
from ppl.kernels.decorators import jit, shared
from ppl.kernels.internals import array_data, cgutils
from ppl.tuning import (
    DOT_COLUMNS,
    DOT_TERMS,
    NARROW_ROWS,
    NARROW_TILE,
    PRODUCT_DEPTH,
    REREAD_ENTRIES,
    STREAMED_ENTRIES,
    WIDE_TILE,
)


def host_vector_width() -> int:
    """Float32 numbers in a vector of the machine that Numba compiles for: 16 with AVX-512, 8 with AVX2, else 0."""
    features = numba.config.CPU_FEATURES
    if features is None:
        features = "" if numba.config.CPU_NAME else binding.get_host_cpu_features().flatten()
    present = features.split(",")
    if "+avx512f" in present:
        return 16
    return 8 if "+avx2" in present and "+fma" in present else 0


LANES = host_vector_width()

TILE_ROWS, TILE_VECTORS, DOT_TILE_ROWS = WIDE_TILE if LANES == 16 else NARROW_TILE
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


def _emit_loop(builder: Any, stop: Any, step: int, sums: Sums, body: Callable[[Any, Sums], Sums]) -> Sums:
    """What `body` makes of sums at 0, `step`, 2 `step`, ... below `stop`.

    LLVM is told not to unroll the loop: sums and operands of two steps want more registers than there are.
    """
    head, inside, after = map(builder.append_basic_block, ("head", "inside", "after"))
    before = builder.block
    builder.branch(head)
    builder.position_at_end(head)
    at = builder.phi(stop.type)
    at.add_incoming(ir.Constant(stop.type, 0), before)
    held = _phis_of(builder, sums, before)
    builder.cbranch(builder.icmp_signed("<", at, stop), inside, after)
    builder.position_at_end(inside)
    found = body(at, held)
    at.add_incoming(builder.add(at, ir.Constant(stop.type, step)), builder.block)
    _add_incoming(held, found, builder.block)
    mark = builder.module.add_metadata([ir.MetaDataString(builder.module, "llvm.loop.unroll.disable")])
    loop = builder.module.add_metadata([ir.MetaDataString(builder.module, "tile"), mark])
    loop.operands = (loop, mark)  # LLVM knows the marks of a loop by their naming themselves first
    builder.branch(head).set_metadata("llvm.loop", loop)
    builder.position_at_end(after)
    return held


def _phis_of(builder: Any, sums: Sums, block: Any) -> Sums:
    """What is `sums` after `block`, and what `_come_in` says after others."""
    held = [[builder.phi(total.type) for total in row] for row in sums]
    _add_incoming(held, sums, block)
    return held


def _add_incoming(held: Sums, sums: Sums, block: Any) -> None:
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
                    emit_prefetch(builder, builder.gep(start, [place]), 1)
            sums = _emit_loop(builder, k, 1, tile.zeros(rows, vectors), step)
            factor = panel.spread(alpha)
            values = [[builder.fmul(factor, total) for total in row] for row in sums]
            tile.write(panel, values, out, places, beta)

        _emit_either(
            builder, tall, lambda i: _emit_either(builder, wide, lambda j: emit(TILE_ROWS - i, TILE_VECTORS - j))
        )
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

            sums = _emit_loop(builder, whole, LANES, tile.zeros(rows, DOT_COLUMNS), step)
            before = builder.block
            with builder.if_then(builder.icmp_signed("<", whole, k)):
                others = _mask_of_last(builder, builder.sub(k, whole), LANES)
                keep = lambda x: builder.select(others, x, tile.panel.zero)  # noqa: E731
                further, inside = step(builder.sub(k, ir.Constant(k.type, LANES)), sums, keep), builder.block
            sums = _phis_of(builder, sums, before)
            _add_incoming(sums, further, inside)
            short = Panel(context, builder, signature.args[1], DOT_COLUMNS)
            factor, new = short.spread(alpha), _mask_of_last(builder, fresh, DOT_COLUMNS)
            values = [[builder.fmul(factor, _row_sums(builder, row))] for row in sums]
            out = tile.starts(tile.panel.data(c), c0, ldc, rows)
            tile.write(short, values, out, [zero], beta, lambda x, old: builder.select(new, x, old))

        _emit_either(builder, tall, lambda i: emit(DOT_TILE_ROWS - i))
        return context.get_dummy_value()

    return signature, codegen


def _emit_either(builder: Any, flag: Any, emit: Callable[[int], None]) -> None:
    """Code for 0 where `flag` is set, for 1 where it is not."""
    with builder.if_else(cgutils.is_true(builder, flag)) as (yes, no):
        with yes:
            emit(0)
        with no:
            emit(1)


def _mask_of_last(builder: Any, count: Any, lanes: int) -> Any:
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


_SIZES, _OPERANDS = "int64,int64,int64", "float32,float32[::1],int64,float32[::1],int64,float32,float32[::1],int64"


@shared(f"void(boolean,boolean,{_SIZES},{_OPERANDS})")
def _outer(ta, by_rows, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = alpha op(A) B + beta C, B not transposed, tile after tile `by_rows` of C or down its columns."""
    row_step, inner_step = (1, lda) if ta else (lda, 1)
    parts, vectors = (m + TILE_ROWS - 1) // TILE_ROWS, (n + LANES - 1) // LANES
    strips = (vectors + TILE_VECTORS - 1) // TILE_VECTORS
    tall, narrow = m - parts * (TILE_ROWS - 1), strips * TILE_VECTORS - vectors
    period = strips if by_rows else parts
    for l in range(0, k, PRODUCT_DEPTH):  # noqa: E741
        depth, old = (PRODUCT_DEPTH if k - l > PRODUCT_DEPTH else k - l), (np.float32(1) if l else beta)
        for tile in range(parts * strips):
            slow, fast = tile // period, tile % period
            part, strip = (slow, fast) if by_rows else (fast, slow)
            i = part * TILE_ROWS - (part - tall if part > tall else 0)
            j = (strip * TILE_VECTORS - (strip if strip < narrow else narrow)) * LANES
            # The last strip may be cut, so that it is a wide one where there is one: it has room for that.
            last, end = (TILE_VECTORS - 1 - (strip < narrow)) * LANES, n - j - LANES
            left, right = i * row_step + l * inner_step, l * ldb + j
            outer_tile(part < tall, strip >= narrow, a, left, row_step, inner_step, b, right, ldb, depth, alpha,
                       old, c, i * ldc + j, ldc, end if end < last else last)  # fmt: skip


@shared(f"void({_SIZES},{_OPERANDS})")
def _dots(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = alpha A B' + beta C."""
    parts = (m + DOT_TILE_ROWS - 1) // DOT_TILE_ROWS
    tall = m - parts * (DOT_TILE_ROWS - 1)
    for start in range(0, n, DOT_COLUMNS):
        j = start if start < n - DOT_COLUMNS else n - DOT_COLUMNS
        fresh = DOT_COLUMNS - (start - j)
        for part in range(parts):
            i = part * DOT_TILE_ROWS - (part - tall if part > tall else 0)
            dot_tile(part < tall, a, i * lda, lda, b, j * ldb, ldb, k, alpha, beta, c, i * ldc + j, ldc, fresh)


@jit
def _try_multiply(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Compute C as `blas.gemm_f32` describes it and return True, or return False where BLAS should.

    That is where tiles of two heights and widths do not make up the shape, and where they are slower
    (docs/performance.md has the figures).
    """
    if (ta and tb) or (LANES < 16 and (ta or m > NARROW_ROWS)):
        return False
    if tb:
        fits = m >= (m + DOT_TILE_ROWS - 1) // DOT_TILE_ROWS * (DOT_TILE_ROWS - 1) and n >= DOT_COLUMNS
        if fits and k >= DOT_TERMS and m * k <= REREAD_ENTRIES:
            _dots(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
            return True
        return False
    vectors, by_rows = (n + LANES - 1) // LANES, ta and k * n <= REREAD_ENTRIES
    fits = n >= LANES and k >= 1 and m >= (m + TILE_ROWS - 1) // TILE_ROWS * (TILE_ROWS - 1)
    if fits and vectors >= (vectors + TILE_VECTORS - 1) // TILE_VECTORS * (TILE_VECTORS - 1):
        if not ta or m * (n if n > k else k) <= (2 * STREAMED_ENTRIES if by_rows else STREAMED_ENTRIES):
            _outer(ta, by_rows, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
            return True
    return False


@jit
def _never_multiply(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Return False: BLAS should."""
    return False


try_multiply = _try_multiply if LANES else _never_multiply


class Panel:
    """Builds code on vectors of `width` adjacent entries of one-dimensional arrays."""

    def __init__(self, context: Any, builder: Any, like: Any, width: int):
        self.context, self.builder = context, builder
        number = context.get_value_type(like.dtype)
        self.vector, self.align = ir.VectorType(number, width), context.get_abi_sizeof(number)
        self.zero, self.undefined = ir.Constant(self.vector, None), ir.Constant(self.vector, ir.Undefined)
        self.same = ir.Constant(ir.VectorType(ir.IntType(32), width), None)

    def data(self, value: Any) -> Any:
        """The pointer to an array's first entry."""
        return array_data(self.builder, value)

    def at(self, start: Any, offset: Any) -> Any:
        """The vector that begins `offset` entries after `start`."""
        return self.builder.bitcast(self.builder.gep(start, [offset]), self.vector.as_pointer())

    def load(self, start: Any, offset: Any) -> Any:
        """Its value."""
        return self.builder.load(self.at(start, offset), align=self.align)

    def store(self, value: Any, start: Any, offset: Any) -> None:
        """Overwrite it."""
        self.builder.store(value, self.at(start, offset), align=self.align)

    def start(self, fresh: Any, start: Any, offset: Any) -> Any:
        """A variable that holds it, or zeros where `fresh`."""
        total = cgutils.alloca_once(self.builder, self.vector)
        self.builder.store(self.zero, total)
        with self.builder.if_then(self.builder.not_(cgutils.is_true(self.builder, fresh))):
            self.builder.store(self.load(start, offset), total)
        return total

    def spread(self, number: Any) -> Any:
        """A vector of equal entries."""
        one = self.builder.insert_element(self.undefined, number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(one, self.undefined, self.same)
