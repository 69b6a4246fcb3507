"""Errors for exceptions in compiled code: they name the external function, its row and its arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from ppl.checked import CHECKED
from ppl.compiler.emit.addresses import describe_access
from ppl.compiler.schedule.stages import all_steps
from ppl.errors import MemoryCheckError, ModelError, PplError, SimulatorError, in_words, uncoloured, with_lines
from ppl.interrupts import pass_on, pass_on_cause
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

if TYPE_CHECKING:
    from ppl.compiler.schedule.stages import Stage
    from ppl.compiler.surrogate.variants import ProgramVariant


def lines_of_externals(stages: Sequence[Stage]) -> dict[str, list[str]]:
    """External functions that a program calls, by their names: the user's lines that do."""
    found: dict[str, list[str]] = {}
    for step in (t for s in stages for t in all_steps(s)):
        node = getattr(step, "node", None)
        if node is not None and node.op == "external":
            fn = node.attrs["fn"]
            lines = found.setdefault(fn.label, [])
            lines += [] if fn.line in lines else [fn.line]
    return found


def raise_user_error(error: Exception, stages: Sequence[Stage]) -> NoReturn:
    """Raise what the user gets for an `error` from compiled code: a SimulatorError that names the function."""
    from numba.core.errors import NumbaError  # compiled code has imported it

    pass_on(error)
    called = lines_of_externals(stages)
    lines = [line for found in called.values() for line in found]
    if isinstance(error, SimulatorError) and error.site in called:
        raise error.at(*called[error.site]) from None
    if isinstance(error, NumbaError):
        pass_on_cause(error)
        if called:
            text = (
                f"{_list_functions(called)} cannot be compiled for what the model passes: {shorten_numba_error(error)}"
            )
            raise ModelError(with_lines(text, *lines)) from error
        raise error
    if isinstance(error, MemoryCheckError) or (CHECKED and isinstance(error, IndexError) and not called):
        raise out_of_bounds_error(error) from error
    if isinstance(error, PplError) or not called:
        raise error
    site = next(iter(called)) if len(called) == 1 else ""
    text = f"{'' if site else 'one of '}{_list_functions(called)} raised {in_words(error)}"
    raise SimulatorError(with_lines(text, *lines), site) from error


def device_failure_error(stages: Sequence[Stage]) -> SimulatorError:
    """The error for users' functions that have failed on a device, which does not say where."""
    called = lines_of_externals(stages)
    lines = [line for found in called.values() for line in found]
    what = "" if len(called) == 1 else "one of "
    text = f"{what}{_list_functions(called)} raised an exception, or returned NaN or another shape than declared"
    return SimulatorError(with_lines(text, *lines), next(iter(called)) if len(called) == 1 else "")


def shorten_numba_error(error: Exception) -> str:
    """An error of the compiler, which begins with what ppl has said about a result; Numba writes that far below."""
    text = uncoloured(error)
    found = re.search(r"TypingError: (.*(?:declared|the function returns).*)", text)
    return text if found is None else f"{found[1]}\n{text}"


def out_of_bounds_error(error: Exception) -> MemoryCheckError:
    """The error of the checked build for an access outside a buffer, with the names of buffer and kernel."""
    number = getattr(error, "tag", 0)
    frames, at = [], error.__traceback__
    while at is not None:
        frames.append(f"{at.tb_frame.f_code.co_name}, line {at.tb_lineno}")
        at = at.tb_next
    return MemoryCheckError(f"{error}: {describe_access(number)} ({frames[-1]})", number)


def _list_functions(called: Mapping[str, Sequence[str]]) -> str:
    return "external function" + ("s " if len(called) > 1 else " ") + ", ".join(f"'{name}'" for name in called)


def locate_failure(error: SimulatorError, variant: ProgramVariant, env: Callable[[], Env]) -> SimulatorError:
    """`error` with row and arguments, from a replay in the interpreter; as it is where that shows nothing."""
    if error.arguments is not None:
        return error
    groups = (variant.scalars, variant.grads, variant.aux, variant.arrays)
    try:
        evaluate([node for group in groups for node in group.values()], env())
    except SimulatorError as found:
        return found
    except Exception as other:  # it must not hide the one that is being reported
        pass_on(other)
    return error
