"""Add a disk cache, a twin without Python wrappers, timing and progress to Numba's dispatchers.

* A function that compiled code calls has no wrapper for Python, which takes longer to compile than a short function.
  A function that Python calls is compiled for that too, when it is called.
* Machine code on disk is checked, and compared with the version of all kernels (`ppl.kernels.code_cache.machine_code`).
* Python's collector of cycles, which would walk through all of Numba again and again, runs rarely while Numba compiles.
* Compilation that takes long shows a line on the terminal (`CompileProgress`, `ppl.progress`)."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Container, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ppl.kernels import internals
from ppl.kernels.code_cache.machine_code import EMITTED_PREFIX, MachineCodeCache
from ppl.kernels.code_cache.user_functions import fingerprint
from ppl.kernels.code_cache.versions import kernels_version
from ppl.lazy import resting
from ppl.progress import line


def _names_in_code(code: CodeType) -> set[str]:
    inner = [_names_in_code(c) for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*inner)


def reachable_functions(fn: Callable[..., Any], whole: bool = False) -> Iterator[Any]:
    """Compiled functions and shared kernels that `fn` calls, directly or through others; each once.

    What a shared kernel calls, which is not part of its callers' machine code, is among them if `whole`.
    """
    seen, waiting = {fn}, [fn]
    while waiting:
        current = waiting.pop()
        scope, names = current.__globals__, _names_in_code(current.__code__)
        found = [scope[name] for name in names if name in scope]
        for module in [x for x in found if isinstance(x, ModuleType) and x.__name__.startswith("ppl.")]:
            found += [vars(module)[name] for name in names if name in vars(module)]
        for value in [*found, *(cell.cell_contents for cell in current.__closure__ or ())]:
            inner = getattr(value, "py_func", None)
            if isinstance(inner, FunctionType) and inner not in seen:
                seen.add(inner)
                yield value
                if whole or not hasattr(value, "symbol"):
                    waiting.append(inner)


FINISHED = "__finished__"
"""Where a module has how many functions are compiled, or read from disk, since a call of its own began that."""

DRIVERS = ("parallel", "one")
"""Functions of an emitted module that its calls begin with; the first that is there counts."""


class CompileProgress:
    """Functions that are compiled now, each called by the one before, and how many of a program's have been.

    `done` are functions that this process has compiled, or read from disk. Emitted modules have a ``__title__``, and
    modules keep how many of their functions are finished, so that nothing of a program that is dropped stays here.
    """

    def __init__(self, done: Container[Callable[..., Any]]):
        self.done = done
        self.stack: list[Callable[..., Any]] = []
        self._reached: dict[Callable[..., Any], set[Callable[..., Any]]] = {}

    def begin(self, fn: Callable[..., Any]) -> None:
        """A function is compiled, or read from disk."""
        self.stack.append(fn)

    def end(self) -> None:
        """The function that began last is there, or has failed."""
        scope = self.stack[0].__globals__
        scope[FINISHED] = scope.get(FINISHED, 0) + 1
        self.stack.pop()
        if not self.stack:
            self._reached = {}

    def __call__(self) -> str:
        """The line: functions that are read from disk with all that they call make it end early."""
        running = list(self.stack)
        if not running:
            return "compiling"
        first = running[0]
        scope = first.__globals__
        title, done = scope.get("__title__", first.__name__), scope.get(FINISHED, 0)
        left = sum(fn not in self.done for fn in self._wanted(first))
        return f"compiling {title}: {done} of {done + max(left, len(running))} functions, {running[-1].__name__}"

    def _wanted(self, first: Callable[..., Any]) -> set[Callable[..., Any]]:
        """What a call will need that begins with the function `first`, as far as names tell."""
        wanted = self._reached.get(first)
        if wanted is None:
            module = first.__globals__ if "__title__" in first.__globals__ else {}
            driver = next((module[name] for name in DRIVERS if name in module), None)
            called = [f for f in (*module.get("ENTRY_POINTS", ()), driver) if f is not None]
            roots = {first, *(getattr(f, "py_func", f) for f in called)}
            inner = {v.py_func for root in roots for v in reachable_functions(root, whole=True) if hasattr(v, "bare")}
            wanted = roots | inner
            self._reached = {first: wanted}
        return wanted


compile_seconds: weakref.WeakKeyDictionary[Callable[..., Any], float] = weakref.WeakKeyDictionary()
"""What this process has spent on compiling a function, or on reading it from disk, without what it calls."""

_nested_seconds: list[float] = []

_progress = CompileProgress(compile_seconds)


def adapt_dispatcher(compiled: Any, make_bare: Callable[[], Any]) -> Any:
    """`compiled`, Numba's dispatcher of a function, whose compiled callers get another one, without wrappers."""
    made: list[Any] = []

    def bare() -> Any:
        if not made:
            made.append(_with_cache_and_timing(make_bare(), "bare"))
        return made[0]

    compiled.bare = bare
    internals.redirect_compiled_callers(compiled, bare)
    return _with_cache_and_timing(compiled, "")


def _with_cache_and_timing(dispatcher: Any, form: str) -> Any:
    fn = dispatcher.py_func
    internals.set_cache(dispatcher, MachineCodeCache(fn, lambda: source_version(fn), form))
    internals.skip_search_for_extensions(dispatcher)
    internals.watch(dispatcher, lambda compile_: _timed_compile(dispatcher, compile_))
    return dispatcher


def source_version(fn: Callable[..., Any]) -> str | None:
    """The version of a function's source: the kernels', that in the name of an emitted module, or what it reaches.

    None for emitted code that calls a function which is not what it was when the module was written, and for kernels
    with a closure, which a version does not cover.
    """
    module = fn.__module__ or ""
    if module.startswith("ppl.kernels."):
        return None if fn.__closure__ else kernels_version()
    if not module.startswith(EMITTED_PREFIX):
        return fingerprint(fn)
    called = fn.__globals__.get("EXTERNALS", {})
    return module if all(fingerprint(fn.__globals__[name]) == version for name, version in called.items()) else None


def _timed_compile(dispatcher: Any, compile_: Callable[..., Any]) -> Callable[..., Any]:
    """`compile_`, timed, with the collector at rest."""

    def compile_watched(signature: Any) -> Any:
        if _nested_seconds:
            return timed(signature)
        with line.during(_progress):
            return timed(signature)

    def timed(signature: Any) -> Any:
        known, start = len(dispatcher.signatures), time.perf_counter()
        _nested_seconds.append(0.0)
        _progress.begin(dispatcher.py_func)
        try:
            with resting(), internals.without_events():
                return compile_(signature)
        finally:
            _progress.end()
            whole = time.perf_counter() - start
            own = whole - _nested_seconds.pop()
            if _nested_seconds:
                _nested_seconds[-1] += whole
            if len(dispatcher.signatures) > known:
                compile_seconds[dispatcher.py_func] = compile_seconds.get(dispatcher.py_func, 0.0) + own

    return compile_watched
