"""How compiled functions of ``ppl`` differ from Numba's own: what is compiled, when, and what a cached one needs.

* A function that compiled code calls has no wrapper for Python, which takes longer to compile than a short function. A
  function that Python calls is compiled for that too, when it is called.
* The stamp of a cached function includes the version of all kernels.
* What a function reaches by symbol (`ppl.kernels.symbols`) is made known before its machine code is loaded.
* Python's collector of cycles, which would walk through all of Numba again and again, runs rarely while Numba compiles.
"""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable
from typing import Any

THRESHOLDS = (200_000, 50, 1000)
"""Those of the collector while Numba compiles: up to a tenth less time, and no more memory."""

seconds: weakref.WeakKeyDictionary[Callable[..., Any], float] = weakref.WeakKeyDictionary()
"""What this process has spent on compiling a function, or on reading it from disk, without what it calls."""

_inner: list[float] = []


def adapt(compiled: Any, make_bare: Callable[[], Any], version: str) -> Any:
    """`compiled`, Numba's dispatcher of a function, whose compiled callers get another one, without wrappers."""
    made: list[Any] = []

    def bare() -> Any:
        if not made:
            made.append(_adapted(make_bare(), version, True))
        return made[0]

    compiled.bare = bare
    compiled.get_call_template = lambda *types: bare().get_call_template(*types)
    compiled.get_overload = lambda signature: bare().get_overload(signature)
    return _adapted(compiled, version, False)


def _adapted(dispatcher: Any, version: str, bare: bool) -> Any:
    _cache(dispatcher, version, bare)
    dispatcher.compile = _watched(dispatcher, dispatcher.compile)
    return dispatcher


def _cache(dispatcher: Any, version: str, bare: bool) -> None:
    cache = dispatcher._cache
    file = getattr(cache, "_cache_file", None)
    if file is None:
        return
    file._source_stamp = (file._source_stamp, version)
    load, key = cache.load_overload, cache._index_key

    def load_overload(signature: Any, context: Any) -> Any:
        from ppl.kernels.symbols import link

        link(dispatcher.py_func)
        return load(signature, context)

    cache.load_overload = load_overload
    if bare:
        cache._index_key = lambda signature, codegen: (*key(signature, codegen), "bare")


def _watched(dispatcher: Any, compile_: Callable[..., Any]) -> Callable[..., Any]:
    """`compile_`, timed, with the collector at rest."""

    def compile_watched(signature: Any) -> Any:
        before, known, start = gc.get_threshold(), len(dispatcher.overloads), time.perf_counter()
        if before[0] and before < THRESHOLDS:
            gc.set_threshold(*THRESHOLDS)
        _inner.append(0.0)
        try:
            return compile_(signature)
        finally:
            gc.set_threshold(*before)
            whole = time.perf_counter() - start
            own = whole - _inner.pop()
            if _inner:
                _inner[-1] += whole
            if len(dispatcher.overloads) > known:
                seconds[dispatcher.py_func] = seconds.get(dispatcher.py_func, 0.0) + own

    return compile_watched
