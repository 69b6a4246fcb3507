"""Likelihoods whose latents are summed out one after the other, against sums over all joint states."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal
from ppl.errors import DataError, EstimatorError
from ppl.estimators import Enumerate
from ppl.graph.elimination import cut_to_budget, elimination_tables, largest_table
from tests.posterior.models import log_constant, model_of
from tests.posterior.networks import random_network

SEEDS = [pytest.param(seed, marks=pytest.mark.slow if seed > 2 else ()) for seed in range(8)]


def compiled(model, names, *data):
    return ppl.compile(ppl.likelihood(model, marginalize=tuple(names)), dtype="float64", data=data or None)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks(seed):
    network = random_network(seed)
    program = compiled(model_of(network), network.parents)
    state = program.init(0)
    loss, grads = program.value_and_grad(state)
    assert -loss == pytest.approx(np.log(network.joint().sum()) + log_constant(network), rel=1e-10)
    rng = np.random.default_rng(seed)
    direction = {k: rng.normal(size=v.shape) for k, v in state.params.items()}
    ends = []
    for step in (1e-5, -1e-5):
        moved = {k: v + step * direction[k] for k, v in state.params.items()}
        ends.append(program.value(state.replace(params=moved)))
    slope = sum((grads[k] * direction[k]).sum() for k in grads)
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_with_impossible_states(seed):
    network = random_network(100 + seed, zeros=True)
    program = compiled(model_of(network, learned=False), network.parents)
    expected = np.log(network.joint().sum()) + log_constant(network)
    assert -program.value(program.init(0)) == pytest.approx(expected, rel=1e-10)


def long_chain(length, states=3):
    """A chain that is written out in Python: K^T joint states."""

    @ppl.model
    def model(y):
        table = ppl.param("table", np.random.default_rng(0).normal(size=(states, states)))
        z = 0
        for t in range(length):
            z = ppl.sample(f"z{t}", Categorical(logits=table[z]))
            ppl.sample(f"y{t}", Normal(ppl.constant(np.arange(float(states)))[z], 0.8), obs=y[t])

    return model


def test_a_written_out_chain_costs_squares_of_states():
    length = 25
    y = np.random.default_rng(1).normal(size=length) + 1.0
    program = compiled(long_chain(length), [f"z{t}" for t in range(length)], y)
    table = np.exp(program.init(0, y).params["table"])
    table /= table.sum(1, keepdims=True)
    density = np.exp(-0.5 * ((y[:, None] - np.arange(3.0)) / 0.8) ** 2) / np.sqrt(2 * np.pi * 0.64)
    alpha, log = table[0], 0.0
    for t in range(length):
        alpha = (alpha if t == 0 else alpha @ table) * density[t]
        log, alpha = log + np.log(alpha.sum()), alpha / alpha.sum()
    loss, grads = program.value_and_grad(program.init(0, y), y)
    assert -loss == pytest.approx(log, rel=1e-10)
    assert np.isfinite(grads["table"]).all() and np.abs(grads["table"].sum(1)).max() < 1e-10


def test_a_state_of_weight_0_keeps_its_derivative():
    """d/dp of p(y) at p = 0 of the first link, by the sum written out."""
    likelihood = np.array([[0.3, 0.9], [0.5, 0.2]])

    @ppl.model
    def model():
        p = ppl.param("p", [0.0, 1.0])
        a = ppl.sample("a", Bernoulli(probs=p[0]))
        b = ppl.sample("b", Bernoulli(probs=ppl.constant([1.0, 0.4])[a.astype(int)] * p[1]))
        seen = ppl.constant(likelihood)[a.astype(int), b.astype(int)]
        ppl.sample("y", Bernoulli(probs=seen), obs=1.0)

    program = compiled(model, ["a", "b"])
    loss, grads = program.value_and_grad(program.init(0))

    def evidence(p, q):
        first, second = np.array([1 - p, p]), np.array([1.0, 0.4]) * q
        return (first[:, None] * np.stack([1 - second, second], 1) * likelihood).sum()

    assert np.exp(-loss) == pytest.approx(evidence(0.0, 1.0))
    step = 1e-6
    slopes = [
        (evidence(step, 1.0) - evidence(0.0, 1.0)) / step,
        (evidence(0.0, 1.0) - evidence(0.0, 1.0 - step)) / step,
    ]
    np.testing.assert_allclose(grads["p"], -np.array(slopes) / evidence(0.0, 1.0), rtol=1e-4)


@ppl.model
def groups(y, seen):
    """A global switch, a group's type, a row's class: nested plates."""
    top = ppl.sample("top", Categorical(logits=ppl.param("t", [0.2, -0.3])))
    with ppl.plate("data", y, seen) as (y, seen):
        kind = ppl.sample("kind", Categorical(logits=ppl.param("k", [[0.1, 0.5], [0.4, -1.0]])[top]))
        with ppl.plate("inner", y, seen) as (y, seen):
            c = ppl.sample("c", Bernoulli(logits=ppl.param("c0", [0.3, -0.7])[kind]))
            ppl.sample("y", Normal(c + 0.5 * top, 1.0), obs=y, obs_mask=seen)


def test_latents_of_nested_plates():
    y = np.random.default_rng(3).normal(size=(4, 3))
    seen = np.ones((4, 3), bool)
    seen[1], seen[2, 0] = False, False
    program = compiled(groups, ("top", "kind", "c"), y, seen)
    params = program.init(0, y, seen).params
    softmax = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)  # noqa: E731
    total = 0.0
    for top in range(2):
        rows = 1.0
        for i in range(4):
            group = 0.0
            for kind in range(2):
                p = 1 / (1 + np.exp(-params["c0"][kind]))
                inner = 1.0
                for j in range(3):
                    if seen[i, j]:
                        inner *= sum(w * np.exp(-0.5 * (y[i, j] - c - 0.5 * top) ** 2) / np.sqrt(2 * np.pi)
                                     for c, w in ((0, 1 - p), (1, p)))  # fmt: skip
                group += softmax(params["k"][top])[kind] * inner
            rows *= group
        total += softmax(params["t"])[top] * rows
    loss, grads = program.value_and_grad(program.init(0, y, seen), y, seen)
    assert -loss == pytest.approx(np.log(total), rel=1e-10)
    assert all(np.isfinite(g).all() for g in grads.values())
    with pytest.raises(DataError, match=r"takes all 40 rows in one call, 4 are given"):
        program.value(program.init(0, y, seen), y, seen, total_rows=40)


def test_a_global_latent_and_all_rows_of_data():
    @ppl.model
    def coin(y):
        which = ppl.sample("which", Categorical(probs=[0.7, 0.3]))
        with ppl.plate("data", y) as y:
            ppl.sample("y", Bernoulli(probs=ppl.param("p", [0.5, 0.9])[which]), obs=y)

    y = np.array([1.0, 1, 0, 1, 1, 1, 1])
    program = compiled(coin, ["which"], y)
    expected = 0.7 * 0.5**7 + 0.3 * 0.9**6 * 0.1
    assert -program.value(program.init(0, y), y) == pytest.approx(np.log(expected))
    one = np.array([0.0])
    assert -program.value(program.init(0, y), one) == pytest.approx(np.log(0.7 * 0.5 + 0.3 * 0.1))


def test_a_message_names_a_cut_that_fits():
    @ppl.model
    def wide():
        hub = ppl.sample("hub", Categorical(logits=np.zeros(50)))
        w = ppl.param("w", np.zeros((50, 40)))
        a, b, c = (ppl.sample(k, Categorical(logits=w[hub] * i)) for i, k in enumerate("abc", 1))
        ppl.sample("y", Normal(1.0 * a * b * c, 1.0), obs=0.0)

    match = (
        r"hub, a, b, c together takes 3.2e\+06 joint states .*, over the budget of 65536; with \w+ observed .* would do"
    )
    with pytest.raises(EstimatorError, match=match):
        compiled(wide, ("hub", "a", "b", "c"))


def test_expectations_of_a_chain_are_summed_step_by_step():
    """`Enumerate` on a chain of 14 nodes: 4^14 joint states, tables of 16."""
    length = 14

    @ppl.model
    def model():
        table = ppl.param("table", np.random.default_rng(0).normal(size=(4, 4)))
        z = 0
        for t in range(length):
            z = ppl.sample(f"z{t}", Categorical(logits=table[z]))
            ppl.cost(f"c{t}", (1.0 * z - 1.0) ** 2)

    program = ppl.compile(model, Enumerate(), dtype="float64")
    loss, grads = program.value_and_grad(program.init(0))

    def exact(raw):
        p = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
        law, found = p[0], 0.0
        for t in range(length):
            law = law if t == 0 else law @ p
            found += law @ (np.arange(4.0) - 1.0) ** 2
        return found

    raw = program.init(0).params["table"]
    assert loss == pytest.approx(exact(raw), rel=1e-10)
    move = np.random.default_rng(2).normal(size=(4, 4))
    slope = (exact(raw + 1e-5 * move) - exact(raw - 1e-5 * move)) / 2e-5
    assert (grads["table"] * move).sum() == pytest.approx(slope, rel=1e-6)


def test_orders_of_trees_and_chains_are_exact():
    chain = [frozenset((i, i + 1)) for i in range(30)]
    sizes = dict.fromkeys(range(31), 5.0)
    tables = elimination_tables(chain, sizes, dict.fromkeys(sizes, 0))
    assert largest_table(tables) == 25 and len(tables) == 31
    star = [frozenset((0, i)) for i in range(1, 31)]
    assert largest_table(elimination_tables(star, sizes, dict.fromkeys(sizes, 0))) == 25
    nodes, entries = cut_to_budget([frozenset(range(6))], sizes, dict.fromkeys(range(6), 0), 5.0**4)
    assert len(nodes) == 2 and entries == 5.0**4


def test_loops_that_remember_two_steps_are_summed_out_over_tables():
    """Expectations over a written-out loop of 12 steps: p(z_t | z_t-1, z_t-2), against all 2^12 paths."""

    @ppl.model
    def model():
        a = ppl.param("a", 0.4)

        def step(c, t):
            z, before = c
            new = ppl.sample("z", Bernoulli(logits=a * z * before - 0.2))
            ppl.cost("c", new * before + 0.3 * new)
            return (new, z), None

        ppl.scan(step, (1.0, 1.0), length=12)

    program = ppl.compile(model, estimators=Enumerate(), dtype="float64")

    def exact(a):
        total = 0.0
        for z in np.ndindex(*(2,) * 12):
            path, log, cost = (1, 1, *z), 0.0, 0.0
            for t in range(12):
                p = 1 / (1 + np.exp(0.2 - a * path[t + 1] * path[t]))
                log += np.log(p if z[t] else 1 - p)
                cost += z[t] * path[t] + 0.3 * z[t]
            total += np.exp(log) * cost
        return total

    loss, grads = program.value_and_grad(program.init(0))
    assert loss == pytest.approx(exact(0.4), rel=1e-10)
    assert grads["a"] == pytest.approx((exact(0.4 + 1e-5) - exact(0.4 - 1e-5)) / 2e-5, rel=1e-6)


def test_a_cost_that_is_a_sum_is_taken_apart():
    """One cost of 20 nodes of a chain, 3^20 joint states; per row, too."""
    length = 20

    @ppl.model
    def model(x):
        table = ppl.param("table", np.random.default_rng(0).normal(size=(3, 3)))
        with ppl.plate("data", x) as x:
            z, total = 0, 1.0
            for t in range(length):
                z = ppl.sample(f"z{t}", Categorical(logits=table[z]))
                total = total + 2.0 * (z - x) ** 2
            ppl.cost("total", total - 0.5 * x)

    x = np.array([0.3, -1.0])
    program = ppl.compile(model, Enumerate(), dtype="float64", data=x)

    def exact(raw):
        p = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
        law, found = p[0], 1.0 - 0.5 * x
        for t in range(length):
            law = law if t == 0 else law @ p
            found = found + 2.0 * ((np.arange(3.0)[:, None] - x) ** 2 * law[:, None]).sum(0)
        return found

    state = program.init(0, x)
    raw = state.params["table"]
    loss, grads = program.value_and_grad(state, x)
    assert loss == pytest.approx(exact(raw).sum(), rel=1e-10)
    np.testing.assert_allclose(program.value(state, x, per_row=True), exact(raw), rtol=1e-10)
    move = np.random.default_rng(2).normal(size=(3, 3))
    slope = (exact(raw + 1e-5 * move) - exact(raw - 1e-5 * move)).sum() / 2e-5
    assert (grads["table"] * move).sum() == pytest.approx(slope, rel=1e-6)
