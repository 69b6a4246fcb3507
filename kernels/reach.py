"""What a compiled function calls, as far as the names in its code tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any


def _names(code: CodeType) -> set[str]:
    inner = [_names(c) for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*inner)


def reached(fn: Callable[..., Any], whole: bool = False) -> Iterator[Any]:
    """Compiled functions and shared kernels that `fn` calls, directly or through others; each once.

    What a shared kernel calls, which is not part of its callers' machine code, is among them if `whole`.
    """
    seen, waiting = {fn}, [fn]
    while waiting:
        current = waiting.pop()
        scope, names = current.__globals__, _names(current.__code__)
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
