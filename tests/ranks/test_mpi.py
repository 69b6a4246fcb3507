"""Processes started by mpiexec: the results of one process, and what is left after faults."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import ppl
from tests.helpers.tiny import tiny
from tests.ranks.models import global_and_local
from tests.ranks.worker import RUNS, looks, results

ROOT = Path(__file__).parents[2]
pytest.importorskip("mpi4py")


@cache
def runtime() -> tuple[str, str]:
    """mpiexec and the library of the MPI run-time, wherever its wheel has put them."""
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the wheel of MPICH is not installed")
    found = [Path(str(f.locate())).resolve() for f in files if f.name in ("mpiexec", "libmpi.so.12")]
    return next(str(f) for f in found if f.name == "mpiexec"), next(str(f) for f in found if f.name == "libmpi.so.12")


def launch(size: int, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """`worker.py` on so many ranks, with one thread each."""
    mpiexec, library = runtime()
    environment = {**os.environ, "MPI4PY_LIBMPI": library, "NUMBA_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}
    command = [mpiexec, "-n", str(size), sys.executable, "-m", "tests.ranks.worker", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
                            cwd=ROOT, start_new_session=True)  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[str, int]:
    """What the ranks have printed, and their exit status."""
    output, _ = process.communicate(timeout=900)
    return output, process.returncode


def check_runs(size: int, names: list[str], tmp_path: Path, **more: str) -> None:
    """The runs on so many ranks are those of one process."""
    path = tmp_path / "found.npz"
    process = launch(size, "runs", str(path), *names, **more)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    with np.load(path) as found:
        wanted = results(names)
        assert set(found) == set(wanted)
        for key, value in wanted.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-11, err_msg=key)


def test_two_ranks(tmp_path: Path) -> None:
    """One model through the real thing."""
    check_runs(2, ["tables"], tmp_path)


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)])
def test_ranks_that_train_one_state(size: int, tmp_path: Path) -> None:
    """Models whose vectors are short, in memory that ranks share."""
    check_runs(size, ["belief net", "no rows", "loop"], tmp_path, PPL_RANKS_COMMON="1")


BLOCKS = {"PPL_RANKS_COMMON": "1", "PPL_RANKS_REPLICATED": "1"}
"""Ranks that have the same rows in memory, in slabs of two rows, take blocks of steps together."""


@pytest.mark.parametrize(
    ("size", "names"),
    [(2, ["whole"]), *(pytest.param(n, ["belief net", "whole", "loop"], marks=pytest.mark.slow) for n in (2, 3, 4))],
)
def test_blocks_of_steps_have_the_bits_of_one_process(size: int, names: list[str], tmp_path: Path) -> None:
    """Minibatches with a shorter last one, all rows, a loop; more ranks than cores, and than slabs."""
    path = tmp_path / "found.npz"
    output, code = ended(launch(size, "runs", str(path), *names, **BLOCKS))
    assert code == 0, output
    with np.load(path) as found, tiny("owned"):
        wanted = results(names)
        assert set(found) == set(wanted)
        for key, value in wanted.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize("size", [2, 3])
def test_sums_in_memory_that_ranks_share(size: int) -> None:
    """Vectors of growing and of shrinking lengths, one after the other; ranks of weight 0 are left out."""
    process = launch(size, "sums", "")
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert output.count("equal") == size


@pytest.mark.parametrize("common", ["", "1"], ids=["messages", "memory"])
def test_what_one_rank_alone_does_ends_all(common: str) -> None:
    """Schedules that fail or differ on one rank, other optimizers and states."""
    process = launch(2, "refusals", "", PPL_RANKS_COMMON=common)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0 and output.count("refused") == 2, output


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "more",
    [pytest.param({"PPL_RANKS_COMMON": "1"}, id="steps"), pytest.param(BLOCKS, id="blocks", marks=pytest.mark.slow)],
)
def test_users_functions_see_the_states_of_one_process(more: dict[str, str], size: int, tmp_path: Path) -> None:
    """Callback, validation, schedules, checkpoints and rates out of range, on ranks that share memory."""
    path = tmp_path / "found.npz"
    process = launch(size, "looks", str(path), **more)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    with np.load(path) as found:
        for key, value in looks(tmp_path / "alone").items():
            np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-11, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_all_runs(size: int, tmp_path: Path) -> None:
    """Belief net, VAE, tables, particles, a loop over time."""
    check_runs(size, list(RUNS), tmp_path)


@pytest.mark.slow
@pytest.mark.cuda
@pytest.mark.parametrize("size", [2, 3])
def test_devices(size: int, tmp_path: Path) -> None:
    """Gradients on devices, in the simulator; their sum, and the step, on the processor."""
    pytest.importorskip("numba_cuda")
    names = ["belief net", "vae", "tables", "loop"]
    check_runs(size, names, tmp_path, NUMBA_ENABLE_CUDASIM="1", PPL_RANKS_TARGET="cuda")


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"PPL_RANKS_COMMON": "1"}, BLOCKS], ids=["messages", "memory", "blocks"])
@pytest.mark.parametrize("what", ["kill", "nan", "interrupt"])
def test_faults(what: str, more: dict[str, str], tmp_path: Path) -> None:
    """All ranks are gone within seconds, one message, and the checkpoint can be gone on with by one process."""
    path = tmp_path / "run.npz"
    process = launch(2, what, str(path), **more)
    while what == "kill" and not path.exists():
        assert process.poll() is None
        time.sleep(0.1)
    began = time.monotonic()
    output, _ = process.communicate(timeout=900)
    if what == "kill":
        assert time.monotonic() - began < 120.0
    assert (process.returncode == 0) == (what == "interrupt"), output
    assert output.count("Traceback") == (1 if what == "nan" else 0), output
    assert output.count("training stopped") == (1 if what == "nan" else 0)
    assert (output.count("stopped at") == 2) == (what == "interrupt")
    state = ppl.load_state(str(path))
    assert state.step > 0 or what == "nan"  # which is in the first minibatch
    again = ppl.fit(global_and_local(), np.zeros((9, 8)), steps=state.step + 1, optimizer=ppl.optim.SGD(0.001),
                    batch_size=6, checkpoint=str(path))  # fmt: skip
    assert again.state.step == state.step + 1
