"""Run regions (parts of a program) for all their slabs, and compiled functions for all their parts, on threads.

What shares slabs among threads (`pool.share`) is compiled once for all programs; it calls a region ``region(words,
slab, slabs, lane) -> 0`` through a pointer, and the region finds its arguments in int64, its *argument words*: two
for an array (address and length), one for a number.

How many slabs there are depends on the program and its rows alone. Each thread works on the scratch memory of its
own *lane*; so results depend neither on the number of threads nor on who takes which slab.

A region that raises an exception returns a status and a pointer to the exception's description, as all functions of
Numba do. Word 0 takes that pointer from whichever slab fails, and `run_slabs` raises the exception when all slabs
have ended: threads must not raise anything themselves.

The caller keeps the arrays and the words alive until the region has returned. Kernels use `on_threads`, with a
function and its arguments as they are."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from ppl.errors import DataError
from ppl.kernels import internals
from ppl.kernels.cpu.threads import pool
from ppl.kernels.cpu.threads.atomics import load
from ppl.kernels.cpu.threads.pool import REGION_SIGNATURE, call_region, raise_reported, share
from ppl.kernels.decorators import shared
from ppl.kernels.internals import WORD, cgutils

ARGUMENTS = 1
"""The word at which the arguments begin."""


def _number_type(dtype: Any) -> Any:
    return dtype.dtype if isinstance(dtype, types.DType) else dtype.instance_type


def _word_count(argument: Any) -> int:
    return 2 if isinstance(argument, types.Array) else 1


def _check_argument(position: int, argument: Any, expected: Any) -> None:
    if isinstance(argument, types.Array):
        if argument.layout == "C" and argument.ndim == 1 and argument.dtype == expected:
            return
    elif isinstance(argument, types.Integer) and isinstance(expected, types.Integer):
        return
    raise TypingError(f"argument {position} of a region must be {expected}, not {argument}")


@intrinsic
def _fill(typing_context, words, arguments, kinds):
    """Write `arguments` to `words`, which is refused unless they have the types of `kinds`."""
    for i, (argument, kind) in enumerate(zip(arguments, kinds, strict=True)):
        _check_argument(i, argument, _number_type(kind))

    def codegen(context, builder, signature, values):
        base = internals.array_data(builder, values[0])
        builder.store(WORD(0), base)
        at = ARGUMENTS
        for i, argument in enumerate(arguments):
            value = builder.extract_value(values[1], i)
            parts = [value]
            if isinstance(argument, types.Array):
                data = internals.array_data(builder, value)
                parts = [builder.ptrtoint(data, WORD), internals.array_shape(builder, argument, value)[0]]
            elif argument.bitwidth < 64:
                parts = [context.cast(builder, value, argument, types.int64)]
            for part in parts:
                builder.store(part, cgutils.gep(builder, base, at))
                at += 1
        return context.get_dummy_value()

    return types.void(words, arguments, kinds), codegen


@intrinsic
def _address(typing_context, array):
    """Address of the first entry."""

    def codegen(context, builder, signature, values):
        return builder.ptrtoint(internals.array_data(builder, values[0]), WORD)

    return types.int64(array), codegen


def _require_vector(what: str, array: Any, kind: Any) -> None:
    """Raise a DataError unless `array` is flat, in C order and of this kind.

    Numba takes its own errors for one candidate's, and buries them; others come out at once.
    """
    if not isinstance(array, types.Array) or array.ndim != 1 or array.layout != "C" or array.dtype != kind:
        raise DataError(f"{what} of a program are flat arrays of {kind} in C order, not {array}")


@intrinsic
def _place(typing_context, array, dtype):
    """Address of the first entry of a flat array of `dtype`; any other array is refused."""
    _require_vector("params, grad, aux and hyper", array, _number_type(dtype))

    def codegen(context, builder, signature, values):
        return builder.ptrtoint(internals.array_data(builder, values[0]), WORD)

    return types.int64(array, dtype), codegen


@intrinsic
def _data_place(typing_context, array, copy, dtype):
    """Address of the first entry of an array in C order, or of its `copy` in `dtype`, if one was needed."""
    used, i = (copy, 1) if isinstance(copy, types.Array) else (array, 0)
    if not isinstance(used, types.Array) or used.layout != "C" or used.dtype != _number_type(dtype):
        raise DataError(
            f"data of a program are arrays of {_number_type(dtype)} in C order, not {array}: "
            f"np.ascontiguousarray(x) makes one"
        )

    def codegen(context, builder, signature, values):
        return builder.ptrtoint(internals.array_data(builder, values[i]), WORD)

    return types.int64(array, copy, dtype), codegen


@intrinsic
def _work_places(typing_context, work, dtype):
    """Address and length of both parts of a workspace, in which no references are counted."""
    if not isinstance(work, types.BaseTuple) or len(work) != 2:
        raise DataError(f"a workspace is a pair of arrays, as program.workspace(rows) makes it, not {work}")
    parts: list[Any] = list(work.types)
    for part, kind in zip(parts, (_number_type(dtype), types.int64), strict=True):
        _require_vector("the arrays of a workspace", part, kind)

    def codegen(context, builder, signature, values):
        found = []
        for i, part in enumerate(parts):
            array = builder.extract_value(values[0], i)
            data = internals.array_data(builder, array)
            found += [builder.ptrtoint(data, WORD), internals.array_shape(builder, part, array)[0]]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.int64, 4)(work, dtype), codegen


@intrinsic
def _number_at(typing_context, place, index, dtype):
    """Entry `index` of an array of `dtype` at an address."""
    kind = _number_type(dtype)

    def codegen(context, builder, signature, values):
        data = builder.inttoptr(values[0], context.get_data_type(kind).as_pointer())
        return context.unpack_value(builder, kind, builder.gep(data, [values[1]]))

    return kind(types.int64, types.int64, dtype), codegen


@intrinsic
def _array_of(typing_context, place, size, dtype):
    """The array of `size` entries of `dtype` at an address."""
    array_type = types.Array(_number_type(dtype), 1, "C")

    def codegen(context, builder, signature, values):
        data = builder.inttoptr(values[0], context.get_data_type(array_type.dtype).as_pointer())
        return internals.flat_array(context, builder, array_type, data, values[1])

    return array_type(types.int64, types.int64, dtype), codegen


@intrinsic
def _alive_until(typing_context, value, array):
    """`value`; the array lives until here. Several would need a tuple, which counts references."""
    return value(value, array), lambda context, builder, signature, values: values[0]


def _load_word(builder: Any, words: Any, index: Any) -> Any:
    base = builder.inttoptr(words, WORD.as_pointer())
    return builder.load(builder.gep(base, [builder.add(index, WORD(ARGUMENTS))]))


@intrinsic
def _array_at(typing_context, words, index, dtype):
    """The array of `dtype` whose address and length are arguments `index` and `index` + 1 of those at `words`."""
    array_type = types.Array(_number_type(dtype), 1, "C")

    def codegen(context, builder, signature, values):
        words, index, _ = values
        start, size = _load_word(builder, words, index), _load_word(builder, words, builder.add(index, WORD(1)))
        data = builder.inttoptr(start, context.get_data_type(array_type.dtype).as_pointer())
        return internals.flat_array(context, builder, array_type, data, size)

    return array_type(words, index, dtype), codegen


@intrinsic
def _word_at(typing_context, words, index):
    """Argument `index` of those at `words`."""
    return types.int64(words, index), lambda context, builder, signature, values: _load_word(builder, *values)


@shared("void(int64[::1],int64,int64[::1],int64,int64)")
def _run_slabs(entry_points, region, words, slabs, threads):
    """Run the region number `region` for all slabs; `entry_points` are addresses, that of `pool.share` last."""
    raised = np.int64(0)
    if min(slabs, threads) <= 1:
        for slab in range(slabs):
            raised = call_region(entry_points[region], _address(words), slab, slabs, np.int64(0))
            if raised != 0:
                break
    else:
        share = entry_points[entry_points.shape[0] - 1]
        raised = call_region(share, entry_points[region], _address(words), slabs, min(slabs, threads))
        raised = words[0] if raised == 0 else raised  # which also keeps the words until here
    raise_reported(raised)


def _region_address(function: Any) -> int:
    return internals.address(getattr(function, "bare", lambda: function)(), REGION_SIGNATURE)


def entry_points(regions: Sequence[Any], shared: bool) -> Any:
    """What `run_slabs` calls: the addresses of regions, and of what shares slabs among threads if they are `shared`.

    Without the compiler, the functions themselves.
    """
    if numba.config.DISABLE_JIT:
        return regions
    return np.array([*map(_region_address, regions), _region_address(pool.share) if shared else 0], np.int64)


def copied_to(array, dtype):
    """A copy of an array in C order that has another dtype than `dtype`, else 0: no reference that is counted."""
    return array.astype(dtype) if array.dtype != dtype else 0


@overload(copied_to, target="generic")
def _copied_to(array, dtype):
    if not isinstance(array, types.Array) or array.layout != "C" or array.dtype == _number_type(dtype):
        return lambda array, dtype: 0
    return lambda array, dtype: array.astype(dtype)


_plain_arguments: dict[int, list[Any]] = {}


def _plain_fill(words: Any, arguments: Any, kinds: Any) -> None:
    found: list[Any] = []
    for argument in arguments:
        found += [argument, None] if isinstance(argument, np.ndarray) else [argument]
    _plain_arguments[words.ctypes.data] = found


def _plain_run(entry_points: Any, region: int, words: Any, slabs: int, threads: int) -> None:
    for slab in range(slabs):
        entry_points[region](words.ctypes.data, slab, slabs, 0)


if numba.config.DISABLE_JIT:
    fill_words, run_slabs = _plain_fill, _plain_run
    address = lambda array: array.ctypes.data  # noqa: E731
    array_at = lambda words, index, dtype: _plain_arguments[words][index]  # noqa: E731
    word_at = lambda words, index: _plain_arguments[words][index]  # noqa: E731
    place = lambda array, dtype: array.ctypes.data  # noqa: E731
    data_place = lambda array, copy, dtype: (array if isinstance(copy, int) else copy).ctypes.data  # noqa: E731
    alive_until = lambda value, array: value  # noqa: E731
    work_places = lambda work, dtype: tuple(x for a in work for x in (a.ctypes.data, len(a)))  # noqa: E731
    number_at = lambda place, index, dtype: array_of(place, index + 1, dtype)[index]  # noqa: E731

    def array_of(place: int, size: int, dtype: Any) -> np.ndarray:
        """The array at an address."""
        raw = (ctypes.c_char * (size * np.dtype(dtype).itemsize)).from_address(place)
        return np.frombuffer(raw, dtype)
else:
    fill_words, address, array_at, word_at, run_slabs = _fill, _address, _array_at, _word_at, _run_slabs
    place, data_place, array_of, alive_until = _place, _data_place, _array_of, _alive_until
    work_places, number_at = _work_places, _number_at


@intrinsic
def _packed_call(typing_context, function, arguments):
    """(address of a region that calls `function`, address of its words), which last as long as the caller."""
    if not isinstance(function, types.Dispatcher):
        raise TypingError("only a compiled function can be called on several threads")
    called = internals.call_signature(typing_context, function, (*REGION_SIGNATURE.args[1:], *arguments))

    def codegen(context, builder, signature, values):
        dispatcher = function.dispatcher
        compiled = internals.compiled(getattr(dispatcher, "bare", lambda: dispatcher)(), called)
        wanted = called.args[len(REGION_SIGNATURE.args) - 1 :]
        given = [
            context.cast(builder, builder.extract_value(values[1], i), argument, kind)
            for i, (argument, kind) in enumerate(zip(arguments, wanted, strict=True))
        ]
        words = cgutils.pack_struct(builder, [WORD(0), *given])
        stored = cgutils.alloca_once_value(builder, words)
        region = internals.emit_region(context, builder, compiled, called, REGION_SIGNATURE)
        both = [region, builder.ptrtoint(stored, WORD)]
        return context.make_tuple(builder, signature.return_type, both)

    return types.UniTuple(types.int64, 2)(function, arguments), codegen


def on_threads(function: Any, arguments: tuple[Any, ...], parts: int, threads: int) -> None:
    """``function(part, parts, lane, *arguments)`` for every part, on up to `threads` threads; see `pool`.

    An exception is raised when all parts that have begun have ended.
    """
    for part in range(parts):
        function(part, parts, 0, *arguments)


@overload(on_threads, target="generic")
def _on_threads(function, arguments, parts, threads):
    def call(function, arguments, parts, threads):
        region, words = _packed_call(function, arguments)
        share(region, words, parts, threads)
        raise_reported(load(words))

    return call
