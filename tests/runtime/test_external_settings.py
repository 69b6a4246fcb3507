"""Users' functions are compiled under their own settings, whoever calls them first."""

import numba
import numpy as np
import pytest

import ppl
from ppl.errors import SimulatorError


def error_of_a_sum():
    @numba.njit
    def two_sum(x):
        a = 1e17 + 0 * x
        total = a + 1.0
        part = total - a
        return (a - (total - part)) + (1.0 - part)

    return two_sum


def helper_of_another():
    inner = error_of_a_sum()

    @numba.njit
    def outer(x):
        return inner(x) + 0 * x

    return outer


def with_arrays():
    @numba.njit
    def fresh(x):
        out = np.empty_like(np.full(2, x))
        out[:] = np.arange(2) + 0 * x
        return out.sum()

    return fresh


def division():
    @numba.njit
    def divide(x):
        return 1 // int(x * 0)

    return divide


def caught_division():
    @numba.njit
    def fall_back(x):
        try:
            return 1.0 / np.floor(np.abs(x) * 1e-9)
        except Exception:
            return 42.0

    return fall_back


def program_of(fn):
    @ppl.model
    def model():
        z = ppl.sample("z", ppl.Normal(ppl.param("mu", 0.5), 1.0))
        ppl.cost("c", ppl.external(fn, z))

    return ppl.compile(model, dtype="float64")


@pytest.mark.parametrize("make", [error_of_a_sum, helper_of_another, with_arrays, caught_division])
@pytest.mark.parametrize("first", ["ppl", "user"])
def test_a_function_computes_what_it_computes_alone(make, first):
    fn, alone = make(), make()
    wanted = alone(0.5)
    if first == "user":
        assert fn(0.5) == wanted
    program = program_of(fn)
    assert program.value(program.init(0)) == wanted
    assert fn(0.5) == wanted


def test_a_division_by_zero_is_an_error_of_the_simulator():
    fn = division()
    program = program_of(fn)
    for call in (program.value, program.step):
        with pytest.raises(SimulatorError, match="division by zero"):
            call(program.init(0))
    with pytest.raises(ZeroDivisionError):
        fn(0.5)
