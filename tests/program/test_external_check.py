"""What is found out about users' functions when a model is compiled, with the user's line."""

import math

import numba
import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.errors import ModelError, SimulatorError

X = np.random.default_rng(0).normal(size=(7, 3))
CALLED = []


@numba.njit
def energy(z, x):
    return np.sum((np.sin(z) - x) ** 2) + z


@numba.njit
def right(z, x, g):
    return (2 * np.sum(np.sin(z) - x) * np.cos(z) + 1) * g, -2 * (np.sin(z) - x) * g


@numba.njit
def wrong_sign(z, x, g):
    return (2 * np.sum(np.sin(z) - x) * np.cos(z) + 1) * g, 2 * (np.sin(z) - x) * g


@numba.njit
def without_a_term(z, x, g):
    return 2 * np.sum(np.sin(z) - x) * np.cos(z) * g, -2 * (np.sin(z) - x) * g


@numba.njit
def forgets_g(z, x, g):
    return 2 * np.sum(np.sin(z) - x) * np.cos(z) + 1, -2 * (np.sin(z) - x)


@numba.njit
def one_too_few(z, x, g):
    return ((2 * np.sum(np.sin(z) - x) * np.cos(z) + 1) * g,)


@numba.njit
def misshapen(z, x, g):
    return (2 * np.sum(np.sin(z) - x) * np.cos(z) + 1) * g, -2 * np.sum(np.sin(z) - x) * g


@numba.njit
def without_g(z, x):
    return z, x


@numba.njit
def of_one(z):
    return z


@numba.njit
def kinked(z, x):
    return abs(z - 0.3) + np.sum(np.maximum(x, 0.0))


@numba.njit
def kinked_gradient(z, x, g):
    return np.sign(z - 0.3) * g, (x > 0) * g


@numba.njit
def stepped(z, x):
    return np.floor(z) + np.sum(x)


@numba.njit
def smoothed(z, x, g):
    return g, np.full_like(x, g)


def model_of(fn, gradient=None, **options):
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(ppl.param("m", 0.3), 0.5))
            shift = ppl.param("shift", np.zeros(3))
            moved = x + (ppl.stop_gradient(shift) if gradient is None else shift)
            y = ppl.external(fn, z, moved, gradient=gradient, **options)
            ppl.cost("c", np.sum(y["a"] if isinstance(y, dict) else y) * 1.0)

    return model


WRONG = {
    "sign": (energy, wrong_sign, {}, r"its gradient says that it changes by .* in which it changes by"),
    "term": (energy, without_a_term, {}, "its gradient says"),
    "cotangent": (energy, forgets_g, {}, "its gradient says"),
    "number of cotangents": (energy, one_too_few, {}, "returns 1 gradients, 2 are declared"),
    "shape of a cotangent": (energy, misshapen, {}, r"gradient 1 has shape \(\), declared is \(3,\)"),
    "arguments of the gradient": (energy, without_g, {}, r"without_g\(\) does not take its 3 arguments"),
    "arguments": (of_one, None, {}, r"of_one\(\) does not take its 2 arguments \(float.., float..\[3\]\)"),
    "key": (energy, None, {"key": True}, r"energy\(\) does not take its 3 arguments \(key, "),
    "shape": (energy, None, {"shape": 3}, r"the result has shape \(\), declared is \(3,\)"),
    "dtype": (energy, None, {"dtype": int}, "the result is float.., declared is int"),
    "truth value": (energy, None, {"dtype": bool}, "the result is float.., declared is bool"),
    "number": (energy, None, {"outputs": {"a": ppl.spec(()), "b": ppl.spec(())}}, "returns 1 results, 2 are declared"),
    "types": (energy, right, {"shape": 3}, "declared"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", WRONG)
def test_a_mismatch_is_an_error_when_the_model_is_compiled(case, dtype):
    fn, gradient, options, text = WRONG[case]
    with pytest.raises(ModelError, match=rf"external function '{fn.__name__}'.*{text}[\s\S]*at test_external_check.py"):
        ppl.compile(model_of(fn, gradient, **options), dtype=dtype, data=X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_right_gradients_pass(dtype, scale):
    for gradient in (right, kinked_gradient):
        program = ppl.compile(model_of(energy if gradient is right else kinked, gradient), dtype=dtype, data=X * scale)
        program.step(program.init(0), X * scale)


def test_cotangents_of_data_are_nobodys():
    """They have to have their shapes, and are not compared."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(ppl.param("m", 0.3), 0.5))
            fixed = ppl.stop_gradient(x + ppl.param("shift", np.zeros(3)))
            ppl.cost("c", ppl.external(energy, z, x, gradient=wrong_sign))
            ppl.cost("d", ppl.external(energy, z, fixed, gradient=wrong_sign))

    ppl.compile(model, dtype="float64", data=X)


def test_a_gradient_that_differs_on_purpose_can_be_meant():
    with pytest.raises(ModelError, match="pass check=False if that is meant"):
        ppl.compile(model_of(stepped, smoothed), dtype="float64", data=X)
    program = ppl.compile(model_of(stepped, smoothed, check=False), ppl.estimators.Pathwise(), dtype="float64", data=X)
    grads = program.value_and_grad(program.init(0), X)[1]
    assert grads["m"] == pytest.approx(7.0) and grads["shift"] == pytest.approx(np.full(3, 7.0))


def test_without_examples_the_first_call_tries_it_out():
    program = ppl.compile(model_of(energy, wrong_sign), dtype="float64")
    with pytest.raises(ModelError, match="its gradient says"):
        program.init(0, X)
    program = ppl.compile(model_of(energy, wrong_sign), dtype="float64", data=ppl.spec((None, 3)))
    state = program.init(0)
    for _ in range(2):
        with pytest.raises(ModelError, match="its gradient says"):
            program.value(state, X)


def test_it_is_tried_out_once_at_the_first_row():
    CALLED.clear()

    def noted(z, x):
        CALLED.append((float(z), x.copy()))
        return z + x.sum()

    program = ppl.compile(model_of(noted, python=True), dtype="float64", data=X)
    assert len(CALLED) == 1 and np.array_equal(CALLED[0][1], X[0])
    program.value(program.init(0), X)
    program.value(program.init(0), X)
    assert len(CALLED) == 1 + 2 * len(X)


@numba.njit
def never(z, x):
    if x.size > 0:
        raise ValueError("not today")
    return z


@numba.njit
def no_number(z, x):
    return math.nan


@pytest.mark.parametrize(("fn", "text"), [(never, "not today"), (no_number, "NaN")])
def test_what_a_call_says_better_is_left_to_the_call(fn, text):
    program = ppl.compile(model_of(fn), dtype="float64", data=X)
    with pytest.raises(SimulatorError, match=text) as error:
        program.value(program.init(0), X)
    assert error.value.row == 0


@numba.njit
def first_two(x):
    return x[:2]


@numba.njit
def backwards(x):
    return x[::-1]


@numba.njit
def flipped(x):
    return x.reshape(1, 3).T


@pytest.mark.parametrize(
    ("fn", "shape", "wanted"), [(first_two, 2, X[:, :2]), (backwards, 3, X[:, ::-1]), (flipped, (3, 1), X[:, :, None])]
)
def test_views_of_arguments_are_results(fn, shape, wanted):
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.deterministic("y", ppl.external(fn, x, shape=shape))
            ppl.cost("c", 0.0)

    program = ppl.compile(model, dtype="float64", data=X)
    np.testing.assert_array_equal(program.sample(program.init(0), X)["y"], wanted)


@numba.njit
def constant():
    return 2.5


@numba.njit
def empty_sum(x):
    return x.sum()


def test_functions_of_nothing_and_of_empty_arrays():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.deterministic("y", ppl.external(empty_sum, x[:0]) + ppl.external(constant))
            ppl.cost("c", 0.0)

    program = ppl.compile(model, dtype="float64", data=X)
    np.testing.assert_array_equal(program.sample(program.init(0), X)["y"], np.full(7, 2.5))


@numba.njit
def with_a_default(z, x, power=2):
    if x[0] > 1e6:
        raise ValueError("power", power)
    return z + np.sum(x**power)


@numba.njit
def of_any_number(*given):
    if given[1][0] > 1e6:
        raise ValueError("any")
    return given[0] + np.sum(given[1] ** 2)


@pytest.mark.parametrize("fn", [with_a_default, of_any_number])
def test_defaults_and_any_number_of_arguments(fn):
    program = ppl.compile(model_of(fn), dtype="float64", data=X)
    state = program.init(0)
    z = program.sample(state, X, seed=1)["z"]
    assert program.value(state, X, seed=1) == pytest.approx(z.sum() + np.sum(X**2), rel=1e-12)
    with pytest.raises(SimulatorError, match=r"ValueError.*in row 0"):
        program.value(state, X + 1e7)


@numba.njit
def writing(z, x):
    x[0] = 7.0
    return z + x.sum()


def test_a_function_that_writes_to_its_arguments_is_refused():
    """They are memory of the program, or the user's data."""
    with pytest.raises(ModelError, match=r"writing\(\) writes to its argument 1"):
        ppl.compile(model_of(writing), dtype="float64", data=X)


@numba.njit
def telling(z, x):
    if x[0] > 1e6:
        raise ValueError("too large", x[0])
    return z


class Late(Exception):
    """An exception of the user's."""


@numba.njit
def wordless(z, x):
    if x[0] > 1e6:
        raise Late
    return z


@pytest.mark.parametrize(("fn", "text"), [(telling, "raised ValueError.*too large"), (wordless, "raised Late in row")])
def test_exceptions_with_values_and_without_words(fn, text):
    program = ppl.compile(model_of(fn), dtype="float64", data=X)
    state = program.init(0)
    calls = (
        lambda: program.value(state, X + 1e7),
        lambda: program.njit(*program.arrays(state), 0, 0, 0, 1.0, program.workspace(7), X + 1e7),
    )
    for call in calls * 20:
        with pytest.raises(SimulatorError, match=text):
            call()


def test_fixed_plates_scans_of_particles_and_two_plates():
    Y = np.random.default_rng(1).normal(size=(4, 2))

    @ppl.model
    def model(y):
        with ppl.plate("data", y) as y, ppl.plate("copies", 3):
            z = ppl.sample("z", Normal(ppl.param("m", 0.3), 0.5))
            ppl.cost("c", ppl.external(energy, z, y, gradient=right))

    program = ppl.compile(model, dtype="float64", data=Y, particles=2)
    state = program.init(0)
    z = program.sample(state, Y, particles=2, seed=1)["z"]
    wanted = np.sum((np.sin(z)[..., None] - Y[:, None]) ** 2) + z.sum()
    assert program.value(state, Y, seed=1) == pytest.approx(wanted / 2, rel=1e-12)
