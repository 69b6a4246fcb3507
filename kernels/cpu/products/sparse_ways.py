"""The ways to multiply data that is mostly zeros or consists of zeros and ones.

`choice` looks at the first operand, `pack` writes down where it is not 0, and `add_rows_...` and `tabled_...` are the
ways (see `ppl.kernels.cpu.products.sparse`).
"""

import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.cpu.memory.vectors import prefer_full_width
from ppl.kernels.cpu.memory.views import clear, part
from ppl.kernels.cpu.products.panels import (
    WORD,
    count_bits,
    look_up,
    lowest,
    nonzeros,
    sum_rows_1,
    sum_rows_4,
    sum_rows_16,
    sum_rows_32,
    sum_rows_128,
    tabulate,
    transpose,
)
from ppl.kernels.symbols import shared
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

u64, i64 = np.uint64, np.int64

DENSE, FEW, BINARY = 0, 1, 2
INNER = 4 * TABLE_GROUPS


@jit
def _kind(a, rows, columns, lda):
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
def pack(m, k, a, ta, lda):
    """Bit l % WORD of result[l // WORD * m + i] says whether entry (i, l) of the first operand is not 0."""
    words = np.empty((k + WORD - 1) // WORD * m, np.uint64)
    if ta:
        for start in range(0, k, WORD):
            target = part(words, start // WORD * m, m)
            clear(words, start // WORD * m, m)
            for l in range(start, min(k, start + WORD)):  # noqa: E741
                row, bit = part(a, l * lda, m), u64(l - start)
                for i in range(m):
                    target[i] |= u64(row[i] != 0) << bit
        return words
    whole = k - k % WORD
    for i in range(m):
        for start in range(0, whole, WORD):
            words[start // WORD * m + i] = nonzeros(a, i * lda + start)
        if whole < k:
            word = u64(0)
            for l in range(whole, k):  # noqa: E741
                word |= u64(a[i * lda + l] != 0) << u64(l - whole)
            words[whole // WORD * m + i] = word
    return words


@jit
def _aligned(size, like):
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
        for start in range(0, k, WORD):
            word = words[start // WORD * m + i]
            while word != 0:
                l = start + lowest(word)  # noqa: E741
                rows[count] = l
                weights[count] = a[i * step_row + l * step_inner]
                count += 1
                word &= word - u64(1)
    starts[m] = count
    copied = total >= PANEL_USES * k
    panel = _aligned(k * PANEL_COLUMNS if copied else 0, c)
    for j in range(0, n, PANEL_COLUMNS if copied else max(n, 1)):
        width = min(PANEL_COLUMNS, n - j) if copied else n
        if copied:
            _copy_panel(panel, b, ldb, k, j, width)
        source, step = (panel, i64(PANEL_COLUMNS)) if copied else (b, ldb)
        _panel_rows(source, step, width, m, starts, rows, weights, fresh, c, j, ldc)


_ROWS = "void(int64,int64,int64,uint64[::1],{0}[::1],int64,int64,{0}[::1],int64,boolean,{0}[::1],int64)"
add_rows_f32, add_rows_f64 = (shared(_ROWS.format(dtype))(_add_rows) for dtype in ("float32", "float64"))


@jit
def _block(out, b, tb, ldb, l0, rows, j0, columns):
    """A block of the second operand in rows of `TABLE_WIDTH`, with zeros beyond `rows` and `columns`."""
    if rows < INNER or columns < TABLE_WIDTH:
        clear(out, 0, INNER * TABLE_WIDTH)
    if tb and rows == INNER and columns == TABLE_WIDTH:
        for j in range(0, TABLE_WIDTH, SQUARE):
            for l in range(0, INNER, SQUARE):  # noqa: E741
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
    for l0 in range(0, k, INNER):
        rows = min(INNER, k - l0)
        if tb or rows < INNER or columns < TABLE_WIDTH:
            _block(block, b, tb, ldb, l0, rows, j0, columns)
            for g in range(TABLE_GROUPS):
                tabulate(table, g * 16 * TABLE_WIDTH, block, g * 4 * TABLE_WIDTH, TABLE_WIDTH)
        else:
            for g in range(TABLE_GROUPS):
                tabulate(table, g * 16 * TABLE_WIDTH, b, (l0 + 4 * g) * ldb + j0, ldb)
        first, shift = fresh and l0 == 0, u64(l0 % WORD)
        column = part(words, l0 // WORD * m, m)
        for i in range(m):
            look_up(c, at + i * ldc, first, table, 0, column[i] >> shift)


def _tabled(m, n, k, words, b, tb, ldb, fresh, c, ldc):
    """c = (0 if fresh else c) + (bits of `words`) b, by tables of the sums of four rows."""
    table, block = _aligned(TABLE_GROUPS * 16 * TABLE_WIDTH, c), _aligned(INNER * TABLE_WIDTH, c)
    whole = n - n % TABLE_WIDTH
    for j in range(0, whole, TABLE_WIDTH):
        _add_tabled(m, k, words, b, tb, ldb, j, i64(TABLE_WIDTH), fresh, c, j, ldc, table, block)
    if whole < n:
        edge = _aligned(m * TABLE_WIDTH, c)
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
def choice(ta, tb, m, n, k, a, lda):
    """The way to take."""
    table = m >= TABLED_ROWS and n >= TABLE_WIDTH
    if tb and not table:
        return DENSE
    kind, binary = _kind(a, k if ta else m, m if ta else k, lda)
    if tb:
        return BINARY if binary else DENSE
    return DENSE if kind == BINARY and not table else kind
