"""Dispatchers: what is compiled, when, under which settings, and where it is kept."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba.core import utils
from numba.core.caching import NullCache, _Cache
from numba.core.compiler import CompileResult
from numba.core.targetconfig import ConfigStack
from numba.np.ufunc.ufuncbuilder import UFuncDispatcher

from ppl.kernels.internals.libraries import need_address

Cache = _Cache
"""The base class of a dispatcher's cache: `load_overload`, `save_overload`, `enable`, `disable`, `flush`."""

Compile = Callable[..., Any]
"""A dispatcher's method `compile`: machine code of a signature, which it keeps."""


def sign_quickly() -> None:
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
    return _of_names(code.co_varnames[: code.co_argcount])


@functools.cache
def _of_names(names: tuple[str, ...]) -> inspect.Signature:
    """The signature of plain arguments: many functions have the same few, and signatures never change."""
    return inspect.Signature([_parameter(name) for name in names], __validate_parameters__=False)


@functools.cache
def _parameter(name: str) -> inspect.Parameter:
    """A plain argument."""
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)


_STARRED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def call_others(dispatcher: Any, other: Callable[[], Any]) -> None:
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


def compile_alone(dispatcher: Any) -> None:
    """Compile `dispatcher` under its own settings only, from now on."""
    watch(dispatcher, _alone)


def _alone(compile_: Compile) -> Compile:
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


def find_extensions_later(dispatcher: Any) -> None:
    """Patch: a dispatcher that reads machine code does not look for extensions of Numba first.

    Relies on `_compilation_chain_init_hook`; where all registries are loaded, extensions are looked for
    (`ppl.kernels.internals.registries`). It takes as long as loading a program does: all installed packages are read.
    """
    dispatcher._compilation_chain_init_hook = _nothing


def _nothing() -> None:
    pass


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


def address(dispatcher: Any, signature: Any) -> int:
    """Where machine code of a dispatcher begins, compiled now if need be; it stays there as long as that lives.

    `signature` may also be the types of the arguments alone.
    """
    need_address(dispatcher.py_func)
    if isinstance(signature, tuple):
        dispatcher.compile(signature)
        result = dispatcher.overloads[signature]
    else:
        result = compiled(dispatcher, signature)
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))
