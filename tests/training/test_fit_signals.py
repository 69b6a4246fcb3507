"""Signals during training: when they act, in which order, and that the handlers from before come back."""

import contextlib
import os
import signal
import threading

import pytest

from ppl.training.signals import DeferredSignals, EndedBySignal
from tests.faults.children import in_child

INT, TERM, USR = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _handlers():
    before = {n: signal.getsignal(n) for n in (INT, TERM, USR)}
    signal.signal(INT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c_waits_until_somebody_asks():
    reached = []
    with DeferredSignals(ending=False) as signals:
        send(INT)
        reached.append("block")
        with pytest.raises(KeyboardInterrupt):
            signals.check()
        signals.check()
    assert reached == ["block"] and signal.getsignal(INT) is signal.default_int_handler


def test_ctrl_c_acts_at_once_in_what_may_take_long():
    def slow():
        send(INT)
        raise AssertionError("not reached")

    with DeferredSignals(ending=False) as signals, pytest.raises(KeyboardInterrupt):
        signals.run_interruptible(slow)


def test_one_that_waits_acts_before_something_long_begins():
    with DeferredSignals(ending=False) as signals:
        send(INT)
        with pytest.raises(KeyboardInterrupt):
            signals.run_interruptible(pytest.fail, "begun")


def test_a_second_one_waits_while_the_first_is_dealt_with():
    saved = []

    def slow():
        send(INT)

    with DeferredSignals(ending=False) as signals:
        try:
            signals.run_interruptible(slow)
        except KeyboardInterrupt:
            send(INT)
            saved.append("begun")
            send(INT)
            saved.append("done")
    assert saved == ["begun", "done"]


def test_handlers_of_the_user_run_where_nothing_is_half_done():
    seen, calls = [], ["start"]
    signal.signal(USR, lambda number, frame: seen.append((number, calls[-1])))
    with DeferredSignals(ending=False) as signals:
        send(USR)
        calls.append("block done")
        signals.check()
        signals.run_interruptible(send, USR)
        calls.append("closed")
        send(USR)
        calls.append("left")
    assert seen == [(USR, "block done"), (USR, "block done"), (USR, "left")]


def test_what_a_handler_raises_goes_its_way():
    class TimeIsUp(Exception):
        pass

    def alarm(number, frame):
        raise TimeIsUp

    signal.signal(USR, alarm)
    with pytest.raises(TimeIsUp), DeferredSignals(ending=False) as signals:
        send(USR)
        signals.check()
    with pytest.raises(TimeIsUp), DeferredSignals(ending=False):
        send(USR)
    assert signal.getsignal(USR) is alarm


def test_only_what_python_handles_is_caught():
    signal.signal(TERM, signal.SIG_DFL)
    signal.signal(USR, signal.SIG_IGN)
    with DeferredSignals(ending=False):
        assert signal.getsignal(TERM) is signal.SIG_DFL and signal.getsignal(USR) is signal.SIG_IGN
    with DeferredSignals(ending=True):
        assert signal.getsignal(TERM) is not signal.SIG_DFL
    assert signal.getsignal(TERM) is signal.SIG_DFL
    signal.signal(TERM, signal.SIG_IGN)
    with DeferredSignals(ending=True):
        assert signal.getsignal(TERM) is signal.SIG_IGN


@pytest.mark.parametrize("number", [TERM, signal.SIGHUP])
def test_a_signal_that_ends_the_process_does_so_at_the_end(number, tmp_path):
    def task():
        signal.signal(number, signal.SIG_DFL)
        with DeferredSignals(ending=True) as signals:
            try:
                signals.run_interruptible(send, number)
            except EndedBySignal:
                send(number)
                send(INT)
                (tmp_path / "saved").touch()

    assert in_child(task) == -number and (tmp_path / "saved").exists()


def test_one_that_a_function_swallows_still_ends_the_process():
    def task():
        def swallow():
            with contextlib.suppress(BaseException):
                send(TERM)

        signal.signal(TERM, signal.SIG_DFL)
        with DeferredSignals(ending=True) as signals:
            signals.run_interruptible(swallow)
            signals.check()
            os._exit(3)

    assert in_child(task) == -TERM


def test_a_handler_that_is_set_meanwhile_stays():
    def later(number, frame):
        pass

    signal.signal(USR, lambda number, frame: None)
    with DeferredSignals(ending=False) as signals:
        signals.run_interruptible(signal.signal, USR, later)
    assert signal.getsignal(USR) is later


def test_other_threads_leave_signals_alone():
    found = []

    def work():
        with DeferredSignals(ending=True) as signals:
            found.append(signal.getsignal(INT))
            signals.check()
            found.append(signals.run_interruptible(int, "7"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler, 7]


def test_one_run_inside_another():
    """A validation that trains: Ctrl-C ends the inner run, and the outer one has its handlers back."""
    with DeferredSignals(ending=False) as outer:

        def validation():
            with DeferredSignals(ending=False) as inner, pytest.raises(KeyboardInterrupt):
                inner.run_interruptible(send, INT)
            return "validated"

        assert outer.run_interruptible(validation) == "validated"
        send(INT)
        with pytest.raises(KeyboardInterrupt):
            outer.check()
    assert signal.getsignal(INT) is signal.default_int_handler
