"""How many cores the process may use: its affinity, quotas of its control groups, and `OMP_NUM_THREADS`."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS, MOUNTS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def cores() -> int:
    """The cores that the process may use now; quotas are read once."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *limits()]))


@functools.cache
def limits() -> tuple[int, ...]:
    """The limits that are set: by the environment, and by quotas of processor time."""
    return *_from_environment(os.environ.get("OMP_NUM_THREADS", "")), *quotas(GROUPS, MOUNTS)


def _from_environment(text: str) -> Iterator[int]:
    """The number of threads of the outermost level, if the variable is well formed."""
    first = text.partition(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        yield int(first)


def quotas(groups: Path, mounts: Path) -> Iterator[int]:
    """Quotas of the control groups listed in the file `groups` and of those above them, in cores, rounded up."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            for root in (mounts, mounts / controllers, mounts / "cpu") if controllers else (mounts,):
                yield from _above(root, path)


def _above(root: Path, path: str) -> Iterator[int]:
    """Quotas of a group below `root` and of those above it; a container may show its own group as the root."""
    parts = [part for part in path.split("/") if part and part != ".."]
    for count in range(len(parts), -1, -1):
        yield from _quota(root.joinpath(*parts[:count]))


def _quota(folder: Path) -> Iterator[int]:
    """The quota of one group, of version 2 or 1."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            numbers = " ".join((folder / name).read_text(encoding="utf-8") for name in names).split()
        except OSError:
            continue
        if len(numbers) == 2 and all(x.isdecimal() for x in numbers) and int(numbers[1]):
            yield max(1, -(-int(numbers[0]) // int(numbers[1])))
