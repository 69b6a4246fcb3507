"""A hash of what a function does: its bytecode, and that of the functions of the user's that it names.

Comments, docstrings and the places of lines do not count, nor do libraries. Another version of Python has other
bytecode, hence other hashes.
"""

from __future__ import annotations

import functools
import hashlib
import sysconfig
from types import CodeType, FunctionType
from typing import Any

LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
PLAIN = (bool, int, float, complex, str, bytes, type(None))


def code_of(function: Any) -> str:
    """The hash of a function, a `functools.partial` or an object that is called."""
    digest = hashlib.blake2b(digest_size=12)
    for word in _walk(function):
        digest.update(f"{len(word)}:".encode() + word)
    return digest.hexdigest()


def _walk(function: Any) -> list[bytes]:
    """The words of all that `function` reaches, each function once."""
    words: list[bytes] = []
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        current = waiting.pop()
        if isinstance(current, (*PLAIN, frozenset)):
            words.append(_constant(current))
            continue
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, (tuple, list)):
            waiting += current
        elif isinstance(current, functools.partial):
            waiting += [current.func, *current.args, *(v for _, v in sorted(current.keywords.items()))]
        else:
            inner = _function_of(current)
            if inner is not None and not _of_library(inner):
                words += _code(inner.__code__, inner.__doc__)
                static = getattr(current, "static", None)
                waiting += [*_named(inner), *(static.values() if isinstance(static, dict) else ())]
    return words


def _of_library(function: FunctionType) -> bool:
    """Whether a function is of Python, of an installed package or of this one."""
    name = function.__module__ or ""
    return function.__code__.co_filename.startswith(LIBRARIES) or f"{name}.".startswith("ppl.")


def _constant(value: Any) -> bytes:
    """The text of a constant; the order of a set is that of its entries' texts."""
    text = str(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)
    return text.encode("utf-8", "backslashreplace")


def _function_of(value: Any) -> FunctionType | None:
    """The Python function behind a value: itself, what it wraps, or what a model or compiled function is made of."""
    if isinstance(value, FunctionType):
        return value
    for name in ("py_func", "fn", "__func__", "__wrapped__"):
        inner = getattr(value, name, None) if not isinstance(value, type) else None
        if isinstance(inner, FunctionType):
            return inner
    if isinstance(value, type):
        return None
    called = vars(type(value)).get("__call__")
    return called if isinstance(called, FunctionType) else None


def _code(code: CodeType, doc: str | None = None) -> list[bytes]:
    """Bytecode with its names and constants, less the docstring."""
    words = [code.co_code, repr((code.co_names, code.co_varnames, code.co_freevars)).encode()]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            words += _code(constant)
        elif doc is None or constant != doc:
            words.append(_constant(constant))
    return words


def _named(function: FunctionType) -> list[Any]:
    """Defaults, and what the names of a function stand for, in a fixed order."""
    found: list[Any] = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not set yet
            continue
    names = sorted(_names(function.__code__))
    return found + [function.__globals__[name] for name in names if name in function.__globals__]


def _names(code: CodeType) -> set[str]:
    inner = [_names(c) for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*inner)
