"""Users' functions in the steps of loops, in all their forms, against NumPy.

A step is x → 0.5 x + y with y = r² u + 0.3 r x + c, where u is a uniform of the call's key, or 0.25 without one.
"""

import functools
import itertools

import numba
import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.errors import SimulatorError
from ppl.estimators import ScoreFunction

R, W, LENGTH, ROWS = 1.3, 0.7, 6, 5
C = np.random.default_rng(0).normal(size=(ROWS, LENGTH))


def plain(r, v):
    return r * r * 0.25 + 0.3 * r * v[0] + v[1]


def plain_slopes(r, v, g):
    return (0.5 * r + 0.3 * v[0]) * g, np.array([0.3 * r, 1.0]) * g


def keyed(key, r, v):
    return r * r * ppl.random.uniform(key, 0) + 0.3 * r * v[0] + v[1]


def keyed_slopes(key, r, v, g):
    return (2.0 * r * ppl.random.uniform(key, 0) + 0.3 * v[0]) * g, np.array([0.3 * r, 1.0]) * g


def several(key, r, v):
    u = ppl.random.uniform(key, 0)
    return np.array([r * r * u + 0.3 * r * v[0] + v[1], 1.0]), u, 7


def several_slopes(key, r, v, g, h):
    return (2.0 * r * ppl.random.uniform(key, 0) + 0.3 * v[0]) * g[0], np.array([0.3 * r, 1.0]) * g[0]


FUNCTIONS = {"plain": (plain, plain_slopes), "key": (keyed, keyed_slopes), "outputs": (several, several_slopes)}
OUTPUTS = {"y": ppl.spec((2,)), "u": ppl.spec(()), "seven": ppl.spec((), int)}


def call(kind, gradient, python, on_error="raise"):
    """The call of one form, as a function of r, x and c."""
    made = [f if python else numba.njit(f) for f in FUNCTIONS[kind]]
    options = {"gradient": made[1] if gradient else None, "python": python, "on_error": on_error}
    options |= {"name": "sim", "key": kind != "plain"}

    def y(r, x, c):
        v = np.stack([x, c])
        if kind != "outputs":
            return ppl.external(made[0], r, v, **options)
        found = ppl.external(made[0], r, v, outputs=OUTPUTS, **options)
        return found["y"][0] + found["y"][1] - 1.0 + ppl.stop_gradient(found["seven"] - 7.0)

    return y


def loop(y, x, r, cs, nested):
    """The loop, in one level or two: the last x, and all y."""

    def step(x, c):
        found = y(r, x, c)
        ppl.cost("c", 0.1 * found)
        return 0.5 * x + found, found

    if not nested:
        return ppl.scan(step, x, cs)
    x, found = ppl.scan(lambda x, block: ppl.scan(step, x, block), x, np.reshape(cs, (2, LENGTH // 2)))
    return x, np.reshape(found, (LENGTH,))


def model_of(y, rows, nested, gradient):
    def body(cs):
        r, w = (ppl.param("r", R) if gradient else R), ppl.param("w", W)
        x, found = loop(y, 0.4, r, cs, nested)
        ppl.deterministic("found", found)
        ppl.cost("end", w * x * x)

    @ppl.model
    def of_rows(c):
        with ppl.plate("data", c) as cs:
            body(cs)

    @ppl.model
    def alone():
        body(C[0])

    return of_rows if rows else alone


def by_numpy(u):
    """Loss, derivatives in r and w, and all y, of uniforms (particles, rows, steps)."""
    x, slope, loss, moved, found = 0.4, 0.0, 0.0, 0.0, []
    for t in range(LENGTH):
        y = R * R * u[..., t] + 0.3 * R * x + C[: u.shape[1], t]
        dy = 2 * R * u[..., t] + 0.3 * x + 0.3 * R * slope
        x, slope, loss, moved = 0.5 * x + y, 0.5 * slope + dy, loss + 0.1 * y, moved + 0.1 * dy
        found.append(y)
    total = np.stack([loss + W * x**2, moved + 2 * W * x * slope, x**2])
    return *total.sum(2).mean(1), np.stack(found, -1)


@functools.cache
def uniforms(rows, nested, particles, seed):
    """What the keys give, of the form that returns them."""
    fn = numba.njit(several)

    def seen(r, x, c):
        return ppl.external(fn, r, np.stack([x, c]), outputs=OUTPUTS, key=True, name="sim")["u"]

    program = ppl.compile(model_of(seen, rows, nested, False), dtype="float64", data=C if rows else None)
    data = (C,) if rows else ()
    found = program.sample(program.init(0), *data, seed=seed, particles=particles, sites=["found"])["found"]
    found = found.reshape(particles, ROWS if rows else 1, LENGTH)
    assert np.all((found > 0) & (found < 1)) and np.unique(found).size == found.size
    return found


FORMS = [form for form in itertools.product(FUNCTIONS, (False, True), (False, True)) if form[0] != "plain" or form[1]]
PLACES = list(itertools.product((False, True), (False, True)))
FAST = {
    ("key", True, False): [(False, False)],
    ("key", False, True): [(True, False)],
    ("outputs", True, False): [(True, True)],
}
ALL = [pytest.param(form, *place, marks=() if place in FAST.get(form, ()) else pytest.mark.slow)
       for form in FORMS for place in PLACES]  # fmt: skip


@pytest.mark.parametrize(("form", "rows", "nested"), ALL, ids=str)
def test_values_and_gradients_equal_numpy(form, rows, nested):
    kind, gradient, _ = form
    data = (C,) if rows else ()
    program = ppl.compile(model_of(call(*form), rows, nested, gradient), dtype="float64", data=C if rows else None)
    for particles in (1, 3):
        u = uniforms(rows, nested, particles, 4)
        loss, slope, squares, found = by_numpy(u if kind != "plain" else np.full_like(u, 0.25))
        got, grads = program.value_and_grad(program.init(0), *data, seed=4, particles=particles)
        assert got == pytest.approx(loss, rel=1e-10)
        assert grads["w"] == pytest.approx(squares, rel=1e-10)
        if gradient:
            assert grads["r"] == pytest.approx(slope, rel=1e-10)
        sampled = program.sample(program.init(0), *data, seed=4, particles=particles)["found"]
        np.testing.assert_allclose(sampled.reshape(found.shape), found, rtol=1e-10)


@pytest.mark.parametrize(("kind", "python"), [("key", False), ("outputs", True)])
def test_a_loop_with_random_nodes_and_backwards(kind, python):
    """A draw of each step enters the function; costs and carries are NumPy's, of these draws."""
    y = call(kind, True, python)

    @ppl.model
    def model(c):
        with ppl.plate("data", c) as cs:

            def step(x, c):
                z = ppl.sample("z", Normal(x, 1.0))
                return 0.5 * x + ppl.deterministic("y", y(ppl.param("r", R), z, c)), None

            x, _ = ppl.scan(step, 0.4, cs, reverse=True)
            ppl.cost("end", x * x)

    program = ppl.compile(model, dtype="float64", data=C)
    state = program.init(0)
    found = program.sample(state, C, seed=2)
    z, ys = found["z"], found["y"]
    u = (ys - C - 0.3 * R * z) / R**2
    assert np.all((u > 0) & (u < 1)) and np.unique(u.round(12)).size == u.size
    x, slope = np.full(ROWS, 0.4), np.zeros(ROWS)
    for t in reversed(range(LENGTH)):
        slope = 0.5 * slope + 2 * R * u[:, t] + 0.3 * z[:, t] + 0.3 * R * slope
        x = 0.5 * x + ys[:, t]
    loss, grads = program.value_and_grad(state, C, seed=2)
    assert loss == pytest.approx(np.sum(x**2), rel=1e-10)
    assert grads["r"] == pytest.approx(np.sum(2 * x * slope), rel=1e-9)


def waiting(key, rate, v):
    t = -np.log(ppl.random.uniform(key, 0)) / rate
    return t + v[0], 1.0 / rate - t, np.zeros(2)


@pytest.mark.parametrize(("python", "rows", "nested"), [(False, True, False), (True, False, True)])
def test_scores_weigh_what_lies_ahead(python, rows, nested):
    fn = waiting if python else numba.njit(waiting)

    def y(rate, x, c):
        return ppl.external(fn, rate * np.exp(0.1 * c), np.stack([0.2 * x, c]), score=True, name="sim", python=python)

    program = ppl.compile(
        model_of(y, rows, nested, True), ScoreFunction(None), dtype="float64", data=C if rows else None
    )
    state, data, count = program.init(0), (C,) if rows else (), ROWS if rows else 1
    for particles in (1, 3):
        found = program.sample(state, *data, seed=4, particles=particles)["found"].reshape(particles, count, LENGTH)
        x, scores, costs = np.full((particles, count), 0.4), [], []
        for t in range(LENGTH):
            factor = np.exp(0.1 * C[:count, t])
            scores.append(factor * (1 / (R * factor) - (found[..., t] - 0.2 * x)))
            costs.append(0.1 * found[..., t])
            x = 0.5 * x + found[..., t]
        ahead = np.cumsum(np.stack([*costs, W * x**2])[::-1], 0)[::-1]
        loss, grads = program.value_and_grad(state, *data, seed=4, particles=particles)
        assert loss == pytest.approx(ahead[0].sum(1).mean(), rel=1e-10)
        assert grads["r"] == pytest.approx(np.sum(np.stack(scores) * ahead[:-1]) / particles, rel=1e-9)
        assert grads["w"] == pytest.approx(np.sum(x**2) / particles, rel=1e-10)


@pytest.mark.parametrize("python", [False, True])
def test_in_a_plate_of_fixed_size_in_a_step(python):
    y = call("key", True, python)

    @ppl.model
    def model():
        r = ppl.param("r", R)

        def step(x, c):
            with ppl.plate("cells", 3):
                ppl.cost("c", ppl.deterministic("y", y(r, x, c)) ** 2)
            return 0.5 * x + 0.1, None

        ppl.scan(step, 0.4, C[0])

    program = ppl.compile(model, dtype="float64")
    state = program.init(0)
    found = program.sample(state, seed=3)["y"]
    assert found.shape == (3, LENGTH)
    x = 0.2 + 0.2 * 0.5 ** np.arange(LENGTH)
    u = (found - C[0] - 0.3 * R * x) / R**2
    assert np.all((u > 0) & (u < 1)) and np.unique(u.round(12)).size == u.size
    loss, grads = program.value_and_grad(state, seed=3)
    assert loss == pytest.approx(np.sum(found**2), rel=1e-10)
    assert grads["r"] == pytest.approx(np.sum(2 * found * (2 * R * u + 0.3 * x)), rel=1e-9)


def fragile(key, r, v):
    if v[1] > 1.0:
        raise ValueError("too far")
    return keyed_values(key, r, v)


keyed_values = numba.njit(keyed)


@pytest.mark.parametrize("python", [False, True])
def test_failures_in_a_step(python):
    """Of one row; where it may be NaN, the other rows are as ever."""
    fn = fragile if python else numba.njit(fragile)
    bad = np.any(C > 1.0, axis=1)
    assert 0 < bad.sum() < ROWS

    def program_of(on_error):
        def y(r, x, c):
            return ppl.external(fn, r, np.stack([x, c]), key=True, name="sim", on_error=on_error, python=python)

        return ppl.compile(model_of(y, True, False, False), dtype="float64", data=C)

    program = program_of("raise")
    with pytest.raises(SimulatorError, match=f"'sim' raised ValueError: too far in row {np.argmax(bad)} of 'data'"):
        program.value(program.init(0), C)
    program = program_of("nan")
    found = program.sample(program.init(0), C, seed=4, nonfinite="keep")["found"]
    wanted = by_numpy(uniforms(True, False, 1, 4))[3][0]
    np.testing.assert_array_equal(np.isnan(found).any(1), bad)
    np.testing.assert_allclose(found[~bad], wanted[~bad], rtol=1e-10)


def test_second_derivatives_beside_a_call_with_a_key():
    """The call's path carries no parameter, and does not stand in the way of those of another cost."""
    y = call("key", False, False)

    @ppl.model
    def model():
        w = ppl.param("w", W)

        def step(x, c):
            found = y(R, 0.4, c)
            return x * w + ppl.stop_gradient(found), found

        x, _ = ppl.scan(step, 0.4, C[0])
        ppl.cost("end", x)

    program = ppl.compile(model, dtype="float64")
    state = program.init(0)
    _, grads = program.value_and_grad(state)
    h, moved = 1e-5, []
    for sign in (1, -1):
        at = program.init(0, params={"w": W + sign * h})
        moved.append(float(program.value_and_grad(at)[1]["w"]))
    found = program.hvp(state, {"w": np.array(1.0)})
    second = found[1]["w"] if isinstance(found, tuple) else found["w"]
    assert grads["w"] != 0 and second == pytest.approx((moved[0] - moved[1]) / (2 * h), rel=1e-6)
