"""Decide how many threads a program may use: Numba's number, affinity, quotas of control groups, `OMP_NUM_THREADS`."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import numba

CGROUP_FILE, CGROUP_MOUNTS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def available_cores() -> int:
    """The cores that the process may use now; quotas are read once."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *limits()]))


@functools.cache
def limits() -> tuple[int, ...]:
    """The limits that are set: by the environment, and by quotas of processor time."""
    return *_from_environment(os.environ.get("OMP_NUM_THREADS", "")), *cgroup_quotas(CGROUP_FILE, CGROUP_MOUNTS)


def _from_environment(text: str) -> Iterator[int]:
    """The number of threads of the outermost level, if the variable is well formed."""
    first = text.partition(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        yield int(first)


def cgroup_quotas(groups: Path, mounts: Path) -> Iterator[int]:
    """Quotas of the control groups listed in the file `groups` and of those above them, in cores, rounded up."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            for root in (mounts, mounts / controllers, mounts / "cpu") if controllers else (mounts,):
                yield from _quotas_up_the_tree(root, path)


def _quotas_up_the_tree(root: Path, path: str) -> Iterator[int]:
    """Quotas of a group below `root` and of those above it; a container may show its own group as the root."""
    parts = [part for part in path.split("/") if part and part != ".."]
    for count in range(len(parts), -1, -1):
        yield from _quota_of_group(root.joinpath(*parts[:count]))


def _quota_of_group(folder: Path) -> Iterator[int]:
    """The quota of one group, of version 2 or 1."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            numbers = " ".join((folder / name).read_text(encoding="utf-8") for name in names).split()
        except OSError:
            continue
        if len(numbers) == 2 and all(x.isdecimal() for x in numbers) and int(numbers[1]):
            yield max(1, -(-int(numbers[0]) // int(numbers[1])))


_forked = False

_process_limit = 1 << 30


def num_threads() -> int:
    """The number of threads to use: that of Numba, at most the cores that the process may use, and 1 in a forked child.

    ``numba.set_num_threads`` and ``NUMBA_NUM_THREADS`` say Numba's; see `cores` for the others.
    """
    return 1 if _forked else min(_numba_threads(), available_cores(), _process_limit)


def share_cores(processes: int) -> None:
    """Take a part of the machine's cores for `processes` processes on it, unless someone has said how many to use.

    ``NUMBA_NUM_THREADS`` or ``OMP_NUM_THREADS`` say so, and launchers that bind processes to cores.
    """
    global _process_limit
    said = {"NUMBA_NUM_THREADS", "OMP_NUM_THREADS"} & os.environ.keys()
    if not said and available_cores() == (os.cpu_count() or 1):
        _process_limit = max(1, available_cores() // max(processes, 1))


def _numba_threads() -> int:
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
