"""Libraries of machine code, of which each function that the package compiles has one."""

from __future__ import annotations

import uuid
from typing import Any

from llvmlite.binding import Linkage


def own_library(state: Any) -> Any:
    """A library for one function, which calls its own copies of what is linked to it.

    Relies on `_optimize_final_module`, which runs when all is linked. Numba lets copies of a function stand for one
    another: a call that is not inlined runs the copy that the process has loaded first. Copies are optimised with their
    callers, and may differ in the last bits; which one came first differed between a process that compiles and one that
    reads machine code.

    The copies have names of their own. LLVM is free to change what they take and how they are called; and the loader
    looks names up among all functions, so that another library would be given such a copy for the function itself.
    """
    library = state.targetctx.codegen().create_library(state.func_id.func_qualname)
    library.enable_object_caching()
    optimize = library._optimize_final_module

    def optimize_alone() -> None:
        own = f".{uuid.uuid4().hex}"
        for fn in library._final_module.functions:
            if not fn.is_declaration and fn.linkage == Linkage.linkonce_odr:
                fn.linkage = "internal"
                fn.name += own
        optimize()

    library._optimize_final_module = optimize_alone
    return library
