"""What Numba knows of the functions of Python and NumPy: loaded for functions that Numba itself compiles.

Numba loads all of it before it compiles a function or reads machine code, which takes longer than reading that of a
program. Machine code needs none of it, and functions with a writer (`ppl.kernels.internals.lowering`) need little.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import types
from numba.core import config, entrypoints
from numba.core.compiler import CompilerBase
from numba.core.cpu import CPUContext
from numba.core.runtime import _nrt_python, rtsys
from numba.core.typing.context import Context
from numba.core.typing.typeof import typeof_impl
from numba.np.numpy_support import from_dtype, map_layout

_few: ContextVar[bool] = ContextVar("few", default=False)


@contextlib.contextmanager
def few_registries(few: bool = True) -> Iterator[None]:
    """Inside, contexts of Numba load numbers and tuples only, and what has been imported anyway; all if not `few`."""
    token = _few.set(few)
    try:
        yield
    finally:
        _few.reset(token)


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


def load_few() -> None:
    """Patch: contexts load few registries where they are told so; compilers that are not `frugal` load all.

    Relies on `refresh`, which asks for registries each time, and adds what it has not seen before. Those of
    types import cffi and its parser, where that is installed. Extensions of Numba, which add to registries, come first.
    """
    load, load_types = CPUContext.load_additional_registries, Context.load_additional_registries
    begin = CompilerBase.__init__
    if hasattr(load, "may_be_few"):
        return

    def load_additional_registries(context: Any) -> None:
        if not _few.get():
            entrypoints.init_all()
            load(context)
            return
        from numba.cpython import builtins, numbers, tupleobj  # noqa: F401

        ready_to_load(context)

    def load_additional_types(context: Any) -> None:
        if not _few.get():
            entrypoints.init_all()
            load_types(context)

    def __init__(compiler: Any, *arguments: Any, **named: Any) -> None:
        with few_registries(getattr(compiler, "frugal", False)):
            begin(compiler, *arguments, **named)

    vars(load_additional_registries)["may_be_few"] = True
    CPUContext.load_additional_registries = load_additional_registries
    Context.load_additional_registries = load_additional_types
    CompilerBase.__init__ = __init__


def type_plain_arrays() -> None:
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
