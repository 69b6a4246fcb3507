"""What functions are for Numba, and what they reach: options, ufuncs, intrinsics, classes, overloads."""

from __future__ import annotations

import types as python_types
from collections.abc import Iterator
from typing import Any

from numba import types
from numba.core.dispatcher import Dispatcher
from numba.core.registry import CPUDispatcher, cpu_target
from numba.experimental.jitclass.base import JitClassType
from numba.extending import _Intrinsic
from numba.np.ufunc.dufunc import DUFunc
from numba.np.ufunc.gufunc import GUFunc
from numba.np.ufunc.ufuncbuilder import UFuncDispatcher


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
