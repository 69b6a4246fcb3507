"""Threads that sleep in the kernel until another one wakes them.

A sleeper has a *place*, five words: whether it sleeps, the number of a system call, the two ends of a pipe, and where a
byte from it goes. On Linux it sleeps on a futex, elsewhere it reads from the pipe. Who wakes it takes back that it
sleeps before it asks the system: so a sleeper costs one system call, however often it is woken before it runs.

A sleeper may wake for no reason; it looks again at what it waits for.
"""

import ctypes
import os
import platform
import sys

import llvmlite.binding as llvm
import numpy as np
from numba import cfunc, types

from ppl.kernels.config import jit
from ppl.kernels.cpu.parallel.atomics import load, store, swap

ASLEEP, CALL, READ_END, WRITE_END, BYTE = 0, 8, 16, 24, 32
"""The words of a place, in bytes from its beginning; the number of the system call is 0 for a pipe."""

FUTEX = {"x86_64": 202, "aarch64": 98}
WAIT, WAKE = 128, 129
"""The operations of a futex that only this process knows."""


def _functions():
    """The addresses of `syscall`, `read` and `write`; None for what the system lacks."""
    try:
        library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    except (OSError, TypeError):
        return None, None, None
    names = ("", "_read", "_write") if sys.platform == "win32" else ("syscall", "read", "write")
    found = [getattr(library, name, None) if name else None for name in names]
    return tuple(f and ctypes.cast(f, ctypes.c_void_p).value for f in found)


_syscall_at, _read_at, _write_at = _functions()
futex_call = FUTEX.get(platform.machine(), 0) if sys.platform == "linux" and _syscall_at else 0
"""The number of the futex's system call, 0 where there is none."""
can_sleep = bool(futex_call or (_read_at and _write_at))
"""Whether threads can sleep here."""

_kernel = cfunc(types.int64(*[types.int64] * 7))(lambda a, b, c, d, e, f, g: 0) if not _syscall_at else None
_stream = cfunc(types.int64(types.int32, types.int64, types.int64))(lambda a, b, c: 0) if not _read_at else None
llvm.add_symbol("ppl_syscall", _syscall_at or _kernel.address)
llvm.add_symbol("ppl_read", _read_at or _stream.address)
llvm.add_symbol("ppl_write", _write_at or _stream.address)

syscall = types.ExternalFunction("ppl_syscall", types.int64(*[types.int64] * 7))
_read = types.ExternalFunction("ppl_read", types.int64(types.int32, types.int64, types.int64))
_write = types.ExternalFunction("ppl_write", types.int64(types.int32, types.int64, types.int64))


def prepare(place):
    """Write the words of a new place at an address, or of one that a parent process has left."""
    words = (ctypes.c_int64 * 5).from_address(place)
    words[:] = [0, futex_call, *((0, 0) if futex_call else os.pipe()), 0]


@jit
def sleep_while(place, address, shift, value):
    """Sleep while the word at `address`, shifted, is `value`: until woken, or for no reason. Who changes it wakes."""
    store(place + ASLEEP, 1)
    if load(address) >> shift == value:
        call = load(place + CALL)
        if call != 0:
            syscall(call, place + ASLEEP, WAIT, 1, 0, 0, 0)
        else:
            _read(np.int32(load(place + READ_END)), place + BYTE, 1)
    swap(place + ASLEEP, 0)


@jit
def wake(place):
    """Wake the thread of a place if it sleeps, or is going to."""
    if load(place + ASLEEP) == 0 or swap(place + ASLEEP, 0) == 0:
        return
    call = load(place + CALL)
    if call != 0:
        syscall(call, place + ASLEEP, WAKE, 1, 0, 0, 0)
    else:
        _write(np.int32(load(place + WRITE_END)), place + BYTE, 1)


def wake_from_python(place):
    """Wake the thread of a place, without compiled code."""
    words = (ctypes.c_int64 * 5).from_address(place)
    words[0] = 0
    if words[1]:
        kind = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 7)
        kind(_syscall_at)(words[1], place + ASLEEP, WAKE, 1, 0, 0, 0)
    else:
        os.write(words[3], b".")
