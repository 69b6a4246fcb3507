"""Patches that save time and memory when Numba starts, compiles and loads: registries, BLAS, events, pass managers.

Numba loads all that it knows of Python and NumPy before it compiles a function or reads machine code, which takes
longer than reading that of a program. Machine code needs none of it, and functions with a writer
(`ppl.kernels.internals.lowering`) need little. SciPy's BLAS is imported without `scipy.linalg`; events are made only
where somebody listens; pass managers are freed."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite.binding import ffi, newpassmanagers
from numba import types
from numba.core import config, entrypoints, event
from numba.core.compiler import CompilerBase
from numba.core.cpu import CPUContext
from numba.core.runtime import _nrt_python, rtsys
from numba.core.typing.context import Context
from numba.core.typing.typeof import typeof_impl
from numba.np.numpy_support import from_dtype, map_layout

from ppl.lazy import loading

_few_wanted: ContextVar[bool] = ContextVar("few", default=False)


@contextlib.contextmanager
def few_registries(few: bool = True) -> Iterator[None]:
    """Inside, contexts of Numba load numbers and tuples only, and what has been imported anyway; all if not `few`."""
    token = _few_wanted.set(few)
    try:
        yield
    finally:
        _few_wanted.reset(token)


all_registries = functools.partial(few_registries, few=False)
"""Inside, contexts of Numba load all that they know of."""


def ready_to_load(target_context: Any) -> None:
    """Make known what machine code calls of Numba's runtime.

    Relies on: all else that Numba's own cache asks for, `refresh`, is for compiling, which asks for it itself. Machine
    code of what Numba types may need more, such as the seeds of its hashes. `initialize` makes symbols of `c_helpers`
    known, and compiles functions that are linked into what is compiled: machine code on disk has them.
    """
    if config.NRT_STATS:
        rtsys.initialize(target_context)
    elif not rtsys._init:
        for name, address in _nrt_python.c_helpers.items():
            llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


def link_runtime(context: Any, library: Any) -> None:
    """Link Numba's runtime, which counts references, to a library; it is compiled if nobody has asked for it yet."""
    rtsys.initialize(context)
    library.add_linking_library(rtsys.library)


def patch_registries() -> None:
    """Patch: contexts load few registries where they are told so; compilers that are not `frugal` load all.

    Relies on `refresh`, which asks for registries each time, and adds what it has not seen before. Those of
    types import cffi and its parser, where that is installed. Extensions of Numba, which add to registries, come first.
    """
    load, load_types = CPUContext.load_additional_registries, Context.load_additional_registries
    begin = CompilerBase.__init__
    if hasattr(load, "may_be_few"):
        return

    def load_additional_registries(context: Any) -> None:
        if not _few_wanted.get():
            entrypoints.init_all()
            load(context)
            return
        from numba.cpython import builtins, numbers, tupleobj  # noqa: F401

        ready_to_load(context)

    def load_additional_types(context: Any) -> None:
        if not _few_wanted.get():
            entrypoints.init_all()
            load_types(context)

    def __init__(compiler: Any, *arguments: Any, **named: Any) -> None:
        with few_registries(getattr(compiler, "frugal", False)):
            begin(compiler, *arguments, **named)

    vars(load_additional_registries)["may_be_few"] = True
    CPUContext.load_additional_registries = load_additional_registries
    Context.load_additional_registries = load_additional_types
    CompilerBase.__init__ = __init__


def patch_array_typing() -> None:
    """Patch: the type of an array is found without `numpy.ma`, which Numba imports to refuse masked arrays.

    Relies on `typeof_impl`; a masked array is of another class than `np.ndarray`, for which Numba's own way is taken.
    """
    numbas = typeof_impl.dispatch(np.ndarray)
    if hasattr(numbas, "plain"):
        return

    def typeof_array(value: Any, purpose: Any) -> Any:
        if type(value) is not np.ndarray or value.dtype.kind not in "biuf":
            return numbas(value, purpose)
        return types.Array(from_dtype(value.dtype), value.ndim, map_layout(value), readonly=not value.flags.writeable)

    vars(typeof_array)["plain"] = True
    typeof_impl.register(np.ndarray, typeof_array)


PARENT = "scipy.linalg"

NAME = f"{PARENT}.cython_blas"


class _ImportAgainWithParent(MetaPathFinder):
    """Has the first import of `scipy.linalg` import its BLAS, too, which gives the same module, as its attribute."""

    waits = True

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Find nothing; other finders do."""
        if self.waits and name == PARENT:
            self.waits = False
            sys.modules.pop(NAME, None)


def import_blas_alone() -> None:
    """Import SciPy's BLAS without `scipy.linalg`; nothing where that is not possible, so that Numba imports both.

    Relies on: Numba imports and calls the BLAS by its module's name, and looks at nothing else of `scipy.linalg`.
    """
    if NAME in sys.modules or PARENT in sys.modules:
        return
    try:
        import scipy

        spec = PathFinder.find_spec(NAME, [str(Path(scipy.__file__).parent / "linalg")])
        if spec is None or spec.loader is None:
            return
        with loading():  # SciPy's OpenBLAS waits briefly, whoever imports it
            sys.modules[NAME] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[NAME])
    except Exception:  # whatever a build of SciPy raises, the ordinary import says it
        sys.modules.pop(NAME, None)
    else:
        sys.meta_path.insert(0, _ImportAgainWithParent())


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextlib.contextmanager
def without_events() -> Iterator[None]:
    """Inside, this thread makes no events, unless somebody listens already.

    Relies on `_registered`, the listeners by kind. Each dispatcher that compiles listens to its own events for what
    ``get_metadata`` calls timers, which functions that are compiled inside do not have.
    """
    if _quiet.get() or any(event._registered.values()):
        yield
        return
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def patch_events() -> None:
    """Patch: no events are made where nobody hears them.

    Relies on `start_event` and `end_event`, which all events come from.
    """
    start, end = event.start_event, event.end_event
    if hasattr(start, "may_be_unheard"):
        return

    def start_event(kind: Any, data: Any = None) -> None:
        if not _quiet.get():
            start(kind, data)

    def end_event(kind: Any, data: Any = None, exc_details: Any = None) -> None:
        if not _quiet.get():
            end(kind, data, exc_details)

    vars(start_event)["may_be_unheard"] = True
    event.start_event, event.end_event = start_event, end_event


def patch_pass_managers() -> None:
    """Patch: a pass manager is freed with its Python object, as llvmlite means it to be.

    Relies on `_dispose`. llvmlite's `NewPassManager` has one, which the empty one of `ObjectRef` hides: without this,
    every function that is compiled holds some 0.6 MB until the process ends.
    """
    freed = newpassmanagers.NewPassManager._dispose
    for kind in (newpassmanagers.ModulePassManager, newpassmanagers.FunctionPassManager):
        if kind._dispose is ffi.ObjectRef._dispose:
            kind._dispose = freed
