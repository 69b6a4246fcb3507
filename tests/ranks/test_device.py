"""Sums over ranks on devices: whether MPI can, and what then comes out."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

from ppl.errors import OptionError
from ppl.ranks import device_sums

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("answer", "aware"), [(None, False), (0, False), (1, True)])
def test_the_library_is_asked(answer: int | None, aware: bool, tmp_path: Path, monkeypatch: Any) -> None:
    """Of all libraries that the process has loaded, those of MPI; one that has no such function says no."""
    asked = []

    class Library:
        def __init__(self, path: str | None):
            asked.append(path)
            if path is not None and answer is not None:
                self.MPIX_Query_cuda_support = lambda: answer

    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r-xp 0 08:01 12   /a folder/libmpi.so.12\n7f02-7f03 rw-p 0 00:00 0\n7f04 r 0 0 1 /c.so\n"
    )
    monkeypatch.setattr(device_sums, "PROCESS_MAPS", maps)
    monkeypatch.setattr(ctypes, "CDLL", Library)
    monkeypatch.delenv(device_sums.CUDA_AWARE_VARIABLE, raising=False)
    assert device_sums.mpi_reads_device_memory() is aware
    assert asked == [None, "/a folder/libmpi.so.12"]
    for told in ("0", "1"):
        monkeypatch.setenv(device_sums.CUDA_AWARE_VARIABLE, told)
        assert device_sums.mpi_reads_device_memory() is (told == "1")
    monkeypatch.setenv(device_sums.CUDA_AWARE_VARIABLE, "yes")
    with pytest.raises(OptionError, match="is 0 or 1, not 'yes'"):
        device_sums.mpi_reads_device_memory()


@pytest.mark.cuda
@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_sums_on_devices_are_those_on_the_host() -> None:
    """Two ranks, three of which one has no rows, and a rank whose gradient is not finite."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "tests.ranks.on_devices"], env=environment, cwd=ROOT, timeout=500,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0 and "equal" in done.stdout, done.stderr


@pytest.mark.cuda
def test_the_sum_compiles_without_a_device() -> None:
    """In single precision throughout."""
    ptx = pytest.importorskip("ppl.kernels.cuda.ptx")
    if not ptx.is_available() or numba.config.ENABLE_CUDASIM:
        pytest.skip(f"needs pip install '{ptx.REQUIREMENT}'")
    from ppl.kernels.cuda import launch

    vector = numba.types.Array(numba.float32, 1, "C")
    text, _ = ptx.compile_ptx(launch._weighted_sum, (vector, vector, vector, numba.int64))
    assert "f32" in text and "f64" not in text
