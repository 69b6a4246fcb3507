"""Calls of a region by its address, and what it has raised."""

from numba import types
from numba.extending import intrinsic

from ppl.kernels import internals
from ppl.kernels.internals import WORD

SIGNATURE = types.int64(types.int64, types.int64, types.int64, types.int64)
"""Of a region: argument words, slab, slabs, lane."""


@intrinsic
def enter(typing_context, region, words, slab, slabs, lane):
    """Call the region at address `region`: 0, or the address of what describes the exception that it has raised."""

    def codegen(context, builder, signature, values):
        return internals.call_address(context, builder, SIGNATURE, values[0], values[1:])

    return types.int64(region, words, slab, slabs, lane), codegen


@intrinsic
def report(typing_context, words, raised):
    """Write what `enter` has returned to word 0 of those at address `words`, from any thread."""

    def codegen(context, builder, signature, values):
        place = builder.inttoptr(values[0], WORD.as_pointer())
        builder.store_atomic(values[1], place, "release", 8)
        return context.get_dummy_value()

    return types.void(words, raised), codegen


@intrinsic
def raise_it(typing_context, raised):
    """Raise the exception that `raised`, from `enter`, stands for; nothing where it is 0."""

    def codegen(context, builder, signature, values):
        internals.raise_again(context, builder, values[0])
        return context.get_dummy_value()

    return types.void(raised), codegen
