"""External functions and the random numbers inside them."""

import numba
import numpy as np
import pytest

import ppl
import ppl.random
from ppl import Normal
from ppl.errors import ModelError
from ppl.ir.differentiate import gradient
from ppl.ir.ops import sum_axes
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from tests.lang.helpers import trace

X = np.random.default_rng(0).normal(size=(4, 3))


@numba.njit
def scaled_sum(v, s):
    return v.sum() * s


@numba.njit
def scaled_sum_gradient(v, s, g):
    return np.full_like(v, s * g), v.sum() * g


@numba.njit
def noisy(key, v):
    return v + ppl.random.normal(key, 0) * ppl.random.uniform(key, 1)


def test_per_row_value_and_gradient():
    def model(x):
        w = ppl.param("w", 2.0)
        with ppl.plate("data", x) as x:
            v = ppl.external(scaled_sum, x, w, gradient=scaled_sum_gradient)
            ppl.cost("c", v * v)

    t = trace(model, x=X)
    env = Env(params={"w": np.array(2.0)}, inputs={"x": X}, sizes={"data": 4})
    cost = t.costs["c"].node
    assert [a.name for a in cost.type.axes] == ["data"]
    (value,) = evaluate([cost], env)
    np.testing.assert_allclose(value, (2 * X.sum(1)) ** 2)
    (grad,) = evaluate(gradient(sum_axes(cost, cost.type.axes), [t.params["w"].node]), env)
    np.testing.assert_allclose(grad, (2 * 2 * X.sum(1) ** 2).sum())


def test_shapes_and_dtypes():
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.deterministic("a", ppl.external(lambda v: v[:2] * 2, x, shape=2))
            ppl.deterministic("b", ppl.external(lambda v: v > 0, x, shape=(3,), dtype=bool))
            ppl.deterministic("c", ppl.external(lambda v: len(v), x, dtype=np.int64))

    t = trace(model, x=X)
    a, b, c = evaluate([s.node for s in t.sites.values()], Env(inputs={"x": X}, sizes={"data": 4}))
    np.testing.assert_array_equal(a, X[:, :2] * 2)
    np.testing.assert_array_equal(b, X > 0)
    assert c.dtype == np.int64 and np.all(c == 3)


def test_keys():
    def model(x):
        with ppl.plate("data", x):
            first = ppl.external(noisy, 0.0, key=True)
            second = ppl.external(noisy, 0.0, key=True)
            ppl.deterministic("both", np.stack([first, second]))

    t = trace(model, x=X)
    assert list(t.rowkeys) == ["noisy", "noisy_1"]
    (out,) = evaluate([t.sites["both"].node], Env(inputs={"x": X}, sizes={"data": 4}, seed=1))
    assert out.shape == (4, 2) and len(np.unique(out)) == 8


def test_errors():
    def named(*names):
        def model():
            ppl.sample("z", Normal())
            for n in names:
                ppl.external(noisy, 0.0, key=True, name=n)

        return model

    with pytest.raises(ModelError, match=r"two nodes are called 'z'[\s\S]*at test_external.py"):
        trace(named("z"))
    with pytest.raises(ModelError, match="two nodes are called 'k'"):
        trace(named("k", "k"))
    with pytest.raises(ModelError, match="external: 3 is not a function"):
        trace(lambda: ppl.external(3))

    def clash():
        ppl.external(noisy, 0.0, key=True, name="k")
        ppl.sample("k", Normal())

    with pytest.raises(ModelError, match="two nodes are called 'k'"):
        trace(clash)


@numba.njit
def fill(key, uniforms, normals):
    for i in range(len(uniforms)):
        uniforms[i] = ppl.random.uniform(key, i)
        normals[i] = ppl.random.normal(key, i)


def test_random_numbers_have_their_moments():
    n = 200_000
    u, z, other = np.empty(n), np.empty(n), np.empty(n)
    fill(np.uint64(2**63 + 5), u, z)
    fill(np.uint64(6), other, np.empty(n))
    assert u.min() > 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n) and abs(u.var() * 12 - 1) < 0.02
    assert abs(z.mean()) < 5 / np.sqrt(n) and abs(z.var() - 1) < 5 * np.sqrt(2 / n)
    for a, b in ((u, z), (u, other), (u[1:], u[:-1])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(n)
    again = np.empty(3)
    fill(np.uint64(6), again, np.empty(3))
    np.testing.assert_array_equal(again, other[:3])
