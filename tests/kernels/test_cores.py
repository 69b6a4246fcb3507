"""How many threads programs use: Numba's number, the affinity, quotas, and variables of the environment."""

import os
import subprocess
import sys

import pytest

from ppl.kernels.cpu.threads import thread_count

COUNT = "from ppl.kernels.cpu.threads.thread_count import num_threads; "


def counted(code="print(num_threads())", **environment):
    env = {k: v for k, v in os.environ.items() if k not in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")}
    run = [sys.executable, "-c", COUNT + code]
    done = subprocess.run(run, env={**env, **environment}, capture_output=True, text=True, check=True)
    return [int(x) for x in done.stdout.split()]


def test_the_environment_says_how_many():
    (most,) = counted()
    assert most <= thread_count.available_cores()
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        assert counted(**{name: "1"}) == [1]
        assert counted(**{name: "64"}) == [most]
    assert counted(OMP_NUM_THREADS="1,4") == [1] and counted(OMP_NUM_THREADS="what") == [most]


def test_numba_says_how_many():
    code = "import numba; print(num_threads()); numba.set_num_threads(1); print(num_threads())"
    assert counted(code)[1] == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_the_affinity_says_how_many_whenever_it_changes():
    code = "import os; print(num_threads()); os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "print(num_threads())"
    assert counted(code)[1] == 1


def test_no_thread_of_numba_is_started_for_the_count():
    code = "import numba, os; num_threads(); "
    code += "print(len(os.listdir('/proc/self/task')) if os.path.exists('/proc/self/task') else 1)"
    assert counted(code + "", OPENBLAS_NUM_THREADS="1") == [1]


GROUPS = {
    "version 2": ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "max 100000\n"}, [2]),
    "above": ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "100000 100000\n"}, [1]),
    "the root of a container": ("0::/\n", {"cpu.max": "300000 100000\n"}, [3]),
    "less than one": ("0::/a\n", {"a/cpu.max": "5000 100000\n"}, [1]),
    "version 1": (
        "4:memory:/m\n2:cpu,cpuacct:/a\n",
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "400000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
        [4],
    ),
    "version 1 without a quota": ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "9\n"}, []),
    "nothing": ("", {}, []),
}


@pytest.mark.parametrize("case", GROUPS)
def test_quotas_of_control_groups(case, tmp_path):
    listed, files, expected = GROUPS[case]
    groups = tmp_path / "cgroup"
    groups.write_text(listed)
    for name, text in files.items():
        path = tmp_path / "mounts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert list(thread_count.cgroup_quotas(groups, tmp_path / "mounts")) == expected
    assert list(thread_count.cgroup_quotas(tmp_path / "missing", tmp_path)) == []


def test_a_quota_bounds_the_threads(monkeypatch):
    monkeypatch.setattr(thread_count, "limits", lambda: (1,))
    assert thread_count.num_threads() == 1
