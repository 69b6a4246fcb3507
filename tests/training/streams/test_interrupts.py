"""Ctrl-C while a thread reads batches ahead."""

import functools
import os
import signal
import threading
import time

import pytest

import ppl
from ppl.training import prefetcher
from ppl.training.optim import SGD
from tests.training.sweeps.builds import X, program

fit = functools.partial(ppl.fit, progress=False)


def _reading():
    return [t for t in threading.enumerate() if t.name == "ppl batches"]


@pytest.fixture
def ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_thread(ctrl_c):
    closed = []

    def source():
        try:
            while True:
                yield X[:4]
        finally:
            closed.append(True)

    def interrupt(step, state, metrics):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    found = fit(program(), batches=source, steps=10**6, optimizer=SGD(0.1), prefetch=2, callback=interrupt)
    assert found.state.step == 3 and closed and not _reading()


def test_ctrl_c_leaves_a_reader_behind_that_hangs(ctrl_c, monkeypatch):
    """Nothing can end a reader in a call that does not come back; the training ends without it, and so does Python."""
    free, closed = threading.Event(), threading.Event()
    monkeypatch.setattr(prefetcher, "CLOSE_SECONDS", 1000.0)
    late = threading.Timer(30.0, free.set)
    late.start()

    def source():
        try:
            while True:
                yield X[:4]
                if len(seen) >= 2:
                    free.wait()
        finally:
            closed.set()

    seen = []

    def look(step, state, metrics):
        seen.append(step)
        if step == 2:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    found = fit(program(), batches=source, steps=99, optimizer=SGD(0.1), prefetch=1, callback=look)
    assert not free.is_set(), "it has waited for the reader"
    late.cancel()
    assert 2 <= found.state.step < 99 and _reading() and not closed.is_set()
    free.set()
    assert closed.wait(120.0), "a reader that is left behind closes its source"


def test_ctrl_c_comes_through_while_the_reader_waits(ctrl_c):
    free = threading.Event()

    def source():
        yield X[:4]
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        free.wait(120.0)
        yield X[:4]

    threading.Timer(1.0, free.set).start()
    began = time.monotonic()
    found = fit(program(), batches=source, steps=9, optimizer=SGD(0.1), prefetch=1)
    assert found.state.step == 1 and time.monotonic() - began < 60.0
