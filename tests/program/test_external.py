"""`ppl.external`: a user's `@njit` function as a node of a compiled program, against NumPy."""

import math

import numba
import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import EstimatorError

X = np.random.default_rng(0).normal(size=(7, 3))


@numba.njit
def energy(z, x):
    total = 0.0
    for i in range(x.size):
        total += (math.sin(z) - x[i]) ** 2
    return total


@numba.njit
def energy_gradient(z, x, g):
    slope = 0.0
    rows = np.empty_like(x)
    for i in range(x.size):
        slope += 2.0 * (math.sin(z) - x[i]) * math.cos(z)
        rows[i] = -2.0 * (math.sin(z) - x[i]) * g
    return slope * g, rows


def _model(gradient=None):
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(ppl.param("m", 0.3), 0.5))
            ppl.cost("c", ppl.external(energy, z, x, gradient=gradient))

    return model


@pytest.fixture(scope="module")
def smooth():
    return ppl.compile(_model(energy_gradient), dtype="float64", data=X)


@pytest.fixture(scope="module")
def black_box():
    return ppl.compile(_model(), dtype="float64", data=X)


def test_a_black_box_gets_a_score_function_and_a_gradient_the_path(smooth, black_box):
    assert isinstance(black_box.explain()["z"].estimator, ppl.estimators.ScoreFunction)
    assert isinstance(smooth.explain()["z"].estimator, ppl.estimators.Pathwise)
    with pytest.raises(EstimatorError, match=r"Pathwise\(\) cannot be used for node 'z'.*jump.*external"):
        ppl.compile(_model(), ppl.estimators.Pathwise(), data=X)


def test_values_and_path_gradients_equal_numpy(smooth):
    state = smooth.init(0)
    z = smooth.sample(state, X, seed=2)["z"]
    loss, grads = smooth.value_and_grad(state, X, seed=2)
    residual = np.sin(z)[:, None] - X
    assert loss == pytest.approx(np.sum(residual**2), rel=1e-12)
    assert grads["m"] == pytest.approx(np.sum(2 * residual * np.cos(z)[:, None]), rel=1e-10)


def test_both_estimate_the_same_gradient(smooth, black_box):
    state = smooth.init(0)
    path = smooth.value_and_grad(state, X, particles=40_000)[1]["m"]
    scored = black_box.init(0)
    for _ in range(100):
        _, _, scored = black_box.step(scored, X)
    scores = [black_box.value_and_grad(scored, X, seed=s, particles=4_000)[1]["m"] for s in range(10)]
    error = np.std(scores, ddof=1) / np.sqrt(10)
    assert error < 0.05 * abs(path)
    assert np.mean(scores) == pytest.approx(path, abs=5 * error)


@numba.njit
def jitter(key, x):
    out = np.empty(2)
    for i in range(2):
        out[i] = x + ppl.random.normal(key, i)
    return out


def test_keyed_noise_is_reproducible_and_differs_by_row_particle_and_seed():
    @ppl.model
    def noisy(x):
        with ppl.plate("data", x) as x:
            y = ppl.external(jitter, np.sum(x), shape=2, key=True)
            ppl.deterministic("y", y)
            ppl.cost("c", np.sum(y) * ppl.param("w", 1.0))

    program = ppl.compile(noisy, dtype="float64", data=X)
    state = program.init(0)
    y = program.sample(state, X, particles=3, seed=1)["y"]
    assert y.shape == (3, 7, 2)
    assert np.array_equal(y, program.sample(state, X, particles=3, seed=1)["y"])
    assert not np.isin(y, program.sample(state, X, particles=3, seed=2)["y"]).any()
    noise = y - X.sum(1)[:, None]
    assert np.unique(noise.round(9)).size == noise.size
    part = program.sample(state, X[4:], particles=3, seed=1, rows=4)["y"]
    np.testing.assert_allclose(part, y[:, 4:], rtol=1e-12)
    total = program.sample(state, X, seed=1)["y"].sum()
    assert program.value(state, X, seed=1) == pytest.approx(total, rel=1e-12)
    assert program.value_and_grad(state, X, seed=1)[1]["w"] == pytest.approx(total, rel=1e-12)


def test_an_external_runs_inside_the_users_own_loop(smooth):
    state = smooth.init(0)
    params, grad, aux, hyper = smooth.arrays(state)
    loss = smooth.njit(params, grad, aux, hyper, 0, 0, 0, 1.0, smooth.workspace(len(X)), X)
    expected, grads = smooth.value_and_grad(state, X)
    assert loss == pytest.approx(expected, rel=1e-12) and grad[0] == pytest.approx(grads["m"], rel=1e-12)


@numba.njit
def square(v):
    return (v - 1.0) ** 2


@numba.njit
def square_gradient(v, g):
    return (2.0 * (v - 1.0) * g,)


def call(v, **options):
    return ppl.external(square, v, **options)


DIRECT = {
    "parameter": lambda t: call(t),
    "below a parameter": lambda t: call(np.exp(3 * t) + 1) * 2,
    "with noise": lambda t: call(t * ppl.sample("z", Normal(t, 1.0))),
    "above a node": lambda t: ppl.sample("z", Normal(call(t), 1.0)) ** 2,
    "above a node with a jump": lambda t: np.where(ppl.sample("z", Normal(call(t), 1.0)) > 0, 1.0, 0.0),
    "through another": lambda t: call(call(t, gradient=square_gradient)),
    "into another": lambda t: call(call(t), gradient=square_gradient),
    "with a key": lambda t: np.sum(ppl.external(jitter, t, shape=2, key=True)),
}
HARMLESS = {
    "random node": lambda t: call(ppl.sample("z", Normal(t, 1.0))),
    "discrete node": lambda t: call(ppl.sample("b", Bernoulli(logits=t))),
    "stopped argument": lambda t: call(ppl.stop_gradient(t)),
    "stopped result": lambda t: ppl.stop_gradient(call(t)),
    "beyond a jump": lambda t: np.where(call(t) > 0.5, 1.0, 0.0),
    "above a jump": lambda t: call(np.where(t > 0.5, 1.0, 0.0)),
    "not in a cost": lambda t: 0.0 if ppl.deterministic("d", call(t)) is not None else None,
    "node without a cost": lambda t: 0.0 if ppl.sample("z", Normal(call(t), 1.0)) is not None else None,
    "given": lambda t: call(t, gradient=square_gradient),
}


def _of_parameter(cost):
    @ppl.model
    def model():
        t = ppl.param("outer/t", 0.3)
        ppl.cost("c", cost(t) + t**2)

    return model


@pytest.mark.parametrize("case", DIRECT)
def test_a_parameter_must_not_enter_a_black_box_directly(case):
    name = "jitter" if case == "with a key" else "square"
    with pytest.raises(EstimatorError, match=rf"external function '{name}' has no gradient=.*parameter 'outer/t'"):
        ppl.compile(_of_parameter(DIRECT[case]), dtype="float64")


@pytest.mark.parametrize("case", HARMLESS)
def test_what_loses_no_gradient_is_not_refused(case):
    program = ppl.compile(_of_parameter(HARMLESS[case]), dtype="float64")
    _, grads = program.value_and_grad(program.init(0))
    if "node" not in case or "without" in case:
        assert grads["outer/t"] == pytest.approx(2 * 0.3 + (2 * (0.3 - 1.0) if case == "given" else 0.0), rel=1e-12)
