"""The pool of threads: every slab runs once whoever comes, and nobody waits for who does not."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from ppl.kernels.cpu.threads import pool
from ppl.kernels.cpu.threads.regions import on_threads
from ppl.kernels.decorators import jit

THREADS = (1, 2, 4, 8, 16)

LANES, STRIDE = 64, 16


@jit
def _mark(part, parts, lane, seen, by_lane, out):
    seen[part] += 1
    by_lane[lane * STRIDE] += 1  # another thread on the same lane would lose some
    total = 0.0
    for i in range(200):
        total += 1.0 / (1.0 + part + i)
    out[part] = total
    if part == 3 and parts == 7:
        raise ValueError("part three")


@jit
def _run(seen, by_lane, out, threads, times):
    for _ in range(times):
        on_threads(_mark, (seen, by_lane, out), seen.shape[0], threads)


def run(parts, threads, times=1):
    """(how often each part ran, how many parts each lane took, results)."""
    seen, by_lane, out = np.zeros(parts, np.int64), np.zeros(LANES * STRIDE, np.int64), np.zeros(parts)
    _run(seen, by_lane, out, threads, times)
    return seen, by_lane[::STRIDE], out


@pytest.mark.parametrize("parts", [1, 2, 3, 64, 1000, pool.MOST_SHARED_SLABS, pool.MOST_SHARED_SLABS + 1])
def test_every_part_runs_once_on_any_number_of_threads(parts):
    pool.start(max(THREADS))
    expected = run(parts, 1)[2].tobytes()
    for threads in THREADS:
        times = 1 + 3000 // parts
        seen, by_lane, out = run(parts, threads, times)
        assert (seen == times).all() and by_lane.sum() == parts * times
        assert not by_lane[threads:].any() and by_lane[0] > 0
        assert out.tobytes() == expected


def test_several_threads_take_part():
    pool.start(2)
    assert any(run(64, 2, 200)[1][1] > 0 for _ in range(20))


def test_workers_that_do_not_come_are_not_waited_for(monkeypatch):
    """The pool is told of workers that do not exist."""
    pool.start(2)
    count = pool._setting(pool.WORKERS)
    before = count.value
    count.value = 40
    try:
        seen, by_lane, _ = run(64, 32, 100)
    finally:
        count.value = before
    assert (seen == 100).all() and not by_lane[len(pool._threads) + 1 :].any()


def test_an_exception_is_raised_when_all_parts_have_ended():
    pool.start(8)
    for threads in THREADS:
        seen, by_lane, out = np.zeros(7, np.int64), np.zeros(LANES * STRIDE, np.int64), np.zeros(7)
        for _ in range(50):
            with pytest.raises(ValueError, match="part three"):
                _run(seen, by_lane, out, threads, 1)
        assert seen[3] == 50 and (seen <= 50).all()
        later = seen.copy()
        assert (run(64, threads, 5)[0] == 5).all() and (seen == later).all()


def test_many_callers_at_once():
    pool.start(4)
    found = []

    def call(number):
        found.append(all((run(3 + number * 5, 4, 20)[0] == 20).all() for _ in range(100)))

    callers = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    [t.start() for t in callers]
    [t.join(600) for t in callers]
    assert found == [True] * 8


@jit
def _last_long(part, parts, lane, out, by):
    by[part] = lane
    for i in range(10_000_000 if part == 1 else 100):
        out[part] += 1.0 / (1.0 + i)


@jit
def _wait_for_other(out, by):
    on_threads(_last_long, (out, by), 2, 2)


def test_a_caller_sleeps_while_others_end_their_slabs():
    pool.start(2)
    _wait_for_other(np.zeros(2), np.zeros(2, np.int64))
    for _ in range(200):
        out, by = np.zeros(2), np.zeros(2, np.int64)
        wall, own = time.perf_counter(), time.thread_time()
        _wait_for_other(out, by)
        wall, own = time.perf_counter() - wall, time.thread_time() - own
        if by[1] == 1:  # it was the worker that took long
            assert own < wall / 2
            return
    pytest.skip("the worker never came first")


def test_nothing_spins_when_idle():
    pool.start(16)
    run(1000, 16, 100)
    least = []
    for _ in range(3):  # other threads of this process may be at work
        time.sleep(0.01)
        began = time.process_time()
        time.sleep(0.5)
        least.append(time.process_time() - began)
    assert min(least) < 0.01


SETUP = """
import os, signal, sys, threading, time
import numpy as np
from ppl.kernels.cpu.threads import pool
from tests.kernels.test_pool import run
"""


def in_process(code, **environment):
    """A script that has `run`, in a process of its own: (exit status, output, errors, seconds)."""
    env = {**os.environ, "PYTHONPATH": os.getcwd(), **environment}
    began = time.perf_counter()
    script = SETUP + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout, done.stderr, time.perf_counter() - began


def test_sleep_on_pipes_where_there_is_no_futex():
    code = """
    pool.futex_call = 0
    pool.start(6)
    for _ in range(30):
        assert (run(64, 6, 20)[0] == 20).all()
        time.sleep(0.002)
    print(any(run(64, 6, 200)[1][1:].any() for _ in range(20)))
    """
    status, output, errors, _ = in_process(code)
    assert (status, output) == (0, "True\n"), errors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_no_workers_and_may_start_its_own():
    code = """
    pool.start(4)
    run(64, 4)  # compiles: a child would wait for the lock of a thread that does
    def busy():
        while True:
            run(64, 4, 50)
    threading.Thread(target=busy, daemon=True).start()
    for _ in range(20):
        child = os.fork()
        if child == 0:
            assert (run(64, 4, 10)[0] == 10).all()
            pool.start(3)
            assert (run(64, 3, 10)[0] == 10).all()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert (run(64, 4, 10)[0] == 10).all()
    print("done")
    """
    status, output, errors, _ = in_process(code)
    assert (status, output) == (0, "done\n"), errors


ENDS = {
    "plainly": ("", 0),
    "by an exception": ("raise ValueError('no')", 1),
    "by sys.exit in a thread's sight": ("threading.Thread(target=time.sleep, args=(0.05,)).start(); sys.exit(3)", 3),
    "by an interrupt": ("signal.raise_signal(signal.SIGINT)", -2),
    "beside a thread that calls": (
        "threading.Thread(target=lambda: [run(64, 4, 50) for _ in range(10**6)], daemon=True).start(); time.sleep(0.2)",
        0,
    ),
    "in a call after the workers": ("import atexit; atexit._run_exitfuncs(); assert (run(64, 4)[0] == 1).all()", 0),
}


@pytest.mark.parametrize("way", ENDS)
def test_the_interpreter_ends(way):
    code, expected = ENDS[way]
    status, _, errors, seconds = in_process(f"pool.start(4)\nrun(64, 4, 20)\n{code}")
    assert status == expected, errors
    assert seconds < 300


def test_an_interrupt_ends_a_process_in_a_long_loop_of_calls():
    code = """
    pool.start(4)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            run(64, 4, 50)
    except KeyboardInterrupt:
        print("interrupted")
        raise
    """
    status, output, errors, _ = in_process(code)
    assert (status, output) == (-2, "interrupted\n"), errors


UPDATE = """
from ppl.kernels.cpu.training.parallel_optimizers import update
n = 70_000
shares, none = np.array([0, n, 1]), np.zeros(0)
for bad in (0.0, np.inf):
    p, g = np.ones(n), np.full(n, 0.5)
    g[-1] += bad
    print(update(p, none, none, g, 0, 0.1, np.zeros(4), 1, 1.0, 1e18, shares, none, 2), p[0], p[-1])
"""


def test_an_optimizers_step_without_the_compiler():
    status, output, errors, _ = in_process(UPDATE, NUMBA_DISABLE_JIT="1")
    assert (status, output.split("\n")[:2]) == (0, ["True 0.95 0.95", "False 1.0 1.0"]), errors


def test_the_checked_build_shares_and_raises():
    code = """
    pool.start(4)
    for _ in range(50):
        assert (run(64, 4, 20)[0] == 20).all()
    try:
        run(7, 4)
    except ValueError as error:
        print(error)
    """
    status, output, errors, _ = in_process(code, PPL_CHECK="1")
    assert (status, output) == (0, "part three\n"), errors
