"""Fingerprint functions that users write, and recompile those whose machine code is stale.

Numba freezes globals and closures when it compiles, and inlines what a function calls; its cache looks at the file
of the outermost function only. `fingerprint` walks through bytecode, defaults, closures, and the globals that are
named there: constants, arrays, other functions, attributes of modules, classes of `jitclass`, Numba's overloads.
Where it finds something that it cannot hash there is no fingerprint, and machine code must not outlive the process.
Libraries (Python's own, NumPy, Numba, SciPy) are taken for what their version says.

Before a program is emitted, `recompile_if_stale` gives the functions that it calls, and all that they call, a disk
cache whose version is that fingerprint."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types as numba_types

from ppl.interrupts import pass_on_cause
from ppl.kernels import internals
from ppl.kernels.code_cache.machine_code import MachineCodeCache

LIBRARIES = {"numpy", "numba", "llvmlite", "scipy"}

_STANDARD = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))

_PACKAGES = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))

_PLAIN_TYPES = (bool, int, complex, str, bytes, type(None), type(Ellipsis), range, slice, np.dtype, numba_types.Type)

_BUILTINS = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, np.ufunc)


class Unhashable(Exception):
    """Something that cannot be hashed."""


def fingerprint(*values: Any) -> str | None:
    """A hash of values and all that they reach; None if some of it cannot be hashed."""
    walk = FingerprintWalk()
    internals.refresh()
    try:
        for value in values:
            walk.add(value)
        walk.registered()
    except (Unhashable, RecursionError):
        return None
    return walk.digest.hexdigest()


def reachable_dispatchers(value: Any) -> list[Any]:
    """The dispatchers that a function reaches, callees first, itself last; as far as they can be found."""
    walk = FingerprintWalk(strict=False)
    with contextlib.suppress(RecursionError):
        walk.add(value)
    return walk.dispatchers


def is_library(name: str | None) -> bool:
    """Whether a module belongs to a library, or is part of `ppl`, whose version is part of every hash beside this."""
    top = (name or "").partition(".")[0]
    if top in LIBRARIES or (name or "").startswith("ppl.kernels"):
        return True
    if top in sys.builtin_module_names:
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None:
        return top in sys.stdlib_module_names
    return file.startswith(_STANDARD) and not file.startswith(_PACKAGES) and top in sys.stdlib_module_names


def mentioned_names(code: types.CodeType) -> set[str]:
    """Globals and attributes that `code` mentions, also as texts, for `getattr`, with those of functions inside it."""
    inner = [mentioned_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return {*code.co_names, *(c for c in code.co_consts if isinstance(c, str))}.union(*inner)


class FingerprintWalk:
    """One walk; with `strict`, what cannot be hashed ends it."""

    def __init__(self, strict: bool = True):
        self.digest = hashlib.blake2b(digest_size=16)
        self.strict = strict
        self.seen: dict[int, tuple[int, Any]] = {}
        self.files: set[str] = set()
        self.dispatchers: list[Any] = []

    def write(self, *words: Any) -> None:
        """Add words to the hash, each with its length in front."""
        for word in words:
            content = word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass")
            self.digest.update(struct.pack("<q", len(content)) + content)

    def add(self, value: Any) -> None:
        """Add a value and what it reaches."""
        self.write(type(value).__name__)
        if isinstance(value, _PLAIN_TYPES):
            self.write(repr(value))
        elif isinstance(value, float):
            self.write(struct.pack("<d", value))
        elif isinstance(value, np.ndarray | np.generic):
            self._array(value)
        elif id(value) in self.seen:
            self.write("again", self.seen[id(value)][0])
        else:
            self.seen[id(value)] = len(self.seen), value  # which keeps it alive, and so its id its own
            self._object(value)

    def _array(self, value: Any) -> None:
        if value.dtype.hasobject:
            return self._unknown(value)
        self.write(value.dtype.descr, value.shape, value.tobytes())
        if isinstance(value, np.ndarray):
            self.write(value.flags.c_contiguous, value.flags.f_contiguous, value.flags.aligned)

    def _object(self, value: Any) -> None:
        if isinstance(value, types.ModuleType):
            self.write(value.__name__, getattr(value, "__version__", "") if is_library(value.__name__) else "")
        elif internals.is_compiled(value) or (hasattr(value, "symbol") and hasattr(value, "py_func")):
            self._dispatcher(value)
        elif parts := internals.ufunc_parts(value):
            self.write(*parts[:2])
            self._dispatcher(parts[2])
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif inner := internals.intrinsic_function(value):
            self.add(inner)
        elif isinstance(value, _BUILTINS) or (isinstance(value, type) and is_library(value.__module__)):
            self._named(value)
        elif isinstance(value, tuple | list | set | frozenset | dict):
            self._container(value)
        elif parts := internals.jitclass_parts(value):
            self._jitclass(*parts)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, Enum):
            self.add(type(value))
            self.write(value.name)
        else:
            self._unknown(value)

    def _unknown(self, value: Any) -> None:
        if self.strict:
            raise Unhashable(repr(type(value)))

    def _named(self, value: Any) -> None:
        """A function of a library, with overloads that users have given it."""
        name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
        if name is None:
            return self._unknown(value)
        module = getattr(value, "__module__", None) or ""
        self.write(module, name, getattr(sys.modules.get(module.partition(".")[0]), "__version__", ""))
        self._overloads(value)

    def _container(self, value: Any) -> None:
        if isinstance(value, dict):
            value = tuple(value.items())
        elif isinstance(value, set | frozenset):
            value = sorted(value, key=repr)
        if hasattr(value, "_fields"):
            self.add(type(value))
        self.write(len(value))
        for entry in value:
            self.add(entry)

    def _dispatcher(self, value: Any) -> None:
        given, local, fixed = internals.options(value)
        options = {k: v for k, v in given.items() if k not in ("cache", "nopython")}
        for settings in (options, local):
            for name, setting in sorted(settings.items()):
                self.write(name, sorted(setting) if isinstance(setting, set | frozenset) else repr(setting))
        self.write(fixed)
        if is_library(value.py_func.__module__):
            self._named(value.py_func)
            return
        self.add(value.py_func)
        if internals.is_for_cpu(value):
            self.dispatchers.append(value)

    def _function(self, fn: types.FunctionType) -> None:
        if is_library(fn.__module__):
            return self._named(fn)
        self.write(fn.__qualname__)
        self._code(fn.__code__)
        self.add(fn.__defaults__)
        self.add(fn.__kwdefaults__)
        for cell in fn.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # not set yet
                self.write("empty")
        mentioned = sorted(mentioned_names(fn.__code__))
        for name in [x for x in mentioned if x in fn.__globals__]:
            self.write(name)
            self.add(fn.__globals__[name])
            self._attributes(fn.__globals__[name], mentioned, set())
        self._file(fn.__code__.co_filename)
        self._overloads(fn)
        return None

    def _attributes(self, module: Any, mentioned: list[str], passed: set[int]) -> None:
        """The attributes of a module that bytecode may read, and theirs if they are modules."""
        if not isinstance(module, types.ModuleType) or id(module) in passed:
            return
        passed.add(id(module))
        for name, value in _mentioned_attributes(module, mentioned):
            if is_library(module.__name__):
                self._overloads(value)
            else:
                self.write(module.__name__, name)
                self.add(value)
            self._attributes(value, mentioned, passed)

    def _code(self, code: types.CodeType) -> None:
        self.write(code.co_code, code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars, code.co_flags)
        self.write(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        self.write(code.co_exceptiontable)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant)
            else:
                self.add(constant)

    def _file(self, name: str) -> None:
        """The text of a file that is reached: it may register what bytecode does not name."""
        if name not in self.files:
            self.files.add(name)
            try:
                self.write(Path(name).read_bytes())
            except (OSError, ValueError):  # typed in, or made by `exec`
                self.write("no file")

    def _class(self, value: type) -> None:
        if issubclass(value, BaseException):
            self.write(value.__module__, value.__qualname__)
        elif issubclass(value, Enum):
            self.write(value.__module__, value.__qualname__)
            self.add({name: member.value for name, member in value.__members__.items()})
        elif issubclass(value, tuple) and hasattr(value, "_fields"):
            self.write(value.__module__, value.__qualname__, value._fields)
            self.add(getattr(value, "_field_defaults", None))
        else:
            self._unknown(value)

    def _jitclass(self, name: str, fields: dict[str, Any], groups: list[dict[str, Any]]) -> None:
        self.write(name, [(name, repr(kind)) for name, kind in fields.items()])
        for group in groups:
            for name, member in sorted(group.items()):
                self.write(name)
                self.add(member)

    def _overloads(self, value: Any) -> None:
        """What Numba compiles in place of a function, where users have said so."""
        for name, inner in internals.overloads_of(value):
            if not is_library(inner.__module__):
                self.write(name)
                self.add(inner)

    def registered(self) -> None:
        """Add users' overloads of methods and attributes: bytecode does not say whose they are."""
        found: dict[tuple[str, str], Callable[..., Any]] = {}
        for inner in internals.overloaded_attributes():
            if not is_library(inner.__module__):
                found[inner.__module__, inner.__qualname__] = inner
        for _, inner in sorted(found.items()):
            self.add(inner)


def _mentioned_attributes(module: types.ModuleType, mentioned: list[str]) -> Iterator[tuple[str, Any]]:
    """Attributes of a module by name, those that it makes when they are asked for included."""
    for name in mentioned:
        if name in vars(module):
            yield name, vars(module)[name]
        elif "__getattr__" in vars(module) and not is_library(module.__name__):
            with contextlib.suppress(Exception):
                yield name, getattr(module, name)


_refreshed_versions: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()


def recompile_if_stale(fn: Any) -> str | None:
    """Make sure that machine code of `fn` and of what it calls is that of their present source.

    Returns the fingerprint of `fn`, or None where something that it reaches cannot be hashed.
    """
    if not numba.config.DISABLE_JIT:
        with internals.global_compiler_lock:
            for dispatcher in reachable_dispatchers(fn):
                _recompile_dispatcher(dispatcher)
    return fingerprint(fn)


def _recompile_dispatcher(dispatcher: Any) -> None:
    if dispatcher.py_func.__module__.startswith("ppl."):
        return
    current = fingerprint(dispatcher)
    if dispatcher in _refreshed_versions and _refreshed_versions[dispatcher] == current:
        return
    _refreshed_versions[dispatcher] = current
    if internals.has_disk_cache(dispatcher):
        internals.set_cache(dispatcher, MachineCodeCache(dispatcher.py_func, lambda: fingerprint(dispatcher)))
    internals.compile_under_own_settings(dispatcher)
    try:
        internals.recompile_all(dispatcher)
    except Exception as error:  # the next call says what does not compile
        pass_on_cause(error)
