"""What errors about users' functions say: exceptions with computed arguments, or without words; other functions."""

import ctypes
import functools

import numba
import numpy as np
import pytest

import ppl
from ppl.errors import ModelError, SimulatorError

X = np.arange(1.0, 6.0)
both = pytest.mark.parametrize("python", [False, True], ids=["compiled", "python"])


class Wordless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Composed(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def computed(a):
    if a == 3.0:
        raise ValueError("value is", int(a), 7, None)
    return a


def several(a):
    if a == 3.0:
        raise KeyError(int(a), a > 2.0, (int(a), 1))
    return a


def an_array(a):
    if a == 3.0:
        raise ValueError("array", np.array([1, int(a)]))
    return a


def composed(a):
    if a == 3.0:
        raise Composed(int(a), 2)
    return a


def text(a):
    if a == 3.0:
        raise ValueError("value is " + str(int(a)))
    return a


def bare(a):
    if a == 3.0:
        raise ValueError
    return a


def wordless(a):
    if a == 3.0:
        raise Wordless("x")
    return a


SAID = {
    computed: "ValueError: ('value is', 3, 7, None)",
    several: "KeyError: (3, True, (3, 1))",
    an_array: "ValueError: ('array', array([1, 3]))",
    composed: "Composed: 3 and 2",
    text: "ValueError: value is 3",
    bare: "ValueError",
    wordless: "Wordless: ('x',) (its __str__ raises an exception)",
}


def program_of(fn, data=X, **options):
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.cost("c", ppl.external(fn, x, name="fn", **options) * ppl.param("w", 1.0))

    return ppl.compile(model, dtype="float64", data=data)


@both
@pytest.mark.parametrize("fn", SAID, ids=lambda f: f.__name__)
def test_exceptions_keep_their_words(fn, python):
    program = program_of(fn if python else numba.njit(fn), python=python)
    state = program.init(0)
    given = *program.arrays(state), 0, 0, 0, 1.0, program.workspace(5), X
    for _ in range(3):
        for call in (lambda: program.value(state, X), lambda: program.step(state, X), lambda: program.njit(*given)):
            with pytest.raises(SimulatorError) as caught:
                call()
            assert str(caught.value).startswith(f"external function 'fn' raised {SAID[fn]} in row 2 of 'data', called")


@numba.njit
def with_default(a, *, k=2.0):
    return a * k


@numba.njit
def spread(a, **more):
    return a


@numba.njit
def scaled(k, a):
    return a * k


class Scale:
    def __call__(self, a):
        return 2.0 * a

    def method(self, a):
        return 2.0 * a


REFUSED = {
    r"with_default has keyword arguments \(k\), which compiled calls do not have": with_default,
    r"spread has keyword arguments \(more\)": spread,
    "a functools.partial is not compiled: make the call in a function of its own": functools.partial(scaled, 2.0),
    "a Scale is not compiled": Scale(),
    "method is not compiled": Scale().method,
    "<lambda> is not compiled": lambda a: 2.0 * a,
}


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="all functions are plain")
@pytest.mark.parametrize("said", REFUSED)
@pytest.mark.parametrize("check", [False, True])
def test_what_compiled_code_cannot_call_is_refused_in_one_line(said, check):
    with pytest.raises(ModelError, match=rf"^external function 'fn': {said}.*, or pass python=True\n  at ") as caught:
        program_of(REFUSED[said], check=check)
    assert str(caught.value).count("\n") == 1


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
def test_a_gradient_of_another_kind_is_refused():
    with pytest.raises(ModelError, match=r"a functools\.partial is not compiled"):
        program_of(numba.njit(lambda a: 2.0 * a), gradient=functools.partial(scaled, 2.0), check=False)


@numba.vectorize
def doubled(a):
    return 2.0 * a


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
@pytest.mark.parametrize("fn", [np.sin, doubled, numba.cfunc("float64(float64)")(lambda a: 2.0 * a)], ids=str)
def test_other_functions_that_numba_knows_are_taken(fn):
    program = program_of(fn)
    assert program.value(program.init(0), X) == pytest.approx(np.sum(np.sin(X) if fn is np.sin else 2 * X))


@pytest.mark.parametrize("fn", [functools.partial(lambda k, a: k * a, 2.0), Scale(), Scale().method])
def test_python_takes_them_all(fn):
    program = program_of(fn, python=True)
    assert program.value(program.init(0), X) == 2 * X.sum()


def test_functions_without_a_hash():
    with pytest.raises(ModelError, match=r"external: a CFunctionType has no hash[\s\S]*at test_external_words"):
        program_of(ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(lambda a: 2.0 * a))


def test_masked_results():
    def late(a):
        return np.ma.masked_array([a, a], [False, a == 3.0])

    def model_of(fn, **options):
        @ppl.model
        def model(x):
            with ppl.plate("data", x) as x:
                y = ppl.deterministic("y", ppl.external(fn, x, shape=2, python=True, name="late", **options))
                ppl.cost("c", np.sum(y))

        return model

    program = ppl.compile(model_of(late), dtype="float64", data=X)
    assert program.value(program.init(0), X[:2]) == 6.0
    with pytest.raises(SimulatorError, match=r"'late': a result is a masked array: return .* in row 2 of 'data'"):
        program.value(program.init(0), X)
    program = ppl.compile(model_of(late, on_error="nan"), dtype="float64", data=X)
    y = program.sample(program.init(0), X, nonfinite="keep")["y"]
    np.testing.assert_array_equal(np.isnan(y).all(1), X == 3.0)
    with pytest.raises(ModelError, match="'late': the result is a masked array"):
        ppl.compile(model_of(lambda a: np.ma.masked_array([a, a], [True, False])), data=X)
