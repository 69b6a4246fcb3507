"""The one place that owns Numba's compile flags.

Every function of ``ppl.kernels``, and every function that the compiler emits, is decorated with `jit` or `inline`,
or a variant of these.

Promises
--------
* No ``nnan`` or ``ninf``: infinite logits and ``isnan`` keep their meaning.
* `inline` (scalar functions) does not allow reassociation, because two-part constants such as the two
  halves of ln 2 would be folded into one; `jit` (loops) allows it, so that sums vectorise. LLVM keeps the
  flags of each instruction when it inlines one into the other.
* Compiled code is kept on disk, and that of every kernel is invalidated when any file of this folder
  changes (Numba itself looks only at the file of the outermost function); see `ppl.kernels.machine_code`.
* With ``NUMBA_DISABLE_JIT=1`` all decorators return the plain Python function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba

from ppl.checked import CHECKED
from ppl.kernels.build import build, build_tag, kernels_version
from ppl.kernels.dispatch import adapt
from ppl.kernels.internals.lowering import Direct

__all__ = [
    "build",
    "build_tag",
    "called",
    "entry",
    "inline",
    "jit",
    "kernels_version",
    "loose",
]

LOOP_FASTMATH = frozenset({"contract", "reassoc", "nsz", "arcp"})
SCALAR_FASTMATH = frozenset({"contract"})


def jit(fn: Callable[..., Any]) -> Any:
    """Compile a loop: cached, without the GIL, division by zero as in NumPy, sums may be reassociated."""
    return _compile(fn, fastmath=set(LOOP_FASTMATH))


def inline(fn: Callable[..., Any]) -> Any:
    """Compile a scalar function that LLVM always inlines into its caller, with value-preserving arithmetic.

    Contraction to fused multiply-add is the only freedom given to the compiler. The inlining is LLVM's
    ``alwaysinline``: Numba's own ``inline="always"`` would type every copy of the body again in every caller.
    """
    return _compile(fn, fastmath=set(SCALAR_FASTMATH), forceinline=True)


def entry(fn: Callable[..., Any]) -> Any:
    """Compile a loop as `jit` does, inlined into nopython callers: passing arrays to a call counts their references."""
    return _compile(fn, fastmath=set(LOOP_FASTMATH), forceinline=True)


def loose(fn: Callable[..., Any]) -> Any:
    """As `inline`, but arithmetic may be reassociated with that of the caller: x + (n - x) becomes n."""
    return _compile(fn, fastmath=set(LOOP_FASTMATH), forceinline=True)


def called(fn: Callable[..., Any]) -> Any:
    """Compile a long scalar function, with loops and branches of its own: as `inline`, but LLVM may leave it a call.

    Several copies of such functions inside one another would take minutes to compile.
    """
    return _compile(fn, fastmath=set(SCALAR_FASTMATH))


def handing_on(fn: Callable[..., Any]) -> Any:
    """Compile what does nothing but call a user's function."""
    return numba.njit(fn)


def _compile(fn: Callable[..., Any], **flags: Any) -> Any:
    flags |= {"nogil": True, "error_model": "numpy", "boundscheck": CHECKED, "no_cfunc_wrapper": True}
    if numba.config.DISABLE_JIT:
        return fn
    flags["pipeline_class"] = Direct
    bare = functools.partial(numba.njit(no_cpython_wrapper=True, **flags), fn)
    return adapt(numba.njit(**flags)(fn), bare)
