"""C functions that samplers call: a log-density with its gradient, and what keeps a draw.

Both have the signatures of nutpie. Any number of threads may call them: each call takes one of several places with
memory of its own, by an atomic word, and gives it back at the end.
"""

from collections.abc import Sequence
from typing import Any

import numba
from llvmlite import ir

from ppl.errors import ModelError
from ppl.kernels import internals
from ppl.kernels.cpu.from_c import enter
from ppl.kernels.internals import WORD, cgutils
from ppl.records import dataclass

DOUBLE = ir.DoubleType()
WORDS = 8
"""Bytes of a word."""


@dataclass(frozen=True)
class Places:
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


def log_density(
    entry: tuple[Any, Sequence[Any]], size: int, places: Places, middle: Sequence[int], last: Sequence[int]
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
        place = _taken(builder, places)
        own = [builder.add(place, WORD(at)) for at in (places.params, places.grad, places.work)]
        cgutils.raw_memcpy(builder, _bytes(builder, own[0]), _bytes(builder, point), WORD(size), WORDS)
        status = cgutils.alloca_once(builder, WORD)
        fixed = [WORD(x) for x in middle]
        given = [own[0], own[1], *fixed, own[2], WORD(places.work_bytes), *(WORD(x) for x in last), result]
        enter(context, builder, entry, given, ir.Constant(DOUBLE, 1.0), status)
        _negate(builder, result, result, 1)
        _negate(builder, own[1], out, size)
        found = builder.load(status)
        with cgutils.if_unlikely(builder, builder.icmp_signed("==", found, WORD(1))):
            kept = builder.add(WORD(places.failed), WORD(WORDS))
            cgutils.raw_memcpy(builder, _bytes(builder, kept), _bytes(builder, point), WORD(size), WORDS)
            builder.store(WORD(1), builder.inttoptr(WORD(places.failed), WORD.as_pointer()))
        builder.store_atomic(WORD(0), builder.inttoptr(place, WORD.as_pointer()), "release", WORDS)
        return found

    return internals.c_function("log_density", ["word"] * 5, write, WORD)


def kept_draw(size: int, counter: int) -> tuple[Any, int]:
    """What holds the machine code of a function that copies the reals of a draw and counts it, and its address.

    `counter` is the address of a word.
    """

    def write(context: Any, builder: Any, values: list[Any]) -> Any:
        _, _, point, out, _ = values
        cgutils.raw_memcpy(builder, _bytes(builder, out), _bytes(builder, point), WORD(size), WORDS)
        builder.atomic_rmw("add", builder.inttoptr(WORD(counter), WORD.as_pointer()), WORD(1), "monotonic")
        return WORD(0)

    return internals.c_function("kept_draw", ["word"] * 5, write, WORD)


def _bytes(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, cgutils.voidptr_t)


def _taken(builder: Any, places: Places) -> Any:
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


def _negate(builder: Any, source: Any, target: Any, count: int) -> None:
    """Emit: minus the numbers at one address, written to another one."""
    kind = DOUBLE.as_pointer()
    read, written = builder.inttoptr(source, kind), builder.inttoptr(target, kind)
    with cgutils.for_range(builder, WORD(count)) as loop:
        value = builder.load(builder.gep(read, [loop.index]))
        builder.store(builder.fneg(value), builder.gep(written, [loop.index]))
