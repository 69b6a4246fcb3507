"""Parameters, initialisers, constraints, hypers."""

import numpy as np
import pytest

import ppl
from ppl.errors import ModelError, ShapeError
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.lang.params import CONSTRAINTS, initial_value, to_constrained, to_unconstrained
from tests.lang.helpers import trace

pytestmark = pytest.mark.tiny

rng = np.random.default_rng(0)


def cholesky(*shape):
    value = np.tril(rng.normal(size=shape))
    index = np.arange(shape[-1])
    value[..., index, index] = np.exp(value[..., index, index])
    return value


VALUES = {
    "positive": [np.array(2.0), rng.uniform(0.1, 3, (2, 3))],
    "unit_interval": [np.array(0.25), rng.uniform(0.01, 0.99, (4,))],
    "simplex": [np.array([0.2, 0.3, 0.5]), rng.dirichlet(np.ones(4), size=2)],
    "lower_cholesky": [cholesky(3, 3), cholesky(2, 4, 4), cholesky(1, 1)],
}


def test_every_constraint_is_tested():
    assert set(VALUES) == set(CONSTRAINTS)


@pytest.mark.parametrize("name, value", [(n, v) for n, vs in VALUES.items() for v in vs])
def test_constraint_round_trip(name, value):
    t = trace(lambda: ppl.param("w", value, constraint=name))
    p = t.params["w"]
    raw = initial_value(p, seed=0)
    assert p.shape == value.shape and raw.shape == p.raw_shape == p.node.type.shape
    (forward,) = evaluate([p.value], Env(params={"w": raw}))
    np.testing.assert_allclose(forward, value, rtol=1e-12)
    np.testing.assert_allclose(to_constrained(p, raw), value, rtol=1e-12)
    np.testing.assert_allclose(to_constrained(p, to_unconstrained(p, value)), value, rtol=1e-12)
    assert to_constrained(p, raw.astype(np.float32)).dtype == np.float32
    assert t.returned.shape == value.shape


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("positive", 0.0, "numbers above 0"),
        ("unit_interval", 1.0, "strictly between 0 and 1"),
        ("simplex", [0.5, 0.6], "sum to 1"),
        ("lower_cholesky", np.ones((2, 2)), "lower triangular"),
    ],
)
def test_init_outside_the_constraint(name, value, message):
    with pytest.raises(ModelError, match=rf"param 'w': '{name}' takes .*{message}[\s\S]*at test_params.py:\d+"):
        trace(lambda: ppl.param("w", value, constraint=name))


def test_shapes():
    def model():
        ppl.param("number", 1.5, shape=(2, 3))
        ppl.param("int shape", 0, shape=4)
        ppl.param("row", np.arange(3.0), shape=(2, 3))
        ppl.param("array", np.zeros((2, 2)))

    params = trace(model).params
    assert [p.shape for p in params.values()] == [(2, 3), (4,), (2, 3), (2, 2)]
    np.testing.assert_array_equal(initial_value(params["row"], 0), np.tile(np.arange(3.0), (2, 1)))


def check(kind, message, function):
    with pytest.raises(kind, match=message) as caught:
        trace(function)
    assert "at test_params.py" in str(caught.value)


def test_errors():
    check(ShapeError, r"init of shape \(3,\) does not fit shape \(2,\)", lambda: ppl.param("w", np.zeros(3), 2))
    check(ModelError, "an initialiser needs shape=", lambda: ppl.param("w", ppl.init.zeros()))
    check(
        ModelError,
        "unknown constraint 'big'; there are positive",
        lambda: ppl.param("w", 1.0, constraint="big"),
    )
    check(ModelError, "init is not finite", lambda: ppl.param("w", np.nan))
    square = {"shape": (2, 3), "constraint": "lower_cholesky"}
    check(ShapeError, r"square matrix, not shape \(2, 3\)", lambda: ppl.param("w", 1.0, **square))
    check(ShapeError, "needs at least one axis", lambda: ppl.param("w", 1.0, constraint="simplex"))
    t = trace(lambda: ppl.param("w", lambda rng, shape: np.zeros(3), (2,)))
    with pytest.raises(ShapeError, match=r"init returned shape \(3,\) instead of \(2,\)"):
        initial_value(t.params["w"], 0)


def test_second_declaration():
    def declare(first, second, init=0.0):
        def model():
            a = ppl.param("w", 0.0, shared=first)
            b = ppl.param("w", init, shared=second)
            return a.node is b.node

        return model

    assert trace(declare(True, True)).returned
    check(ModelError, r"'w' is declared twice.*shared=True in both\n  first at", declare(False, False))
    check(ModelError, "declared twice", declare(True, False))
    check(ModelError, "declared twice", declare(False, True))
    check(ShapeError, r"with \(\), constraint None, and with \(2,\)", declare(True, True, np.zeros(2)))


def test_parameters_are_unplated():
    def model(x):
        with ppl.plate("data", x):
            return ppl.param("w", 0.0)

    assert trace(model, x=np.zeros(3)).returned.plates == ()


def start(init, shape, seed=0, name="w"):
    return initial_value(trace(lambda: ppl.param(name, init, shape)).params[name], seed)


def test_initialisers_have_their_moments():
    shape, n = (200, 100), 200 * 100
    for init, variance in (
        (ppl.init.normal(0.5), 0.25),
        (ppl.init.uniform(-1.0, 1.0), 1 / 3),
        (ppl.init.glorot_uniform(), 2 / 300),
        (ppl.init.glorot_normal(), 2 / 300),
        (ppl.init.he_normal(), 2 / 200),
        (ppl.init.lecun_normal(), 1 / 200),
    ):
        value = start(init, shape)
        assert abs(value.mean()) < 5 * np.sqrt(variance / n)
        assert abs(value.var() / variance - 1) < 5 * np.sqrt(2 / n), init
    assert np.all(start(ppl.init.zeros(), 3) == 0) and np.all(start(ppl.init.ones(), 3) == 1)
    np.testing.assert_array_equal(start(ppl.init.constant([1.0, 2.0]), (3, 2)), [[1.0, 2.0]] * 3)
    assert np.all(np.abs(start(ppl.init.glorot_uniform(), shape)) <= np.sqrt(6 / 300))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 3, 4)])
def test_orthogonal(shape):
    q = start(ppl.init.orthogonal(2.0), shape).reshape(-1, shape[-1]) / 2
    small = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-12)
    with pytest.raises(ShapeError, match="two axes"):
        start(ppl.init.orthogonal(), (3,))


def test_starts_depend_on_seed_and_name_only():
    def ab():
        ppl.param("a", ppl.init.normal(), (3,))
        ppl.param("b", ppl.init.normal(), (3,))

    def ba():
        ppl.param("b", ppl.init.normal(), (3,))
        ppl.param("a", ppl.init.normal(), (3,))

    first, second = trace(ab).params, trace(ba).params
    for name in "ab":
        np.testing.assert_array_equal(initial_value(first[name], 3), initial_value(second[name], 3))
    assert not np.allclose(initial_value(first["a"], 3), initial_value(first["b"], 3))
    assert not np.allclose(initial_value(first["a"], 3), initial_value(first["a"], 4))
    assert repr(ppl.init.normal(0.1)) == "ppl.init.normal(0.1)"


def test_hyper():
    outside = ppl.hyper("tau", 0.5)
    assert (outside.name, outside.default, outside.node.op) == ("tau", 0.5, "hyper")
    t = trace(lambda: ppl.cost("c", ppl.hyper("beta", 1.0) * outside))
    assert t.hypers == {"beta": 1.0, "tau": 0.5}
    check(ModelError, "hyper 'b' has two defaults, 1.0 and 2.0", lambda: [ppl.hyper("b", d) for d in (1, 2)])
    check(ModelError, "one finite number", lambda: ppl.hyper("b", np.zeros(2)))


def test_constant():
    value = ppl.constant(np.arange(3))
    assert value.dtype == "int" and value.shape == (3,) and ppl.constant(value) is value
