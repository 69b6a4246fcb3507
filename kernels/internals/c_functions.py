"""Functions of C's calling convention around compiled code, which neither raise anything nor need the interpreter."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

WORD, DOUBLE, STATUS = ir.IntType(64), ir.DoubleType(), ir.IntType(32)

_numbers = itertools.count()


def c_function(
    name: str, arguments: Sequence[str], write: Callable[[Any, Any, list[Any]], Any], result: Any = STATUS
) -> tuple[Any, int]:
    """A function that returns a status, of 32 bits or of type `result`: what holds its machine code, and its address.

    `arguments` are "word" (whole numbers and addresses) or "double"; `write(context, builder, values)` emits the body
    and returns the status.
    """
    with global_compiler_lock:
        context = cpu_target.target_context
        context.refresh()
        own = f"{name}_{next(_numbers)}"  # names are those of the whole process
        library = context.codegen().create_library(own)
        module = library.create_ir_module(own)
        kinds = [DOUBLE if kind == "double" else WORD for kind in arguments]
        function = ir.Function(module, ir.FunctionType(result, kinds), own)
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        builder.ret(write(context, builder, list(function.args)))
        library.add_ir_module(module)
        library.finalize()
        return library, int(library.get_pointer_to_function(own))
