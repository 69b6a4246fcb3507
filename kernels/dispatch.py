"""How compiled functions of ``ppl`` differ from Numba's own: what is compiled, when, and what a cached one needs.

* A function that compiled code calls has no wrapper for Python, which takes longer to compile than a short function. A
  function that Python calls is compiled for that too, when it is called.
* The stamp of a cached function includes the version of all kernels.
* What a function reaches by symbol (`ppl.kernels.symbols`) is made known before its machine code is loaded.
* Python's collector of cycles, which would walk through all of Numba again and again, runs rarely while Numba compiles.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

THRESHOLDS = (50_000, 20, 100)
"""Those of the collector while Numba compiles: up to a tenth less time, and no more memory."""


def adapt(compiled: Any, bare: Any, version: str) -> Any:
    """`compiled`, Numba's dispatcher of a function, whose compiled callers get `bare`, the one without wrappers."""
    for dispatcher in (compiled, bare):
        _cache(dispatcher, version, dispatcher is bare)
        dispatcher.compile = _seldom_collecting(dispatcher.compile)
    compiled.bare = bare
    compiled.get_call_template, compiled.get_overload = bare.get_call_template, bare.get_overload
    return compiled


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


def _seldom_collecting(compile_: Callable[..., Any]) -> Callable[..., Any]:
    def compile_rarely(signature: Any) -> Any:
        before = gc.get_threshold()
        if not before[0] or before >= THRESHOLDS:
            return compile_(signature)
        gc.set_threshold(*THRESHOLDS)
        try:
            return compile_(signature)
        finally:
            gc.set_threshold(*before)

    return compile_rarely
