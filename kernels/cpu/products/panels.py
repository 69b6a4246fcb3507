"""Pieces of products that need vectors in registers, for adjacent columns of a matrix: LLVM's vectors, written out.

LLVM keeps an array in memory while a loop adds to it. A vector of a panel's width it keeps in registers, as many as the
width takes, so that adding a row costs one load and one addition per register and the sum is written once.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ppl.kernels.internals import array_data, cgutils
from ppl.tuning import SQUARE, TABLE_GROUPS, TABLE_WIDTH

WORD = 64
"""Entries whose bits `nonzeros` returns."""


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
def tabulate(typing_context, table, at, b, start, step):
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
def look_up(typing_context, out, at, fresh, table, first, word):
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
def nonzeros(typing_context, a, at):
    """Bit j says whether a[at + j] is not 0; j < `WORD`."""
    signature = types.uint64(a, types.intp)

    def codegen(context, builder, signature, arguments):
        panel = Panel(context, builder, signature.args[0], WORD)
        values = panel.load(panel.data(arguments[0]), arguments[1])
        return builder.bitcast(builder.fcmp_unordered("!=", values, panel.zero), ir.IntType(64))

    return signature, codegen


@intrinsic
def lowest(typing_context, word):
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
