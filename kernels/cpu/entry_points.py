"""Enter compiled programs from outside: from Python by address, from C, and from samplers that call a log-density.

Numba writes a function's wrapper for Python into the function's own machine code. That of a program's driver, which
has an argument for each array, takes longer to compile than the driver. Here it is a kernel of its own, `run_at`, on
disk once for all programs whose arguments have the same types. The machine code at an address is for some types of
arguments. Their hash is passed with the address, and `run_at` calls nothing unless it is that of its own arguments.

A C entry reports by a status word, and raises nothing itself; what a user's function raises becomes a status. The
second entry, if there is one, is asked only when the first finds a result that is not finite: it finds the same
where a parameter was out of range.

The functions that samplers call, a log-density with its gradient and what keeps a draw, have the signatures of
nutpie. Any number of threads may call them: each call takes one of several places with memory of its own, by an
atomic word, and gives it back at the end."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numba
from llvmlite import ir
from numba import types

from ppl.checked import CHECKED
from ppl.errors import ModelError
from ppl.kernels import internals
from ppl.kernels.decorators import jit
from ppl.kernels.internals import WORD, cgutils
from ppl.kernels.internals.lowering import Frame, set_writer
from ppl.records import dataclass


def plain_type(kind: Any) -> Any:
    """The type of an argument as machine code is compiled for it: arrays may be written to, and are aligned."""
    return types.Array(kind.dtype, kind.ndim, kind.layout) if isinstance(kind, types.Array) else kind


def types_hash(kinds: Sequence[Any]) -> int:
    """The hash of the types of arguments, which is never 0."""
    text = " ".join(str(plain_type(kind)) for kind in kinds)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True) | 1


@jit
def run_at(place, kind, *arguments):
    """Call the function at an address if `kind` is the hash of the arguments' types, and say whether it is."""


class _RunAtWriter:
    """Writes `run_at`."""

    def result(self) -> Any:
        """Whether the types are those that the function was compiled for."""
        return types.boolean

    def write(self, frame: Frame) -> None:
        """Write the code."""
        (_, _, place), (_, _, kind), (_, packed, values) = frame.arguments
        context, builder = frame.context, frame.builder
        same = builder.icmp_signed("==", kind, WORD(types_hash(packed.types)))
        with builder.if_then(same):
            signature = types.int64(*map(plain_type, packed.types))
            given = [builder.extract_value(values, i) for i in range(len(packed.types))]
            raised = internals.call_address(context, builder, signature, place, given)
            internals.emit_raise_again(context, builder, raised)
        frame.give(types.boolean, same)


class PythonEntry:
    """A compiled function as Python calls it, for its effects: its result, a number, is dropped."""

    def __init__(self, function: Any):
        self._bare: Callable[[], Any] = function.bare
        self._known = 0, 0

    def __call__(self, *arguments: Any) -> None:
        """Call it; it is compiled, or read from disk, for the types of the first arguments, and again for others."""
        if not run_at(*self._known, *arguments):
            self._known = self._compiled(arguments)
            run_at(*self._known, *arguments)

    def _compiled(self, arguments: Sequence[Any]) -> tuple[int, int]:
        """Address and hash of what is compiled for arguments of such types."""
        kinds = [numba.typeof(x) for x in arguments]
        found = internals.address(self._bare(), tuple(map(plain_type, kinds)))
        return found, types_hash(kinds)


def from_python(function: Any) -> Any:
    """A compiled function for calls from Python; the function itself where nothing is compiled, or all is checked."""
    return PythonEntry(function) if hasattr(function, "bare") and not CHECKED else function


if not numba.config.DISABLE_JIT:
    set_writer(run_at.py_func, _RunAtWriter())

SIMULATOR, PARAMETER, NOT_FINITE = 1, 2, 4
"""Statuses; an entry itself tells 0 (success), 2, 3 (the workspace) and 4."""

POINTERS, NUMBERS = 4, 3
"""params, grad, aux, hyper; then seed, step, row0, before the factor `scale`."""


def c_entry_function(
    name: str, entries: Sequence[tuple[Any, Sequence[Any]]], plates: int, data: int
) -> tuple[Any, int]:
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
        emit_entry_call(context, builder, entries[0], whole, values[before], status)
        if len(entries) > 1:
            bad = builder.icmp_signed("==", builder.load(status), WORD(NOT_FINITE))
            with cgutils.if_unlikely(builder, bad):
                _emit_parameter_status(context, builder, entries[1], whole, values[before], status)
        return builder.trunc(builder.load(status), internals.STATUS)

    return internals.c_function(name, kinds, write)


def _emit_parameter_status(context: Any, builder: Any, entry: Any, whole: list[Any], scale: Any, status: Any) -> None:
    """Emit: a status of parameters where the second entry finds its loss not finite."""
    found, loss = cgutils.alloca_once(builder, WORD), cgutils.alloca_once(builder, WORD)
    given = [*whole[:-1], builder.ptrtoint(loss, WORD)]
    emit_entry_call(context, builder, entry, given, scale, found)
    violated = builder.icmp_signed("==", builder.load(found), WORD(NOT_FINITE))
    builder.store(builder.select(violated, WORD(PARAMETER), WORD(NOT_FINITE)), status)


def emit_entry_call(context: Any, builder: Any, entry: Any, whole: list[Any], scale: Any, status: Any) -> None:
    """Emit: a call of an entry (kernel, constants of its workspace), whose status goes to the word at `status`."""
    kernel, constants = entry
    fixed = [WORD(x.ctypes.data) for x in constants]
    values = [*whole, *fixed, builder.ptrtoint(status, WORD), scale]
    signature = kernel.result(*kernel.arguments)
    raised = internals.call_address(context, builder, signature, WORD(kernel.address()), values)
    with cgutils.if_unlikely(builder, builder.icmp_unsigned("!=", raised, WORD(0))):
        builder.store(WORD(SIMULATOR), status)


DOUBLE = ir.DoubleType()

WORD_BYTES = 8
"""Bytes of a word."""


@dataclass(frozen=True)
class ScratchPlaces:
    """Addresses of memory: `count` places, each `stride` bytes behind the one before.

    A place holds a lock (a word, 0 where it is free), then at `params`, `grad` and `work` (bytes from its beginning)
    the parameters, their gradient and the workspace. `failed` is a word and a point: 1, and where a user's function has
    raised an exception. To the sampler that is a point without a density: whoever waits for it looks at the word.
    """

    at: int
    count: int
    stride: int
    params: int
    grad: int
    work: int
    work_bytes: int
    failed: int


def log_density_function(
    entry: tuple[Any, Sequence[Any]], size: int, places: ScratchPlaces, middle: Sequence[int], last: Sequence[int]
) -> tuple[Any, int]:
    """What holds the machine code of a log-density, and its address: minus the loss of a compiled entry.

    Parameters
    ----------
    entry : a compiled entry (`c_entry`) with (header, float constants, whole constants) of its workspace.
    size : how many reals a point has; they are the first parameters, the others stand in the places.
    middle : what the entry takes between gradient and workspace: auxiliary variables, hypers, seed, step, first row.
    last : what it takes behind the workspace: numbers of rows, and addresses of data.
    """
    if numba.config.DISABLE_JIT:
        raise ModelError("mcmc needs the compiler, which NUMBA_DISABLE_JIT=1 turns off")

    def write(context: Any, builder: Any, values: list[Any]) -> Any:
        _, point, out, result, _ = values
        place = _emit_take_place(builder, places)
        own = [builder.add(place, WORD(at)) for at in (places.params, places.grad, places.work)]
        cgutils.raw_memcpy(builder, _as_bytes(builder, own[0]), _as_bytes(builder, point), WORD(size), WORD_BYTES)
        status = cgutils.alloca_once(builder, WORD)
        fixed = [WORD(x) for x in middle]
        given = [own[0], own[1], *fixed, own[2], WORD(places.work_bytes), *(WORD(x) for x in last), result]
        emit_entry_call(context, builder, entry, given, ir.Constant(DOUBLE, 1.0), status)
        _emit_negated(builder, result, result, 1)
        _emit_negated(builder, own[1], out, size)
        found = builder.load(status)
        with cgutils.if_unlikely(builder, builder.icmp_signed("==", found, WORD(1))):
            kept = builder.add(WORD(places.failed), WORD(WORD_BYTES))
            cgutils.raw_memcpy(builder, _as_bytes(builder, kept), _as_bytes(builder, point), WORD(size), WORD_BYTES)
            builder.store(WORD(1), builder.inttoptr(WORD(places.failed), WORD.as_pointer()))
        builder.store_atomic(WORD(0), builder.inttoptr(place, WORD.as_pointer()), "release", WORD_BYTES)
        return found

    return internals.c_function("log_density", ["word"] * 5, write, WORD)


def draw_copy_function(size: int, counter: int) -> tuple[Any, int]:
    """What holds the machine code of a function that copies the reals of a draw and counts it, and its address.

    `counter` is the address of a word.
    """

    def write(context: Any, builder: Any, values: list[Any]) -> Any:
        _, _, point, out, _ = values
        cgutils.raw_memcpy(builder, _as_bytes(builder, out), _as_bytes(builder, point), WORD(size), WORD_BYTES)
        builder.atomic_rmw("add", builder.inttoptr(WORD(counter), WORD.as_pointer()), WORD(1), "monotonic")
        return WORD(0)

    return internals.c_function("kept_draw", ["word"] * 5, write, WORD)


def _as_bytes(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, cgutils.voidptr_t)


def _emit_take_place(builder: Any, places: ScratchPlaces) -> Any:
    """Emit: take the first place that is free, again and again from the first one to the last."""
    number = cgutils.alloca_once_value(builder, WORD(0))
    look, found = builder.append_basic_block("look"), builder.append_basic_block("found")
    builder.branch(look)
    builder.position_at_end(look)
    i = builder.load(number)
    address = builder.add(WORD(places.at), builder.mul(i, WORD(places.stride)))
    lock = builder.inttoptr(address, WORD.as_pointer())
    exchanged = builder.cmpxchg(lock, WORD(0), WORD(1), "acquire", "monotonic")
    builder.store(builder.urem(builder.add(i, WORD(1)), WORD(places.count)), number)
    builder.cbranch(builder.extract_value(exchanged, 1), found, look)
    builder.position_at_end(found)
    return address


def _emit_negated(builder: Any, source: Any, target: Any, count: int) -> None:
    """Emit: minus the numbers at one address, written to another one."""
    kind = DOUBLE.as_pointer()
    read, written = builder.inttoptr(source, kind), builder.inttoptr(target, kind)
    with cgutils.for_range(builder, WORD(count)) as loop:
        value = builder.load(builder.gep(read, [loop.index]))
        builder.store(builder.fneg(value), builder.gep(written, [loop.index]))
