"""External functions in users' own parallel loops and in training: what they return, and what they raise."""

import numba
import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.errors import SimulatorError

X = np.arange(300.0)
COPIES = 8


@numba.njit
def fragile(z, x, limit):
    if x > limit:
        raise ValueError("too far")
    return (z - x) ** 2, z + x


@ppl.model
def model(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(ppl.param("m", 0.3), 0.5))
        outputs = {"square": ppl.spec(()), "sum": ppl.spec(())}
        found = ppl.external(fragile, z, x, ppl.hyper("limit", 1e6), outputs=outputs)
        ppl.cost("c", found["square"] + found["sum"])


@numba.njit(parallel=True)
def many(step, params, grads, aux, hyper, floats, words, x, losses):
    for k in numba.prange(losses.size):
        losses[k] = step(params, grads[k], aux[k], hyper, 3, k, 0, 1.0, (floats[k], words[k]), x)


@pytest.fixture(scope="module")
def program():
    return ppl.compile(model, ppl.estimators.ScoreFunction(0.0), dtype="float64", data=X)


def _vectors(program, state):
    params, grad, aux, hyper = program.arrays(state)
    works = [program.workspace(len(X)) for _ in range(COPIES)]
    floats, words = (np.stack([w[i] for w in works]) for i in range(2))
    return params, np.stack([grad] * COPIES), np.stack([aux] * COPIES), hyper, floats, words


def test_a_parallel_loop_of_the_user_gets_what_calls_get(program):
    state, losses = program.init(0), np.zeros(COPIES)
    params, grads, aux, hyper, floats, words = _vectors(program, state)
    many(program.njit, params, grads, aux, hyper, floats, words, X, losses)
    z = program.sample(state, X, seed=3)["z"]
    assert losses[0] == pytest.approx(np.sum((z - X) ** 2 + z + X), rel=1e-12)
    assert grads[0, 0] == pytest.approx(np.sum(((z - X) ** 2 + z + X) * (z - 0.3) / 0.25), rel=1e-9)
    assert len(set(losses)) == COPIES


def test_training_stops_where_the_function_fails(program):
    """The limit falls below the largest row in the sixth step."""
    seen = []
    with pytest.raises(SimulatorError, match="too far in row 217"):
        ppl.fit(
            program,
            X,
            steps=20,
            optimizer=ppl.optim.SGD(1e-9),
            hyper={"limit": lambda step: 1e3 if step < 5 else 216.5},
            callback=lambda step, *rest: seen.append(step),
        )
    assert seen == [1, 2, 3, 4, 5]


def test_training_with_several_results_is_that_of_single_steps(program):
    optimizer = ppl.optim.SGD(1e-9)
    state = program.init(0)
    fit = ppl.fit(program, X, steps=5, state=state, optimizer=optimizer)
    for _ in range(5):
        state, _ = program.update(state, X, optimizer=optimizer)
    np.testing.assert_allclose(fit.state._flat, state._flat, rtol=1e-13)


@numba.njit
def counting(carry, x):
    if x == 217.0 and carry > 3:
        raise ValueError("too often")
    return carry + 1.0, 2.0 * carry


@numba.njit
def waiting(key, rate):
    wait = -np.log(ppl.random.uniform(key, 0)) / rate
    return wait, 1 / rate - wait


def over_time(scored):
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            rate = ppl.param("rate", 1.5)

            def step(carry, t):
                if scored:
                    wait = ppl.external(waiting, rate, score=True)
                    ppl.cost("c", wait**2)
                    return carry + wait, wait
                outputs = {"carry": ppl.spec(()), "twice": ppl.spec(())}
                found = ppl.external(counting, carry, x, outputs=outputs)
                return found["carry"], found["twice"]

            _, ys = ppl.scan(step, np.float64(0.0), length=5)
            ppl.deterministic("ys", ys)
            ppl.cost("d", np.sum(ys) * 0.0)

    return model


def test_in_a_loop_over_time_every_step_calls():
    program = ppl.compile(over_time(False), dtype="float64", data=X[:200])
    ys = program.sample(program.init(0), X[:200])["ys"]
    np.testing.assert_array_equal(ys, np.tile(2.0 * np.arange(5), (200, 1)))
    with pytest.raises(SimulatorError, match=r"'counting' raised ValueError: too often in row 217 of 'data'") as error:
        program.value(program.init(0), X)
    assert error.value.arguments == (4.0, 217.0)


def test_scores_in_a_loop_over_time_are_unbiased():
    """E[Σ wait²] over 5 steps is 10 / rate², and every step draws anew."""
    program = ppl.compile(over_time(True), dtype="float64", data=X)
    state = program.init(0)
    drawn = program.sample(state, X)
    np.testing.assert_array_equal(drawn["waiting"], drawn["ys"])
    assert len(np.unique(drawn["ys"])) == drawn["ys"].size
    grads = np.array([program.value_and_grad(state, X, seed=s)[1]["rate"] for s in range(200)]) / len(X)
    error = grads.std(ddof=1) / np.sqrt(len(grads))
    assert abs(grads.mean() + 20 / 1.5**3) < 5 * error < 0.5
