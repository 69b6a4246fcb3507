"""Errors for exceptions in compiled code: they name the external function, its row and its arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from ppl.checked import CHECKED
from ppl.compiler.emit.checks import place_of
from ppl.compiler.schedule.memory import all_steps
from ppl.errors import MemoryCheckError, ModelError, PplError, SimulatorError
from ppl.ir.reference.externals import name_of, raised
from ppl.ir.reference.interpret import Env, evaluate

if TYPE_CHECKING:
    from ppl.compiler.schedule.stages import Stage
    from ppl.compiler.surrogate.variants import Variant


def externals(stages: Sequence[Stage]) -> dict[str, set[str]]:
    """External functions that a program calls: their names, and those of the Python functions behind each."""
    found: dict[str, set[str]] = {}
    for step in (t for s in stages for t in all_steps(s)):
        node = getattr(step, "node", None)
        if node is not None and node.op == "external":
            fn = node.attrs["fn"]
            names = {getattr(f, "__name__", "") for f in (fn.function, fn.gradient) if f is not None}
            found.setdefault(name_of(fn), set()).update(names)
    return found


def refuse(error: Exception, stages: Sequence[Stage]) -> NoReturn:
    """Raise what the user gets for an `error` from compiled code: a SimulatorError that names the function."""
    from numba.core.errors import NumbaError  # compiled code has imported it

    called = externals(stages)
    if isinstance(error, NumbaError):
        if called:
            raise ModelError(f"{_listed(called)} cannot be compiled for what the model passes: {error}") from error
        raise error
    if isinstance(error, MemoryCheckError) or (CHECKED and isinstance(error, IndexError) and not called):
        raise violation(error) from error
    if isinstance(error, PplError) or not called:
        raise error
    name = _guess(error, called)
    if name:
        raise SimulatorError(raised(name, error), name) from error
    text = f"one of {_listed(called)} raised {type(error).__name__}: {error}"
    raise SimulatorError(text) from error


def violation(error: Exception) -> MemoryCheckError:
    """The error of the checked build for an access outside a buffer, with the names of buffer and kernel."""
    number = getattr(error, "tag", 0)
    frames, at = [], error.__traceback__
    while at is not None:
        frames.append(f"{at.tb_frame.f_code.co_name}, line {at.tb_lineno}")
        at = at.tb_next
    return MemoryCheckError(f"{error}: {place_of(number)} ({frames[-1]})", number)


def _listed(called: Sequence[str] | dict[str, set[str]]) -> str:
    return "external function" + ("s " if len(called) > 1 else " ") + ", ".join(f"'{name}'" for name in called)


def _guess(error: Exception, called: dict[str, set[str]]) -> str:
    """The only function called, or the only one that is on the way to where the exception was raised; else ""."""
    if len(called) == 1:
        return next(iter(called))
    frames, at = set(), error.__traceback__
    while at is not None:
        frames.add(at.tb_frame.f_code.co_name)
        at = at.tb_next
    found = [name for name, functions in called.items() if functions & frames]
    return found[0] if len(found) == 1 else ""


def located(error: SimulatorError, variant: Variant, env: Callable[[], Env]) -> SimulatorError:
    """`error` with row and arguments, from a replay in the interpreter; as it is where that shows nothing."""
    groups = (variant.scalars, variant.grads, variant.aux, variant.arrays)
    with contextlib.suppress(Exception):  # an error here must not hide the one that is being reported
        try:
            evaluate([node for group in groups for node in group.values()], env())
        except SimulatorError as found:
            return found
    return error
