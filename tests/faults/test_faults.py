"""Kills and interrupts at random moments: a resumed run ends in the bits and the history of one that nothing disturbed.

The tests fork, so that a hundred of them take minutes; a forked child computes on one thread, and so does the run that
it is compared with. With `-s` they print how often each fault came."""

import functools
import os
import random
import signal
import time
from collections import Counter

import numba
import numpy as np
import pytest

import ppl
from ppl.runtime.array_files import read_npz
from ppl.training.fit import fit
from ppl.training.optim import Adam
from tests.faults.children import LATE, checked, in_child, is_prefix, same, sender
from tests.faults.runs import RUNS, X, mixed, program, rate

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

INT, TERM, HUP, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL

INTERRUPTS = [[INT], [TERM], [HUP], [INT, INT], [TERM, TERM], [INT, TERM], [HUP, INT]]

FAST = ("in_place", "step_by_step", "stream")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(arrays of the checkpoint, seconds) of the uninterrupted run of each name; the first compiles it for all."""
    folder = tmp_path_factory.mktemp("whole")

    @functools.cache
    def run(name):
        threads = numba.get_num_threads()
        numba.set_num_threads(1)
        RUNS[name](folder / f"{name} compiled.npz", progress=False)
        numba.set_num_threads(threads)
        began = time.monotonic()
        assert in_child(checked(name, folder / f"{name}.npz")) == 0
        return read_npz(folder / f"{name}.npz"), time.monotonic() - began

    return run


def disturb(name, path, whole, faults, numbers, seed):
    """Run and send the signals `numbers` until `faults` runs were ended by them; then finish, and compare."""
    arrays, seconds = whole
    choose, ways = random.Random(seed), Counter()
    while ways["ended"] < faults:
        code = in_child(checked(name, path), sender(choose, 0.6 * seconds, numbers))
        ways[code] += 1
        assert ways[0] < 50 * faults, "signals do not reach the runs"
        assert code in (0, *(LATE if n == INT else -n for n in numbers))
        if path.exists():
            is_prefix(path, arrays)
        if path.exists() and all(len(found) == len(arrays[k]) for k, found in histories(path)):
            same(path, arrays)
            path.unlink()
        else:
            ways["ended"] += 1
    assert in_child(checked(name, path)) == 0
    same(path, arrays)
    assert os.listdir(path.parent) == [path.name], "files of killed writers stay"
    return ways


def histories(path):
    return [(k, v) for k, v in read_npz(path).items() if k.startswith("history/")]


def _few(names, kinds):
    return [pytest.param(n, k, id=f"{n} {'-'.join(s.name for s in k)}") for n in names for k in kinds]


@pytest.mark.parametrize(("name", "numbers"), _few(FAST, [[KILL], [INT, INT], [TERM]]))
def test_disturbed_runs_end_as_undisturbed_ones(name, numbers, whole, tmp_path):
    disturb(name, tmp_path / "run.npz", whole(name), 2, numbers, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_hundred_kills(name, whole, tmp_path):
    print(name, disturb(name, tmp_path / "run.npz", whole(name), 15, [KILL], 1))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "numbers"), _few(RUNS, INTERRUPTS))
def test_fifty_interrupts(name, numbers, whole, tmp_path):
    print(name, numbers, disturb(name, tmp_path / "run.npz", whole(name), 2, numbers, 2))


@pytest.mark.parametrize("numbers", [[INT], [TERM], [HUP], [TERM, TERM], [INT, INT]], ids=str)
def test_a_signal_saves_what_has_been_reached(numbers, whole, tmp_path):
    """No checkpoint is due in this run before it ends."""
    path = tmp_path / "run.npz"
    arrays, seconds = whole("in_place")

    def task():
        fit(program(mixed), X, epochs=800, batch_size=7, optimizer=Adam(rate), validation=X[:5], checkpoint=path)

    code = in_child(task, sender(random.Random(3), 0.3 * seconds, numbers))
    assert code in ((0, LATE) if numbers[0] == INT else (-numbers[0],))
    is_prefix(path, arrays)
    assert os.listdir(tmp_path) == [path.name]


def killed_while_writing(name, path, at):
    """A task that is killed while it writes the second checkpoint: at the `at`th array, or before the file is moved."""

    def task():
        write, move, seen = np.lib.format.write_array, os.replace, Counter()

        def writing(stream, array, **options):
            seen["arrays"] += seen["files"] == 1
            write(stream, array[: array.size // 2] if seen["arrays"] == at and array.ndim else array, **options)
            if seen["arrays"] == at:
                stream._fileobj.flush()
                os.kill(os.getpid(), KILL)

        def moving(source, target):
            seen["files"] += 1
            if at is None and seen["files"] == 2:
                os.kill(os.getpid(), KILL)
            move(source, target)

        np.lib.format.write_array, os.replace = writing, moving
        RUNS[name](path, progress=False)

    return task


@pytest.mark.parametrize("at", [1, 3, 6, None])
def test_kills_between_two_writes_leave_the_checkpoint_before(at, whole, tmp_path):
    path = tmp_path / "run.npz"
    arrays, _ = whole("step_by_step")
    assert in_child(killed_while_writing("step_by_step", path, at)) == -KILL
    assert ppl.load_state(path).step == 100 and len(os.listdir(tmp_path)) == 2
    is_prefix(path, arrays)
    assert in_child(checked("step_by_step", path)) == 0
    same(path, arrays)
    assert os.listdir(tmp_path) == ["run.npz"]
