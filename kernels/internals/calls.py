"""Calls of compiled code, in Numba's calling convention and in C's.

A function of Numba returns a status, and writes its result and what it has raised. A C function around compiled code
neither raises anything nor needs the interpreter."""

from __future__ import annotations

import ctypes
import itertools
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.core.callconv import RETCODE_EXC, RETCODE_OK, RETCODE_USEREXC, Status, excinfo_ptr_t
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from ppl.errors import in_words

WORD, UNKNOWN = ir.IntType(64), 1
"""The type of addresses, and the one of what describes an exception that Python keeps, because Python raised it."""


def call_symbol(context: Any, builder: Any, signature: Any, symbol: str, values: Any) -> Any:
    """Emit a call of a function by its symbol; what it raises is raised."""
    conventions = context.call_conv
    kind = conventions.get_function_type(signature.return_type, signature.args)
    function = cgutils.get_or_insert_function(builder.module, kind, symbol)
    status, result = conventions.call_function(builder, function, signature.return_type, signature.args, values)
    with cgutils.if_unlikely(builder, status.is_error):
        conventions.return_status_propagate(builder, status)
    return result


def call_address(context: Any, builder: Any, signature: Any, place: Any, values: Any) -> Any:
    """Emit a call of a function by its address: what it has raised, as `emit_raised` says; its result is dropped."""
    kind = context.call_conv.get_function_type(signature.return_type, signature.args)
    result = cgutils.alloca_once(builder, kind.args[0].pointee)
    raised = cgutils.alloca_once(builder, excinfo_ptr_t)
    given = context.get_arg_packer(signature.args).as_arguments(builder, values)
    code = builder.call(builder.inttoptr(place, kind.as_pointer()), [result, raised, *given])
    return emit_raised(builder, code, builder.load(raised))


def call_signature(typing_context: Any, function: Any, arguments: Any) -> Any:
    """The signature by which a compiled function, given by its type, is called with arguments of these types."""
    return function.get_call_type(typing_context, tuple(arguments), {})


def call_compiled(context: Any, builder: Any, result: CompileResult, signature: Any, values: Any) -> tuple[Any, Any]:
    """Emit a call of linked machine code: what it has raised, as `emit_raised` says, and its result."""
    context.add_linking_libs([result.library])
    status, value = context.call_internal_no_propagate(builder, result.fndesc, signature, values)
    return emit_raised(builder, status.code, status.excinfoptr), value


def emit_region(context: Any, builder: Any, result: CompileResult, called: Any, region: Any) -> Any:
    """Emit a function of signature `region`, (address of a word, integers...), and its address.

    It calls linked machine code with the integers and the values that stand behind the word, and returns 0.
    """
    conventions = context.call_conv
    kind = conventions.get_function_type(region.return_type, region.args)
    function = ir.Function(builder.module, kind, builder.module.get_unique_name("region_of_parts"))
    function.linkage = "internal"
    inside = ir.IRBuilder(function.append_basic_block("entry"))
    words, *integers = conventions.get_arguments(function)
    values = [context.get_value_type(x) for x in called.args[len(integers) :]]
    stored = inside.inttoptr(words, ir.LiteralStructType([WORD, *values]).as_pointer())
    given = [inside.load(cgutils.gep_inbounds(inside, stored, 0, 1 + i)) for i in range(len(values))]
    context.add_linking_libs([result.library])
    status, _ = context.call_internal_no_propagate(inside, result.fndesc, called, [*integers, *given])
    with cgutils.if_unlikely(inside, status.is_error):
        conventions.return_status_propagate(inside, status)
    conventions.return_value(inside, WORD(0))
    return builder.ptrtoint(function, WORD)


def emit_raised(builder: Any, code: Any, described: Any) -> Any:
    """Emit: 0 where a call's status is OK, or the address of what describes the exception that it has raised."""
    word = builder.ptrtoint(described, WORD)
    found = builder.select(builder.icmp_signed("==", code, RETCODE_USEREXC), word, WORD(UNKNOWN))
    return builder.select(builder.icmp_signed("==", code, RETCODE_OK), WORD(0), found)


def emit_raise_again(context: Any, builder: Any, raised: Any) -> None:
    """Emit: raise the exception that `raised`, from `emit_raised`, stands for; nothing where it is 0."""
    true, false = cgutils.true_bit, cgutils.false_bit
    known = builder.icmp_unsigned("!=", raised, WORD(UNKNOWN))
    with cgutils.if_unlikely(builder, builder.icmp_unsigned("!=", raised, WORD(0))):
        status = Status(
            code=builder.select(known, RETCODE_USEREXC, RETCODE_EXC), is_ok=false, is_none=false, is_error=true,
            is_stop_iteration=false, is_python_exc=builder.not_(known), is_user_exc=known,
            excinfoptr=builder.inttoptr(raised, excinfo_ptr_t),
        )  # fmt: skip
        context.call_conv.return_status_propagate(builder, status)


class _ExceptionRecord(ctypes.Structure):
    """What describes an exception: its class, arguments and place, pickled; then those arguments that were computed."""

    _fields_ = [
        ("pickled", ctypes.c_void_p), ("size", ctypes.c_int32), ("computed", ctypes.c_void_p),
        ("unwrap", ctypes.c_void_p), ("count", ctypes.c_int32),
    ]  # fmt: skip


_words_of_exceptions: dict[int, str] = {}

MOST_KEPT = 1000
"""Exceptions with computed arguments whose words are kept."""


def described(raised: int) -> str:
    """The exception that `raised`, from `emit_raised`, stands for, in words; its machine code must still be there.

    Relies on: reading computed arguments frees them, while what describes an exception that nobody has raised again is
    never freed. An error may be made more than once on its way through Python, so the words of the first time are kept.
    """
    if raised in (0, UNKNOWN):
        return "an exception"
    found = ctypes.cast(raised, ctypes.POINTER(_ExceptionRecord)).contents
    kind, arguments, _ = pickle.loads(ctypes.string_at(found.pickled, found.size))
    if found.count <= 0:
        return _exception_in_words(kind, arguments)
    if found.computed is not None:
        if len(_words_of_exceptions) >= MOST_KEPT:
            _words_of_exceptions.clear()
        _words_of_exceptions[raised] = _exception_in_words(kind, _with_computed_arguments(arguments, found))
        found.computed = None
    return _words_of_exceptions.get(raised, kind.__name__)


def _exception_in_words(kind: type[BaseException], arguments: tuple[Any, ...]) -> str:
    try:
        error = kind(*arguments)
    except Exception:  # its class takes other arguments
        return f"{kind.__name__}: {arguments}"
    return in_words(error)


def _with_computed_arguments(arguments: tuple[Any, ...], found: _ExceptionRecord) -> tuple[Any, ...]:
    """The arguments of an exception, those that were computed in their places."""
    try:
        computed = iter(ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p)(found.unwrap)(found.computed))
        return tuple(next(computed) if isinstance(x, ir.Value) else x for x in arguments)
    except Exception:  # of a type that Python does not have
        return tuple(x for x in arguments if not isinstance(x, ir.Value))


WORD_TYPE, DOUBLE, STATUS = ir.IntType(64), ir.DoubleType(), ir.IntType(32)

_function_numbers = itertools.count()


def c_function(
    name: str, arguments: Sequence[str], write: Callable[[Any, Any, list[Any]], Any], result: Any = STATUS
) -> tuple[Any, int]:
    """A function that returns a status, of 32 bits or of type `result`: what holds its machine code, and its address.

    `arguments` are "word" (whole numbers and addresses) or "double"; `write(context, builder, values)` emits the body
    and returns the status.
    """
    with global_compiler_lock:
        context = cpu_target.target_context
        context.refresh()
        own = f"{name}_{next(_function_numbers)}"  # names are those of the whole process
        library = context.codegen().create_library(own)
        module = library.create_ir_module(own)
        kinds = [DOUBLE if kind == "double" else WORD_TYPE for kind in arguments]
        function = ir.Function(module, ir.FunctionType(result, kinds), own)
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        builder.ret(write(context, builder, list(function.args)))
        library.add_ir_module(module)
        library.finalize()
        return library, int(library.get_pointer_to_function(own))
