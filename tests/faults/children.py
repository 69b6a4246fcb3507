"""Runs in forked processes: started in no time on what the parent has compiled, and killed without harm to it."""

import contextlib
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

import ppl
from ppl.runtime.array_files import read_npz
from ppl.training.signals import DeferredSignals
from tests.faults.runs import RUNS

FAILED, LATE = 77, 78
"""Exit codes: an assertion failed; Ctrl-C came after `fit` had returned."""

LIMIT = 120.0


def in_child(task: Callable[[], object], disturb: Callable[[int], None] | None = None) -> int:
    """Fork, run `task`, let `disturb(pid)` act once the training loop begins: exit code, or minus the signal."""
    began, begins = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = FAILED
        try:
            _announce(begins)
            task()
            code = 0
        except KeyboardInterrupt:
            code = LATE
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(begins)
    os.read(began, 1)
    os.close(began)
    start = time.monotonic()
    if disturb is not None:
        disturb(pid)
    return _wait(pid, start)


def _announce(pipe: int) -> None:
    """Have the child say through `pipe` that it handles signals."""
    enter = DeferredSignals.__enter__

    def entered(self: DeferredSignals) -> DeferredSignals:
        found = enter(self)
        os.write(pipe, b".")
        return found

    DeferredSignals.__enter__ = entered


def _wait(pid: int, start: float) -> int:
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - start > LIMIT:
            os.kill(pid, signal.SIGKILL)
            raise TimeoutError("a child did not end")
        time.sleep(0.001)


def send(pid: int, number: int) -> None:
    """Send a signal to a child that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def sender(choose: random.Random, within: float, numbers: list[int]) -> Callable[[int], None]:
    """Send the signals one after another, the first after a random time, the others soon after it."""

    def disturb(pid: int) -> None:
        time.sleep(choose.uniform(0.0, within))
        for number in numbers:
            send(pid, number)
            time.sleep(choose.choice([0.0, 0.0005, 0.004]))

    return disturb


def consistent(fit: ppl.Fit) -> None:
    """The history has one entry for every step that the state has taken."""
    steps = fit.state.step
    assert np.array_equal(fit.history["step"], np.arange(1, steps + 1))
    assert all(len(v) == steps for k, v in fit.history.items() if not k.startswith("validation"))


def checked(name: str, path: Path) -> Callable[[], None]:
    """A task: the run, whose result and checkpoint must agree, however it has ended."""

    def task() -> None:
        fit = RUNS[name](path, progress=False)
        consistent(fit)
        stored = read_npz(path)
        assert stored["params"].tobytes() == fit.state._flat.tobytes()
        for key, values in fit.history.items():
            assert stored[f"history/{key}"].tobytes() == values.tobytes(), key

    return task


def is_prefix(path: Path, whole: dict[str, np.ndarray]) -> None:
    """The checkpoint's history is the beginning of the uninterrupted run's, as far as its state."""
    found = read_npz(path)
    state = ppl.load_state(path)
    for key, values in found.items():
        if key.startswith("history/"):
            assert values.tobytes() == whole[key][: len(values)].tobytes(), key
            assert "validation" in key or len(values) == state.step


def same(path: Path, whole: dict[str, np.ndarray]) -> None:
    """The file holds the same arrays, bit for bit."""
    found = read_npz(path)
    assert found.keys() == whole.keys()
    for key, values in found.items():
        assert values.dtype == whole[key].dtype and values.tobytes() == whole[key].tobytes(), key
