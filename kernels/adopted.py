"""Users' own compiled functions, of which emitted programs contain copies.

Numba's cache of such a function looks at its own file only: a helper in another file, or a constant, may have changed
since. And what this process has compiled may be older than the globals it read. So before a program is emitted,
functions that it calls, and all that they call, get a cache of ours (`ppl.kernels.machine_code`) whose stamp is the
`fingerprint` of all they reach; what they have compiled or loaded under another one, or before, is compiled again.
"""

from __future__ import annotations

import weakref
from typing import Any

import numba

from ppl.interrupts import pass_on_cause
from ppl.kernels import internals
from ppl.kernels.fingerprint import fingerprint, functions
from ppl.kernels.machine_code import MachineCode

_known: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()


def adopt(fn: Any) -> str | None:
    """Make sure that machine code of `fn` and of what it calls is that of their present source.

    Returns the fingerprint of `fn`, or None where something that it reaches cannot be hashed.
    """
    if not numba.config.DISABLE_JIT:
        with internals.global_compiler_lock:
            for dispatcher in functions(fn):
                _refresh(dispatcher)
    return fingerprint(fn)


def _refresh(dispatcher: Any) -> None:
    if dispatcher.py_func.__module__.startswith("ppl."):
        return
    current = fingerprint(dispatcher)
    if dispatcher in _known and _known[dispatcher] == current:
        return
    _known[dispatcher] = current
    if internals.is_kept(dispatcher):
        internals.keep_in(dispatcher, MachineCode(dispatcher.py_func, lambda: fingerprint(dispatcher)))
    internals.compile_alone(dispatcher)
    try:
        internals.compile_again(dispatcher)
    except Exception as error:  # the next call says what does not compile
        pass_on_cause(error)
