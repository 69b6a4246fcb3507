"""What a Python signal handler raises during a call with a simulator is the caller's, not the simulator's."""

import ctypes
import functools
import os
import signal

import numba
import numpy as np
import pytest

import ppl
from ppl.errors import SimulatorError
from ppl.interrupts import is_of_handler

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
X = np.arange(1.0, 6.0)
NUMBER = int(signal.SIGUSR1)
send = ctypes.CDLL(None)["raise"]
send.argtypes, send.restype = (ctypes.c_int,), ctypes.c_int


class Timeout(Exception):
    """Of a handler."""


class Handler:
    """Handlers of all kinds, that count their calls."""

    def __init__(self):
        self.calls = 0

    def method(self, number, frame):
        self.deeper()

    def __call__(self, *arguments):
        self.deeper()

    def deeper(self):
        self.calls += 1
        raise Timeout("time is over")


def handler_of(kind, made):
    def function(number, frame=None):
        made.deeper()

    return {"function": function, "method": made.method, "object": made, "lambda": lambda *a: made.deeper(),
            "partial": functools.partial(lambda more, *a: made.deeper(), "more")}[kind]  # fmt: skip


@pytest.fixture
def handler(request):
    """A handler, of kind "function" if a test does not say another."""
    made = Handler()
    before = signal.signal(signal.SIGUSR1, handler_of(getattr(request, "param", "function"), made))
    yield made
    signal.signal(signal.SIGUSR1, before)


def quick(a):
    if a == 3.0:
        send(NUMBER)
    return 2.0 * a


def slope(a, g):
    return (2.0 * g,)


def model_of(python, **options):
    fn, gradient = (quick, slope) if python else (numba.njit(quick), numba.njit(slope))

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            y = ppl.external(fn, x, gradient=gradient, python=python, name="quick", **options)
            ppl.deterministic("y", y)
            ppl.cost("c", y * ppl.param("w", 1.0))

    return model


SGD = ppl.optim.SGD(0.1)
CALLS = {
    "value": lambda p, s: p.value(s, X),
    "step": lambda p, s: p.step(s, X),
    "sample": lambda p, s: p.sample(s, X),
    "fit": lambda p, s: ppl.fit(p, X, steps=3, state=s, optimizer=SGD, progress=False),
    "batches": lambda p, s: ppl.fit(p, X, steps=3, batch_size=5, state=s, optimizer=SGD, progress=False),
    "callback": lambda p, s: ppl.fit(p, X, steps=3, state=s, optimizer=SGD, callback=lambda *_: None),
    "interpreter": lambda p, s: p.diagnose(s, X, repeats=2, timing=False, backend="interpreter"),
}


@pytest.fixture(scope="module", params=[(False, "raise"), (False, "nan"), (True, "raise"), (True, "nan")], ids=str)
def program(request):
    python, on_error = request.param
    return ppl.compile(model_of(python, on_error=on_error), dtype="float64", data=X)


@pytest.mark.parametrize("call", CALLS)
def test_it_reaches_the_caller_after_one_run(program, handler, call):
    state = program.init(0)
    with pytest.raises(Timeout, match="time is over"):
        CALLS[call](program, state)
    assert handler.calls == 1


@pytest.mark.parametrize("handler", ["function", "method", "object", "lambda", "partial"], indirect=True)
def test_handlers_of_all_kinds(handler):
    program = ppl.compile(model_of(True), dtype="float64", data=X)
    with pytest.raises(Timeout):
        program.value(program.init(0), X)
    assert handler.calls == 1


@pytest.mark.parametrize("python", [False, True])
def test_while_a_model_is_compiled_and_tried_out(handler, python):
    with pytest.raises(Timeout):
        ppl.compile(model_of(python), dtype="float64", data=X[2:])
    assert handler.calls == 1


def test_schedules(handler):
    program = ppl.compile(model_of(False), dtype="float64", data=X[:2])

    def rate(step):
        send(NUMBER)
        return 0.1

    with pytest.raises(Timeout):
        ppl.fit(program, X[:2], steps=3, optimizer=ppl.optim.SGD(rate), progress=False)


def test_what_the_function_raises_stays_its_own():
    """Also where its arguments look somewhat like a handler's."""

    def fragile(a, number=1, frame=None):
        raise Timeout("of the function")

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.cost("c", ppl.external(fragile, x, python=True))

    program = ppl.compile(model, dtype="float64", data=X)
    with pytest.raises(SimulatorError, match="'fragile' raised Timeout: of the function in row 0"):
        program.value(program.init(0), X)
    with pytest.raises(Timeout) as caught:
        fragile(1.0)
    assert not is_of_handler(caught.value)


def test_a_function_may_catch_it(handler):
    def patient(a):
        try:
            send(NUMBER)
            for _ in range(1000):
                pass
        except Timeout:
            return -a
        return a

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.cost("c", ppl.external(patient, x, python=True, check=False))

    program = ppl.compile(model, dtype="float64", data=X)
    assert program.value(program.init(0), X) == -X.sum() and handler.calls == 5
