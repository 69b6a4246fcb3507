"""`step`, `njit`, `prange` and `cfunc` compute the same bits, whatever the user's code around them."""

import numba
import numpy as np
import pytest

import ppl
from tests.program.embedded import KINDS, FromC, counts, given, nopython, program_of
from tests.program.programs import data, mixed_program

SEED = 11
DTYPES = ["float32", "float64"]


def shared(kinds, every=1):
    """Programs in both dtypes; quick tests take one dtype of every so many of them, in turns."""
    found = []
    for i, name in enumerate(kinds):
        for j, dtype in enumerate(DTYPES):
            quick = i % every == 0 and i // every % 2 == j
            found.append(pytest.param(name, dtype, marks=() if quick else pytest.mark.slow))
    return pytest.mark.parametrize(("name", "dtype"), found)


def flat(program: ppl.Program, grads: dict[str, np.ndarray]) -> bytes:
    """The bits of a gradient."""
    layout = program.prepare().layout
    return layout.join(grads, program.settings.dtype).tobytes()


def asked(program, data, first=0, total=None):
    """Options of `step` for rows from `first` on of `total`, and the factor N/B."""
    if not counts(program, data) or total is None:
        return {"rows": first} if counts(program, data) else {}, 1.0
    return {"rows": first, "total_rows": total}, total / counts(program, data)[0]


@shared(KINDS)
def test_all_ways_give_the_bits_of_step(name, dtype):
    program = program_of(name, dtype)
    for n in (1, 7, 37, 300, 2100) if given(name, dtype, 1) else (1,):
        arrays = given(name, dtype, n)
        state = program.init(SEED, *arrays)
        users = nopython(program, len(arrays))
        work = program.workspace(max([*counts(program, arrays), 1]))
        from_c = FromC(program, state, arrays)
        params, grad, aux, hyper = program.arrays(state)
        for step, first, total in ((0, 0, None), (1, 40, 3 * n)):
            options, scale = asked(program, arrays, first, total)
            expected, grads, new = program.step(state.replace(step=step), *arrays, **options)
            bits = flat(program, grads)
            loss = users(params, grad, aux, hyper, SEED, step, first, scale, work, *arrays)
            assert (loss, grad.tobytes()) == (expected, bits), f"njit, {n} rows"
            assert from_c(SEED, step, first, scale) == 0, f"{n} rows"
            assert (from_c.loss.value, from_c.grad.tobytes()) == (expected, bits), f"cfunc, {n} rows"
            assert from_c.aux.tobytes() == aux.tobytes() == new._aux.tobytes()
            state = new


@pytest.mark.parametrize("name", ["toy", "mixed", "units, rebar", "wide"])
def test_a_workspace_for_more_rows_gives_the_same_bits(name):
    program = program_of(name, "float32")
    most = given(name, "float32", 3000)
    work, users = program.workspace(3000 if most else 1), nopython(program, len(most))
    for n in (3000, 1, 2999, 17, 1025, 3):
        arrays = given(name, "float32", n)
        state = program.init(SEED, *arrays)
        params, grad, aux, hyper = program.arrays(state)
        expected, grads = program.value_and_grad(state, *arrays)
        assert users(params, grad, aux, hyper, SEED, 0, 0, 1.0, work, *arrays) == expected, f"{n} rows"
        assert grad.tobytes() == flat(program, grads), f"{n} rows"


@shared(KINDS, 2)
def test_value_is_the_same_everywhere(name, dtype):
    program = program_of(name, dtype)
    arrays = given(name, dtype, 37)
    state = program.init(SEED, *arrays)
    params, grad, aux, hyper = program.arrays(state)
    expected = program.value(state, *arrays)
    users, work = nopython(program, len(arrays), "njit_value"), program.workspace(75, "value")
    assert users(params, grad, aux, hyper, SEED, 0, 0, 1.0, work, *arrays) == expected
    from_c = FromC(program, state, arrays, "value")
    assert from_c(SEED, 0, grad=None) == 0 and from_c.loss.value == expected
    assert not grad.any() and from_c.aux.tobytes() == aux.tobytes() == state._aux.tobytes()


@shared([k for k in KINDS if k != "two plates"], 3)
def test_sample_is_the_same_everywhere(name, dtype):
    program = program_of(name, dtype)
    arrays = given(name, dtype, 37)
    state = program.init(SEED, *arrays)
    params, _, aux, hyper = program.arrays(state)
    out, views = program.sample_buffer(37)
    users, work = nopython(program, len(arrays), "njit_sample"), program.workspace(50, "sample")
    users(params, out, aux, hyper, SEED, 2, 0, 1.0, work, *arrays)
    from_c = FromC(program, state, arrays, "sample")
    assert from_c(SEED, 2) == 0
    expected = program.sample(state.replace(step=2), *arrays, particles=program.settings.particles)
    for site, value in expected.items():
        kinds = program.prepare().variant("sample", tuple(expected)).arrays[site].type
        at = [a.name for a in kinds.axes]
        for found in (views[site], from_c.views[site]):
            found = (
                np.moveaxis(found, at.index("particles"), 0)
                if "particles" in at
                else np.broadcast_to(found, value.shape)
            )
            assert found.astype(value.dtype).tobytes() == value.tobytes(), site


def test_each_iteration_of_a_prange_gives_the_bits_of_a_step():
    program, x = mixed_program("float32"), data().astype(np.float32)
    state = program.init(SEED, x)
    params, _, aux, hyper = program.arrays(state)
    step_fn, tasks = program.njit, 24
    floats, ints = program.workspaces(tasks, len(x))
    assert floats.ctypes.data % 64 == 0 and floats.strides[0] % 64 == 0 == ints.strides[0] % 64

    @numba.njit(parallel=True)
    def gradients(params, auxs, hyper, floats, ints, x, losses, grads):
        for k in numba.prange(tasks):
            losses[k] = step_fn(params, grads[k], auxs[k], hyper, SEED, k, 0, 1.0, (floats[k], ints[k]), x)

    losses, grads = np.zeros(tasks, np.float32), np.zeros((tasks, params.size), np.float32)
    gradients(params, np.stack([aux] * tasks), hyper, floats, ints, x, losses, grads)
    for k in range(tasks):
        expected, found = program.value_and_grad(state.replace(step=k), x)
        assert losses[k] == np.float32(expected) and grads[k].tobytes() == flat(program, found)
