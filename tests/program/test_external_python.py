"""`ppl.external(python=True)`: plain Python functions, among them SciPy's, in compiled programs."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ppl
from ppl.errors import ModelError, SimulatorError

X = np.linspace(0.1, 2.0, 300)
SGD = ppl.optim.SGD(0.001)


def decay(rate, x):
    """e^(-rate x) by an integrator with steps of its own."""
    solution = solve_ivp(lambda t, y: -rate * y, (0.0, float(x)), [1.0], rtol=1e-10, atol=1e-12)
    return float(solution.y[0, -1])


def decay_gradient(rate, x, g):
    value = decay(rate, x)
    return -x * value * g, -rate * value * g


def fits(fn=decay, gradient=decay_gradient, **options):
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            rate = ppl.param("rate", 1.5)
            y = ppl.external(fn, rate, x, gradient=gradient, python=True, **options)
            ppl.deterministic("y", y)
            ppl.cost("c", (y - np.exp(-0.7 * x)) ** 2)

    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients_are_those_of_the_formula(dtype):
    program = ppl.compile(fits(), dtype=dtype, data=X)
    loss, grads = program.value_and_grad(program.init(0), X)
    residual = np.exp(-1.5 * X) - np.exp(-0.7 * X)
    tolerance = 1e-4 if dtype == "float32" else 1e-8
    assert loss == pytest.approx(np.sum(residual**2), rel=tolerance)
    assert grads["rate"] == pytest.approx(np.sum(-2 * residual * X * np.exp(-1.5 * X)), rel=tolerance)


def test_training_finds_the_rate():
    data = X[::10]
    program = ppl.compile(fits(), dtype="float64", data=data)
    fit = ppl.fit(program, data, steps=60, optimizer=ppl.optim.Adam(0.1))
    assert fit.params["rate"] == pytest.approx(0.7, abs=0.02)


def failing(rate, x):
    if x > 1.99:
        raise RuntimeError("no step was small enough")
    return rate * x


def empty(rate, x):
    return np.zeros(2) if x > 1.99 else rate * x


def not_a_number(rate, x):
    return float("nan") if x > 1.99 else rate * x


CASES = {
    "exception": (failing, "raised RuntimeError: no step was small enough"),
    "size": (empty, r"the result has not the declared shape \(\)"),
    "NaN": (not_a_number, "the result is NaN"),
}
CALLS = {
    "value": lambda p, s: p.value(s, X),
    "step": lambda p, s: p.step(s, X),
    "sample": lambda p, s: p.sample(s, X),
    "fit": lambda p, s: ppl.fit(p, X, steps=3, state=s, optimizer=SGD),
    "njit": lambda p, s: p.njit(*p.arrays(s), 0, 0, 0, 1.0, p.workspace(len(X)), X),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", CASES)
def test_every_failure_is_an_error_of_the_simulator(case, call):
    fn, text = CASES[case]
    program = ppl.compile(fits(fn, lambda rate, x, g: (x * g, rate * g)), dtype="float64", data=X)
    state = program.init(0)
    with pytest.raises(SimulatorError, match=f"'{fn.__name__}'.*{text} in row 2.. of 'data'.*\n.*at test_ext") as error:
        CALLS[call](program, state)
    assert error.value.site == fn.__name__ and X[error.value.row] > 1.99
    assert error.value.arguments == (1.5, X[error.value.row])


def test_a_row_that_fails_can_be_nan():
    model = fits(failing, lambda rate, x, g: (x * g, rate * g), on_error="nan")
    program = ppl.compile(model, dtype="float64", data=X)
    y = program.sample(program.init(0), X, nonfinite="keep")["y"]
    np.testing.assert_allclose(y[X <= 1.99], 1.5 * X[X <= 1.99])
    assert np.isnan(y[X > 1.99]).all()


FIRST = """
import numpy as np
import ppl

def failing(rate, x):
    raise ValueError("too large")

def slopes(rate, x, g):
    return x * g, rate * g

@ppl.model
def model(x):
    rate = ppl.param("rate", 1.5)
    with ppl.plate("data", x) as x:
        y = ppl.external(failing, rate, x, gradient=slopes, python=True, check=False, on_error="nan")
        ppl.cost("c", ppl.deterministic("y", y))

x = np.ones(3)
program = ppl.compile(model, data=x)
print(program.sample(program.init(0), x, nonfinite="keep")["y"])
"""


def test_the_first_row_of_a_process_that_fails_can_be_nan():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True)
    assert done.stdout.strip() == "[nan nan nan]", done.stderr


def test_calls_from_several_threads_come_one_at_a_time():
    inside, most = [0], [0]
    guard = threading.Lock()

    def counted(x):
        with guard:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        total = sum(range(2000))
        with guard:
            inside[0] -= 1
        return x + 0 * total

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.cost("c", ppl.external(counted, x, python=True))

    program = ppl.compile(model, dtype="float64", data=X)
    state = program.init(0)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: program.value(state, X), range(8)))
    assert found == [pytest.approx(X.sum())] * 8 and most[0] == 1


def test_keys_several_results_and_arrays():
    def noisy(key, v, i):
        assert isinstance(key, np.uint64) and v.flags.owndata and v.shape == (3,)
        return v[::-1] * 2, int(key % np.uint64(1000)), int(i) + 2**60

    rows = np.random.default_rng(0).normal(size=(5, 3))
    numbers = np.arange(5)

    @ppl.model
    def model(v, i):
        with ppl.plate("data", v, i) as (v, i):
            outputs = {"v": ppl.spec((3,)), "digits": ppl.spec((), int), "large": ppl.spec((), int)}
            for name, value in ppl.external(noisy, v, i, outputs=outputs, key=True, python=True).items():
                ppl.deterministic(name, value)
            ppl.cost("c", 0.0)

    program = ppl.compile(model, dtype="float32", data=(rows, numbers))
    found = program.sample(program.init(0), rows, numbers, seed=3)
    np.testing.assert_allclose(found["v"], rows[:, ::-1] * 2, rtol=1e-6)
    np.testing.assert_array_equal(found["large"], numbers + 2**60)
    assert len(set(found["digits"])) > 1
    again = program.sample(program.init(0), rows, numbers, seed=3)
    np.testing.assert_array_equal(found["digits"], again["digits"])


def test_one_thread_is_enough_and_cuda_is_refused():
    program = ppl.compile(fits(), dtype="float64", data=X)
    executable = program.prepare(X).executable("gradient")
    assert executable.calls_python and executable._threads(8, 8) == 1
    with pytest.raises(ModelError, match="external function 'decay' runs in Python, not on cuda"):
        ppl.compile(fits(), target="cuda", data=X)


def test_a_plain_function_without_python_is_refused():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.cost("c", ppl.external(decay, 1.0, x))

    if numba.config.DISABLE_JIT:
        pytest.skip("all functions are plain")
    with pytest.raises(ModelError, match=r"decay is not compiled: decorate it with @numba\.njit, or pass python=True"):
        ppl.compile(model, data=X)
