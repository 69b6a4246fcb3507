"""How many threads a program may use."""

import os

import numba

from ppl.kernels.cpu.parallel.cores import cores

_forked = False
_most = 1 << 30


def num_threads() -> int:
    """The number of threads to use: that of Numba, at most the cores that the process may use, and 1 in a forked child.

    ``numba.set_num_threads`` and ``NUMBA_NUM_THREADS`` say Numba's; see `cores` for the others.
    """
    return 1 if _forked else min(_numbas(), cores(), _most)


def share_cores(processes: int) -> None:
    """Take a part of the machine's cores for `processes` processes on it, unless someone has said how many to use.

    ``NUMBA_NUM_THREADS`` or ``OMP_NUM_THREADS`` say so, and launchers that bind processes to cores.
    """
    global _most
    said = {"NUMBA_NUM_THREADS", "OMP_NUM_THREADS"} & os.environ.keys()
    if not said and cores() == (os.cpu_count() or 1):
        _most = max(1, cores() // max(processes, 1))


def _numbas() -> int:
    """The number of threads that Numba would use, whose threads are not started for it."""
    try:
        numba.threading_layer()
    except ValueError:  # no parallel region of the user's has run, and nothing has set the number
        return int(numba.config.NUMBA_NUM_THREADS)
    return int(numba.get_num_threads())


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
