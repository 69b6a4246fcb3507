"""How compiled functions of ``ppl`` differ from Numba's own: what is compiled, when, and what a cached one needs.

* A function that compiled code calls has no wrapper for Python, which takes longer to compile than a short function. A
  function that Python calls is compiled for that too, when it is called.
* Machine code on disk is checked, and compared with the version of all kernels (`ppl.kernels.machine_code`).
* It tells what it needs before it is loaded (`ppl.kernels.needs`).
* Python's collector of cycles, which would walk through all of Numba again and again, runs rarely while Numba compiles.
* What compiles for long says so (`ppl.progress`).
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

from ppl.kernels import internals
from ppl.kernels.build import kernels_version
from ppl.kernels.fingerprint import fingerprint
from ppl.kernels.left import Left
from ppl.kernels.machine_code import MachineCode
from ppl.kernels.needs import EMITTED
from ppl.lazy import resting
from ppl.progress import line

internals.blas_alone()
internals.read_linked()
internals.remember_needs()
internals.lean_environments()
internals.type_plain_arrays()
internals.make_few_events()
internals.sign_quickly()
internals.free_pass_managers()

seconds: weakref.WeakKeyDictionary[Callable[..., Any], float] = weakref.WeakKeyDictionary()
"""What this process has spent on compiling a function, or on reading it from disk, without what it calls."""

_inner: list[float] = []
_running = Left(seconds)


def adapt(compiled: Any, make_bare: Callable[[], Any]) -> Any:
    """`compiled`, Numba's dispatcher of a function, whose compiled callers get another one, without wrappers."""
    made: list[Any] = []

    def bare() -> Any:
        if not made:
            made.append(_adapted(make_bare(), "bare"))
        return made[0]

    compiled.bare = bare
    internals.call_others(compiled, bare)
    return _adapted(compiled, "")


def _adapted(dispatcher: Any, form: str) -> Any:
    fn = dispatcher.py_func
    internals.keep_in(dispatcher, MachineCode(fn, lambda: stamp(fn), form))
    internals.find_extensions_later(dispatcher)
    internals.watch(dispatcher, lambda compile_: _watched(dispatcher, compile_))
    return dispatcher


def stamp(fn: Callable[..., Any]) -> str | None:
    """The version of a function's source: the kernels', that in the name of an emitted module, or what it reaches.

    None for emitted code that calls a function which is not what it was when the module was written, and for kernels
    with a closure, which a version does not cover.
    """
    module = fn.__module__ or ""
    if module.startswith("ppl.kernels."):
        return None if fn.__closure__ else kernels_version()
    if not module.startswith(EMITTED):
        return fingerprint(fn)
    called = fn.__globals__.get("EXTERNALS", {})
    return module if all(fingerprint(fn.__globals__[name]) == version for name, version in called.items()) else None


def _watched(dispatcher: Any, compile_: Callable[..., Any]) -> Callable[..., Any]:
    """`compile_`, timed, with the collector at rest."""

    def compile_watched(signature: Any) -> Any:
        if _inner:
            return timed(signature)
        with line.during(_running):
            return timed(signature)

    def timed(signature: Any) -> Any:
        known, start = len(dispatcher.signatures), time.perf_counter()
        _inner.append(0.0)
        _running.begin(dispatcher.py_func)
        try:
            with resting(), internals.unheard():
                return compile_(signature)
        finally:
            _running.end()
            whole = time.perf_counter() - start
            own = whole - _inner.pop()
            if _inner:
                _inner[-1] += whole
            if len(dispatcher.signatures) > known:
                seconds[dispatcher.py_func] = seconds.get(dispatcher.py_func, 0.0) + own

    return compile_watched
