"""Plates, collect and scopes."""

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl import Normal
from ppl.errors import DataError, ModelError, ShapeError
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, Kind
from ppl.lang import trace_model
from tests.lang.helpers import trace

pytestmark = pytest.mark.tiny

X = np.arange(12.0).reshape(4, 3)


def test_runtime_plate_over_arguments():
    def model(x, y):
        assert repr(x) == "Argument('x', (4, 3))" and x.shape == (4, 3)
        with ppl.plate("data", x, y) as (x, y):
            assert x.shape == (3,) and y.shape == () and y.dtype == "int"
            return ppl.sample("z", Normal(x.sum() + y, 1.0))

    t = trace(model, x=X, y=np.arange(4))
    axis = Axis("data", Kind.PLATE, None, 0)
    assert t.plates == {"data": axis} and t.inputs["x"].plate == axis and t.inputs["x"].shape == (3,)
    assert t.sites["z"].axes == (axis,) and t.returned.plates == (axis,)
    assert list(t.arguments) == ["x", "y"] and t.arguments["y"].ir_dtype == "int"
    (out,) = evaluate([t.sites["z"].dist.params["loc"]], Env(inputs={"x": X, "y": np.arange(4)}, sizes={"data": 4}))
    np.testing.assert_array_equal(out, X.sum(1) + np.arange(4))


def test_specs():
    def model(x):
        assert x.shape == (None, 3)
        with ppl.plate("data", x) as x:
            assert x.shape == (3,) and x.dtype == "bool"

    trace(model, x=ppl.spec((None, 3), dtype=bool))
    assert ppl.spec(None).shape == (None,) and ppl.spec(3, np.float32).dtype == np.float32
    with pytest.raises(ModelError, match="only the leading length may be None"):
        ppl.spec((3, None))
    with pytest.raises(ModelError, match="not a number type"):
        ppl.spec((3,), dtype="U1")
    with pytest.raises(DataError, match="data argument 'x' has dtype <U1"):
        trace(lambda x: None, x=np.array(["a"]))


def test_arguments_used_whole():
    t = trace(lambda x: ppl.cost("c", np.sum(x * 2)), x=X)
    assert t.inputs["x"].plate is None and t.inputs["x"].shape == (4, 3)
    with pytest.raises(ModelError, match=r"'x' of shape \(None, 3\) is used before a plate opens it"):
        trace(lambda x: x + 1, x=ppl.spec((None, 3)))

    def both(x):
        total = np.sum(x)
        with ppl.plate("data", x) as row:
            ppl.cost("c", row.sum() * total)

    with pytest.raises(ModelError, match="used whole and by plate 'data': pass it a second time"):
        trace(both, x=X)


def test_plate_over_constants_and_sizes():
    def model():
        with ppl.plate("rows", X) as x:
            ppl.deterministic("double", 2 * x)
        with ppl.plate("units", 5) as i:
            ppl.deterministic("square", i * i)

    t = trace(model)
    assert t.plates["rows"].size == 4 and t.plates["units"].size == 5
    double, square = evaluate([s.node for s in t.sites.values()], Env())
    np.testing.assert_array_equal(double, 2 * X)
    np.testing.assert_array_equal(square, np.arange(5) ** 2)


def test_nested_plate_over_rows_and_collect():
    def model(x):
        with ppl.plate("data", x) as x:
            with ppl.plate("time", x, np.arange(3.0)) as (v, t):
                assert v.shape == () and [a.name for a in v.plates] == ["data", "time"]
                z = ppl.deterministic("z", v + 10 * t)
            row = ppl.collect(z, "time")
            assert row.shape == (3,)
            return ppl.deterministic("row", row)

    t = trace(model, x=X)
    assert t.plates["time"] == Axis("time", Kind.PLATE, 3, 1)
    assert [a.name for a in t.outer_plates["time"]] == ["data"]
    (out,) = evaluate([t.sites["row"].node], Env(inputs={"x": X}, sizes={"data": 4}))
    np.testing.assert_array_equal(out, X + 10 * np.arange(3.0))


def test_collect_errors():
    def runtime(x):
        with ppl.plate("data", x) as x:
            z = x * 2
        ppl.collect(z, "data")

    with pytest.raises(ModelError, match="rows of plate 'data' are known at run time only"):
        trace(runtime, x=X)
    with pytest.raises(ModelError, match="there is no plate 'p'"):
        trace(lambda: ppl.collect(1.0, "p"))


def test_values_used_outside_their_plate():
    def escape(use):
        def model(x):
            with ppl.plate("data", x) as x:
                z = ppl.sample("z", Normal(x, 1.0))
            use(z)

        return model

    message = r"of plate 'data' is used outside it \(open plates: none\)[\s\S]*at test_plate.py:\d+"
    for use in (
        lambda z: z + 1,
        lambda z: ppl.cost("c", z),
        lambda z: ppl.sample("y", Normal(z, 1.0)),
        lambda z: ppl.sample("y", Normal(np.zeros(3), 1.0), obs=z),
        lambda z: ppl.deterministic("y", z),
        lambda z: Normal(z, 1.0).log_prob(z),
        lambda z: np.stack([z, z]),
    ):
        with pytest.raises(ModelError, match=message):
            trace(escape(use), x=X)

    def siblings():
        with ppl.plate("a", 3) as i:
            first = i * 1
        with ppl.plate("b", 4) as j:
            first + j

    with pytest.raises(ModelError, match=r"plate 'a' is used outside it \(open plates: 'b'\).*ppl.collect"):
        trace(siblings)


def test_reopening():
    def model(x, y):
        with ppl.plate("data", x) as x:
            z = x * 2
        with ppl.plate("data", x, y) as (x, y):
            ppl.cost("c", (z + x + y).sum())

    t = trace(model, x=X, y=X)
    assert list(t.plates) == ["data"]

    def guide_and_model(n):
        def model():
            with ppl.plate("k", n):
                pass

        return model

    t = trace_model(guide_and_model(3), {})
    trace_model(guide_and_model(3), {}, into=t)
    with pytest.raises(ShapeError, match=r"plate 'k' has 3 rows and 4 rows\n  first at test_plate.py"):
        trace_model(guide_and_model(4), {}, into=t)

    def moved(x):
        with ppl.plate("k", 3):
            pass
        with ppl.plate("data", x), ppl.plate("k", 3):
            pass

    with pytest.raises(ShapeError, match="opened inside no plate, and inside data"):
        trace(moved, x=X)


def test_plate_errors():
    def opened(*over, name="data"):
        def model(x, y):
            with ppl.plate(name, *[{"x": x, "y": y}.get(o, o) if isinstance(o, str) else o for o in over]):
                pass

        return model

    def check(kind, message, model):
        with pytest.raises(kind, match=message) as caught:
            trace(model, x=X, y=np.zeros(5))
        assert "at test_plate.py" in str(caught.value)

    check(ShapeError, r"leading lengths differ \(x: 4, y: 5\)", opened("x", "y"))
    check(ShapeError, r"leading lengths differ \(array 0: 2, array 1: 3\)", opened(np.zeros(2), np.zeros(3)))
    check(ShapeError, r"leading lengths differ \(x: 4, array 1: 5\)", opened("x", np.zeros(5)))
    check(ShapeError, "array 0 is a scalar", opened(1.5))
    check(ShapeError, "has 0 rows", opened(0))
    check(ModelError, "needs arrays or a size", opened())
    check(ModelError, "plate name 'particles' is reserved", opened("x", name="particles"))

    def twice(x, y):
        with ppl.plate("data", x), ppl.plate("data", y):
            pass

    check(ModelError, "plate 'data' is open already", twice)
    with pytest.raises(ModelError, match="argument 's' is a scalar"):
        trace(lambda s: ppl.plate("data", s).__enter__(), s=np.array(1.0))


SCHOOLS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


@ppl.model
def schools(y, sigma):
    """Data, parameters and a constant in one plate; the data alone open it again."""
    mu, tau = ppl.param("mu", 1.0), ppl.param("tau", 2.0, constraint="positive")
    z = ppl.param("z", np.linspace(-1.0, 1.0, 8))
    with ppl.plate("J", y, z, np.arange(8.0)) as (y, z, k):
        ppl.cost("prior", 0.5 * z**2 + 0.1 * k)
        mean = mu + tau * z
    with ppl.plate("J", sigma) as sigma:
        ppl.sample("y", Normal(mean, sigma), obs=y)


def test_data_parameters_and_constants_in_one_plate():
    y, sigma = SCHOOLS
    program = ppl.compile(ppl.likelihood(schools), data=SCHOOLS, dtype="float64")
    state, z = program.init(0), np.linspace(-1.0, 1.0, 8)
    loss, grads = program.value_and_grad(state, y, sigma)
    wanted = -stats.norm(1.0 + 2.0 * z, sigma).logpdf(y).sum() + 0.5 * z @ z + 0.1 * 28
    np.testing.assert_allclose(loss, wanted, rtol=1e-12)
    np.testing.assert_allclose(grads["z"], z - 2.0 * (y - 1.0 - 2.0 * z) / sigma**2, rtol=1e-10)
    assert program.sample(state, y, sigma, particles=3, seed=0)["y"].shape == (3, 8)
    fit = ppl.fit(program, y, sigma, steps=5, optimizer=ppl.optim.Adam(0.1), progress=False)
    assert fit.history["loss"][-1] < fit.history["loss"][0]


def test_a_plate_over_parameters_and_data_has_their_number_of_rows():
    y, sigma = SCHOOLS
    program = ppl.compile(ppl.likelihood(schools), data=SCHOOLS, dtype="float64")
    state = program.init(0)
    with pytest.raises(DataError, match=r"argument 'y' has shape \(5,\); the program expects \(8,\)"):
        program.value(state, y[:5], sigma[:5])
    with pytest.raises(DataError, match=r"'y' is nan at \(2,\)"):
        program.value(state, np.where(y == -3, np.nan, y), sigma)
    with pytest.raises(
        ModelError, match="opens over y, whose rows are known at run time only, and over array 1, array 2"
    ):
        ppl.compile(ppl.likelihood(schools), data=(ppl.spec((None,)), ppl.spec((None,))))

    @ppl.model
    def other(y, sigma):
        with ppl.plate("J", y) as row, ppl.plate("K", 2):
            ppl.cost("c", row)
        with ppl.plate("J", sigma, ppl.param("z", np.zeros(8))):
            pass

    with pytest.raises(ShapeError, match="plate 'J' has a run-time number of rows and 8 rows"):
        ppl.compile(other, data=SCHOOLS)


def test_a_guide_of_parameters_under_a_model_of_data_and_parameters():
    """The bound of a conjugate model with the posterior as guide is its evidence."""
    y, sigma = SCHOOLS

    @ppl.model
    def model(y, sigma):
        with ppl.plate("J", y, sigma, np.zeros(8)) as (y, sigma, centre):
            theta = ppl.sample("theta", Normal(centre, 3.0))
            ppl.sample("y", Normal(theta, sigma), obs=y)

    @ppl.model
    def guide(y, sigma):
        precision = 1 / 9 + 1 / SCHOOLS[1] ** 2
        m = ppl.param("m", SCHOOLS[0] / SCHOOLS[1] ** 2 / precision)
        s = ppl.param("s", 1 / np.sqrt(precision), constraint="positive")
        with ppl.plate("J", m, s) as (m, s):
            ppl.sample("theta", Normal(m, s))

    program = ppl.compile(ppl.elbo(model, guide, kl="sampled"), data=SCHOOLS, dtype="float64")
    evidence = stats.norm(0.0, np.sqrt(9 + sigma**2)).logpdf(y).sum()
    for seed in range(3):
        np.testing.assert_allclose(program.value(program.init(0), y, sigma, seed=seed), -evidence, rtol=1e-10)


def test_scope():
    def model(x):
        with ppl.scope("a"):
            with ppl.scope("b"):
                ppl.sample("z", Normal(ppl.param("w", 0.0), 1.0))
            ppl.dense("d", np.zeros(3), 2)
            ppl.cost("c", ppl.hyper("beta", 1.0))
            with ppl.plate("data", x):
                pass

    t = trace(model, x=X)
    assert list(t.sites) == ["a/b/z"] and list(t.params) == ["a/b/w", "a/d.weight", "a/d.bias"]
    assert list(t.costs) == ["a/c"] and list(t.hypers) == ["beta"] and list(t.plates) == ["data"]
