"""Decorators that compile a kernel, with the compile flags of Numba that the package uses.

Every function of ``ppl.kernels``, and every function that the compiler emits, is decorated with `jit`, `inline`, a
variant of these, or `shared`.

Promises
--------
* No ``nnan`` or ``ninf``: infinite logits and ``isnan`` keep their meaning.
* `inline` (scalar functions) does not allow reassociation, because two-part constants such as the two halves of ln 2
  would be folded into one; `jit` (loops) allows it, so that sums vectorise. LLVM keeps the flags of each instruction
  when it inlines one into the other.
* `shared` compiles a long kernel once for each signature; callers reach it by its symbol, as they reach BLAS, and do
  not contain its code. The symbol has to be known before a caller's machine code is loaded
  (`ppl.kernels.code_cache.machine_code`).
* Compiled code is kept on disk; that of every kernel is invalidated when any file of ``ppl.kernels`` changes.
* With ``NUMBA_DISABLE_JIT=1`` all decorators return the plain Python function."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import types
from numba.extending import lower_builtin, type_callable

from ppl.checked import CHECKED
from ppl.kernels import internals
from ppl.kernels.code_cache.machine_code import Requirement, shared_kernels
from ppl.kernels.code_cache.versions import build_version
from ppl.kernels.dispatchers import adapt_dispatcher
from ppl.kernels.internals.lowering import WriterCompiler

__all__ = ["entry", "inline", "inline_reassociating", "jit", "scalar_call", "shared"]

LOOP_FASTMATH = frozenset({"contract", "reassoc", "nsz", "arcp"})

SCALAR_FASTMATH = frozenset({"contract"})


def jit(fn: Callable[..., Any]) -> Any:
    """Compile a loop: cached, without the GIL, division by zero as in NumPy, sums may be reassociated."""
    return _decorate(fn, fastmath=set(LOOP_FASTMATH))


def inline(fn: Callable[..., Any]) -> Any:
    """Compile a scalar function that LLVM always inlines into its caller, with value-preserving arithmetic.

    Contraction to fused multiply-add is the only freedom given to the compiler. The inlining is LLVM's
    ``alwaysinline``: Numba's own ``inline="always"`` would type every copy of the body again in every caller.
    """
    return _decorate(fn, fastmath=set(SCALAR_FASTMATH), forceinline=True)


def entry(fn: Callable[..., Any]) -> Any:
    """Compile a loop as `jit` does, inlined into nopython callers: passing arrays to a call counts their references."""
    return _decorate(fn, fastmath=set(LOOP_FASTMATH), forceinline=True)


def inline_reassociating(fn: Callable[..., Any]) -> Any:
    """As `inline`, but arithmetic may be reassociated with that of the caller: x + (n - x) becomes n."""
    return _decorate(fn, fastmath=set(LOOP_FASTMATH), forceinline=True)


def scalar_call(fn: Callable[..., Any]) -> Any:
    """Compile a long scalar function, with loops and branches of its own: as `inline`, but LLVM may leave it a call.

    Several copies of such functions inside one another would take minutes to compile.
    """
    return _decorate(fn, fastmath=set(SCALAR_FASTMATH))


def forward_call(fn: Callable[..., Any]) -> Any:
    """Compile what does nothing but call a user's function."""
    return numba.njit(fn)


def _decorate(fn: Callable[..., Any], **flags: Any) -> Any:
    flags |= {"nogil": True, "error_model": "numpy", "boundscheck": CHECKED, "no_cfunc_wrapper": True}
    if numba.config.DISABLE_JIT:
        return fn
    flags["pipeline_class"] = WriterCompiler
    bare = functools.partial(numba.njit(no_cpython_wrapper=True, **flags), fn)
    return adapt_dispatcher(numba.njit(**flags)(fn), bare)


class SharedKernel:
    """A kernel of one signature (in Numba's notation), callable from Python and, by symbol, from compiled code."""

    def __init__(self, fn: Callable[..., Any], signature: str):
        self.py_func = fn
        self.arguments, self.result = internals.normalize_signature(signature)
        self.__name__, self.__doc__ = fn.__name__, fn.__doc__
        text = f"{build_version()} {fn.__module__} {signature}"
        self.symbol = f"ppl_{fn.__name__}_{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
        self.need = Requirement(fn.__module__, build_version(), self.symbol)
        self.ready = False
        self._kernel: Any = None
        shared_kernels[self.symbol] = self

    @property
    def kernel(self) -> Any:
        """Numba's dispatcher for Python, made when it is needed: compiled code needs the address only."""
        if self._kernel is None:
            self._kernel = jit(self.py_func)
        return self._kernel

    def __call__(self, *arguments: Any) -> Any:
        return self.kernel(*arguments)

    def bare(self) -> Any:
        """Numba's dispatcher of what callers reach by symbol: `signatures`, `stats`, `inspect_asm`."""
        return self.kernel.bare()

    def register(self) -> None:
        """Compile the kernel, or load it from disk, and make its symbol known."""
        if self.ready:
            return
        llvm.add_symbol(self.symbol, self.address())
        self.ready = True

    def address(self) -> int:
        """Where its machine code begins, which is compiled or loaded."""
        return internals.address(self.bare(), self.result(*self.arguments))


class SharedFamily:
    """One function as several kernels, of which callers reach the one for the types of their arrays."""

    def __init__(self, fn: Callable[..., Any], signatures: Sequence[str]):
        self.kernels = [SharedKernel(fn, signature) for signature in signatures]
        self.py_func, self.symbol = fn, " ".join(kernel.symbol for kernel in self.kernels)
        self.__name__, self.__doc__ = fn.__name__, fn.__doc__

    def __call__(self, *arguments: Any) -> Any:
        return self.kernels[0](*arguments)

    def bare(self) -> Any:
        """The dispatcher of the first kernel, see `Shared.bare`."""
        return self.kernels[0].bare()


def shared(*signatures: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a kernel once for each signature, with arguments and result of these types; callers contain a call only.

    Arguments are converted to these types (arrays must have them, which decides between several signatures).
    """

    def decorate(fn: Callable[..., Any]) -> Any:
        if numba.config.DISABLE_JIT:
            return fn
        called = SharedKernel(fn, *signatures) if len(signatures) == 1 else SharedFamily(fn, signatures)
        kernels = [called] if isinstance(called, SharedKernel) else called.kernels

        @type_callable(called)
        def typed(context: Any) -> Callable[..., Any]:
            def generic(*arguments: Any) -> Any:
                kernel = _select_kernel(kernels, arguments)
                if kernel is None:
                    return None
                kernel.register()
                return kernel.result(*kernel.arguments)

            generic.__signature__ = inspect.signature(fn)
            return generic

        for kernel in kernels:
            _register_call(called, kernel)
        return called

    return decorate


def _select_kernel(kernels: Sequence[SharedKernel], arguments: Sequence[Any]) -> SharedKernel | None:
    """The only kernel, or that with the same arrays, of the same types; None if there are more or fewer arguments."""
    for kernel in kernels:
        pairs = list(zip(kernel.arguments, arguments, strict=False))
        same = all(have == given for have, given in pairs if types.Array in (type(have), type(given)))
        if len(arguments) == len(kernel.arguments) and (same or len(kernels) == 1):
            return kernel
    return None


def _register_call(called: Any, kernel: SharedKernel) -> None:
    """Have calls of `called` with the types of `kernel` call that by its symbol."""

    @lower_builtin(called, *kernel.arguments)
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        internals.attach_to_caller(context, kernel.need)
        return internals.call_symbol(context, builder, signature, kernel.symbol, arguments)
