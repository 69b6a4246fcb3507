"""`program.njit` and its siblings inside the user's own `@njit` loops and `prange`.

A workspace is written to, so it is an argument of the user's function: Numba freezes arrays taken from outside.
"""

import numba
import numpy as np
import pytest

import ppl
from tests.program.programs import data, mixed_program, same, toy_program, units_program

SEED, STEPS, RATE = 5, 30, 0.1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_users_sgd_loop_is_step_by_step_the_programs(dtype):
    program = toy_program(dtype)
    state = program.init(SEED)
    params, grad, aux, hyper = program.arrays(state)
    step_fn, work, rate = program.njit, program.workspace(), np.dtype(dtype).type(RATE)

    @numba.njit
    def train(params, grad, aux, hyper, work, steps):
        loss = 0.0
        for t in range(steps):
            loss = step_fn(params, grad, aux, hyper, SEED, t, 0, 1.0, work)
            for i in range(params.size):
                params[i] -= rate * grad[i]
        return loss

    loss = train(params, grad, aux, hyper, work, STEPS)
    for _ in range(STEPS):
        expected, grads, state = program.step(state)
        state = state.replace(params={k: v - rate * grads[k] for k, v in state.params.items()})
    # LLVM may contract the step differently where it inlines it into the user's function: the last bits differ.
    close = {"float64": 1e-12, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(loss, expected, rtol=close)
    np.testing.assert_allclose(params, program.ravel(state), rtol=close)
    np.testing.assert_allclose(aux, state._aux, rtol=close, atol=close)


def test_a_users_loop_over_minibatches_of_data():
    program, x = units_program("rebar"), data(12)
    state = program.init(SEED, x)
    params, grad, aux, hyper = program.arrays(state)
    step_fn, work = program.njit, program.workspace(rows=4)

    @numba.njit
    def train(params, grad, aux, hyper, work, x, epochs):
        t = 0
        for _ in range(epochs):
            for start in range(0, len(x), 4):
                step_fn(params, grad, aux, hyper, SEED, t, start, 3.0, work, x[start : start + 4])
                for i in range(params.size):
                    params[i] -= 0.01 * grad[i]
                t += 1

    train(params, grad, aux, hyper, work, x, 2)
    for t in range(6):
        start = 4 * (t % 3)
        _, grads, state = program.step(state, x[start : start + 4], rows=start, total_rows=12)
        state = state.replace(params={k: v - 0.01 * grads[k] for k, v in state.params.items()})
    np.testing.assert_allclose(params, program.ravel(state), rtol=1e-12)
    np.testing.assert_allclose(aux, state._aux, rtol=1e-12)


def test_gradients_are_those_of_value_and_grad():
    program, x = mixed_program(), data()
    state = program.init(SEED, x)
    params, grad, aux, hyper = program.arrays(state)
    loss = program.njit(params, grad, aux, hyper, SEED, 0, 0, 1.0, program.workspace(len(x)), x)
    expected, grads = program.value_and_grad(state, x)
    assert loss == pytest.approx(expected, rel=1e-12)
    for name, g in program.unravel(grad).items():
        np.testing.assert_allclose(g, grads[name], rtol=1e-11, atol=1e-12)
    assert params.tobytes() == program.ravel(state).tobytes()


def test_a_users_prange_with_one_workspace_per_thread():
    program, x = mixed_program(), data()
    state = program.init(SEED, x)
    params, _, aux, hyper = program.arrays(state)
    step_fn, tasks = program.njit, 16
    floats, ints = program.workspaces(tasks, len(x))

    @numba.njit(parallel=True)
    def gradients(params, auxs, hyper, floats, ints, x, losses, grads):
        for k in numba.prange(tasks):
            work = (floats[k], ints[k])
            losses[k] = step_fn(params, grads[k], auxs[k], hyper, SEED, k, 0, 1.0, work, x)

    losses, grads = np.zeros(tasks), np.zeros((tasks, params.size))
    gradients(params, np.stack([aux] * tasks), hyper, floats, ints, x, losses, grads)
    for k in range(tasks):
        expected, found = program.value_and_grad(state.replace(step=k), x)
        assert losses[k] == pytest.approx(expected, rel=1e-12)
        for name, g in program.unravel(grads[k]).items():
            np.testing.assert_allclose(g, found[name], rtol=1e-11, atol=1e-12)


def test_njit_value_is_value():
    program, x = mixed_program(), data()
    state = program.init(SEED, x)
    params, grad, aux, hyper = program.arrays(state)
    value_fn, work = program.njit_value, program.workspace(len(x), "value")

    @numba.njit
    def mean(params, grad, aux, hyper, work, x, repeats):
        total = 0.0
        for t in range(repeats):
            total += value_fn(params, grad, aux, hyper, SEED, t, 0, 1.0, work, x)
        return total / repeats

    expected = np.mean([program.value(state.replace(step=t), x) for t in range(5)])
    assert mean(params, grad, aux, hyper, work, x, 5) == pytest.approx(expected, rel=1e-12)
    assert not grad.any() and aux.tobytes() == state._aux.tobytes()


def test_njit_sample_draws_what_sample_draws():
    program, x = mixed_program(), data()
    state = program.init(SEED, x)
    params, _, aux, hyper = program.arrays(state)
    draw, work = program.njit_sample, program.workspace(len(x), "sample")
    out, views = program.sample_buffer(len(x))

    @numba.njit
    def at_step(out, work, t):
        draw(params, out, aux, hyper, SEED, t, 0, 1.0, work, x)

    at_step(out, work, 2)
    expected = program.sample(state.replace(step=2), x, particles=2)
    assert set(views) == set(expected)
    for name, value in expected.items():
        found = views[name] if name == "shift" else np.moveaxis(views[name], 1, 0)
        np.testing.assert_allclose(found, value, rtol=1e-12, err_msg=name)


def test_a_workspace_serves_fewer_rows():
    program, x = units_program("score"), data()
    state = program.init(SEED, x)
    params, grad, aux, hyper = program.arrays(state)
    work = program.workspace(50)
    for rows in (11, 3, 1):
        loss = program.njit(params, grad, aux, hyper, SEED, 0, 0, 1.0, work, x[:rows])
        assert loss == pytest.approx(program.value_and_grad(state, x[:rows])[0], rel=1e-12)


def test_arrays_are_fresh():
    program = toy_program()
    state = program.init(0)
    first, second = program.arrays(state), program.arrays(state)
    first[0][:] = 9.0
    assert second[0][0] != 9.0 and state.params["logit"] != 9.0
    assert same({"g": first[1]}, {"g": np.zeros(1)})


def test_the_kind_of_workspace_is_checked():
    with pytest.raises(ppl.errors.DataError, match='"gradient", "value" or "sample"'):
        toy_program().workspace(1, "grad")


def debug(program, kind="gradient"):
    """A user's function of one data argument that calls the debug form."""
    step_fn = program.njit_debug(kind)
    return numba.njit(lambda p, g, a, h, s, t, r, c, w, x: step_fn(p, g, a, h, s, t, r, c, w, x))


def test_the_debug_form_computes_the_same():
    program, x = mixed_program("float32"), data().astype(np.float32)
    state = program.init(SEED, x)
    params, grad, aux, hyper = program.arrays(state)
    loss = debug(program)(params, grad, aux, hyper, SEED, 0, 0, 1.0, program.workspace(20), x)
    assert loss == program.value_and_grad(state, x)[0]
    value = debug(program, "value")(params, grad, aux, hyper, SEED, 0, 0, 1.0, program.workspace(20, "value"), x)
    assert value == program.value(state, x)


SHORT = {
    "params": ("params has another length", lambda p, g, a, h, w, x: (p[:-1], g, a, h, w, x)),
    "grad": ("grad has another length", lambda p, g, a, h, w, x: (p, g[:-1], a, h, w, x)),
    "aux": ("aux has another length", lambda p, g, a, h, w, x: (p, g, a[:-1], h, w, x)),
    "hyper": ("hyper has another length", lambda p, g, a, h, w, x: (p, g, a, np.zeros(2), w, x)),
    "floats": ("work is too short", lambda p, g, a, h, w, x: (p, g, a, h, (w[0][:-1], w[1]), x)),
    "ints": ("work is too short", lambda p, g, a, h, w, x: (p, g, a, h, (w[0], w[1][:-1]), x)),
    "columns": ("rows of another length", lambda p, g, a, h, w, x: (p, g, a, h, w, x[:, :2].copy())),
    "rows": ("there are no rows", lambda p, g, a, h, w, x: (p, g, a, h, w, x[:0])),
}


@pytest.mark.parametrize("case", SHORT)
def test_the_debug_form_refuses_what_does_not_fit(case):
    program, x = units_program("rebar"), data(11)
    params, grad, aux, hyper = program.arrays(program.init(SEED, x))
    w, v = (
        program.prepare()
        .executable("gradient")
        ._buffers(program.prepare().executable("gradient")._sizes({"data": 11}, 1, 1), 1, 1)
    )
    text, change = SHORT[case]
    p, g, a, h, work, given = change(params, grad, aux, hyper, (w, v), x)
    checked = debug(program)
    checked(params, grad, aux, hyper, SEED, 0, 0, 1.0, (w, v), x)
    with pytest.raises(ppl.errors.DataError, match=text):
        checked(p, g, a, h, SEED, 0, 0, 1.0, work, given)
    with pytest.raises(ppl.errors.DataError, match="step is below 0"):
        checked(params, grad, aux, hyper, SEED, -1, 0, 1.0, (w, v), x)


def test_a_workspace_that_is_too_short_gives_nan():
    program, x = mixed_program(), data(200)
    params, grad, aux, hyper = program.arrays(program.init(SEED, x))
    work = program.workspace(11)
    behind = work[0].tobytes()[64:]
    assert np.isnan(program.njit(params, grad, aux, hyper, SEED, 0, 0, 1.0, work, x))
    assert not grad.any() and work[0].tobytes()[64:] == behind


def test_arrays_of_another_dtype_or_order():
    program, x = mixed_program(), data()
    state = program.init(SEED, x)
    params, grad, aux, hyper = program.arrays(state)
    work = program.workspace(len(x))
    converted = program.njit(params, grad, aux, hyper, SEED, 0, 0, 1.0, work, x.astype(np.float32))
    assert converted == program.value_and_grad(state, x.astype(np.float32))[0]
    wrong = {
        "data of a program are arrays of float64 in C order": (params, work, np.asfortranarray(x)),
        "params, grad, aux and hyper of a program are flat arrays of float64": (params.astype(np.float32), work, x),
        "a workspace is a pair of arrays": (params, work[0], x),
        "the arrays of a workspace of a program are flat": (params, work[::-1], x),
    }
    for text, (given, space, rows) in wrong.items():
        for call in (program.njit, users_loop(program.njit)):
            with pytest.raises(ppl.errors.DataError) as caught:
                call(given, grad, aux, hyper, SEED, 0, 0, 1.0, space, rows)
            said = [line for line in str(caught.value).split("\n") if not line.startswith("Failed in")]
            assert said[0].startswith(text)


def users_loop(step):
    """A user's own compiled code."""
    return numba.njit(lambda *arguments: step(*arguments))
