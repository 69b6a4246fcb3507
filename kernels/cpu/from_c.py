"""The C function around the compiled entries of a program.

An entry reports by a status word, and raises nothing itself; what a user's function raises becomes a status here. The
second entry, if there is one, is asked only when the first finds a result that is not finite: it finds the same where
a parameter was out of range.
"""

from collections.abc import Sequence
from typing import Any

import numba

from ppl.errors import ModelError
from ppl.kernels import internals
from ppl.kernels.internals import WORD, cgutils

SIMULATOR, PARAMETER, NOT_FINITE = 1, 2, 4
"""Statuses; an entry itself tells 0 (success), 2, 3 (the workspace) and 4."""

POINTERS, NUMBERS = 4, 3
"""params, grad, aux, hyper; then seed, step, row0, before the factor `scale`."""


def compiled(name: str, entries: Sequence[tuple[Any, Sequence[Any]]], plates: int, data: int) -> tuple[Any, int]:
    """What holds the machine code of a C function, and its address.

    `entries` are compiled entries with (header, float constants, whole constants) of their workspaces.
    """
    if numba.config.DISABLE_JIT:
        raise ModelError("cfunc needs the compiler, which NUMBA_DISABLE_JIT=1 turns off")
    before = POINTERS + NUMBERS
    kinds = ["word"] * before + ["double"] + ["word"] * (2 + plates + data + 1)

    def write(context: Any, builder: Any, values: list[Any]) -> Any:
        status = cgutils.alloca_once(builder, WORD)
        whole = [*values[:before], *values[before + 1 :]]
        enter(context, builder, entries[0], whole, values[before], status)
        if len(entries) > 1:
            bad = builder.icmp_signed("==", builder.load(status), WORD(NOT_FINITE))
            with cgutils.if_unlikely(builder, bad):
                _look(context, builder, entries[1], whole, values[before], status)
        return builder.trunc(builder.load(status), internals.STATUS)

    return internals.c_function(name, kinds, write)


def _look(context: Any, builder: Any, entry: Any, whole: list[Any], scale: Any, status: Any) -> None:
    """Emit: a status of parameters where the second entry finds its loss not finite."""
    found, loss = cgutils.alloca_once(builder, WORD), cgutils.alloca_once(builder, WORD)
    given = [*whole[:-1], builder.ptrtoint(loss, WORD)]
    enter(context, builder, entry, given, scale, found)
    violated = builder.icmp_signed("==", builder.load(found), WORD(NOT_FINITE))
    builder.store(builder.select(violated, WORD(PARAMETER), WORD(NOT_FINITE)), status)


def enter(context: Any, builder: Any, entry: Any, whole: list[Any], scale: Any, status: Any) -> None:
    """Emit: a call of an entry (kernel, constants of its workspace), whose status goes to the word at `status`."""
    kernel, constants = entry
    fixed = [WORD(x.ctypes.data) for x in constants]
    values = [*whole, *fixed, builder.ptrtoint(status, WORD), scale]
    signature = kernel.result(*kernel.arguments)
    raised = internals.call_address(context, builder, signature, WORD(kernel.address()), values)
    with cgutils.if_unlikely(builder, builder.icmp_unsigned("!=", raised, WORD(0))):
        builder.store(WORD(SIMULATOR), status)
