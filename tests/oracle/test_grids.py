"""Grids find jumps and kinks whatever other sites they depend on, and what they miss is in the error."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, special, stats

from tests.oracle.exact import solve
from tests.oracle.graphs.source import program

P, S = 0.13, 0.8
PHI, BELOW = stats.norm.pdf, special.ndtr
FLAT = "n = ppl.sample('n', ppl.DiscreteUniform(0, 3))"
NORMAL = f"z = ppl.sample('z', ppl.Normal(t, {S}))"


def answer(*lines: str, objective: str = "model"):
    """The oracle's answer for a model of these lines over a parameter t."""
    body = "".join(f"    {line}\n" for line in ("t = ppl.param('t', 0.0)", *lines))
    text = f"@ppl.model\ndef model():\n{body}objective = {objective}\nparams = dict(t={P})\n"
    made = program("grid", text)
    return solve(made.objective, made.params)


def slope(f) -> float:
    """df/dt at P, by differences of a smooth function."""
    h = 1e-3
    return float((8 * (f(P + h) - f(P - h)) - (f(P + 2 * h) - f(P - 2 * h))) / (12 * h))


def at_steps(*steps: float) -> float:
    """d/dt E[f(z)] where f jumps by 1/4 at each of these."""
    return float(sum(PHI((c - P) / S) / S / 4 for c in steps))


def by_success(f) -> float:
    """d/dt E[f(z, n)], n ~ Bernoulli(logits = z), for a function f(n) -> intervals of z where it is 1."""

    def value(t):
        total = 0.0
        for n, sign in ((0, -1.0), (1, 1.0)):
            for a, b in f(n):
                total += integrate.quad(lambda z, s=sign: PHI(z, t, S) * special.expit(s * z), a, b, epsabs=1e-13)[0]
        return total

    return slope(value)


STEPS = (0.0, 0.3, 0.6, 0.9)
EXACT = {
    "less than a later count": ([NORMAL, FLAT, "ppl.cost('c', np.where(z > 0.3 * n, 1.0, 0.0))"], at_steps(*STEPS)),
    "an earlier count is not less": (
        [FLAT, NORMAL, "ppl.cost('c', np.where(0.3 * n >= z, 1.0, 0.0))"],
        -at_steps(*STEPS),
    ),
    "argmax of a stack": (
        [NORMAL, FLAT, "ppl.cost('c', np.cos(np.argmax(np.stack([z, 0.3 * n]))))"],
        at_steps(*STEPS) * (1 - np.cos(1)),
    ),
    "argmax of a stack with a constant": (
        [NORMAL, FLAT, "ppl.cost('c', 1.0 * np.argmax(np.stack([0.3 * n, 0.4, z])))"],
        # below max(0.3 n, 0.4): 1 for n <= 1, and 0 beyond; above it: 2
        float(2 * PHI((0.4 - P) / S) / S / 4 + 2 * (PHI((0.6 - P) / S) + PHI((0.9 - P) / S)) / S / 4),
    ),
    "argmin of a stack": (
        [NORMAL, FLAT, "ppl.cost('c', np.cos(np.argmin(np.stack([z, 0.3 * n]))))"],
        -at_steps(*STEPS) * (1 - np.cos(1)),
    ),
    "maximum of a stack": (
        [NORMAL, FLAT, "ppl.cost('c', np.amax(np.stack([z, 0.3 * n])))"],
        float(np.mean([BELOW((P - c) / S) for c in STEPS])),
    ),
    "floor of a sum": (
        [NORMAL, FLAT, "ppl.cost('c', np.floor(z + 0.3 * n))"],
        at_steps(*(k - c for c in STEPS for k in range(-8, 9))),
    ),
    "jump that depends on a child": (
        [NORMAL, "n = ppl.sample('n', ppl.Bernoulli(logits=z))", "ppl.cost('c', np.where(z > 0.5 - n, 1.0, 0.0))"],
        by_success(lambda n: [(0.5 - n, 9.0)]),
    ),
    "no jump that depends on a child": (
        [NORMAL, "n = ppl.sample('n', ppl.Bernoulli(logits=z))", "ppl.cost('c', np.floor(0.5 * n))"],
        0.0,
    ),
    "softmax of many, whose maximum has no kink": (
        [NORMAL, "ppl.cost('c', ppl.softmax(z * np.linspace(-1.0, 1.0, 12))[2])"],
        slope(lambda t: integrate.quad(
            lambda z: special.softmax(z * np.linspace(-1, 1, 12))[2] * PHI(z, t, S), -8, 8, epsabs=1e-13
        )[0]),
    ),
    "truncated law against a count": (
        [f"z = ppl.sample('z', ppl.TruncatedNormal(t, {S}, 0.2, 2.0))", FLAT,
         "ppl.cost('c', np.where(z > 0.3 * n, 1.0, 0.0))"],
        slope(lambda t: np.mean([stats.truncnorm.sf(max(c, 0.2), (0.2 - t) / S, (2.0 - t) / S, t, S) for c in STEPS])),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_jumps_that_depend_on_a_discrete_site(name):
    lines, exact = EXACT[name]
    found = answer(*lines)
    assert abs(found.grads["t"] - exact) <= 1e-7
    assert abs(found.grads["t"] - exact) <= found.errors["t"] + 1e-9
    assert found.errors["t"] <= 1e-5


def marginal(law: str, log_p, ends) -> tuple[list[str], float]:
    """A likelihood with a marginalised n and an integrated z, and d/dt of it; kinks in z only at the `ends`."""
    lines = ["z = ppl.sample('z', ppl.TruncatedNormal(t, 1.2, 0.9, 2.7))",
             "n = ppl.sample('n', ppl.Bernoulli(logits=t))", f"ppl.sample('x', {law}, obs=0.73)"]  # fmt: skip

    def value(t):
        q, cut = special.expit(t), ((0.9 - t) / 1.2, (2.7 - t) / 1.2)

        def inner(z):
            mixed = q * np.exp(log_p(z, 1.0)) + (1 - q) * np.exp(log_p(z, 0.0))
            return -np.log(mixed) * stats.truncnorm.pdf(z, *cut, t, 1.2)

        return sum(integrate.quad(inner, a, b, epsabs=1e-13)[0] for a, b in pairwise(ends))

    return lines, slope(value)


def soft(z, n):
    """The scale of the observation, from a softmax over n, z and a constant."""
    return np.exp(0.4 * np.tanh(special.softmax(np.array([n, z, 0.2])) @ np.array([1.0, -0.5, 0.3])))


SOFT = "np.exp(0.4 * np.tanh(np.dot(ppl.softmax(np.stack([n, z, 0.2])), np.array([1.0, -0.5, 0.3]))))"
MARGINAL = {
    "scale by a softmax": marginal(
        f"ppl.Laplace(-1.0, {SOFT})", lambda z, n: stats.laplace.logpdf(0.73, -1.0, soft(z, n)), (0.9, 2.7)
    ),
    "maximum of both": marginal(
        "ppl.Normal(np.amax(np.stack([z, 1.5 * n, 1.1])), 1.0)",
        lambda z, n: stats.norm.logpdf(0.73, max(z, 1.5 * n, 1.1), 1.0), (0.9, 1.1, 1.5, 2.7),
    ),
    "jump by both": marginal(
        "ppl.Normal(np.where(z > 1.2 + 0.5 * n, 1.0, -1.0), 1.0)",
        lambda z, n: stats.norm.logpdf(0.73, 1.0 if z > 1.2 + 0.5 * n else -1.0, 1.0), (0.9, 1.2, 1.7, 2.7),
    ),
    "kink of a density": marginal(
        "ppl.Laplace(z - 0.5 * n - 0.5, 0.7)",
        lambda z, n: stats.laplace.logpdf(0.73, z - 0.5 * n - 0.5, 0.7), (0.9, 1.23, 1.73, 2.7),
    ),
    "kink of a mixture's density": marginal(
        "ppl.Mixture(logits=np.zeros(2), components=ppl.Laplace(z * np.array([1.0, 0.5]) - 0.5 * n, 0.3))",
        lambda z, n: special.logsumexp(
            stats.laplace.logpdf(0.73, z * np.array([1.0, 0.5]) - 0.5 * n, 0.3) - np.log(2)
        ), (0.9, 1.23, 1.46, 2.46, 2.7),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MARGINAL)
def test_a_marginalised_site_is_summed_at_the_same_points(name):
    lines, exact = MARGINAL[name]
    found = answer(*lines, objective="ppl.likelihood(model, marginalize=['n'])")
    assert abs(found.grads["t"] - exact) <= 1e-7
    assert abs(found.grads["t"] - exact) <= found.errors["t"] + 1e-9
    assert found.errors["t"] <= 1e-5


TWO = [NORMAL, "y = ppl.sample('y', ppl.Normal(0.4, 1.0))"]
HARD = {
    "sign of a product": (
        [*TWO, "ppl.cost('c', np.sign(z * y))"],
        2 * PHI(P / S) / S * (2 * BELOW(0.4) - 1),
    ),
    "jump inside a jump": (
        [*TWO, "ppl.cost('c', np.where(z * np.where(y > 0.1, 1.0, -1.0) > 0.33, 1.0, 0.0))"],
        BELOW(0.3) * PHI((0.33 - P) / S) / S - BELOW(-0.3) * PHI((0.33 + P) / S) / S,
    ),
    "narrow window": (
        [NORMAL, "ppl.cost('c', np.where(abs(z - 0.41) < 0.02, 1.0, 0.0))"],
        (PHI((0.39 - P) / S) - PHI((0.43 - P) / S)) / S,
    ),
    "heavy tail": (["z = ppl.sample('z', ppl.StudentT(2.2, t, 1.0))", "ppl.cost('c', z ** 2)"], 2 * P),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_what_the_grids_miss_is_in_the_error(name):
    lines, exact = HARD[name]
    found = answer(*lines)
    assert abs(found.grads["t"] - exact) <= found.errors["t"] + 1e-7


BOUND = """@ppl.model
def model(x):
    z = ppl.sample('z', ppl.Normal(0.0, 1.0))
    ppl.sample('x', ppl.Laplace(z, 0.5), obs=x)
@ppl.model
def guide(x):
    t = ppl.param('t', 0.0)
    z = ppl.sample('z', ppl.Normal(t, 0.8))
objective = ppl.iwae(model, guide, particles=2)
params = dict(t=0.13)
data = (np.float64(0.73),)
"""


def test_a_bound_of_two_samples_sees_the_kink_of_an_observations_density():
    x, w = np.polynomial.legendre.leggauss(12)
    edges = np.concatenate([np.linspace(-7, 0.73, 30), np.linspace(0.73, 7, 30)[1:]])
    half = np.diff(edges)[:, None] / 2
    z, weight = (edges[:-1, None] + half + half * x).ravel(), (half * w).ravel()

    def value(t):
        log_w = stats.norm.logpdf(z) + stats.laplace.logpdf(0.73, z, 0.5) - stats.norm.logpdf(z, t, S)
        own = weight * stats.norm.pdf(z, t, S)
        return -(own @ (np.logaddexp(log_w[:, None], log_w) - np.log(2)) @ own)

    made = program("bound", BOUND)
    found = solve(made.objective, made.params, made.data)
    assert abs(found.grads["t"] - slope(value)) <= 1e-6
    assert abs(found.grads["t"] - slope(value)) <= found.errors["t"] + 1e-9
    assert found.errors["t"] <= 1e-3
