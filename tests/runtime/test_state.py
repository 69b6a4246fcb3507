"""States: constrained starts, replacing, saving, flat vectors, what a step advances."""

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.errors import DataError, ModelError
from tests.program.programs import data, mixed, same, toy_program, units_program


@ppl.model
def bounded():
    """One parameter of each constraint."""
    scale = ppl.param("scale", np.array([0.5, 2.0]), constraint="positive")
    p = ppl.param("p", 0.25, constraint="unit_interval")
    mix = ppl.param("mix", np.array([0.2, 0.3, 0.5]), constraint="simplex")
    chol = ppl.param("chol", np.eye(2), constraint="lower_cholesky")
    z = ppl.sample("z", Normal(np.zeros(2), scale))
    ppl.cost("c", np.sum((chol @ z) ** 2) + p * mix[0] - np.log(mix[1]))


GIVEN = {
    "scale": np.array([3.0, 4.0]),
    "p": 0.75,
    "mix": np.array([0.7, 0.2, 0.1]),
    "chol": np.array([[1.5, 0.0], [-0.3, 0.5]]),
}


@pytest.fixture(scope="module")
def program():
    return ppl.compile(bounded, dtype="float64")


def test_init_takes_constrained_values(program):
    values = program.params(program.init(0))
    np.testing.assert_allclose(values["mix"], [0.2, 0.3, 0.5], rtol=1e-12)
    assert values["p"] == pytest.approx(0.25, rel=1e-12)
    values = program.params(program.init(0, params=GIVEN))
    for name, expected in GIVEN.items():
        np.testing.assert_allclose(values[name], expected, rtol=1e-12, atol=1e-15, err_msg=name)
    one = program.params(program.init(0, params={"scale": 7.0}))
    np.testing.assert_allclose(one["scale"], [7.0, 7.0], rtol=1e-12)
    assert one["p"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"scael": 1.0}, DataError, r"no parameter named \['scael'\].*'chol', 'mix', 'p', 'scale'"),
        ({"scale": -1.0}, ModelError, "param 'scale': 'positive'"),
        ({"p": 1.5}, ModelError, "param 'p': 'unit_interval'"),
        ({"mix": np.array([0.5, 0.2, 0.2])}, ModelError, "param 'mix': 'simplex'"),
        ({"scale": np.ones(3)}, DataError, r"parameter 'scale' has shape \(3,\).*expects \(2,\)"),
        ({"scale": np.nan}, DataError, "parameter 'scale': the given value is not finite"),
    ],
    ids=["unknown", "negative", "above-one", "simplex", "shape", "nan"],
)
def test_a_wrong_start_is_one_clear_error(program, given, error, message):
    with pytest.raises(error, match=message):
        program.init(0, params=given)


def test_params_are_the_constrained_values_of_state_params(program):
    state = program.init(0, params=GIVEN)
    raw = state.params
    np.testing.assert_allclose(np.exp(raw["scale"]), GIVEN["scale"], rtol=1e-12)
    assert raw["mix"].shape == (3,)
    with pytest.raises(ValueError, match="read-only"):
        raw["p"][...] = 0.0


def test_ravel_and_unravel_are_inverse(program):
    state = program.init(0, params=GIVEN)
    flat = program.ravel(state)
    assert same(program.unravel(flat), state.params)
    flat[:] = 0.0
    assert not same(program.unravel(flat), state.params)
    moved = state.replace(params=program.unravel(program.ravel(state) + 1.0))
    np.testing.assert_allclose(program.ravel(moved), program.ravel(state) + 1.0)
    with pytest.raises(DataError, match="length"):
        program.unravel(np.zeros(3))


def test_replace_changes_what_is_named_and_nothing_else(program):
    state = program.init(0)
    moved = state.replace(step=4, seed=9, opt={"m": np.ones(2)})
    assert (moved.step, moved.seed, state.step, state.seed) == (4, 9, 0, 0)
    assert same(moved.params, state.params) and state.opt is None
    with pytest.raises(DataError, match=r"no field.*stpe"):
        state.replace(stpe=1)
    with pytest.raises(DataError, match=r"missing.*chol"):
        state.replace(params={"p": np.zeros(())})


def test_save_and_load_keep_every_bit(tmp_path):
    program, x = units_program("rebar"), data()
    optimizer = ppl.optim.Adam(1e-2)
    state = program.init(3, x)
    for _ in range(3):
        state, _ = program.update(state, x, optimizer=optimizer)
    state.save(tmp_path / "state.npz")
    loaded = ppl.load_state(tmp_path / "state.npz")
    assert same(loaded.params, state.params) and same(loaded.aux, state.aux)
    assert (loaded.step, loaded.seed) == (3, 3)
    ahead, loss = program.update(state, x, optimizer=optimizer)
    ahead_loaded, loss_loaded = program.update(loaded, x, optimizer=optimizer)
    assert loss == loss_loaded and same(ahead.params, ahead_loaded.params) and same(ahead.aux, ahead_loaded.aux)
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]


def test_the_start_does_not_depend_on_the_order_of_declaration():
    @ppl.model
    def forward():
        a = ppl.param("a", ppl.init.normal(1.0), shape=(3,))
        b = ppl.param("b", ppl.init.normal(1.0), shape=(3,))
        ppl.cost("c", np.sum(a * b))

    @ppl.model
    def backward():
        b = ppl.param("b", ppl.init.normal(1.0), shape=(3,))
        a = ppl.param("a", ppl.init.normal(1.0), shape=(3,))
        ppl.cost("c", np.sum(a * b))

    one, two = (ppl.compile(m).init(5).params for m in (forward, backward))
    assert same(dict(sorted(one.items())), dict(sorted(two.items())))
    assert not np.array_equal(one["a"], one["b"])


def test_auxiliary_variables_never_appear_in_gradients():
    program, x = units_program("rebar"), data()
    state = program.init(0, x)
    assert state.aux and set(state.aux).isdisjoint(state.params)
    assert set(program.value_and_grad(state, x)[1]) == set(state.params)


def test_a_step_is_pure_and_advances_counter_and_auxiliary_variables():
    program = toy_program()
    state = program.init(0)
    before = {k: v.copy() for k, v in state.aux.items()}
    loss, grads, new = program.step(state)
    assert (loss, grads["logit"]) == (program.value_and_grad(state)[0], program.value_and_grad(state)[1]["logit"])
    assert (state.step, new.step) == (0, 1) and same(state.aux, before)
    assert same(new.params, state.params)
    assert not same(new.aux, state.aux)
    assert all(np.isfinite(v).all() for v in new.aux.values())


def test_a_moving_average_follows_the_loss():
    program, x = units_program("moving average"), data()
    state = program.init(0, x)
    losses = []
    for _ in range(300):
        loss, _, state = program.step(state, x)
        losses.append(loss / len(x))
    (baseline,) = (v for k, v in state.aux.items() if "baseline" in k)
    assert float(baseline) == pytest.approx(np.mean(losses), rel=0.3)


def test_update_is_one_step_of_fit():
    program, x = units_program("rebar"), data()
    optimizer = ppl.optim.Adam(3e-2)
    state = program.init(4, x)
    for _ in range(3):
        state, loss = program.update(state, x, optimizer=optimizer)
    fit = ppl.fit(program, x, steps=3, optimizer=optimizer, seed=4, progress=False)
    assert same(fit.state.params, state.params) and same(fit.state.aux, state.aux)
    assert fit.history["loss"][-1] == loss
    assert same(fit.params, program.params(state))


def test_update_divides_by_the_rows():
    program, x = units_program("score"), data()
    state = program.init(0, x)
    loss, grads = program.value_and_grad(state, x)
    new, per_row = program.update(state, x, optimizer=ppl.optim.SGD(0.5))
    assert per_row == pytest.approx(loss / len(x), rel=1e-12)
    for name, g in grads.items():
        np.testing.assert_allclose(new.params[name], state.params[name] - 0.5 * g / len(x), rtol=1e-12)


def test_gradients_and_states_are_fresh_arrays():
    program, x = units_program("score"), data()
    state = program.init(0, x)
    first = program.value_and_grad(state, x, seed=1)[1]
    kept = {k: v.copy() for k, v in first.items()}
    program.value_and_grad(state, x, seed=2)
    assert same(first, kept)
    first["w"][...] = 0.0
    assert same(program.value_and_grad(state, x, seed=1)[1], kept)


def test_a_data_model_says_how_to_start_before_it_has_seen_data():
    program = ppl.compile(mixed)
    for call in (lambda: program.init(0), lambda: program.graph, lambda: program.explain(), lambda: program.njit):
        with pytest.raises(DataError, match=r"has not seen data yet: pass x, or data= to ppl.compile"):
            call()
