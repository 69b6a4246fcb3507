"""Sweeps in several processes: equal results wherever they run, one cache of machine code, two sweeps in one folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ppl
from tests.training.sweeps.builds import descend, killed_once, logged, threads

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
GRID = {"lr": [0.1, 0.3], "seed": [0, 1, 2]}


def _bits(found):
    return [found.state(i).params["mu"].tobytes() for i in range(len(found))]


def test_results_do_not_depend_on_backend_workers_or_threads(tmp_path):
    pytest.importorskip("distributed")
    ways = {
        "serial": {},
        "joblib": {"workers": 2},
        "one": {"workers": 1, "threads": 2},
        "dask": {"workers": 2},
    }
    found = {}
    for name, options in ways.items():
        backend = "joblib" if name == "one" else name
        found[name] = ppl.sweep(descend, GRID, backend, tmp_path / name, **options)
    assert len({tuple(_bits(sweep)) for sweep in found.values()}) == 1
    timed = ("seconds",)
    tables = {name: [{k: v for k, v in row.items() if k not in timed} for row in s] for name, s in found.items()}
    assert all(table == tables["serial"] for table in tables.values())


def test_dask_reports_a_killed_worker(tmp_path):
    pytest.importorskip("distributed")
    grid = {"seed": [0, 1, 2], "folder": str(tmp_path)}
    found = ppl.sweep(killed_once, grid, "dask", tmp_path / "out", workers=1, every=2)
    assert [row["status"] for row in found] == ["done", "killed", "done"]
    again = ppl.sweep(killed_once, grid, "dask", tmp_path / "out", workers=1, every=2)
    alone = ppl.sweep(descend, {"lr": 0.1, "seed": [0, 1, 2]}, "serial", tmp_path / "alone")
    assert _bits(again) == _bits(alone) and again[1]["attempts"] == 2


def test_a_client_of_the_user_and_its_threads(tmp_path):
    distributed = pytest.importorskip("distributed")
    where = distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None)
    with where as cluster, distributed.Client(cluster) as client:
        found = ppl.sweep(descend, GRID, client, tmp_path / "own")
    assert _bits(found) == _bits(ppl.sweep(descend, GRID, "serial", tmp_path / "serial"))


SCRIPT = """
import sys
import ppl
from tests.training.sweeps.builds import slow
found = ppl.sweep(slow, {"seed": list(range(6)), "folder": sys.argv[1]}, "joblib", sys.argv[1] + "/out", workers=2)
print([row["status"] for row in found], [row["seed2"] for row in found])
"""


def _start(folder, **environment):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env={**os.environ, **environment})  # fmt: skip


def test_two_sweeps_share_a_folder(tmp_path):
    started = [_start(tmp_path) for _ in range(2)]
    answers = [process.communicate(timeout=900) for process in started]
    assert len({out for out, _ in answers}) == 1 and "'done'" in answers[0][0], answers
    assert sorted(logged(tmp_path)) == list("012345")


def test_a_sweep_that_is_killed_goes_on(tmp_path):
    process = _start(tmp_path)
    while len(logged(tmp_path)) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=600)  # workers hold its output until they end
    out, errors = _start(tmp_path).communicate(timeout=900)
    assert out == f"{['done'] * 6} {[2 * i for i in range(6)]}\n", errors
    assert {*logged(tmp_path)} == set("012345")


def test_workers_that_compile_the_same_program_share_one_cache(tmp_path):
    """Six processes compile it at once into an empty folder, and a seventh finds it there."""
    cache = tmp_path / "cache"
    env = {"PPL_CACHE_DIR": str(cache)}
    code = (
        "import sys, ppl\nfrom tests.training.sweeps.builds import descend\n"
        "found = ppl.sweep(descend, {'lr': 0.1, 'seed': list(range(6))}, 'joblib', sys.argv[1], workers=6)\n"
        "print([found.state(i).params['mu'].tobytes().hex() for i in range(6)])"
    )
    seen = []
    for name in ("cold", "warm"):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], cwd=ROOT, text=True, check=True,
                              capture_output=True, env={**os.environ, **env}, timeout=600)  # fmt: skip
        assert "Warning" not in done.stderr
        seen.append((done.stdout, {p: p.stat().st_mtime_ns for p in sorted(cache.rglob("*")) if p.is_file()}))
    assert seen[0] == seen[1] and len(seen[0][1]) > 1
    assert not [p for p in seen[0][1] if ".tmp" in p.name]
    expected = ppl.sweep(descend, {"lr": 0.1, "seed": list(range(6))}, "serial", tmp_path / "here")
    assert seen[0][0].strip() == str([bits.hex() for bits in _bits(expected)])


def test_workers_share_the_cores(tmp_path):
    found = ppl.sweep(threads, {"seed": list(range(4))}, "joblib", tmp_path, workers=2, threads=1)
    assert [row["threads"] for row in found] == [1] * 4 and len({row["pid"] for row in found}) <= 2


def test_a_full_disk_fails_the_run_and_not_the_sweep(tmp_path):
    """A file system of 64 KB; where it cannot be mounted there is nothing to test."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no right to mount")
    try:
        (disk / "filler").write_bytes(bytes(44 * 1024))
        with pytest.warns(RuntimeWarning, match=r"could not be written|No space"):
            found = ppl.sweep(descend, {"lr": 0.1, "seed": list(range(4))}, "serial", disk / "out")
        assert {row["status"] for row in found} <= {"done", "failed"} and found.failed
        assert all("No space" in row["error"] for row in found.failed), found
        (disk / "filler").unlink()
        again = ppl.sweep(descend, {"lr": 0.1, "seed": list(range(3))}, "serial", disk / "out")
        assert not again.failed and np.isfinite([row["loss"] for row in again]).all()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
