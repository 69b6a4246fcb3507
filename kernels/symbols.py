"""Kernels that callers reach by symbol, as they reach BLAS.

Numba links what a function calls into its caller, and has LLVM optimise and translate all of it again, for every
caller and at every level. A long kernel is therefore compiled once, for one signature, and its address registered
under a name; compiled callers contain nothing but the name. The name has to be known before a caller's machine code
is loaded, which is a need of every caller (`ppl.kernels.needs`).
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import types
from numba.extending import lower_builtin, type_callable

from ppl.kernels import config, internals
from ppl.kernels.build import build
from ppl.kernels.needs import Need, shared_kernels


class Shared:
    """A kernel of one signature (in Numba's notation), callable from Python and, by symbol, from compiled code."""

    def __init__(self, fn: Callable[..., Any], signature: str):
        self.py_func = fn
        self.arguments, self.result = internals.normalize_signature(signature)
        self.__name__, self.__doc__ = fn.__name__, fn.__doc__
        text = f"{build()} {fn.__module__} {signature}"
        self.symbol = f"ppl_{fn.__name__}_{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
        self.need = Need(fn.__module__, build(), self.symbol)
        self.ready = False
        self._kernel: Any = None
        shared_kernels[self.symbol] = self

    @property
    def kernel(self) -> Any:
        """Numba's dispatcher for Python, made when it is needed: compiled code needs the address only."""
        if self._kernel is None:
            self._kernel = config.jit(self.py_func)
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


class Family:
    """One function as several kernels, of which callers reach the one for the types of their arrays."""

    def __init__(self, fn: Callable[..., Any], signatures: Sequence[str]):
        self.kernels = [Shared(fn, signature) for signature in signatures]
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
        called = Shared(fn, *signatures) if len(signatures) == 1 else Family(fn, signatures)
        kernels = [called] if isinstance(called, Shared) else called.kernels

        @type_callable(called)
        def typed(context: Any) -> Callable[..., Any]:
            def generic(*arguments: Any) -> Any:
                kernel = _kernel_for(kernels, arguments)
                if kernel is None:
                    return None
                kernel.register()
                return kernel.result(*kernel.arguments)

            generic.__signature__ = inspect.signature(fn)
            return generic

        for kernel in kernels:
            _lower(called, kernel)
        return called

    return decorate


def _kernel_for(kernels: Sequence[Shared], arguments: Sequence[Any]) -> Shared | None:
    """The only kernel, or that with the same arrays, of the same types; None if there are more or fewer arguments."""
    for kernel in kernels:
        pairs = list(zip(kernel.arguments, arguments, strict=False))
        same = all(have == given for have, given in pairs if types.Array in (type(have), type(given)))
        if len(arguments) == len(kernel.arguments) and (same or len(kernels) == 1):
            return kernel
    return None


def _lower(called: Any, kernel: Shared) -> None:
    """Have calls of `called` with the types of `kernel` call that by its symbol."""

    @lower_builtin(called, *kernel.arguments)
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        internals.attach_to_caller(context, kernel.need)
        return internals.call_symbol(context, builder, signature, kernel.symbol, arguments)
