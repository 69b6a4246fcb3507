"""Loops over time against known answers: dynamic programming, Riccati, enumeration, forward and Kalman filters."""

import numpy as np
import pytest
from scipy.special import comb

import ppl
from ppl import Bernoulli, Binomial, Categorical, Normal
from ppl.estimators import ScoreFunction

P, STEPS = 100.0, 50


@ppl.model
def random_walk(*, steps=STEPS):
    p = ppl.param("p", P)

    def step(x, t):
        up = ppl.sample("up", Bernoulli(probs=np.minimum(np.exp(-x / p), 1.0)))
        return x + 2.0 * up - 1.0, None

    x, _ = ppl.scan(step, 0.0, length=steps)
    ppl.cost("square", x * x)


def walked(p, steps=STEPS):
    """E[X²] of the walk by dynamic programming over its places."""
    places = np.arange(-steps, steps + 1)
    weight = (places == 0).astype(float)
    up = np.minimum(np.exp(-places / p), 1.0)
    for _ in range(steps):
        rise, fall = weight * up, weight * (1 - up)
        weight = np.concatenate([[0.0], rise[:-1]]) + np.concatenate([fall[1:], [0.0]])
    return float(weight @ places**2)


def test_random_walk_with_a_step_probability_of_its_place():
    exact, slope = walked(P), (walked(P + 1e-3) - walked(P - 1e-3)) / 2e-3
    assert exact == pytest.approx(1130.399, abs=1e-3) and slope == pytest.approx(7.5582, abs=1e-4)
    program = ppl.compile(random_walk, estimators=ScoreFunction("leave_one_out"), particles=40_000, dtype="float64")
    state = program.init(0)
    found = np.array([(loss, float(grad["p"])) for s in range(40)
                      for loss, grad in [program.value_and_grad(state, seed=s)]])  # fmt: skip
    mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(mean - [exact, slope]) <= 4 * error), (mean, error)
    assert error[1] <= 0.02


def test_source_does_not_grow_with_the_length():
    sizes = []
    for steps in (10, 1000):
        program = ppl.compile(random_walk.bind(steps=steps), estimators=ScoreFunction())
        program.value_and_grad(program.init(0), seed=0)
        sizes.append(len(str(program.source)))
    assert abs(sizes[1] - sizes[0]) <= 0.02 * sizes[0]


def test_lengthening_a_loop_changes_no_earlier_draw():
    draws = []
    for steps in (6, 17):

        @ppl.model
        def model(*, steps=steps):
            def step(x, t):
                z = ppl.sample("z", Normal(0.5 * x, 1.0))
                b = ppl.sample("b", Bernoulli(logits=z))
                with ppl.plate("k", 3):
                    ppl.sample("w", Normal(b, 1.0))
                return z, None

            x, _ = ppl.scan(step, 0.0, length=steps)
            ppl.cost("c", x * ppl.param("p", 1.0))

        program = ppl.compile(model, dtype="float64")
        draws.append(program.sample(program.init(0), particles=4, seed=7))
    for name in ("z", "b"):
        np.testing.assert_array_equal(draws[0][name], draws[1][name][:, :6])
    np.testing.assert_array_equal(draws[0]["w"], draws[1]["w"][:, :, :6])


def test_nested_loops_repeat_no_draw():
    @ppl.model
    def model():
        def outer(x, s):
            u = ppl.sample("u", ppl.Uniform(0.0, 1.0))

            def inner(y, t):
                with ppl.plate("k", 2):
                    ppl.sample("v", ppl.Uniform(0.0, 1.0))
                return y, None

            ppl.scan(inner, u, length=5, name="inner")
            return x, None

        x, _ = ppl.scan(outer, ppl.param("p", 1.0), length=7)
        ppl.cost("c", x)

    program = ppl.compile(model, dtype="float64")
    found = program.sample(program.init(0), particles=3, seed=1)
    draws = np.concatenate([found["u"].ravel(), found["v"].ravel()])
    assert draws.size == 3 * 7 * (1 + 2 * 5) and len(np.unique(draws)) == draws.size


def test_linear_quadratic_control_is_riccatis():
    """x' = a x + b u + noise under u = -k x: the cost and its slope, by the recursion of second moments."""
    a, b, q, r, noise, start, length = 1.1, 0.7, 1.0, 0.3, 0.4, 1.5, 6

    @ppl.model
    def model():
        k = ppl.param("k", np.zeros(length))

        def step(x, kt):
            u = -kt * x
            ppl.cost("stage", q * x * x + r * u * u)
            return ppl.sample("x", Normal(a * x + b * u, noise)), None

        x, _ = ppl.scan(step, start, k)
        ppl.cost("last", q * x * x)

    def cost(k):
        total, second = 0.0, start**2
        for kt in k:
            total, second = total + (q + r * kt**2) * second, (a - b * kt) ** 2 * second + noise**2
        return total + q * second

    riccati, best = q, []
    for _ in range(length):
        gain = a * b * riccati / (r + b * b * riccati)
        best.insert(0, gain)
        riccati = q + r * gain**2 + (a - b * gain) ** 2 * riccati
    program = ppl.compile(model, dtype="float64", particles=4000)
    for k, zero in ((np.array(best), True), (np.array(best) + 0.2, False)):
        state = program.init(0, params={"k": k})
        found = [program.value_and_grad(state, seed=s) for s in range(20)]
        losses, grads = np.array([x[0] for x in found]), np.array([x[1]["k"] for x in found])
        slope = np.array([(cost(k + h) - cost(k - h)) / 2e-5 for h in 1e-5 * np.eye(length)])
        error = grads.std(0, ddof=1) / np.sqrt(20)
        assert abs(losses.mean() - cost(k)) <= 5 * losses.std(ddof=1) / np.sqrt(20)
        assert np.all(np.abs(grads.mean(0) - slope) <= 5 * error + 1e-6)
        assert (np.abs(slope).max() < 1e-6) == zero


def test_an_epidemic_is_the_sum_over_its_courses():
    """Susceptible, infected, recovered: two binomial counts a step, whose laws follow the step before."""
    people, length = 3, 4

    @ppl.model
    def model():
        beta, gamma = ppl.param("beta", 0.8), ppl.param("gamma", -0.3)

        def step(carry, t):
            s, i = carry
            caught = ppl.sample("caught", Binomial(people, probs=1 - np.exp(-ppl.softplus(beta) * i / people)))
            healed = ppl.sample("healed", Binomial(people, logits=gamma))
            new, gone = np.minimum(caught, s), np.minimum(healed, i)
            ppl.cost("ill", i - gone + new)
            return (s - new, i + new - gone), None

        (s, i), _ = ppl.scan(step, (2.0, 1.0), length=length)
        ppl.cost("left", 0.5 * i * s)

    def mass(n, p):
        k = np.arange(n + 1)
        return comb(n, k) * p**k * (1 - p) ** (n - k)

    def value(beta, gamma, s=2, i=1, steps=length):
        if steps == 0:
            return 0.5 * i * s
        p = 1 - np.exp(-np.logaddexp(0, beta) * i / people)
        total = 0.0
        for caught, w in enumerate(mass(people, p)):
            for healed, v in enumerate(mass(people, 1 / (1 + np.exp(-gamma)))):
                new, gone = min(caught, s), min(healed, i)
                if w * v:
                    total += w * v * (i - gone + new + value(beta, gamma, s - new, i + new - gone, steps - 1))
        return total

    program = ppl.compile(model, estimators=ScoreFunction("leave_one_out"), particles=20_000, dtype="float64")
    state = program.init(0)
    found = [program.value_and_grad(state, seed=s) for s in range(16)]
    h = 1e-4
    exact = {"beta": (value(0.8 + h, -0.3) - value(0.8 - h, -0.3)) / (2 * h),
             "gamma": (value(0.8, -0.3 + h) - value(0.8, -0.3 - h)) / (2 * h)}  # fmt: skip
    for name, slope in exact.items():
        grads = np.array([float(g[name]) for _, g in found])
        error = grads.std(ddof=1) / 4
        assert abs(grads.mean() - slope) <= 5 * error and error <= 0.02
    losses = np.array([loss for loss, _ in found])
    assert abs(losses.mean() - value(0.8, -0.3)) <= 5 * losses.std(ddof=1) / 4


Y = np.array([0.4, -0.9, 1.3])


def test_a_hidden_markov_model_is_summed_as_by_the_forward_algorithm():
    table, means = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]]), np.array([-1.0, 0.2, 1.1])

    @ppl.model
    def model(y):
        shift = ppl.param("shift", 0.1)

        def step(k, yt):
            new = ppl.sample("k", Categorical(ppl.constant(table)[k]))
            ppl.sample("y", Normal(ppl.constant(means)[new] + shift, 0.7), obs=yt)
            return new, None

        ppl.scan(step, 0, y)

    def forward(shift):
        alpha = np.array([1.0, 0.0, 0.0])
        for yt in Y:
            density = np.exp(-0.5 * ((yt - means - shift) / 0.7) ** 2) / (0.7 * np.sqrt(2 * np.pi))
            alpha = (alpha @ table) * density
        return -np.log(alpha.sum())

    program = ppl.compile(ppl.likelihood(model, marginalize=["k"]), dtype="float64", data=(Y,))
    loss, grad = program.value_and_grad(program.init(0, Y), Y, seed=0)
    assert loss == pytest.approx(forward(0.1), rel=1e-10)
    assert float(grad["shift"]) == pytest.approx((forward(0.1 + 1e-5) - forward(0.1 - 1e-5)) / 2e-5, rel=1e-6)


def test_an_elbo_with_the_smoothing_law_is_the_kalman_filters_likelihood():
    a, q, r = 0.8, 0.6, 0.5

    @ppl.model
    def model(y):
        scale = ppl.param("q", q)

        def step(x, yt):
            z = ppl.sample("z", Normal(a * x, scale))
            ppl.sample("y", Normal(z, r), obs=yt)
            return z, None

        ppl.scan(step, 0.0, y)

    means, variances, kalman = [], [], 0.0
    mean, variance = 0.0, 0.0
    for yt in Y:
        mean, variance = a * mean, a * a * variance + q * q
        total = variance + r * r
        kalman -= 0.5 * ((yt - mean) ** 2 / total + np.log(2 * np.pi * total))
        gain = variance / total
        mean, variance = mean + gain * (yt - mean), (1 - gain) * variance
        means.append(mean)
        variances.append(variance)
    # z_t given z_{t+1}: the filter's law of z_t, updated by what the next one says; the last is the filter's own
    slope = np.array([v * a / (a * a * v + q * q) for v in variances])
    loc = np.array(means) * (1 - a * slope)
    scale = np.sqrt(np.array(variances) * (1 - a * slope))
    slope[-1], loc[-1], scale[-1] = 0.0, means[-1], np.sqrt(variances[-1])

    @ppl.model
    def guide(y):
        def step(x, at):
            s, m, d = at
            z = ppl.sample("z", Normal(m + s * x, d))
            return z, None

        ppl.scan(step, 0.0, (slope, loc, scale), reverse=True)

    program = ppl.compile(ppl.elbo(model, guide), dtype="float64", data=(Y,))
    state = program.init(0, Y)
    for seed in range(4):
        assert program.value(state, Y, seed=seed) == pytest.approx(-kalman, rel=1e-9)
