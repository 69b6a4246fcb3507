"""Algorithms for products of data that is mostly zeros or binary, and the vector code of which they are made.

`choose_algorithm` looks at the first operand, `pack_nonzeros` writes down where it is not 0; `add_rows_...` and
`tabled_...` multiply (see `ppl.kernels.source.cpu.sparse`).

LLVM keeps an array in memory while a loop adds to it. A vector of a panel's width it keeps in registers, as many as
the width takes, so that adding a row costs one load and one addition per register and the sum is written once."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ppl.kernels.cpu.memory import clear, part, prefer_full_width
from ppl.kernels.cpu.products.tiled import Panel
from ppl.kernels.decorators import jit, shared
from ppl.kernels.internals import cgutils
from ppl.tuning import (
    PANEL_COLUMNS,
    PANEL_USES,
    SQUARE,
    TABLE_GROUPS,
    TABLE_WIDTH,
    TABLED_ROWS,
    ZEROS_PER_BIT,
    ZEROS_PER_ROW,
)

WORD_BITS = 64
"""Entries whose bits `nonzeros` returns."""


def _sum_rows(width: int) -> Any:
    """A function that sums selected rows over `width` adjacent columns."""

    @intrinsic
    def sum_rows(typing_context, out, at, fresh, b, column, step, rows, weights, first, last):
        """out[at : at + width] = (0 if fresh else itself) + the sum over q from `first` to `last` of weights[q] times
        the `width` entries of b from rows[q] step + column on."""
        size = types.intp
        signature = types.void(out, size, types.boolean, b, size, size, rows, weights, size, size)

        def codegen(context, builder, signature, arguments):
            out, at, fresh, b, column, step, rows, weights, first, last = arguments
            panel = Panel(context, builder, signature.args[0], width)
            out, b, rows, weights = (panel.data(arguments[i]) for i in (0, 3, 6, 7))
            total = panel.start(fresh, out, at)
            with cgutils.for_range_slice(builder, first, last, ir.Constant(first.type, 1)) as (q, _):
                place = builder.mul(builder.load(builder.gep(rows, [q])), step)
                row = panel.load(b, builder.add(place, column))
                weight = panel.spread(builder.load(builder.gep(weights, [q])))
                term = builder.fmul(row, weight, flags=["contract"])
                builder.store(builder.fadd(builder.load(total), term, flags=["contract"]), total)
            panel.store(builder.load(total), out, at)
            return context.get_dummy_value()

        return signature, codegen

    return sum_rows


sum_rows_128, sum_rows_32, sum_rows_16, sum_rows_4, sum_rows_1 = map(_sum_rows, (128, 32, 16, 4, 1))


@intrinsic
def tabulate_subset_sums(typing_context, table, at, b, start, step):
    """The sums of all subsets of four rows of `TABLE_WIDTH` entries of b, the first at `start`, `step` apart: that of
    the subset with bits s goes to table[at + s TABLE_WIDTH : at + (s + 1) TABLE_WIDTH]."""
    signature = types.void(table, types.intp, b, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        table, at, b, start, step = arguments
        panel = Panel(context, builder, signature.args[0], TABLE_WIDTH)
        table, b = panel.data(table), panel.data(b)
        sums = [panel.zero]
        for i in range(4):
            row = panel.load(b, builder.add(start, builder.mul(step, ir.Constant(step.type, i))))
            sums += [builder.fadd(s, row) if k else row for k, s in enumerate(list(sums))]
        for k, value in enumerate(sums):
            panel.store(value, table, builder.add(at, ir.Constant(at.type, k * TABLE_WIDTH)))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_table_sums(typing_context, out, at, fresh, table, first, word):
    """out[at : at + TABLE_WIDTH] = (0 if fresh else itself) + from each of the `TABLE_GROUPS` groups of `table`, from
    entry `first` on, the sum whose number the next four bits of `word` are."""
    signature = types.void(out, types.intp, types.boolean, table, types.intp, types.uint64)

    def codegen(context, builder, signature, arguments):
        out, at, fresh, table, first, word = arguments
        panel = Panel(context, builder, signature.args[0], TABLE_WIDTH)
        out, table = panel.data(out), panel.data(table)
        total = panel.start(fresh, out, at)
        terms = [builder.load(total)]
        for g in range(TABLE_GROUPS):
            bits = builder.and_(builder.lshr(word, ir.Constant(word.type, 4 * g)), ir.Constant(word.type, 15))
            place = builder.add(builder.mul(bits, ir.Constant(word.type, TABLE_WIDTH)),
                                ir.Constant(word.type, g * 16 * TABLE_WIDTH))  # fmt: skip
            terms.append(panel.load(table, builder.add(first, place)))
        while len(terms) > 1:
            pairs = zip(terms[::2], terms[1::2], strict=False)
            terms = [builder.fadd(a, b) for a, b in pairs] + terms[len(terms) & ~1 :]
        panel.store(terms[0], out, at)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def transpose(typing_context, out, at, b, start, step):
    """The transpose of `SQUARE` rows of b of `SQUARE` entries, the first at `start`, `step` apart, goes to rows of out
    that begin at `at` and are `TABLE_WIDTH` apart."""
    signature = types.void(out, types.intp, b, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        out, at, b, start, step = arguments
        panel = Panel(context, builder, signature.args[0], SQUARE)
        out, b = panel.data(out), panel.data(b)
        half, word = SQUARE // 2, ir.IntType(32)
        low, high = (
            ir.Constant(ir.VectorType(word, SQUARE), [first + i // 2 + i % 2 * SQUARE for i in range(SQUARE)])
            for first in (0, half)
        )
        rows = [panel.load(b, builder.add(start, builder.mul(step, ir.Constant(step.type, i)))) for i in range(SQUARE)]
        for _ in range(SQUARE.bit_length() - 1):
            pairs = list(zip(rows[:half], rows[half:], strict=True))
            rows = [builder.shuffle_vector(a, b, order) for a, b in pairs for order in (low, high)]
        for i, row in enumerate(rows):
            panel.store(row, out, builder.add(at, ir.Constant(at.type, i * TABLE_WIDTH)))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def nonzero_bits(typing_context, a, at):
    """Bit j says whether a[at + j] is not 0; j < `WORD`."""
    signature = types.uint64(a, types.intp)

    def codegen(context, builder, signature, arguments):
        panel = Panel(context, builder, signature.args[0], WORD_BITS)
        values = panel.load(panel.data(arguments[0]), arguments[1])
        return builder.bitcast(builder.fcmp_unordered("!=", values, panel.zero), ir.IntType(64))

    return signature, codegen


@intrinsic
def lowest_bit(typing_context, word):
    """The number of the lowest bit of `word`, which is not 0."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def count_bits(typing_context, word):
    """How many bits of `word` are set."""

    def codegen(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), codegen


u64, i64 = np.uint64, np.int64

DENSE, FEW, BINARY = 0, 1, 2

ROWS_PER_TABLE = 4 * TABLE_GROUPS


@jit
def _sparsity_of(a, rows, columns, lda):
    """`FEW` where rows should be added up, else `BINARY` where all entries are 0 or 1, else `DENSE`; and whether
    they are all 0 or 1 (only known if not dense)."""
    count, others = 0, 0
    for r in range(rows):
        row = part(a, r * lda, columns)
        for j in range(columns):
            count += row[j] != 0
            others += (row[j] != 0) & (row[j] != 1)
        if others > 0 and ZEROS_PER_ROW * count > rows * columns:
            return DENSE, False
    if others > 0 or ZEROS_PER_BIT * count <= rows * columns:
        return FEW, others == 0
    return BINARY, True


@jit
def pack_nonzeros(m, k, a, ta, lda):
    """Bit l % WORD of result[l // WORD * m + i] says whether entry (i, l) of the first operand is not 0."""
    words = np.empty((k + WORD_BITS - 1) // WORD_BITS * m, np.uint64)
    if ta:
        for start in range(0, k, WORD_BITS):
            target = part(words, start // WORD_BITS * m, m)
            clear(words, start // WORD_BITS * m, m)
            for l in range(start, min(k, start + WORD_BITS)):  # noqa: E741
                row, bit = part(a, l * lda, m), u64(l - start)
                for i in range(m):
                    target[i] |= u64(row[i] != 0) << bit
        return words
    whole = k - k % WORD_BITS
    for i in range(m):
        for start in range(0, whole, WORD_BITS):
            words[start // WORD_BITS * m + i] = nonzero_bits(a, i * lda + start)
        if whole < k:
            word = u64(0)
            for l in range(whole, k):  # noqa: E741
                word |= u64(a[i * lda + l] != 0) << u64(l - whole)
            words[whole // WORD_BITS * m + i] = word
    return words


@jit
def _aligned_scratch(size, like):
    """A scratch array that begins at a multiple of 64 bytes."""
    out = np.empty(size + 16, like.dtype)
    skip = (-out.ctypes.data & 63) // out.itemsize
    return out[skip : skip + size]


@jit
def _panel_rows(source, step, width, m, starts, rows, weights, fresh, c, at, ldc):
    """`width` columns of the product, from c[at] on: sums of rows of `source`."""
    prefer_full_width()
    j = 0
    while width - j >= 128:
        for i in range(m):
            sum_rows_128(c, at + i * ldc + j, fresh, source, j, step, rows, weights, starts[i], starts[i + 1])
        j += 128
    while width - j >= 32:
        for i in range(m):
            sum_rows_32(c, at + i * ldc + j, fresh, source, j, step, rows, weights, starts[i], starts[i + 1])
        j += 32
    while width - j >= 16:
        for i in range(m):
            sum_rows_16(c, at + i * ldc + j, fresh, source, j, step, rows, weights, starts[i], starts[i + 1])
        j += 16
    while width - j >= 4:
        for i in range(m):
            sum_rows_4(c, at + i * ldc + j, fresh, source, j, step, rows, weights, starts[i], starts[i + 1])
        j += 4
    while j < width:
        for i in range(m):
            sum_rows_1(c, at + i * ldc + j, fresh, source, j, step, rows, weights, starts[i], starts[i + 1])
        j += 1


@jit
def _copy_panel(panel, b, ldb, k, column, width):
    """Columns of b in rows of `PANEL_COLUMNS`: what is read again and again lies close together, and at cache lines."""
    for l in range(k):  # noqa: E741
        target, source = part(panel, l * PANEL_COLUMNS, width), part(b, l * ldb + column, width)
        for j in range(width):
            target[j] = source[j]


def _add_rows(m, n, k, words, a, step_row, step_inner, b, ldb, fresh, c, ldc):
    """c = (0 if fresh else c) + a b by the rows of b that `words` name; (i, l) of a is at i step_row + l step_inner."""
    total = 0
    for i in range(words.shape[0]):
        total += count_bits(words[i])
    starts, rows, weights = np.empty(m + 1, np.int64), np.empty(total, np.int64), np.empty(total, a.dtype)
    count = 0
    for i in range(m):
        starts[i] = count
        for start in range(0, k, WORD_BITS):
            word = words[start // WORD_BITS * m + i]
            while word != 0:
                l = start + lowest_bit(word)  # noqa: E741
                rows[count] = l
                weights[count] = a[i * step_row + l * step_inner]
                count += 1
                word &= word - u64(1)
    starts[m] = count
    copied = total >= PANEL_USES * k
    panel = _aligned_scratch(k * PANEL_COLUMNS if copied else 0, c)
    for j in range(0, n, PANEL_COLUMNS if copied else max(n, 1)):
        width = min(PANEL_COLUMNS, n - j) if copied else n
        if copied:
            _copy_panel(panel, b, ldb, k, j, width)
        source, step = (panel, i64(PANEL_COLUMNS)) if copied else (b, ldb)
        _panel_rows(source, step, width, m, starts, rows, weights, fresh, c, j, ldc)


_ROWS = "void(int64,int64,int64,uint64[::1],{0}[::1],int64,int64,{0}[::1],int64,boolean,{0}[::1],int64)"

add_rows_f32, add_rows_f64 = (shared(_ROWS.format(dtype))(_add_rows) for dtype in ("float32", "float64"))


@jit
def _copy_block(out, b, tb, ldb, l0, rows, j0, columns):
    """A block of the second operand in rows of `TABLE_WIDTH`, with zeros beyond `rows` and `columns`."""
    if rows < ROWS_PER_TABLE or columns < TABLE_WIDTH:
        clear(out, 0, ROWS_PER_TABLE * TABLE_WIDTH)
    if tb and rows == ROWS_PER_TABLE and columns == TABLE_WIDTH:
        for j in range(0, TABLE_WIDTH, SQUARE):
            for l in range(0, ROWS_PER_TABLE, SQUARE):  # noqa: E741
                transpose(out, l * TABLE_WIDTH + j, b, (j0 + j) * ldb + l0 + l, ldb)
        return
    if tb:
        for j in range(columns):
            source = part(b, (j0 + j) * ldb + l0, rows)
            for l in range(rows):  # noqa: E741
                out[l * TABLE_WIDTH + j] = source[l]
        return
    for l in range(rows):  # noqa: E741
        target, source = part(out, l * TABLE_WIDTH, columns), part(b, (l0 + l) * ldb + j0, columns)
        for j in range(columns):
            target[j] = source[j]


@jit
def _add_tabled(m, k, words, b, tb, ldb, j0, columns, fresh, c, at, ldc, table, block):
    """Columns j0 to j0 + columns of the product, added to the rows of `TABLE_WIDTH` entries at c[at + i ldc]."""
    prefer_full_width()
    for l0 in range(0, k, ROWS_PER_TABLE):
        rows = min(ROWS_PER_TABLE, k - l0)
        if tb or rows < ROWS_PER_TABLE or columns < TABLE_WIDTH:
            _copy_block(block, b, tb, ldb, l0, rows, j0, columns)
            for g in range(TABLE_GROUPS):
                tabulate_subset_sums(table, g * 16 * TABLE_WIDTH, block, g * 4 * TABLE_WIDTH, TABLE_WIDTH)
        else:
            for g in range(TABLE_GROUPS):
                tabulate_subset_sums(table, g * 16 * TABLE_WIDTH, b, (l0 + 4 * g) * ldb + j0, ldb)
        first, shift = fresh and l0 == 0, u64(l0 % WORD_BITS)
        column = part(words, l0 // WORD_BITS * m, m)
        for i in range(m):
            add_table_sums(c, at + i * ldc, first, table, 0, column[i] >> shift)


def _tabled(m, n, k, words, b, tb, ldb, fresh, c, ldc):
    """c = (0 if fresh else c) + (bits of `words`) b, by tables of the sums of four rows."""
    table, block = (
        _aligned_scratch(TABLE_GROUPS * 16 * TABLE_WIDTH, c),
        _aligned_scratch(ROWS_PER_TABLE * TABLE_WIDTH, c),
    )
    whole = n - n % TABLE_WIDTH
    for j in range(0, whole, TABLE_WIDTH):
        _add_tabled(m, k, words, b, tb, ldb, j, i64(TABLE_WIDTH), fresh, c, j, ldc, table, block)
    if whole < n:
        edge = _aligned_scratch(m * TABLE_WIDTH, c)
        _add_tabled(
            m, k, words, b, tb, ldb, whole, n - whole, np.bool_(True), edge, i64(0), i64(TABLE_WIDTH), table, block
        )
        for i in range(m):
            for j in range(n - whole):
                x = edge[i * TABLE_WIDTH + j]
                c[i * ldc + whole + j] = x if fresh else c[i * ldc + whole + j] + x


_TABLED = "void(int64,int64,int64,uint64[::1],{0}[::1],boolean,int64,boolean,{0}[::1],int64)"

tabled_f32, tabled_f64 = (shared(_TABLED.format(dtype))(_tabled) for dtype in ("float32", "float64"))


@jit
def choose_algorithm(ta, tb, m, n, k, a, lda):
    """The way to take."""
    table = m >= TABLED_ROWS and n >= TABLE_WIDTH
    if tb and not table:
        return DENSE
    kind, binary = _sparsity_of(a, k if ta else m, m if ta else k, lda)
    if tb:
        return BINARY if binary else DENSE
    return DENSE if kind == BINARY and not table else kind
