"""`value` is the loss of `value_and_grad` where nothing is relaxed; per row it adds up; memory stays bounded."""

import resource

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.errors import ModelError
from tests.program.programs import UNITS, data, mixed_program, toy_program, units_program


@pytest.mark.parametrize("name", [n for n in UNITS if n != "relaxed"])
def test_value_is_the_loss_of_value_and_grad(name):
    program, x = units_program(name), data()
    state = program.init(0, x)
    for seed in (None, 3):
        assert program.value(state, x, seed=seed) == pytest.approx(
            program.value_and_grad(state, x, seed=seed)[0], rel=1e-12
        )


def test_value_is_the_loss_with_global_normal_and_binary_nodes_together():
    program, x = mixed_program(), data()
    state = program.init(0, x)
    loss = program.value_and_grad(state, x, seed=5)[0]
    assert program.value(state, x, seed=5) == pytest.approx(loss, rel=1e-12)


def test_value_is_the_cost_of_the_samples_of_that_seed():
    program, x = units_program("rebar"), data()
    state = program.init(0, x)
    b = program.sample(state, x, seed=5)["b"]
    expected = (b @ np.array([1.0, -2.0, 0.5]) - x[:, 0]) ** 2
    np.testing.assert_allclose(program.value(state, x, seed=5, per_row=True), expected, rtol=1e-12)
    assert program.value_and_grad(state, x, seed=5)[0] == pytest.approx(expected.sum(), rel=1e-12)


def test_value_of_a_relaxed_program_uses_true_nodes():
    program, x = units_program("relaxed"), data()
    state = program.init(0, x)
    b = program.sample(state, x, seed=5)["b"]
    assert set(np.unique(b)) <= {0.0, 1.0}
    expected = np.sum((b @ np.array([1.0, -2.0, 0.5]) - x[:, 0]) ** 2)
    assert program.value(state, x, seed=5) == pytest.approx(expected, rel=1e-12)
    relaxed = program.value_and_grad(state, x, seed=5)[0]
    assert abs(relaxed - expected) > 1e-3 * expected
    cold = program.value_and_grad(state, x, seed=5, hyper={"temperature": 1e-4})[0]
    assert cold == pytest.approx(expected, rel=1e-3)


def test_value_of_an_enumerated_program_is_exact():
    program, x = units_program("enumerate"), data()
    state = program.init(0, x)
    p = 1 / (1 + np.exp(-(x @ state.params["up.weight"] + state.params["up.bias"])))
    expected = 0.0
    for code in range(8):
        b = np.array([code >> 2 & 1, code >> 1 & 1, code & 1])
        weight = np.prod(np.where(b, p, 1 - p), axis=1)
        expected += np.sum(weight * (b @ np.array([1.0, -2.0, 0.5]) - x[:, 0]) ** 2)
    assert program.value(state, x, seed=1) == pytest.approx(expected, rel=1e-12)
    assert program.value(state, x, seed=1) == program.value(state, x, seed=2)


def test_rows_add_up_to_the_value():
    program, x = units_program("rebar"), data()
    state = program.init(0, x)
    rows = program.value(state, x, per_row=True, particles=3)
    assert rows.shape == (len(x),)
    assert rows.sum() == pytest.approx(program.value(state, x, particles=3), rel=1e-12)


def test_per_row_refuses_a_cost_outside_the_plate():
    program, x = mixed_program(), data()
    with pytest.raises(ModelError, match="cost 'size' lies outside plate 'data'"):
        program.value(program.init(0, x), x, per_row=True)
    with pytest.raises(ModelError, match="outermost plate"):
        toy_program().value(toy_program().init(0), per_row=True)


def test_many_particles_do_not_need_memory_for_all():
    @ppl.model
    def wide(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(x, 1.0))
            ppl.cost("c", np.sum(np.exp(-(z**2))))

    x = np.zeros((200, 50))
    program = ppl.compile(wide, data=x)
    state = program.init(0, x)
    program.value(state, x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    value = program.value(state, x, particles=10_000)  # 10⁸ normals: 400 MB an array, if it were kept
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert value == pytest.approx(200 * 50 / np.sqrt(3), rel=1e-3)
    assert grown < 100, f"{grown:.0f} MiB more"


def test_particles_average():
    program = toy_program()
    state = program.init(0)
    p = 1 / (1 + np.exp(-0.3))
    exact = p * 0.501**2 + (1 - p) * 0.499**2
    n = 200_000
    error = np.sqrt(p * (1 - p) / n) * 0.002
    assert program.value(state, particles=n) == pytest.approx(exact, abs=5 * error)


def test_32_bit_integers_are_read_as_they_are():
    """The same value and gradient as from 64 bits, without a copy of the data."""

    @ppl.model
    def counts(x, kind):
        with ppl.plate("data", x, kind) as (n, k):
            ppl.sample("n", ppl.Poisson(np.exp(ppl.param("a", np.array([0.2, 1.5, -0.3]))[k])), obs=n)

    rng = np.random.default_rng(0)
    wide = rng.poisson(2.0, 300), rng.integers(0, 3, 300)
    narrow = tuple(x.astype(np.int32) for x in wide)
    program = ppl.compile(ppl.likelihood(counts), data=wide)
    state = program.init(0, *wide)
    for name in ("value", "value_and_grad"):
        one, two = (getattr(program, name)(state, *data) for data in (wide, narrow))
        np.testing.assert_equal(one, two)
    compiled = program.prepare(*narrow)
    names = compiled.int32(narrow)
    bound = compiled.binder.bind(narrow, int32=names)
    executable = compiled.executable("value", (), None, names)
    kept = [executable._data(x, *spec) for x, spec in zip(bound.arrays, executable.request.inputs, strict=True)]
    assert all(np.shares_memory(x, given) for x, given in zip(kept, narrow, strict=True))
    with pytest.raises(ppl.errors.DataError, match=r"must be a whole number in \[0, 2\]"):
        program.value(state, narrow[0], narrow[1] + np.int32(1))
