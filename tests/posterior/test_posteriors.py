"""Exact posteriors and draws of summed-out latents, against sums over all joint states in plain NumPy."""

import itertools
import pickle

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal, OneHotCategorical
from ppl.errors import DataError, ModelError, NonFiniteError
from tests.posterior.models import model_of
from tests.posterior.networks import hmm_forward_backward, random_network

DRAWS = 20_000


def compiled(model, names, *data):
    return ppl.compile(ppl.likelihood(model, marginalize=tuple(names)), dtype="float64", data=data or None)


def check_frequencies(drawn, expected):
    """Frequencies of states (last axis of `expected`) within five standard errors, and five draws of rare ones."""
    n = len(drawn)
    for k in range(expected.shape[-1]):
        p = expected[..., k]
        assert (np.abs((drawn == k).mean(0) - p) <= 5 * np.sqrt(p * (1 - p) / n) + np.where(p > 0, 5 / n, 0)).all()


@pytest.mark.parametrize(
    ("seed", "zeros"),
    [
        *((0, False), (101, True)),
        *(pytest.param(seed, seed > 100, marks=pytest.mark.slow) for seed in (2, 5, 104, 106)),
    ],
)
def test_random_networks(seed, zeros):
    network = random_network(seed, zeros=zeros)
    program = compiled(model_of(network, learned=not zeros), network.parents)
    state = program.init(0)
    found = program.posterior_probs(state)
    assert found.source == "exact" and list(found) == list(network.parents)
    for name, probs in found.items():
        np.testing.assert_allclose(probs, network.marginal(name), atol=1e-10)
    pairs = [("n1", "n4"), ("n4", "n1"), ("n0", "n3", "n5")]
    drawn = program.posterior(state, particles=DRAWS, seed=1)
    assert list(drawn) == list(network.parents)
    for name, values in drawn.items():
        check_frequencies(values, network.marginal(name))
    for pair in pairs:
        expected = network.marginal(*pair)
        try:
            joint = program.posterior_probs(state, sites=[pair])[pair]
        except ModelError as error:
            assert "independent given the data" in str(error)
            continue
        np.testing.assert_allclose(joint, expected, atol=1e-10)
        cells = np.ravel_multi_index([drawn[name] for name in pair], expected.shape)
        check_frequencies(cells, expected.ravel())


@ppl.model
def asia():
    """Lauritzen and Spiegelhalter's chest clinic."""
    p = ppl.constant
    visit = ppl.sample("asia", Categorical(probs=[0.99, 0.01]))
    smoke = ppl.sample("smoke", Categorical(probs=[0.5, 0.5]))
    tub = ppl.sample("tub", Categorical(probs=p([[0.99, 0.01], [0.95, 0.05]])[visit]))
    lung = ppl.sample("lung", Categorical(probs=p([[0.99, 0.01], [0.9, 0.1]])[smoke]))
    bronc = ppl.sample("bronc", Categorical(probs=p([[0.7, 0.3], [0.4, 0.6]])[smoke]))
    either = ppl.sample("either", Categorical(probs=p([[[1.0, 0], [0, 1]], [[0, 1], [0, 1]]])[tub, lung]))
    ppl.sample("xray", Bernoulli(probs=p([0.05, 0.98])[either]))
    ppl.sample("dysp", Bernoulli(probs=p([[0.1, 0.8], [0.7, 0.9]])[either, bronc]))


def asia_by_enumeration(evidence):
    a, s, t, l, b = np.indices((2,) * 5)  # noqa: E741

    def bit(p, x):
        return np.where(x == 1, p, 1 - p)

    e = ((t + l) > 0).astype(int)
    joint = bit(0.01, a) * bit(0.5, s) * bit(np.where(a, 0.05, 0.01), t) * bit(np.where(s, 0.1, 0.01), l)
    joint = joint * bit(np.where(s, 0.6, 0.3), b)
    xray, dysp = np.where(e, 0.98, 0.05), np.array([[0.1, 0.8], [0.7, 0.9]])[e, b]
    for name, value in evidence.items():
        joint = (
            joint * {"xray": bit(xray, value), "dysp": bit(dysp, value), "asia": a == value, "smoke": s == value}[name]
        )
    total = joint.sum()
    values = {"asia": a, "smoke": s, "tub": t, "lung": l, "bronc": b, "either": e}
    return {name: (joint * v).sum() / total for name, v in values.items()}


@pytest.mark.parametrize(
    "evidence", [{"xray": 1, "dysp": 1}, {"dysp": 1, "asia": 1}, {"xray": 0, "dysp": 0, "smoke": 1}]
)
def test_the_chest_clinic(evidence):
    names = [n for n in ("asia", "smoke", "tub", "lung", "bronc", "either") if n not in evidence]
    names += [n for n in ("xray", "dysp") if n not in evidence]
    program = compiled(ppl.condition(asia, evidence), names)
    found = program.posterior_probs(program.init(0))
    for name, expected in asia_by_enumeration(evidence).items():
        if name in found:
            assert found[name][1] == pytest.approx(expected, abs=1e-12)
    drawn = program.predict(program.init(0), particles=2000, seed=0)
    assert (drawn["either"] == (drawn["tub"] + drawn["lung"] > 0)).all()


@ppl.model
def mixture(x):
    weights, means = ppl.param("w", [0.3, -0.2, 0.1]), ppl.param("m", [-2.0, 0.0, 2.5])
    with ppl.plate("data", x) as x:
        k = ppl.sample("k", Categorical(logits=weights))
        ppl.deterministic("mean", means[k])
        ppl.sample("x", Normal(means[k], 0.8), obs=x)


def responsibilities(x, params):
    w, m = np.exp(params["w"]), params["m"]
    joint = w * np.exp(-0.5 * ((x[:, None] - m) / 0.8) ** 2)
    return joint / joint.sum(1, keepdims=True)


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_responsibilities_of_a_mixture(rows):
    x = np.random.default_rng(rows).normal(size=rows) * 2
    program = compiled(mixture, ["k"], x)
    state = program.init(0)
    expected = responsibilities(x, state.params)
    found = program.posterior_probs(state, x)["k"]
    assert found.shape == (rows, 3)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    drawn = program.predict(state, x, particles=4000, seed=3)
    check_frequencies(drawn["k"], expected)
    np.testing.assert_array_equal(drawn["mean"], state.params["m"][drawn["k"]])
    gap = (drawn["x"] - drawn["mean"]) / 0.8
    assert abs(gap.mean()) < 5 / np.sqrt(gap.size) and abs(gap.var() - 1) < 5 * np.sqrt(2 / gap.size)
    assert list(program.sample(state, x)) == ["x"]


def test_draws_do_not_depend_on_how_rows_are_split():
    x = np.random.default_rng(1).normal(size=40)
    program = compiled(mixture, ["k"], x)
    state = program.init(0)
    whole = program.posterior(state, x, particles=20, seed=1)["k"]
    parts = [program.posterior(state, x[s], particles=20, seed=1, rows=s)["k"] for s in (slice(0, 7), slice(7, 40))]
    assert np.array_equal(whole, np.concatenate(parts, axis=1))


def test_float32_and_missing_rows():
    @ppl.model
    def masked(x, seen):
        with ppl.plate("data", x, seen) as (x, seen):
            k = ppl.sample("k", Categorical(probs=[0.2, 0.8]))
            ppl.sample("x", Normal(ppl.constant([-3.0, 3.0])[k], 1.0), obs=x, obs_mask=seen)

    x, seen = np.array([np.nan, 3.0, -3.0]), np.array([False, True, True])
    program = ppl.compile(ppl.likelihood(masked, marginalize=["k"]), data=(x, seen))
    found = program.posterior_probs(program.init(0), x, seen)["k"]
    odds = np.exp([0.0, -18.0, 18.0])
    np.testing.assert_allclose(found[:, 0], 0.2 * odds / (0.2 * odds + 0.8), rtol=1e-5)
    drawn = program.predict(program.init(0), x, seen, particles=DRAWS, seed=0)
    assert drawn["x"][:, 0].mean() == pytest.approx(0.8 * 3 - 0.2 * 3, abs=5 * np.sqrt(6.76 / DRAWS))


def test_units_of_a_vector_and_one_hot_values():
    @ppl.model
    def model(y):
        with ppl.plate("data", y) as y:
            b = ppl.sample("b", Bernoulli(logits=[0.3, -0.4, 1.0]))
            h = ppl.sample("h", OneHotCategorical(probs=[0.1, 0.6, 0.3]))
            ppl.sample("y", Normal(np.sum(b) + h @ np.array([0.0, 1.0, -1.0]), 1.0), obs=y)

    y = np.array([0.5, 2.0])
    program = compiled(model, ["b", "h"], y)
    found = program.posterior_probs(program.init(0), y)
    p = 1 / (1 + np.exp(-np.array([0.3, -0.4, 1.0])))
    units, classes = np.zeros((2, 3, 2)), np.zeros((2, 3))
    for row in range(2):
        for b in np.ndindex(2, 2, 2):
            for k in range(3):
                prior = np.prod(np.where(b, p, 1 - p)) * [0.1, 0.6, 0.3][k]
                joint = prior * np.exp(-0.5 * (y[row] - sum(b) - [0.0, 1.0, -1.0][k]) ** 2)
                classes[row, k] += joint
                for i in range(3):
                    units[row, i, b[i]] += joint
    np.testing.assert_allclose(found["b"], units / units.sum(-1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(found["h"], classes / classes.sum(-1, keepdims=True), atol=1e-12)
    drawn = program.posterior(program.init(0), y, particles=DRAWS, seed=0)
    assert drawn["b"].shape == drawn["h"].shape == (DRAWS, 2, 3)
    error = np.sqrt(0.25 / DRAWS)
    np.testing.assert_allclose(drawn["b"].mean(0), found["b"][..., 1], atol=5 * error)
    np.testing.assert_allclose(drawn["h"].mean(0), found["h"], atol=5 * error)
    with pytest.raises(ModelError, match="holds several units"):
        program.posterior_probs(program.init(0), y, sites=[("b", "h")])


def hmm(steps_masked=False):
    @ppl.model
    def model(y, seen):
        table, mean = ppl.param("table", TABLE), ppl.param("mean", [-1.0, 0.0, 1.5])
        with ppl.plate("data", y, seen) as (y, seen):

            def step(z, given):
                value, known = given
                z = ppl.sample("z", Categorical(logits=table[z]))
                ppl.deterministic("level", mean[z])
                ppl.sample("y", Normal(mean[z], 0.7), obs=value, obs_mask=known)
                return z, None

            ppl.scan(step, 0, (y, seen))

    return model


TABLE = np.random.default_rng(5).normal(size=(3, 3))


def hmm_expected(y, seen):
    p = np.exp(TABLE) / np.exp(TABLE).sum(1, keepdims=True)
    density = -0.5 * ((y[..., None] - np.array([-1.0, 0.0, 1.5])) / 0.7) ** 2
    density = np.where(seen[..., None], density, 0.0)
    return np.stack([hmm_forward_backward(p[0], p, d)[0] for d in density]), p


@pytest.mark.parametrize(("rows", "steps"), [(3, 12), (1, 1), (2, 2)])
def test_smoothing_and_forecasts_of_a_hidden_markov_model(rows, steps):
    rng = np.random.default_rng(rows)
    y, seen = rng.normal(size=(rows, steps)) * 1.5, np.ones((rows, steps), bool)
    if steps > 4:
        seen[0, 3:5], seen[1, -3:] = False, False
        y[~seen] = np.nan
    program = compiled(hmm(), ["z"], y, seen)
    state = program.init(0)
    expected, p = hmm_expected(y, seen)
    found = program.posterior_probs(state, y, seen)["z"]
    assert found.shape == (rows, steps, 3)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    drawn = program.predict(state, y, seen, particles=DRAWS, seed=2)
    assert drawn["z"].shape == drawn["y"].shape == (DRAWS, rows, steps)
    check_frequencies(drawn["z"], expected)
    np.testing.assert_array_equal(drawn["level"], state.params["mean"][drawn["z"]])
    assert abs(((drawn["y"] - drawn["level"]) / 0.7).var() - 1) < 5 * np.sqrt(2 / drawn["y"].size)
    if steps > 4:  # forecasts follow the chain: pairs of steps beyond the data move by the table
        before, after = drawn["z"][:, 1, -2], drawn["z"][:, 1, -1]
        for k in range(3):
            moved = after[before == k]
            for j in range(3):
                assert abs((moved == j).mean() - p[k, j]) < 5 * np.sqrt(0.25 / len(moved))


def test_pairs_of_states_are_drawn_jointly():
    """p(z_t, z_t+1 | y) by forward-backward, at one pair in the middle."""
    y = np.random.default_rng(8).normal(size=(1, 6))
    seen = np.ones(y.shape, bool)
    program = compiled(hmm(), ["z"], y, seen)
    drawn = program.posterior(program.init(0), y, seen, particles=DRAWS, seed=0)["z"][:, 0]
    p = np.exp(TABLE) / np.exp(TABLE).sum(1, keepdims=True)
    density = np.exp(-0.5 * ((y[0][:, None] - np.array([-1.0, 0.0, 1.5])) / 0.7) ** 2)
    joint = np.zeros((3,) * 6)
    for z in np.ndindex(*joint.shape):
        joint[z] = p[0, z[0]] * np.prod([p[a, b] for a, b in itertools.pairwise(z)])
        joint[z] *= np.prod([density[t, k] for t, k in enumerate(z)])
    joint /= joint.sum()
    pair = joint.sum((0, 1, 4, 5)).ravel()
    check_frequencies(drawn[:, 2] * 3 + drawn[:, 3], pair)


def test_a_chain_of_two_nodes_and_one_that_runs_backwards():
    @ppl.model
    def factorial(y):
        def step(c, yt):
            z, u = c
            z, u = ppl.sample("z", Bernoulli(logits=0.8 * z)), ppl.sample("u", Bernoulli(logits=-0.6 * u - 0.2))
            ppl.sample("y", Normal(z + 2.0 * u, 0.7), obs=yt)
            return (z, u), None

        ppl.scan(step, (0.0, 0.0), y, reverse=True)

    y = np.array([0.3, 2.5, 1.0, 3.0])
    program = compiled(factorial, ["z", "u"], y)
    sigma = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    a, b = sigma(0.8 * np.arange(2)), sigma(-0.6 * np.arange(2) - 0.2)
    move = np.einsum("ac,bd->abcd", np.stack([1 - a, a], 1), np.stack([1 - b, b], 1)).reshape(4, 4)
    level = np.array([0.0, 2.0, 1.0, 3.0])
    density = -0.5 * ((y[::-1, None] - level) / 0.7) ** 2
    expected = hmm_forward_backward(move[0], move, density)[0][::-1]
    joint = program.posterior_probs(program.init(0), y, sites=[("z", "u"), "u"])
    np.testing.assert_allclose(joint["z", "u"].reshape(4, 4), expected, atol=1e-10)
    np.testing.assert_allclose(joint["u"], expected.reshape(4, 2, 2).sum(1), atol=1e-10)
    drawn = program.posterior(program.init(0), y, particles=DRAWS, seed=0)
    check_frequencies(drawn["z"] * 2 + drawn["u"], expected)


def test_a_loop_that_remembers_two_steps_is_written_out():
    @ppl.model
    def second_order(y):
        def step(c, yt):
            z, before = c
            new = ppl.sample("z", Bernoulli(logits=1.2 * z - 0.8 * before))
            ppl.sample("y", Normal(new, 0.7), obs=yt)
            return (new, z), None

        ppl.scan(step, (0.0, 0.0), y)

    y = np.array([0.9, 1.1, -0.2, 0.4, 1.3])
    program = compiled(second_order, ["z"], y)
    sigma = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    joint = np.zeros((2,) * 5)
    for z in np.ndindex(*joint.shape):
        path, log = (0, 0, *z), 0.0
        for t in range(5):
            q = sigma(1.2 * path[t + 1] - 0.8 * path[t])
            log += np.log(q if z[t] else 1 - q) - 0.5 * ((y[t] - z[t]) / 0.7) ** 2
        joint[z] = np.exp(log)
    joint /= joint.sum()
    expected = np.array([joint.sum(tuple(i for i in range(5) if i != t)) for t in range(5)])
    np.testing.assert_allclose(program.posterior_probs(program.init(0), y)["z"], expected, atol=1e-10)
    drawn = program.predict(program.init(0), y, particles=DRAWS, seed=0)
    assert drawn["z"].shape == drawn["y"].shape == (DRAWS, 5)
    check_frequencies(drawn["z"], expected)


def test_nested_plates():
    @ppl.model
    def groups(y):
        top = ppl.sample("top", Categorical(probs=[0.4, 0.6]))
        with ppl.plate("data", y) as y:
            kind = ppl.sample("kind", Categorical(probs=ppl.constant([[0.2, 0.8], [0.7, 0.3]])[top]))
            with ppl.plate("inner", y) as y:
                ppl.sample("y", Normal(1.5 * kind - top, 1.0), obs=y)

    y = np.random.default_rng(0).normal(size=(3, 2))
    program = compiled(groups, ["top", "kind"], y)
    joint = np.zeros((2, 2, 2, 2))
    for top, *kinds in np.ndindex(2, 2, 2, 2):
        log = np.log([0.4, 0.6][top])
        for row, kind in enumerate(kinds):
            log += np.log([[0.2, 0.8], [0.7, 0.3]][top][kind]) - 0.5 * ((y[row] - 1.5 * kind + top) ** 2).sum()
        joint[(top, *kinds)] = np.exp(log)
    joint /= joint.sum()
    found = program.posterior_probs(program.init(0), y, sites=["top", "kind", ("kind", "top")])
    np.testing.assert_allclose(found["top"], joint.sum((1, 2, 3)), atol=1e-12)
    for row in range(3):
        pair = joint.sum(tuple(i for i in (1, 2, 3) if i != row + 1))
        np.testing.assert_allclose(found["kind"][row], pair.sum(0), atol=1e-12)
        np.testing.assert_allclose(found["kind", "top"][row], pair.T, atol=1e-12)
    drawn = program.posterior(program.init(0), y, particles=DRAWS, seed=0)
    assert drawn["top"].shape == (DRAWS,) and drawn["kind"].shape == (DRAWS, 3)
    cells = np.ravel_multi_index([drawn["top"], *drawn["kind"].T], joint.shape)
    check_frequencies(cells, joint.ravel())


def test_impossible_data_have_no_posterior():
    @ppl.model
    def model():
        k = ppl.sample("k", Categorical(probs=[0.5, 0.5]))
        j = ppl.sample("j", Categorical(probs=ppl.constant([[1.0, 0.0], [1.0, 0.0]])[k]))
        ppl.sample("z", Categorical(probs=ppl.constant([[1.0, 0.0], [0.5, 0.5]])[j]), obs=1)

    program = compiled(model, ["k", "j"])
    with pytest.raises(NonFiniteError, match="posterior_probs: the data have probability 0"):
        program.posterior_probs(program.init(0))
    assert np.isnan(program.posterior_probs(program.init(0), nonfinite="keep")["k"]).all()
    for method in (program.posterior, program.predict):
        with pytest.raises(NonFiniteError, match="the data have probability 0 given the parameters"):
            method(program.init(0), particles=3)


def test_probabilities_of_a_guide():
    @ppl.model
    def model(y):
        with ppl.plate("data", y) as y:
            k = ppl.sample("k", Categorical(probs=[0.5, 0.5]))
            ppl.sample("y", Normal(2.0 * k, 1.0), obs=y)

    @ppl.model
    def guide(y):
        with ppl.plate("data", y) as y:
            ppl.sample("k", Categorical(logits=np.stack([0.0 * y, 2.0 * y])))

    y = np.array([0.3, -1.0, 2.0])
    program = ppl.compile(ppl.elbo(model, guide), dtype="float64", data=y)
    found = program.posterior_probs(program.init(0), y)
    assert found.source == "guide" and "guide" in repr(found)
    np.testing.assert_allclose(found["k"][:, 1], 1 / (1 + np.exp(-2 * y)), rtol=1e-12)
    again = pickle.loads(pickle.dumps(found))
    assert again.source == "guide" and np.array_equal(again["k"], found["k"])


def test_refusals():
    x = np.zeros(3)
    program = compiled(mixture, ["k"], x)
    with pytest.raises(DataError, match=r"no finite latent named \['q'\]"):
        program.posterior_probs(program.init(0), x, sites="q")
    with pytest.raises(DataError, match="tuples of different names"):
        program.posterior_probs(program.init(0), x, sites=[("k", "k")])
    plain = ppl.compile(ppl.likelihood(mixture), data=x)
    with pytest.raises(ModelError, match="has no finite latent that is summed out"):
        plain.posterior_probs(plain.init(0), x)

    @ppl.model
    def mixed(x):
        s = ppl.sample("s", Normal(0.0, 1.0))
        with ppl.plate("data", x) as x:
            k = ppl.sample("k", Categorical(probs=[0.5, 0.5]))
            ppl.sample("x", Normal(s + k, 1.0), obs=x)

    some = compiled(mixed, ["k"], x)
    with pytest.raises(ModelError, match="with latent 's', which is not summed out"):
        some.posterior_probs(some.init(0), x)
    with pytest.raises(ModelError, match="'s' of model 'mixed' would be drawn from the model"):
        some.posterior(some.init(0), x)
    drawn = some.predict(some.init(0), x, particles=5)
    assert drawn["k"].shape == (5, 3) and drawn["s"].shape == (5,)


def test_factors_of_an_undirected_model():
    """A grid of three by three spins with couplings as factors, against all 512 states."""
    names = [f"s{i}{j}" for i in range(3) for j in range(3)]
    edges = [(a, b) for a, b in itertools.combinations(names, 2)
             if abs(int(a[1]) - int(b[1])) + abs(int(a[2]) - int(b[2])) == 1]  # fmt: skip

    @ppl.model
    def ising(y):
        w = ppl.param("w", 0.6)
        spin = {name: 2.0 * ppl.sample(name, Bernoulli(probs=0.5)) - 1.0 for name in names}
        for a, b in edges:
            ppl.factor(f"{a}-{b}", w * spin[a] * spin[b])
        ppl.sample("y", Normal(spin["s00"], 1.0), obs=y)

    y = np.array(0.8)
    program = compiled(ising, names, y)
    weight, up = 0.0, np.zeros(9)
    for z in itertools.product((-1, 1), repeat=9):
        s = dict(zip(names, z, strict=True))
        p = 0.5**9 * np.exp(0.6 * sum(s[a] * s[b] for a, b in edges) - 0.5 * (0.8 - s["s00"]) ** 2)
        weight, up = weight + p, up + p * (np.array(z) == 1)
    state = program.init(0)
    assert -program.value(state, y) == pytest.approx(np.log(weight / np.sqrt(2 * np.pi)), rel=1e-12)
    found = program.posterior_probs(state, y)
    np.testing.assert_allclose([found[n][1] for n in names], up / weight, atol=1e-12)
    drawn = program.posterior(state, y, particles=DRAWS, seed=0)
    for i, name in enumerate(names):
        check_frequencies(drawn[name], np.array([1 - up[i] / weight, up[i] / weight]))


def test_a_factor_in_a_chain_is_read_in_its_step():
    @ppl.model
    def model(y):
        def step(z, yt):
            z = ppl.sample("z", Bernoulli(logits=1.5 * z - 0.5))
            ppl.factor("pull", 0.7 * z * yt)
            ppl.sample("y", Normal(z, 1.0), obs=yt)
            return z, None

        ppl.scan(step, 0.0, y)

    y = np.array([0.2, 1.4, -0.3, 0.9])
    program = compiled(model, ["z"], y)
    p = 1 / (1 + np.exp(-(1.5 * np.arange(2) - 0.5)))
    move = np.stack([1 - p, p], 1)
    density = -0.5 * (y[:, None] - np.arange(2)) ** 2 + 0.7 * y[:, None] * np.arange(2)
    expected, log = hmm_forward_backward(move[0], move, density)
    assert -program.value(program.init(0), y) == pytest.approx(log - 2 * np.log(2 * np.pi), rel=1e-12)
    np.testing.assert_allclose(program.posterior_probs(program.init(0), y)["z"], expected, atol=1e-12)


def test_a_global_latent_beside_a_chain_is_written_out():
    """Which of two transition tables: a chain given a node outside of its loop."""

    @ppl.model
    def model(y):
        g = ppl.sample("g", Categorical(probs=[0.3, 0.7]))
        slope = ppl.constant([-1.0, 2.0])[g]

        def step(z, yt):
            z = ppl.sample("z", Bernoulli(logits=slope * z - 0.5))
            ppl.sample("y", Normal(z, 0.5), obs=yt)
            return z, None

        ppl.scan(step, 0.0, y)

    y = np.array([0.9, 1.1, 0.2, 0.9])
    program = compiled(model, ["g", "z"], y)
    logs, smooth = [], []
    for g, slope in enumerate((-1.0, 2.0)):
        p = 1 / (1 + np.exp(-(slope * np.arange(2) - 0.5)))
        move = np.stack([1 - p, p], 1)
        gamma, log = hmm_forward_backward(move[0], move, -0.5 * ((y[:, None] - np.arange(2)) / 0.5) ** 2)
        logs.append(log + np.log([0.3, 0.7][g]))
        smooth.append(gamma)
    weights = np.exp(logs) / np.exp(logs).sum()
    found = program.posterior_probs(program.init(0), y)
    np.testing.assert_allclose(found["g"], weights, atol=1e-12)
    np.testing.assert_allclose(found["z"], np.tensordot(weights, smooth, 1), atol=1e-12)
    drawn = program.predict(program.init(0), y, particles=DRAWS, seed=0)
    check_frequencies(drawn["g"], weights)
    check_frequencies(drawn["z"], found["z"])


def test_new_rows_of_which_nothing_is_observed():
    """Without their data latents have their prior, and in a loop the chain runs by itself."""
    x = np.zeros(3)
    program = compiled(mixture, ["k"], x)
    state = program.init(0)
    drawn = program.predict(state, None, rows=np.arange(4), particles=DRAWS, seed=0)
    prior = np.exp(state.params["w"]) / np.exp(state.params["w"]).sum()
    assert drawn["x"].shape == (DRAWS, 4)
    check_frequencies(drawn["k"], np.broadcast_to(prior, (4, 3)))
    y = np.full((2, 5), 9.0)
    seen = np.ones(y.shape, bool)
    program = compiled(hmm(), ["z"], y, seen)
    drawn = program.predict(program.init(0), None, seen, particles=DRAWS, seed=0)
    free, p = hmm_expected(y, np.zeros(y.shape, bool))
    np.testing.assert_allclose(free[0, 1], p[0] @ p, atol=1e-12)
    check_frequencies(drawn["z"], free)
    with pytest.raises(DataError, match="argument 'seen' is None, but obs_mask of 'y' is computed from it"):
        program.predict(program.init(0), y, None)


def test_rows_that_a_later_value_mixes_are_drawn_together():
    @ppl.model
    def coupled(y):
        with ppl.plate("k", 3):
            b = ppl.sample("b", Bernoulli(logits=0.3))
        ppl.sample("y", Normal(np.sum(ppl.collect(b, "k")), 0.5), obs=y)

    y = np.array(1.7)
    program = compiled(coupled, ["b"], y)
    q = 1 / (1 + np.exp(-0.3))
    joint = np.zeros((2, 2, 2))
    for z in np.ndindex(2, 2, 2):
        joint[z] = q ** sum(z) * (1 - q) ** (3 - sum(z)) * np.exp(-0.5 * ((1.7 - sum(z)) / 0.5) ** 2)
    drawn = program.posterior(program.init(0), y, particles=DRAWS, seed=0)["b"].astype(int)
    check_frequencies(np.ravel_multi_index(drawn.T, joint.shape), (joint / joint.sum()).ravel())
    with pytest.raises(ModelError, match="the rows of 'b' are coupled"):
        program.posterior_probs(program.init(0), y)


def test_latents_without_evidence_keep_their_prior():
    """Each by itself, beside one that is observed, and a network of which nothing is known."""

    @ppl.model
    def network(x):
        a = ppl.sample("a", Categorical(probs=[0.2, 0.8]))
        ppl.sample("b", Categorical(probs=ppl.constant([[0.5, 0.5], [0.1, 0.9]])[a]))
        ppl.sample("c", Categorical(probs=[0.1, 0.2, 0.7]))
        d = ppl.sample("d", Categorical(probs=[0.3, 0.7]))
        if x is not None:
            ppl.sample("x", Categorical(probs=ppl.constant([[0.9, 0.1], [0.4, 0.6]])[d]), obs=x)

    @ppl.model
    def alone():
        network.function(None)

    latents = ["a", "b", "c", "d"]
    prior = {"a": [0.2, 0.8], "b": [0.18, 0.82], "c": [0.1, 0.2, 0.7], "d": [0.3, 0.7]}
    seen = {**prior, "d": np.array([0.03, 0.42]) / 0.45}
    for model, data, wanted, loss in ((network, (1,), seen, -np.log(0.45)), (alone, (), prior, 0.0)):
        program = ppl.compile(ppl.likelihood(model, marginalize=latents), data=data, dtype="float64")
        found = program.posterior_probs(program.init(0), *data)
        for name in latents:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12)
        np.testing.assert_allclose(program.value(program.init(0), *data), loss, atol=1e-12)
