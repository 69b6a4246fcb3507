"""How many threads a program may use, and when two parallel regions may run at once.

Numba's ``workqueue`` layer aborts the process when parallel regions run concurrently, so there a process-wide
lock serialises them; the OpenMP and TBB layers need none. After ``fork`` the child runs on one thread,
because GNU OpenMP kills a child that enters a parallel region.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

import numba

from ppl.kernels.internals import has_layer

_lock = threading.RLock()
_forked = False


def num_threads() -> int:
    """Return the number of threads to use: that of ``numba.get_num_threads``, but 1 in a forked child."""
    return 1 if _forked else int(numba.get_num_threads())


def is_thread_safe() -> bool:
    """Whether the threading layer that Numba uses, or will use, allows concurrent parallel regions."""
    try:
        return numba.threading_layer() in ("omp", "tbb")
    except ValueError:  # no parallel region has run yet
        return _expected_layer() in ("omp", "tbb")


def _expected_layer() -> str:
    """The layer that Numba will choose: the configured one, or the first that imports."""
    wanted = numba.config.THREADING_LAYER
    if wanted in ("omp", "tbb", "workqueue"):
        return str(wanted)
    for layer in numba.config.THREADING_LAYER_PRIORITY:
        if has_layer(layer):
            return str(layer)
    return "workqueue"


@contextlib.contextmanager
def parallel_region() -> Iterator[None]:
    """Bracket a call of a parallel driver; exclusive in the process where the layer is not thread-safe."""
    if is_thread_safe():
        yield
    else:
        with _lock:
            yield


def _after_fork() -> None:
    global _forked, _lock
    _forked = True
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
