"""The thread pool: how workers start, take slabs of a region together, sleep, wake and end.

A thread of the pool has a *lane*, a number, for good; the caller of a region has lane 0. Each lane has a word: the
number of the region, and the slabs of this lane's part that nobody has begun. Its owner takes them from the front,
so that it works on the same rows in every region; idle workers steal slabs of others from the back. So a region is
finished by the threads that run: the caller waits for slabs that somebody has begun, and for nothing else.

A word changes by compare-and-swap. As it names the region, whoever has taken a slab knows that this region is not
over until the slab is, and may read what the region is. A lane takes part in a region only if its own word names it:
the scratch memory of a call has as many lanes as the call asked for threads.

A caller that finds the pool taken runs all slabs itself. A worker that has found nothing to do for some microseconds
sleeps in the kernel (on a futex; elsewhere it reads from a pipe), and so does a caller whose last slabs are others'.
A sleeper may wake for no reason; it looks again at what it waits for.

Workers start when a call first asks for them and stay in compiled code, without the GIL, until the interpreter ends.
A forked child has none."""

import atexit
import ctypes
import os
import platform
import sys
import threading
import time

import llvmlite.binding as llvm
import numba
import numpy as np
from numba import cfunc, types
from numba.extending import intrinsic

from ppl.kernels import internals
from ppl.kernels.cpu.threads import atomics
from ppl.kernels.cpu.threads.atomics import add, load, pause, replace, store, swap
from ppl.kernels.decorators import jit, shared
from ppl.kernels.internals import WORD
from ppl.tuning import CALLER_MICROSECONDS, MOST_SLABS, WORKER_MICROSECONDS

REGION_SIGNATURE = types.int64(types.int64, types.int64, types.int64, types.int64)
"""Of a region: argument words, slab, slabs, lane."""


@intrinsic
def call_region(typing_context, region, words, slab, slabs, lane):
    """Call the region at address `region`: 0, or the address of what describes the exception that it has raised."""

    def codegen(context, builder, signature, values):
        return internals.call_address(context, builder, REGION_SIGNATURE, values[0], values[1:])

    return types.int64(region, words, slab, slabs, lane), codegen


@intrinsic
def report_raised(typing_context, words, raised):
    """Write what `enter` has returned to word 0 of those at address `words`, from any thread."""

    def codegen(context, builder, signature, values):
        place = builder.inttoptr(values[0], WORD.as_pointer())
        builder.store_atomic(values[1], place, "release", 8)
        return context.get_dummy_value()

    return types.void(words, raised), codegen


@intrinsic
def raise_reported(typing_context, raised):
    """Raise the exception that `raised`, from `enter`, stands for; nothing where it is 0."""

    def codegen(context, builder, signature, values):
        internals.emit_raise_again(context, builder, values[0])
        return context.get_dummy_value()

    return types.void(raised), codegen


ASLEEP, SYSCALL, READ_END, WRITE_END, BYTE = 0, 8, 16, 24, 32
"""The words of a place, in bytes from its beginning; the number of the system call is 0 for a pipe."""

FUTEX = {"x86_64": 202, "aarch64": 98}

WAIT, WAKE = 128, 129
"""The operations of a futex that only this process knows."""


def _system_functions():
    """The addresses of `syscall`, `read` and `write`; None for what the system lacks."""
    try:
        library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    except (OSError, TypeError):
        return None, None, None
    names = ("", "_read", "_write") if sys.platform == "win32" else ("syscall", "read", "write")
    found = [getattr(library, name, None) if name else None for name in names]
    return tuple(f and ctypes.cast(f, ctypes.c_void_p).value for f in found)


_syscall_at, _read_at, _write_at = _system_functions()

futex_call = FUTEX.get(platform.machine(), 0) if sys.platform == "linux" and _syscall_at else 0
"""The number of the futex's system call, 0 where there is none."""

can_sleep = bool(futex_call or (_read_at and _write_at))
"""Whether threads can sleep here."""

_no_syscall = cfunc(types.int64(*[types.int64] * 7))(lambda a, b, c, d, e, f, g: 0) if not _syscall_at else None

_no_stream = cfunc(types.int64(types.int32, types.int64, types.int64))(lambda a, b, c: 0) if not _read_at else None

llvm.add_symbol("ppl_syscall", _syscall_at or _no_syscall.address)

llvm.add_symbol("ppl_read", _read_at or _no_stream.address)

llvm.add_symbol("ppl_write", _write_at or _no_stream.address)

syscall = types.ExternalFunction("ppl_syscall", types.int64(*[types.int64] * 7))

_read = types.ExternalFunction("ppl_read", types.int64(types.int32, types.int64, types.int64))

_write = types.ExternalFunction("ppl_write", types.int64(types.int32, types.int64, types.int64))


def prepare_sleeper(place):
    """Write the words of a new place at an address, or of one that a parent process has left."""
    words = (ctypes.c_int64 * 5).from_address(place)
    words[:] = [0, futex_call, *((0, 0) if futex_call else os.pipe()), 0]


@jit
def sleep_while(place, address, shift, value):
    """Sleep while the word at `address`, shifted, is `value`: until woken, or for no reason. Who changes it wakes."""
    store(place + ASLEEP, 1)
    if load(address) >> shift == value:
        call = load(place + SYSCALL)
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
    call = load(place + SYSCALL)
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


LINE = 128
"""Bytes between words of different writers: two lines of the caches, since processors fetch pairs."""

POOL_TAKEN, REGION_NUMBER = 0, 8

REGION_ADDRESS, REGION_WORDS, REGION_SLABS, REGION_LANES, SLABS_LEFT = LINE, LINE + 8, LINE + 16, LINE + 24, LINE + 32

WORKERS, WORKER_SPINS, CALLER_SPINS = 2 * LINE, 2 * LINE + 8, 2 * LINE + 16

FIRST_LANE = 3 * LINE

SLEEP_PLACE = 8
"""The state in bytes from its beginning: what callers write, the region, the settings, then a line for each lane: its
word, and its place to sleep."""

MOST_LANES, MOST_SHARED_SLABS = MOST_SLABS, (1 << 15) - 1
"""Lanes of the pool, and slabs of a region that it shares."""

SLAB_MASK, REGION_NUMBER_MASK = np.int64(0xFFFF), np.int64(0x7FFFFFFF)

_POOL_BYTES = FIRST_LANE + MOST_LANES * LINE

_pool_memory = (ctypes.c_char * (_POOL_BYTES + LINE))()

pool_address = -(-ctypes.addressof(_pool_memory) // LINE) * LINE
"""The address of the state."""

llvm.add_symbol("ppl_pool", pool_address)

_pool_words = atomics.named_words("ppl_pool", _POOL_BYTES // 8)


def lane_address(lane):
    """The address of a lane's word."""
    return pool_address + FIRST_LANE + lane * LINE


@jit
def _run_own_and_stolen(base, lane, number, lanes):
    """Take slabs of the region `number` until none is left: the own ones, then those of the next lanes; how many."""
    done = np.int64(0)
    for i in range(lanes):
        owner = lane + i if lane + i < lanes else lane + i - lanes
        at = base + FIRST_LANE + owner * LINE
        while True:
            word = load(at)
            low, high = (word >> 16) & SLAB_MASK, word & SLAB_MASK
            if word >> 32 != number or low >= high:
                break
            if replace(at, word, word + 0x10000 if i == 0 else word - 1):
                words = load(base + REGION_WORDS)
                raised = call_region(
                    load(base + REGION_ADDRESS), words, low if i == 0 else high - 1, load(base + REGION_SLABS), lane
                )
                if raised != 0:
                    report_raised(words, raised)
                done += 1
    return done


@shared("int64(int64, int64, int64, int64)")
def share(region, words, slabs, threads):
    """Run all slabs of a region, on up to `threads` threads; callers do not contain it."""
    base = _pool_words()
    lanes = min(threads, slabs, load(base + WORKERS) + 1)
    if lanes <= 1 or slabs > MOST_SHARED_SLABS or not replace(base + POOL_TAKEN, 0, 1):
        for slab in range(slabs):
            raised = call_region(region, words, slab, slabs, np.int64(0))
            if raised != 0:
                report_raised(words, raised)
                break
        return 0
    number = (load(base + REGION_NUMBER) + 1) & REGION_NUMBER_MASK
    store(base + REGION_NUMBER, number)
    store(base + REGION_ADDRESS, region)
    store(base + REGION_WORDS, words)
    store(base + REGION_SLABS, slabs)
    store(base + REGION_LANES, lanes)
    store(base + SLABS_LEFT, slabs)
    for i in range(lanes):
        lane = lanes - 1 - i
        at = base + FIRST_LANE + lane * LINE
        store(at, number << 32 | (slabs * lane // lanes) << 16 | slabs * (lane + 1) // lanes)
        if lane > 0:
            wake(at + SLEEP_PLACE)
    left = -_run_own_and_stolen(base, np.int64(0), number, lanes)
    left, spins = add(base + SLABS_LEFT, left) + left, load(base + CALLER_SPINS)
    while left != 0:
        if spins > 0:
            spins -= 1
            pause()
        else:
            sleep_while(base + FIRST_LANE + SLEEP_PLACE, base + SLABS_LEFT, 0, left)
        left = load(base + SLABS_LEFT)
    store(base + POOL_TAKEN, 0)
    return 0


@jit
def worker_loop(lane, count):
    """Pause `count` times, then work on `lane` until its word is negative; lane 0 belongs to the callers."""
    for _ in range(count):
        pause()
    if lane <= 0:
        return
    base = _pool_words()
    own = base + FIRST_LANE + lane * LINE
    seen, spins = load(own) >> 32, np.int64(0)
    while True:
        number = load(own) >> 32
        if number < 0:
            return
        if number != seen:
            done = _run_own_and_stolen(base, lane, number, load(base + REGION_LANES))
            if done > 0 and add(base + SLABS_LEFT, -done) == done:
                wake(base + FIRST_LANE + SLEEP_PLACE)
            seen, spins = number, load(base + WORKER_SPINS)
        elif spins > 0:
            spins -= 1
            pause()
        else:
            sleep_while(own + SLEEP_PLACE, own, 32, seen)


SECONDS_TO_END = 2.0
"""How long the end of the interpreter waits for a worker."""

_lock = threading.Lock()

_threads: list[threading.Thread] = []

_ended = False


def _word_at_address(address: int) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(address)


def _setting(offset: int) -> ctypes.c_int64:
    return _word_at_address(pool_address + offset)


def start(threads: int) -> None:
    """Have workers for calls on so many threads, their callers included; none where threads cannot sleep."""
    if threads - 1 > len(_threads):
        with _lock:
            _start_locked(min(threads, MOST_LANES))


def _start_locked(threads: int) -> None:
    if _ended or not can_sleep or numba.config.DISABLE_JIT:
        return
    if not _threads:
        prepare_sleeper(lane_address(0) + SLEEP_PLACE)
        _calibrate()
        atexit.register(stop)
    for lane in range(len(_threads) + 1, threads):
        prepare_sleeper(lane_address(lane) + SLEEP_PLACE)
        _word_at_address(lane_address(lane)).value = 0
        thread = threading.Thread(target=worker_loop, args=(lane, 0), name=f"ppl worker {lane}", daemon=True)
        thread.start()
        _threads.append(thread)
    _setting(WORKERS).value = len(_threads)


def _calibrate() -> None:
    """Set how often threads pause before they sleep."""
    each = _pause_seconds()
    _setting(WORKER_SPINS).value = int(WORKER_MICROSECONDS * 1e-6 / each)
    _setting(CALLER_SPINS).value = int(CALLER_MICROSECONDS * 1e-6 / each)


def pauses_in(microseconds: float) -> int:
    """About how many pauses of a waiting thread last so long."""
    return int(microseconds * 1e-6 / _pause_seconds())


def _pause_seconds() -> float:
    """What a pause of a waiting thread takes, measured now."""
    worker_loop(0, 0)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        worker_loop(0, 1000)
        seconds.append(time.perf_counter() - began)
    return max(min(seconds) / 1000, 1e-9)


def stop() -> None:
    """End the workers; calls from now on run on their own threads."""
    global _ended
    with _lock:
        _ended = True
        _setting(WORKERS).value = 0
        until = time.monotonic() + SECONDS_TO_END
        while _setting(POOL_TAKEN).value and time.monotonic() < until:
            time.sleep(1e-3)
        for lane in range(1, len(_threads) + 1):
            _word_at_address(lane_address(lane)).value = -1
            wake_from_python(lane_address(lane) + SLEEP_PLACE)
        for thread in _threads:
            thread.join(max(0.0, until - time.monotonic()))


def _after_fork() -> None:
    """A child has no workers, and none of its threads is in a region."""
    global _lock
    _lock = threading.Lock()
    _threads.clear()
    _setting(WORKERS).value = _setting(POOL_TAKEN).value = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
