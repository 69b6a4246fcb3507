"""Numba's dispatchers: settings, caches, when they compile; ufuncs, intrinsics, overloads, jitclasses."""

from __future__ import annotations

import functools
import inspect
import types as python_types
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from numba import types
from numba.core import utils
from numba.core.caching import NullCache, _Cache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.targetconfig import ConfigStack
from numba.experimental.jitclass.base import JitClassType
from numba.extending import _Intrinsic
from numba.np.ufunc.dufunc import DUFunc
from numba.np.ufunc.gufunc import GUFunc
from numba.np.ufunc.ufuncbuilder import UFuncDispatcher

from ppl.kernels.internals.machine_code import mark_address_needed

Cache = _Cache
"""The base class of a dispatcher's cache: `load_overload`, `save_overload`, `enable`, `disable`, `flush`."""

Compile = Callable[..., Any]
"""A dispatcher's method `compile`: machine code of a signature, which it keeps."""


def patch_signatures() -> None:
    """Patch: the signature of a plain function, which Numba asks for several times, is read off its code.

    Relies on `pysignature`; `inspect.signature` does much more, and is asked where there are defaults or annotations.
    """
    numbas = utils.pysignature
    if hasattr(numbas, "quick"):
        return

    def pysignature(fn: Any) -> inspect.Signature:
        return _plain_signature(fn) or numbas(fn)

    vars(pysignature)["quick"] = True
    utils.pysignature = pysignature


def _plain_signature(fn: Any) -> inspect.Signature | None:
    """The signature of a function that has only names of arguments; None of others."""
    if type(fn) is not FunctionType or fn.__defaults__ or fn.__kwdefaults__ or fn.__annotations__:
        return None
    code, said = fn.__code__, vars(fn)
    if code.co_flags & _STARRED or code.co_posonlyargcount or code.co_kwonlyargcount:
        return None
    if "__wrapped__" in said or "__signature__" in said:
        return None
    return _signature_of_names(code.co_varnames[: code.co_argcount])


@functools.cache
def _signature_of_names(names: tuple[str, ...]) -> inspect.Signature:
    """The signature of plain arguments: many functions have the same few, and signatures never change."""
    return inspect.Signature([_parameter(name) for name in names], __validate_parameters__=False)


@functools.cache
def _parameter(name: str) -> inspect.Parameter:
    """A plain argument."""
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)


_STARRED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def redirect_compiled_callers(dispatcher: Any, other: Callable[[], Any]) -> None:
    """Patch: compiled callers of a dispatcher call the one that `other` returns, when they are typed and lowered."""
    dispatcher.get_call_template = lambda *arguments: other().get_call_template(*arguments)
    dispatcher.get_overload = lambda signature: other().get_overload(signature)


def watch(dispatcher: Any, wrap: Callable[[Compile], Compile]) -> None:
    """Patch: a dispatcher compiles by what `wrap` makes of its method `compile`; the same `wrap` counts once."""
    present = dispatcher.compile
    done = getattr(present, "wraps", ())
    if wrap not in done:
        compile_ = wrap(present)
        compile_.wraps = (*done, wrap)
        dispatcher.compile = compile_


def compile_under_own_settings(dispatcher: Any) -> None:
    """Compile `dispatcher` under its own settings only, from now on."""
    watch(dispatcher, _under_own_settings)


def _under_own_settings(compile_: Compile) -> Compile:
    """`compile_`, with none of its callers' settings.

    Relies on: what is compiled on demand takes its settings from `ConfigStack`, whose top are those of the caller. So
    sums of a user's function would be reassociated, and a division by 0 raise nothing, if emitted code came first.
    """

    def alone(*arguments: Any, **given: Any) -> Any:
        callers, held = ConfigStack()._stk, []
        while len(callers):
            held.append(callers.pop())
        try:
            return compile_(*arguments, **given)
        finally:
            for flags in reversed(held):
                callers.push(flags)

    return alone


def skip_search_for_extensions(dispatcher: Any) -> None:
    """Patch: a dispatcher that reads machine code does not look for extensions of Numba first.

    Relies on `_compilation_chain_init_hook`; where all registries are loaded, extensions are looked for
    (`ppl.kernels.internals.savings`). It takes as long as loading a program does: all installed packages are read.
    """
    dispatcher._compilation_chain_init_hook = _do_nothing


def _do_nothing() -> None:
    pass


def set_cache(dispatcher: Any, cache: Cache) -> None:
    """Patch: a dispatcher has this cache."""
    setattr(dispatcher, _cache_attribute(dispatcher), cache)


def has_disk_cache(dispatcher: Any) -> bool:
    """Whether a dispatcher has a cache on disk."""
    return not isinstance(getattr(dispatcher, _cache_attribute(dispatcher)), NullCache)


def _cache_attribute(dispatcher: Any) -> str:
    return "cache" if isinstance(dispatcher, UFuncDispatcher) else "_cache"


def recompile_all(dispatcher: Any) -> None:
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


def address(dispatcher: Any, signature: Any) -> int:
    """Where machine code of a dispatcher begins, compiled now if need be; it stays there as long as that lives.

    `signature` may also be the types of the arguments alone.
    """
    mark_address_needed(dispatcher.py_func)
    if isinstance(signature, tuple):
        dispatcher.compile(signature)
        result = dispatcher.overloads[signature]
    else:
        result = compiled(dispatcher, signature)
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


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
