"""Numba's private parts: all that the package imports, reads or patches of Numba that Numba does not promise.

Every other module uses `numba`, `numba.types`, `numba.extending`, `numba.core.errors` and what stands here; the private
parts of numba-cuda stand in `ppl.kernels.cuda.ptx`. Code generators also use what Numba's guide to extending shows:
`cgutils`, the arrays and values of a target context. `tests/kernels/test_internals.py` holds modules to that, and tests
each part, so that a version of Numba which changes one says which.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import types as python_types
from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import NullCache, _Cache
from numba.core.callconv import RETCODE_EXC, RETCODE_OK, RETCODE_USEREXC, Status, excinfo_ptr_t
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.core.targetconfig import ConfigStack
from numba.experimental.jitclass.base import JitClassType
from numba.extending import _Intrinsic
from numba.np.ufunc.dufunc import DUFunc
from numba.np.ufunc.gufunc import GUFunc
from numba.np.ufunc.ufuncbuilder import UFuncDispatcher

__all__ = ["Cache", "cgutils", "dumps", "global_compiler_lock", "normalize_signature"]
"""Under Numba's names: code of common things, pickling of functions too, the lock of the compiler (it may be taken
again by its holder), and (arguments, result) of a signature in words."""

TRIED = ("0.63.0", "0.68.1")
"""Versions of Numba with which the tests pass, from the lowest to the highest; `pyproject.toml` allows no others."""

Cache = _Cache
"""The base class of a dispatcher's cache: `load_overload`, `save_overload`, `enable`, `disable`, `flush`."""

BLAS_PRODUCT = "numba_xxgemm"
"""The symbol of the matrix product that ``np.dot`` calls: kind, letters of transposition, sizes, and pointers."""

WORD, UNKNOWN = ir.IntType(64), 1
"""The type of addresses, and the one of what describes an exception that Python keeps, because Python raised it."""

# What functions are, and what they reach.


def is_compiled(value: Any) -> bool:
    """Whether a value is what ``njit``, ``jit``, or ``vectorize`` for each of its loops, make of a function."""
    return isinstance(value, Dispatcher | UFuncDispatcher)


def is_for_cpu(value: Any) -> bool:
    """Whether a value `is_compiled` for the CPU: its machine code may be kept on disk and compiled again."""
    return isinstance(value, CPUDispatcher | UFuncDispatcher)


def options(dispatcher: Any) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """How a function is compiled: options of its decorator, types of locals, and its signatures if they are fixed."""
    fixed = [] if getattr(dispatcher, "_can_compile", True) else list(dispatcher.overloads)
    return getattr(dispatcher, "targetoptions", {}), getattr(dispatcher, "locals", {}), fixed


def ufunc_parts(value: Any) -> tuple[Any, Any, Any] | None:
    """Signature, types of loops if no more are made, and dispatcher of what (gu)vectorize makes; None of others."""
    if not isinstance(value, DUFunc | GUFunc):
        return None
    return value.signature, value.types if value._frozen else "", value._dispatcher


def intrinsic_function(value: Any) -> Any:
    """The function that `numba.extending.intrinsic` has decorated, or None."""
    return value._defn if isinstance(value, _Intrinsic) else None


def jitclass_parts(value: Any) -> tuple[str, dict[str, Any], list[dict[str, Any]]] | None:
    """Name, types of fields, and methods, properties and static methods of a class of `jitclass`; None of others."""
    if not isinstance(value, JitClassType):
        return None
    kind = value.class_type
    return kind.class_name, dict(kind.struct), [kind.jit_methods, kind.jit_props, kind.jit_static_methods]


def refresh() -> None:
    """Let Numba take notice of all overloads registered so far."""
    cpu_target.typing_context.refresh()


def overloads_of(value: Any) -> Iterator[tuple[str, Any]]:
    """What has been registered to be compiled in place of a function, and under which attribute of its template.

    These are names of `overload`, `type_callable` and `intrinsic`.
    """
    try:
        kind = cpu_target.typing_context.resolve_value_type(value)
    except Exception:  # nothing that Numba knows
        return
    for template in kind.templates if isinstance(kind, types.Function) else ():
        for name in ("_overload_func", "generic", "_definition_func"):
            inner = getattr(template, name, None)
            if isinstance(inner, python_types.FunctionType):
                yield name, inner


def overloaded_attributes() -> Iterator[Any]:
    """The functions of `overload_method` and `overload_attribute`, of all types."""
    for templates in cpu_target.typing_context._attributes.values():
        for template in templates:
            inner = getattr(template, "_overload_func", None)
            if isinstance(inner, python_types.FunctionType):
                yield inner


# Dispatchers: what is compiled, when, and where it is kept.


def call_others(dispatcher: Any, other: Callable[[], Any]) -> None:
    """Patch: compiled callers of a dispatcher call the one that `other` returns, when they are typed and lowered."""
    dispatcher.get_call_template = lambda *arguments: other().get_call_template(*arguments)
    dispatcher.get_overload = lambda signature: other().get_overload(signature)


def watch(dispatcher: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Patch: a dispatcher compiles by what `wrap` makes of its method `compile`."""
    dispatcher.compile = wrap(dispatcher.compile)


def compile_alone(dispatcher: Any) -> None:
    """Compile `dispatcher` under its own settings only, from now on.

    Relies on: what is compiled on demand takes its settings from `ConfigStack`, whose top are those of the caller. So
    sums of a user's function would be reassociated, and a division by 0 raise nothing, if emitted code came first.
    """
    inner = dispatcher.compile
    if getattr(inner, "alone", False):
        return

    @functools.wraps(inner)
    def compile_(*arguments: Any, **given: Any) -> Any:
        callers, held = ConfigStack()._stk, []
        while len(callers):
            held.append(callers.pop())
        try:
            return inner(*arguments, **given)
        finally:
            for flags in reversed(held):
                callers.push(flags)

    compile_.alone = True
    dispatcher.compile = compile_


def keep_in(dispatcher: Any, cache: Cache) -> None:
    """Patch: a dispatcher has this cache."""
    setattr(dispatcher, _cache_attribute(dispatcher), cache)


def is_kept(dispatcher: Any) -> bool:
    """Whether a dispatcher has a cache on disk."""
    return not isinstance(getattr(dispatcher, _cache_attribute(dispatcher)), NullCache)


def _cache_attribute(dispatcher: Any) -> str:
    return "cache" if isinstance(dispatcher, UFuncDispatcher) else "_cache"


def compile_again(dispatcher: Any) -> None:
    """Compile all signatures of a dispatcher afresh, or load them from its cache."""
    if isinstance(dispatcher, UFuncDispatcher):
        for signature in list(dispatcher.overloads):
            del dispatcher.overloads[signature]
            dispatcher.compile(signature)
    elif dispatcher.overloads:
        dispatcher.recompile()


def compiled(dispatcher: Any, signature: Any) -> CompileResult:
    """What a dispatcher has compiled, or compiles now, for a signature."""
    return dispatcher.get_compile_result(signature)


def address(result: CompileResult) -> int:
    """Where machine code begins; it stays there as long as its dispatcher lives."""
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


# Machine code on disk.


def can_be_kept(result: CompileResult) -> bool:
    """Whether machine code means the same in another process: no addresses in it, no lifted loops that have some."""
    return not result.library.has_dynamic_globals and all(x.can_cache for x in result.lifted)


def reduced(result: CompileResult) -> tuple[Any, ...]:
    """Machine code in a form that `dumps` writes."""
    return result._reduce()


def rebuilt(target_context: Any, payload: tuple[Any, ...]) -> CompileResult:
    """Machine code of what `reduced` has returned."""
    return CompileResult._rebuild(target_context, *payload)


def processor(codegen: Any) -> tuple[Any, ...]:
    """The processor and its features for which a code generator compiles."""
    return codegen.magic_tuple()


def attach(result: CompileResult, need: Any) -> None:
    """Have `need` called before machine code, or that of its callers, is loaded in another process.

    Relies on `reload_init`, stored with machine code, and on `_reload_init`, which callers take over when they link.
    """
    if need not in result.reload_init:
        result.reload_init.append(need)
    result.library._reload_init.add(need)


def attach_to_caller(context: Any, need: Any) -> None:
    """As `attach`, for the function that is being lowered."""
    context.active_code_library._reload_init.add(need)


def remember_needs() -> None:
    """Patch: machine code that Numba loads keeps what its callers will need before they are loaded."""
    numbas = CompileResult._rebuild.__func__
    if hasattr(numbas, "forgets"):
        return

    def _rebuild(cls: Any, target_context: Any, *reduced: Any, **named: Any) -> Any:
        result = numbas(cls, target_context, *reduced, **named)
        result.library._reload_init.update(result.reload_init or ())
        return result

    _rebuild.forgets = numbas
    CompileResult._rebuild = classmethod(_rebuild)


# Calls in Numba's calling convention: a function returns a status, and writes its result and what it has raised.


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
    """Emit a call of a function by its address: what it has raised, as `raised_by` says; its result is dropped."""
    kind = context.call_conv.get_function_type(signature.return_type, signature.args)
    result = cgutils.alloca_once(builder, kind.args[0].pointee)
    raised = cgutils.alloca_once(builder, excinfo_ptr_t)
    code = builder.call(builder.inttoptr(place, kind.as_pointer()), [result, raised, *values])
    return raised_by(builder, code, builder.load(raised))


def call_signature(typing_context: Any, function: Any, arguments: Any) -> Any:
    """The signature by which a compiled function, given by its type, is called with arguments of these types."""
    return function.get_call_type(typing_context, tuple(arguments), {})


def call_compiled(context: Any, builder: Any, result: CompileResult, signature: Any, values: Any) -> tuple[Any, Any]:
    """Emit a call of linked machine code: what it has raised, as `raised_by` says, and its result."""
    context.add_linking_libs([result.library])
    status, value = context.call_internal_no_propagate(builder, result.fndesc, signature, values)
    return raised_by(builder, status.code, status.excinfoptr), value


def raised_by(builder: Any, code: Any, described: Any) -> Any:
    """Emit: 0 where a call's status is OK, or the address of what describes the exception that it has raised."""
    word = builder.ptrtoint(described, WORD)
    found = builder.select(builder.icmp_signed("==", code, RETCODE_USEREXC), word, WORD(UNKNOWN))
    return builder.select(builder.icmp_signed("==", code, RETCODE_OK), WORD(0), found)


def raise_again(context: Any, builder: Any, raised: Any) -> None:
    """Emit: raise the exception that `raised`, from `raised_by`, stands for; nothing where it is 0."""
    true, false = cgutils.true_bit, cgutils.false_bit
    known = builder.icmp_unsigned("!=", raised, WORD(UNKNOWN))
    with cgutils.if_unlikely(builder, builder.icmp_unsigned("!=", raised, WORD(0))):
        status = Status(
            code=builder.select(known, RETCODE_USEREXC, RETCODE_EXC), is_ok=false, is_none=false, is_error=true,
            is_stop_iteration=false, is_python_exc=builder.not_(known), is_user_exc=known,
            excinfoptr=builder.inttoptr(raised, excinfo_ptr_t),
        )  # fmt: skip
        context.call_conv.return_status_propagate(builder, status)


# Arrays, BLAS and threads.


def flat_array(context: Any, builder: Any, kind: Any, data: Any, size: Any) -> Any:
    """Emit: a flat array of `size` entries at the pointer `data`, of which no references are counted."""
    from numba.np.arrayobj import populate_array  # imported with the first function that is compiled

    array = context.make_array(kind)(context, builder)
    itemsize = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    populate_array(array, data=data, shape=(size,), strides=(itemsize,), itemsize=itemsize, meminfo=None)
    return array._getvalue()


def ensure_blas() -> None:
    """Make `BLAS_PRODUCT` known; ImportError where SciPy has no BLAS."""
    from numba.np.linalg import ensure_blas  # imported with the first product

    ensure_blas()


def has_layer(name: str) -> bool:
    """Whether a threading layer can be loaded: omp, tbb, or workqueue."""
    with contextlib.suppress(ImportError):
        return bool(importlib.import_module("numba.np.ufunc." + {"omp": "omppool", "tbb": "tbbpool"}.get(name, name)))
    return False
