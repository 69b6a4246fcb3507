"""Machine code on disk: what may be kept, in which form, and what it needs when it is loaded."""

from __future__ import annotations

import sys
from typing import Any

from numba.core import environment
from numba.core.compiler import CompileResult


def can_be_kept(result: CompileResult) -> bool:
    """Whether machine code means the same in another process: no addresses in it, no lifted loops that have some."""
    return not result.library.has_dynamic_globals and all(x.can_cache for x in result.lifted)


def reduced(result: CompileResult) -> tuple[Any, ...]:
    """Machine code in a form that `dumps` writes."""
    return result._reduce()


def rebuilt(target_context: Any, payload: tuple[Any, ...]) -> CompileResult:
    """Machine code of what `reduced` has returned."""
    return CompileResult._rebuild(target_context, *payload)


def processor(codegen: Any) -> tuple[Any, ...]:
    """The processor and its features for which a code generator compiles."""
    return codegen.magic_tuple()


def attach(result: CompileResult, need: Any) -> None:
    """Have `need` called before machine code, or that of its callers, is loaded in another process.

    Relies on `reload_init`, stored with machine code, and on `_reload_init`, which callers take over when they link.
    """
    if need not in result.reload_init:
        result.reload_init.append(need)
    result.library._reload_init.add(need)


def attach_to_caller(context: Any, need: Any) -> None:
    """As `attach`, for the function that is being lowered."""
    context.active_code_library._reload_init.add(need)


def remember_needs() -> None:
    """Patch: machine code that Numba loads keeps what its callers will need before they are loaded."""
    numbas = CompileResult._rebuild.__func__
    if hasattr(numbas, "forgets"):
        return

    def _rebuild(cls: Any, target_context: Any, *reduced: Any, **named: Any) -> Any:
        result = numbas(cls, target_context, *reduced, **named)
        result.library._reload_init.update(result.reload_init or ())
        return result

    _rebuild.forgets = numbas
    CompileResult._rebuild = classmethod(_rebuild)


def lean_environments() -> None:
    """Patch: what machine code of Numba's own functions keeps for Python is read without these functions' modules.

    Relies on: an environment's constants are what compiled code reads of it, and its globals only what runs objects
    of Python. Numba imports the module for the globals: for ``np.empty`` all that it knows of arrays and strings.
    """
    numbas = environment._rebuild_env
    if hasattr(numbas, "imports"):
        return

    def _rebuild_env(modname: str, consts: list[Any], env_name: str) -> Any:
        known = environment.lookup_environment(env_name)
        if known is not None or consts or modname in sys.modules or not modname.startswith("numba."):
            return numbas(modname, consts, env_name)
        found = environment.Environment({"__name__": modname})
        found.env_name = env_name
        environment.Environment._memo[env_name] = found
        return found

    _rebuild_env.imports = numbas
    _rebuild_env.__module__, _rebuild_env.__qualname__ = numbas.__module__, numbas.__qualname__  # for pickles
    environment._rebuild_env = _rebuild_env
