"""The threads of the pool: when they start and end, and how long they look for work before they sleep.

They start when a call first asks for them and stay in compiled code, without the GIL, until the interpreter ends. A
forked child has none.
"""

import atexit
import ctypes
import os
import threading
import time

import numba

from ppl.kernels.cpu.parallel import pool
from ppl.kernels.cpu.parallel.pool import CALLER_SPINS, MOST_LANES, PLACE, TAKEN, WORKER_SPINS, WORKERS, lane_at
from ppl.kernels.cpu.parallel.waiting import can_sleep, prepare, wake_from_python
from ppl.tuning import CALLER_MICROSECONDS, WORKER_MICROSECONDS

SECONDS = 2.0
"""How long the end of the interpreter waits for a worker."""

_lock = threading.Lock()
_threads: list[threading.Thread] = []
_ended = False


def _word(address: int) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(address)


def _setting(offset: int) -> ctypes.c_int64:
    return _word(pool.state + offset)


def start(threads: int) -> None:
    """Have workers for calls on so many threads, their callers included; none where threads cannot sleep."""
    if threads - 1 > len(_threads):
        with _lock:
            _start(min(threads, MOST_LANES))


def _start(threads: int) -> None:
    if _ended or not can_sleep or numba.config.DISABLE_JIT:
        return
    if not _threads:
        prepare(lane_at(0) + PLACE)
        _calibrate()
        atexit.register(stop)
    for lane in range(len(_threads) + 1, threads):
        prepare(lane_at(lane) + PLACE)
        _word(lane_at(lane)).value = 0
        thread = threading.Thread(target=pool.serve, args=(lane, 0), name=f"ppl worker {lane}", daemon=True)
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
    pool.serve(0, 0)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        pool.serve(0, 1000)
        seconds.append(time.perf_counter() - began)
    return max(min(seconds) / 1000, 1e-9)


def stop() -> None:
    """End the workers; calls from now on run on their own threads."""
    global _ended
    with _lock:
        _ended = True
        _setting(WORKERS).value = 0
        until = time.monotonic() + SECONDS
        while _setting(TAKEN).value and time.monotonic() < until:
            time.sleep(1e-3)
        for lane in range(1, len(_threads) + 1):
            _word(lane_at(lane)).value = -1
            wake_from_python(lane_at(lane) + PLACE)
        for thread in _threads:
            thread.join(max(0.0, until - time.monotonic()))


def _after_fork() -> None:
    """A child has no workers, and none of its threads is in a region."""
    global _lock
    _lock = threading.Lock()
    _threads.clear()
    _setting(WORKERS).value = _setting(TAKEN).value = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
