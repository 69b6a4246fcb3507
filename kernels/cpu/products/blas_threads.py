"""The thread count of the BLAS, and a guard that keeps it at one while programs run.

Numba's threads and the BLAS's must never alternate (design, section 4): a program brackets its run with
`enter_single` and `leave_single`, which are counted over the whole process, so that two threads that restore
the count cannot leave it at 1. All of it is nopython code reached by symbol, so callers can be cached on
disk; where SciPy's BLAS is not an OpenBLAS that we can find, setting does nothing and the count reads 1."""

import ctypes
import glob
import os

import llvmlite.binding as llvm
import numpy as np
import scipy
from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic

from ppl.kernels.decorators import jit
from ppl.kernels.internals import cgutils


def _find_thread_functions():
    """Return the addresses of the set and get functions of SciPy's OpenBLAS, or None."""
    root = os.path.dirname(scipy.__file__)
    patterns = ("../scipy.libs/*openblas*", ".dylibs/*openblas*", "../scipy_openblas*/lib/*openblas*")
    for path in [p for pattern in patterns for p in glob.glob(os.path.join(root, pattern))]:
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("", "64_"):
                names = [f"{prefix}_{verb}_num_threads{suffix}" for verb in ("set", "get")]
                if all(hasattr(library, name) for name in names):
                    return [ctypes.cast(getattr(library, n), ctypes.c_void_p).value for n in names]
    return None


_thread_functions = _find_thread_functions()

has_thread_control = _thread_functions is not None
"""Whether the BLAS's thread count can be read and set."""

if _thread_functions is None:  # symbols must exist all the same, because cached code refers to them
    _nothing = cfunc(types.void(types.int32))(lambda n: None)
    _one = cfunc(types.int32())(lambda: 1)
    _thread_functions = [_nothing.address, _one.address]

# Entries of the state: a spin lock, the number of users of the guard, the thread count to restore.
LOCK, USERS, COUNT = 0, 1, 2

_state = (ctypes.c_int64 * 3)()

llvm.add_symbol("ppl_blas_set_threads", _thread_functions[0])

llvm.add_symbol("ppl_blas_get_threads", _thread_functions[1])

if llvm.address_of_symbol("sched_yield") is None:  # not a POSIX system: spin without yielding
    _zero = cfunc(types.int32())(lambda: 0)
    llvm.add_symbol("sched_yield", _zero.address)

llvm.add_symbol("ppl_blas_state", ctypes.addressof(_state))

_set = types.ExternalFunction("ppl_blas_set_threads", types.void(types.int32))

_get = types.ExternalFunction("ppl_blas_get_threads", types.int32())

_yield = types.ExternalFunction("sched_yield", types.int32())


def _slot(context, builder, index):
    """Pointer to one entry of the process-wide state."""
    word = ir.IntType(64)
    array = ir.ArrayType(word, 3)
    name = "ppl_blas_state"
    state = builder.module.globals.get(name) or cgutils.add_global_variable(builder.module, array, name)
    return builder.gep(state, [word(0), index])


@intrinsic
def _try_lock(typing_context):
    """Take the lock of the state and return True, or return False."""

    def codegen(context, builder, signature, arguments):
        word = ir.IntType(64)
        pair = builder.cmpxchg(_slot(context, builder, word(LOCK)), word(0), word(1), "acquire", "monotonic")
        return builder.extract_value(pair, 1)

    return types.boolean(), codegen


@intrinsic
def _unlock(typing_context):
    """Give the lock of the state back."""

    def codegen(context, builder, signature, arguments):
        word = ir.IntType(64)
        builder.store_atomic(word(0), _slot(context, builder, word(LOCK)), "release", 8)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _load(typing_context, index):
    """Read one entry of the state."""

    def codegen(context, builder, signature, arguments):
        return builder.load(_slot(context, builder, arguments[0]))

    return types.int64(types.int64), codegen


@intrinsic
def _store(typing_context, index, value):
    """Write one entry of the state."""

    def codegen(context, builder, signature, arguments):
        builder.store(arguments[1], _slot(context, builder, arguments[0]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@jit
def set_threads(n):
    """Set the number of threads of the BLAS."""
    _set(np.int32(n))


@jit
def get_threads():
    """Return the number of threads of the BLAS (1 if it is unknown)."""
    return _get()


@jit
def _lock():
    while not _try_lock():
        _yield()


@jit
def enter_single():
    """Make the BLAS single-threaded until the matching `leave_single`; nestable, from any thread, 0.3 us."""
    _lock()
    users = _load(USERS)
    if users == 0:
        _store(COUNT, np.int64(_get()))
        _set(np.int32(1))
    _store(USERS, users + 1)
    _unlock()


@jit
def leave_single():
    """End one `enter_single`; the last one restores the thread count that the first one found."""
    _lock()
    users = _load(USERS) - 1
    if users == 0:
        _set(np.int32(_load(COUNT)))
    if users >= 0:
        _store(USERS, users)
    _unlock()


def _after_fork():
    """In a forked child no other thread holds the lock or uses the guard any more."""
    if _state[USERS] > 0:
        set_threads(int(_state[COUNT]))
    _state[LOCK], _state[USERS] = 0, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
