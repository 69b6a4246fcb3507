"""Plates, scopes, nested models and constraints, compiled and trained; losses and gradients against NumPy."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, LogNormal, Normal
from ppl.errors import ModelError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(9, 4, 2))


def numeric(program, state, *data, **options):
    """Central differences of the loss in every parameter, at the same noise."""
    flat = program.ravel(state)
    out = np.zeros_like(flat)
    for i in range(flat.size):
        ends = []
        for h in (1e-5, -1e-5):
            moved = flat.copy()
            moved[i] += h
            ends.append(program.value(state.replace(params=program.unravel(moved)), *data, **options))
        out[i] = (ends[0] - ends[1]) / 2e-5
    return program.unravel(out)


def assert_gradients(program, state, *data, **options):
    grads = program.value_and_grad(state, *data, **options)[1]
    for name, expected in numeric(program, state, *data, **options).items():
        np.testing.assert_allclose(grads[name], expected, rtol=2e-6, atol=2e-6, err_msg=name)


@ppl.model
def hierarchy(x):
    """A global, a row's and an inner row's normals, with costs at every level."""
    top = ppl.sample("top", Normal(ppl.param("a", 0.3), 1.0))
    with ppl.plate("rows", x) as x:
        row = ppl.sample("row", Normal(top * ppl.param("b", np.ones(2)), 0.5))
        with ppl.plate("inner", x) as x:
            leaf = ppl.sample("leaf", Normal(row, ppl.param("s", np.ones(2), constraint="positive")))
            ppl.cost("fit", np.sum((leaf - x) ** 2))
        ppl.cost("row size", np.sum(row**2))
        ppl.cost("summary", np.sum(np.max(ppl.collect(leaf, "inner"), axis=0)) ** 2)
    ppl.cost("top size", top**2)


@pytest.fixture(scope="module")
def nested():
    return ppl.compile(hierarchy, dtype="float64", data=X)


def test_costs_at_every_level_of_nested_plates(nested):
    state = nested.init(0)
    d = nested.sample(state, X, seed=1)
    parts = {
        "fit": np.sum((d["leaf"] - X) ** 2),
        "row size": np.sum(d["row"] ** 2),
        "summary": np.sum(d["leaf"].max(1).sum(-1) ** 2),
        "top size": d["top"] ** 2,
    }
    assert nested.value(state, X, seed=1) == pytest.approx(sum(parts.values()), rel=1e-12)
    scaled = nested.value(state, X, seed=1, total_rows=90)
    assert scaled == pytest.approx(10 * (sum(parts.values()) - parts["top size"]) + parts["top size"], rel=1e-12)
    fit = ppl.fit(nested, X, steps=1, optimizer=ppl.optim.SGD(0.0), seed=0, progress=False)
    d = nested.sample(state, X)
    assert fit.history["fit"][0] == pytest.approx(np.sum((d["leaf"] - X) ** 2) / 9, rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"total_rows": 90}, {"particles": 3}], ids=["plain", "scaled", "particles"])
def test_path_gradients_through_nested_plates(nested, options):
    assert_gradients(nested, nested.init(0), X, seed=1, **options)


def test_rows_of_nested_plates_keep_their_noise(nested):
    state = nested.init(0)
    whole = nested.sample(state, X)
    part = nested.sample(state, X[3:5], rows=3)
    np.testing.assert_allclose(part["leaf"], whole["leaf"][3:5], rtol=1e-12)


def test_minibatch_gradients_are_unbiased_for_the_whole(nested):
    @ppl.model
    def outer(x):
        with ppl.plate("rows", x) as x:
            w = ppl.param("w", np.array([0.5, -1.0]))
            ppl.cost("c", np.sum((x @ w) ** 2))
        ppl.cost("prior", np.sum(ppl.param("v", 2.0) ** 2))

    program = ppl.compile(outer, dtype="float64", data=X)
    state = program.init(0)
    whole = program.value_and_grad(state, X)
    parts = [program.value_and_grad(state, X[i : i + 3], rows=i, total_rows=9) for i in (0, 3, 6)]
    assert np.mean([p[0] for p in parts]) == pytest.approx(whole[0], rel=1e-12)
    for name in ("w", "v"):
        np.testing.assert_allclose(np.mean([p[1][name] for p in parts], axis=0), whole[1][name], rtol=1e-12)


def test_a_plate_of_fixed_size_collects_into_an_event_axis():
    @ppl.model
    def pooled():
        with ppl.plate("k", 3) as i:
            z = ppl.sample("z", Normal(ppl.param("m", np.arange(3.0))[i], 1.0))
        all_z = ppl.collect(z, "k")
        ppl.deterministic("all", all_z)
        ppl.cost("c", np.sum(ppl.softmax(all_z) * np.arange(3.0)))

    program = ppl.compile(pooled, dtype="float64")
    state = program.init(0)
    drawn = program.sample(state)
    assert np.array_equal(drawn["z"], drawn["all"]) and drawn["z"].shape == (3,)
    assert_gradients(program, state, seed=2)


@ppl.model
def unit(x, *, width):
    """A layer that other models call."""
    h = ppl.dense("hidden", x, width, activation="tanh")
    return ppl.sample("z", Normal(h, 1.0))


def test_models_call_models_under_scopes():
    @ppl.model
    def both(x):
        with ppl.plate("data", x) as x:
            with ppl.scope("left"):
                a = unit(x, width=2)
            with ppl.scope("right"):
                b = unit(x, width=3)
            ppl.cost("c", np.sum(a) * np.sum(b))

    x = X[:, 0]
    program = ppl.compile(both, dtype="float64", data=x)
    state = program.init(0)
    assert set(state.params) == {f"{s}/hidden.{p}" for s in ("left", "right") for p in ("weight", "bias")}
    drawn = program.sample(state, x)
    assert drawn["left/z"].shape == (9, 2) and drawn["right/z"].shape == (9, 3)
    expected = np.sum(drawn["left/z"].sum(-1) * drawn["right/z"].sum(-1))
    assert program.value(state, x) == pytest.approx(expected, rel=1e-12)
    assert_gradients(program, state, x, seed=1)

    @ppl.model
    def clash(x):
        with ppl.plate("data", x) as x:
            ppl.cost("c", np.sum(unit(x, width=2)) + np.sum(unit(x, width=2)))

    with pytest.raises(ModelError, match=r"(param 'hidden.weight' is declared twice|two nodes are called 'z')"):
        ppl.compile(clash, data=x)


@ppl.model
def constrained():
    """A loss whose minimum is known for every constraint."""
    scale = ppl.param("scale", 1.0, constraint="positive")
    p = ppl.param("p", 0.5, constraint="unit_interval")
    mix = ppl.param("mix", np.full(3, 1 / 3), constraint="simplex")
    chol = ppl.param("chol", np.eye(2), constraint="lower_cholesky")
    ppl.cost("scale", (scale - 2.0) ** 2)
    ppl.cost("p", (p - 0.2) ** 2)
    ppl.cost("mix", -np.sum(np.array([0.2, 0.5, 0.3]) * np.log(mix)))
    ppl.cost("chol", np.sum((chol @ chol.T - np.array([[2.0, 0.6], [0.6, 1.0]])) ** 2))


def test_constrained_parameters_train_to_their_targets():
    program = ppl.compile(constrained, dtype="float64")
    assert_gradients(program, program.init(0))
    fit = ppl.fit(program, steps=1500, optimizer=ppl.optim.Adam(2e-2), progress=False)
    np.testing.assert_allclose(fit.params["scale"], 2.0, rtol=1e-3)
    np.testing.assert_allclose(fit.params["p"], 0.2, rtol=1e-2)
    np.testing.assert_allclose(fit.params["mix"], [0.2, 0.5, 0.3], rtol=1e-2)
    chol = fit.params["chol"]
    assert chol[0, 1] == 0 and (np.diag(chol) > 0).all()
    np.testing.assert_allclose(chol @ chol.T, [[2.0, 0.6], [0.6, 1.0]], rtol=1e-2)


def test_a_mixture_by_marginalisation_is_its_density():
    x = RNG.normal(size=6)

    @ppl.model
    def mixture(x):
        logits, loc = ppl.param("logits", np.array([0.1, -0.3, 0.5])), ppl.param("loc", np.array([-1.0, 0.0, 2.0]))
        with ppl.plate("data", x) as x:
            k = ppl.sample("k", Categorical(logits=logits))
            ppl.sample("x", Normal(loc[k], 0.7), obs=x)

    program = ppl.compile(ppl.likelihood(mixture, marginalize=["k"]), dtype="float64", data=x)
    state = program.init(0)
    logits, loc = state.params["logits"], state.params["loc"]
    log_p = logits - np.log(np.exp(logits).sum()) - 0.5 * ((x[:, None] - loc) / 0.7) ** 2
    log_p -= np.log(0.7) + 0.5 * np.log(2 * np.pi)
    expected = -np.log(np.exp(log_p).sum(1))
    np.testing.assert_allclose(program.value(state, x, per_row=True), expected, rtol=1e-12)
    assert program.value_and_grad(state, x)[0] == pytest.approx(expected.sum(), rel=1e-12)
    assert_gradients(program, state, x)


def test_a_global_latent_posterior_is_recovered():
    """Conjugate: y ~ N(w, 0.5²), w ~ N(0, 1); the guide's optimum is the exact posterior."""
    y = RNG.normal(1.0, 0.5, size=40)

    @ppl.model
    def model(y):
        w = ppl.sample("w", Normal(0.0, 1.0))
        with ppl.plate("data", y) as y:
            ppl.sample("y", Normal(w, 0.5), obs=y)

    @ppl.model
    def guide():
        ppl.sample("w", Normal(ppl.param("loc", 0.0), ppl.param("scale", 0.3, constraint="positive")))

    program = ppl.compile(ppl.elbo(model, guide), dtype="float64", particles=8, data=y)
    optimizer = ppl.optim.Adam(ppl.optim.exponential(0.05, 0.997))
    fit = ppl.fit(program, y, steps=2000, batch_size=10, optimizer=optimizer, seed=0, progress=False)
    precision = 1 + len(y) / 0.25
    assert fit.params["scale"] == pytest.approx(precision**-0.5, rel=0.05)
    assert fit.params["loc"] == pytest.approx(y.sum() / 0.25 / precision, abs=0.02)


def test_mixed_layers_get_their_own_estimators_and_train():
    @ppl.model
    def net(x):
        with ppl.plate("data", x) as x:
            h = ppl.layers.chain(x, ppl.layers.BinaryUnits(3), ppl.layers.GaussianUnits(2))
            ppl.cost("c", (np.sum(h) - x[0]) ** 2)

    x = X[:, 0]
    program = ppl.compile(net, data=x)
    plan = program.explain()
    assert not plan["layer/0"].estimator.biased and isinstance(plan["layer/1"].estimator, ppl.estimators.Pathwise)
    fit = ppl.fit(program, x, steps=300, optimizer=ppl.optim.Adam(2e-2), seed=0, progress=False)
    assert fit.history["loss"][-50:].mean() < 0.7 * fit.history["loss"][:50].mean()


def test_log_normal_and_bernoulli_costs_and_a_stopped_value():
    @ppl.model
    def stopped():
        s = ppl.sample("s", LogNormal(ppl.param("m", 0.1), 0.3))
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.2)))
        ppl.cost("c", ppl.stop_gradient(s) * 0.0 + b * 1.0)

    program = ppl.compile(stopped, ppl.estimators.Enumerate() and {"b": ppl.estimators.Enumerate()}, dtype="float64")
    p = 1 / (1 + np.exp(-0.2))
    loss, grads = program.value_and_grad(program.init(0))
    assert loss == pytest.approx(p, rel=1e-12)
    assert grads["m"] == 0 and grads["a"] == pytest.approx(p * (1 - p), rel=1e-12)


@ppl.model
def global_and_rows(x):
    """A global bit over a bit per row; costs inside and outside the plate."""
    g = ppl.sample("g", Bernoulli(logits=ppl.param("a", 0.3)))
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", Bernoulli(logits=ppl.param("w", 0.5) * x + g))
        ppl.cost("c", (b + 0.5 * g - x) ** 2)
    ppl.cost("k", 0.7 * g)


def _expected(a: float, w: float, x: np.ndarray, scale: float) -> float:
    """The loss of `global_and_rows` by summing over all bits."""
    total = 0.0
    for g in (0, 1):
        p = 1 / (1 + np.exp(-a if g else a))
        q = 1 / (1 + np.exp(-w * x - g))
        total += p * (scale * np.sum(q * (1 + 0.5 * g - x) ** 2 + (1 - q) * (0.5 * g - x) ** 2) + 0.7 * g)
    return total


def _slopes(x: np.ndarray, scale: float) -> np.ndarray:
    h = 1e-6
    a = (_expected(0.3 + h, 0.5, x, scale) - _expected(0.3 - h, 0.5, x, scale)) / (2 * h)
    w = (_expected(0.3, 0.5 + h, x, scale) - _expected(0.3, 0.5 - h, x, scale)) / (2 * h)
    return np.array([a, w])


def test_global_and_row_bits_summed_exactly_with_minibatch_scaling():
    x = RNG.normal(size=5)
    program = ppl.compile(global_and_rows, ppl.estimators.Enumerate(), dtype="float64", data=x)
    loss, grads = program.value_and_grad(program.init(0), x, total_rows=20)
    assert loss == pytest.approx(_expected(0.3, 0.5, x, 4.0), rel=1e-12)
    np.testing.assert_allclose([grads["a"], grads["w"]], _slopes(x, 4.0), rtol=1e-7)


def test_global_and_row_bits_with_an_estimator_each_are_unbiased():
    """Mean over 4000 noise seeds within 5 standard errors, themselves below 3 % of the gradient's norm."""
    x = RNG.normal(size=5)
    estimators = {"g": ppl.estimators.Enumerate(), "b": ppl.estimators.Rebar()}
    program = ppl.compile(global_and_rows, estimators, dtype="float64", data=x)
    state = program.init(0)
    for _ in range(200):
        _, _, state = program.step(state, x, total_rows=20)
    found = [program.value_and_grad(state, x, seed=s, total_rows=20)[1] for s in range(4000)]
    found = np.array([[g["a"], g["w"]] for g in found])
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    expected = _slopes(x, 4.0)
    assert (error < 0.03 * np.linalg.norm(expected)).all()
    assert (np.abs(found.mean(0) - expected) <= 5 * error).all(), (found.mean(0), expected, error)
