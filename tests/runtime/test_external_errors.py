"""What goes wrong inside `ppl.external` reaches the user: exceptions, and results of another shape or dtype.

Compiled and interpreted, with rows and without, on one thread and on two; nothing is returned, and no parameter
moves."""

import math
import os
import subprocess
import sys

import numba
import numpy as np
import pytest

import ppl
import ppl.estimators
from ppl import Bernoulli, Normal
from ppl.errors import ModelError, NonFiniteError, SimulatorError
from ppl.ir.reference.interpret import evaluate
from ppl.runtime.call import Call, bind_call

X = np.arange(300.0)

SGD = ppl.optim.SGD(0.1)


@numba.njit
def fragile(z, x):
    if x == 217.0:
        raise ValueError("no convergence")
    return (z - x) ** 2


@numba.njit
def sturdy(z, x):
    return (z + x) ** 2


@numba.njit
def swelling(z, x):
    return np.full(2 if x != 217.0 else 3, z * x)


@numba.njit
def alone(b):
    if b < 2.0:
        raise ValueError("no convergence")
    return b


def _rows(fn, more=None, shape=(), dtype=None, **options):
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(ppl.param("m", 0.3), 0.5))
            y = ppl.deterministic("y", ppl.external(fn, z, x, shape=shape, dtype=dtype, **options))
            ppl.cost("c", np.sum(y) * 1.0)
            if more is not None:
                ppl.cost("d", ppl.external(more, z, x))

    return model


CASES = {"exception": (fragile, (), "ValueError: no convergence"), "shape": (swelling, 2, r"declared shape \(2,\)")}


@pytest.fixture(scope="module", params=CASES)
def failing(request):
    fn, shape, text = CASES[request.param]
    return fn.__name__, ppl.compile(_rows(fn, shape=shape), dtype="float64", data=X), text


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request, monkeypatch):
    """How many threads programs take, however small they are."""
    count = min(request.param, numba.config.NUMBA_NUM_THREADS)
    from ppl.runtime.executable import Executable

    monkeypatch.setattr(Executable, "_slabs", lambda self, sizes: count if self.regions else 1)
    return count


CALLS = {
    "value": lambda p, s: p.value(s, X),
    "per row": lambda p, s: p.value(s, X, per_row=True),
    "value_and_grad": lambda p, s: p.value_and_grad(s, X),
    "step": lambda p, s: p.step(s, X),
    "sample": lambda p, s: p.sample(s, X),
    "fit": lambda p, s: ppl.fit(p, X, steps=3, state=s, optimizer=SGD),
    "fit on minibatches": lambda p, s: ppl.fit(p, X, epochs=1, batch_size=100, state=s, optimizer=SGD),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_raises_one_error_that_names_function_and_row(failing, threads, call):
    name, program, text = failing
    state = program.init(0)
    with pytest.raises(SimulatorError, match=f"external function '{name}'.*{text}.*in row 217 of 'data'") as error:
        CALLS[call](program, state)
    assert error.value.site == name and error.value.row == 217 and error.value.arguments[1] == 217.0
    assert state._flat.tolist() == program.init(0)._flat.tolist()


def test_the_interpreter_raises_the_same(failing):
    name, program, text = failing
    compiled = program.prepare(X)
    env = bind_call(program, Call(program.init(0), (X,))).environment()
    with pytest.raises(SimulatorError, match=f"'{name}'.*{text}.*row 217"):
        evaluate([compiled.variant("value").scalars["loss"]], env)


@numba.njit
def embedded(step, params, grad, aux, hyper, work, x):
    try:
        return step(params, grad, aux, hyper, 0, 0, 0, 1.0, work, x)
    except Exception:
        return -1.0


def test_users_compiled_code_can_catch_it(failing):
    name, program, text = failing
    state = program.init(0)
    params, grad, aux, hyper = program.arrays(state)
    assert embedded(program.njit, params, grad, aux, hyper, program.workspace(len(X)), X) == -1.0
    with pytest.raises(
        SimulatorError, match=f"'{name}'.*{text} in row 1217 of 'data'.*217.0.*(?s:\n.*) test_external_errors"
    ) as error:
        program.njit(params, grad, aux, hyper, 0, 0, 1000, 1.0, program.workspace(len(X)), X)
    assert error.value.site == name and error.value.row == 1217 and error.value.arguments[1] == 217.0


def test_one_of_several_functions_is_named(threads):
    program = ppl.compile(_rows(sturdy, fragile), dtype="float64", data=X)
    with pytest.raises(SimulatorError, match=r"'fragile'.*row 1217 of 'data'") as error:
        program.value(program.init(0), X, rows=1000)
    assert error.value.site == "fragile" and error.value.row == 1217


def test_without_rows():
    @ppl.model
    def model():
        ppl.cost("c", ppl.external(alone, ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0)))))

    program = ppl.compile(model)
    state = program.init(0)
    calls = (
        program.value,
        program.step,
        program.value_and_grad,
        lambda s: ppl.fit(program, steps=3, state=s, optimizer=SGD),
    )
    for call in calls:
        with pytest.raises(SimulatorError, match="'alone' raised ValueError: no convergence") as error:
            call(state)
        assert error.value.site == "alone" and error.value.row is None


def test_fit_stops_at_the_step_that_fails():
    """Every row comes once an epoch, so the first epoch of three steps does not come to its end."""
    program, seen = ppl.compile(_rows(fragile), dtype="float64", data=X[:100]), []
    with pytest.raises(SimulatorError, match="row 217"):
        ppl.fit(program, X, steps=9, batch_size=100, optimizer=SGD, callback=lambda step, *rest: seen.append(step))
    assert seen == list(range(1, len(seen) + 1)) and len(seen) < 3


@numba.njit
def half(z, x):
    return 0.5 * x


@numba.njit
def halves(z, x):
    return np.full(2, 0.5 * x)


@numba.njit
def number(z, x):
    return 0.5 * x


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="types are those of compiled code")
@pytest.mark.parametrize(
    ("fn", "shape", "dtype"), [(half, (), int), (halves, 2, int), (halves, (), None), (number, 2, None)]
)
def test_what_can_never_fit_is_a_model_error(fn, shape, dtype):
    """When the model is compiled, or in the first call where the function is not tried out before."""
    with pytest.raises(ModelError, match=rf"'{fn.__name__}': the result .*declared[\s\S]*at test_external_errors"):
        ppl.compile(_rows(fn, shape=shape, dtype=dtype), dtype="float64", data=X)
    program = ppl.compile(_rows(fn, shape=shape, dtype=dtype, check=False), dtype="float64", data=X)
    reason = "for what the model passes: .*(declared|the function returns)"
    with pytest.raises(ModelError, match=f"'{fn.__name__}' cannot be compiled {reason}"):
        program.value(program.init(0), X)


@numba.njit
def nan_in_one_row(z, x):
    return math.nan if x == 217.0 else z + x


@numba.njit
def nans_in_one_row(z, x):
    out = np.full(2, z * x)
    out[1] = math.nan if x == 217.0 else out[1]
    return out


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("fn", "shape"), [(nan_in_one_row, ()), (nans_in_one_row, 2)])
def test_nan_is_an_error_of_the_simulator(fn, shape, call, threads):
    program = ppl.compile(_rows(fn, shape=shape), dtype="float32", data=X)
    state = program.init(0)
    with pytest.raises(SimulatorError, match=f"'{fn.__name__}': the result is NaN in row 217 of 'data'") as error:
        CALLS[call](program, state)
    assert (error.value.site, error.value.row, error.value.arguments[1]) == (fn.__name__, 217, 217.0)


def test_nan_that_comes_in_goes_out():
    """An error of what stands above the function is reported there."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(ppl.param("m", 0.3), 0.5))
            ppl.cost("c", ppl.external(sturdy, z, np.log(x - 1e6)))

    program = ppl.compile(model, dtype="float64", data=X)
    with pytest.raises(NonFiniteError):
        program.value(program.init(0), X)


@pytest.mark.parametrize("fn", [fragile, nan_in_one_row])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_that_fails_can_be_nan(fn, dtype, threads):
    program = ppl.compile(_rows(fn, on_error="nan"), dtype=dtype, data=X)
    state = program.init(0)
    rows = program.value(state, X, per_row=True, seed=3, nonfinite="keep")
    z = program.sample(state, X, seed=3, sites=["z"])["z"].astype(np.float64)
    wanted = (z - X) ** 2 if fn is fragile else z + X
    wanted[217] = np.nan
    np.testing.assert_allclose(rows, wanted, rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(program.sample(state, X, nonfinite="keep")["y"]), X == 217.0)


def test_an_array_of_another_size_can_be_nan(threads):
    program = ppl.compile(_rows(swelling, shape=2, on_error="nan"), dtype="float64", data=X)
    y = program.sample(program.init(0), X, nonfinite="keep")["y"]
    np.testing.assert_array_equal(np.isnan(y).all(1), X == 217.0)
    np.testing.assert_array_equal(np.isnan(y).any(1), X == 217.0)


@numba.njit
def in_users_code(step, vectors, work, data):
    params, grad, aux, hyper = vectors
    return step(params, grad, aux, hyper, 0, 0, 0, 1.0, work, data)


def test_the_blas_gets_its_threads_back_after_an_error():
    from ppl.kernels.cpu.products.blas_threads import _state

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(ppl.dense("d", x, 40), 0.5))
            ppl.cost("c", ppl.external(fragile, np.sum(z), x[0]))

    data = np.tile(X[:, None], 40).astype(np.float32)
    program = ppl.compile(model, ppl.estimators.ScoreFunction(), data=data)
    state, before = program.init(0), _state[1]
    source = program.prepare().executable("gradient").source
    assert "single(serial_single," in source and "single(parallel_single," in source
    with pytest.raises(SimulatorError):
        program.step(state, data)
    assert _state[1] == before
    with pytest.raises(SimulatorError, match="no convergence"):
        in_users_code(program.njit, program.arrays(state), program.workspace(len(X)), data)
    assert _state[1] == before


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="starts a process without the compiler")
def test_without_the_compiler():
    """The same errors where all code is Python."""
    chosen = "every_call and exception and (value or fit or rows) or without_rows"
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", __file__, "-k", chosen]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout
