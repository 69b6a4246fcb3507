"""Counts: log-masses in both precisions against 50 digits, samplers against their oracle and their laws, edges."""

from __future__ import annotations

import functools
import itertools

import mpmath as mp
import numba
import numpy as np
import pytest
from distribution_laws import leaf, noise_of, value_of, values_of
from scipy import special, stats

import ppl
import ppl.distributions
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.reference import numpy_samplers as oracle
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, Kind
from ppl.kernels.generated.f32 import scalar
from ppl.kernels.generated.f64 import scalar as scalar_module

COMPILED = not numba.config.DISABLE_JIT

SIZE = 2000 if COMPILED else 50

MODULES = {"float32": (scalar, np.float32, 2e-5), "float64": (scalar_module, np.float64, 1e-10)}

KEY = np.uint64(0x9E3779B97F4A7C15)

SPREAD = np.linspace(-9, 9, 13)

each_precision = pytest.mark.parametrize("precision", MODULES)


def around(mean, deviation, most=np.inf):
    """Counts around a mean and far from it, up to `most`."""
    near = np.clip(np.floor(mean + deviation * SPREAD), 0, most)
    return sorted({*near, *(k for k in (0.0, 1.0, 2.0, 7.0, 40.0, 1000.0, 1e6, most) if k <= most and np.isfinite(k))})


def exact_poisson(k, rate):
    return k * mp.log(rate) - rate - mp.loggamma(k + 1)


def exact_binomial(x, y, log_p, log_q):
    return mp.loggamma(x + y + 1) - mp.loggamma(x + 1) - mp.loggamma(y + 1) + x * log_p + y * log_q


def mass_cases():
    """(op, exact, rows of arguments)."""
    rates = (1e-30, 1e-8, 0.05, 1.0, 4.0, 14.0, 900.0, 1e5, 1e8)
    rows = [(k, r) for r in rates for k in (*around(r, np.sqrt(r)), 1e-6, 2.5, 15.99)]
    yield "log_poisson", exact_poisson, rows
    totals, probs = (1, 5, 17, 50, 1000, 1e6, 2.0**24), (1e-30, 1e-8, 0.1, 0.3, 0.5, 0.999)
    rows = [(k, n - k, p) for n in totals for p in probs for k in around(n * p, np.sqrt(n * p), n)]
    rows += [(k, r, p) for r in (1e-6, 0.3, 2.5, 1e5) for p in probs for k in (0, 3, 17, 1e6)]
    yield "log_binomial", lambda x, y, p: exact_binomial(x, y, mp.log(p), mp.log1p(-p)), rows
    logits = (-1e4, -50.0, -5.0, -0.3, 0.0, 2.2, 9.0, 1e4)
    shares = [(a, special.expit(a)) for a in logits]
    rows = [(k, n - k, a) for n in totals for a, p in shares for k in around(n * p, np.sqrt(n * p), n)]
    softplus = lambda a: mp.log1p(mp.exp(a))  # noqa: E731
    yield "log_binomial_logits", lambda x, y, a: exact_binomial(x, y, -softplus(-a), -softplus(a)), rows


def worst(got, rows, exact):
    """The largest error relative to max(1, |value|)."""
    errors = []
    with mp.workdps(50):
        for value, row in zip(got, rows, strict=True):
            truth = exact(*(mp.mpf(float(v)) for v in row))
            errors.append(float(abs(mp.mpf(float(value)) - truth) / max(1, abs(truth))))
    return max(errors)


@each_precision
@pytest.mark.parametrize("case", list(mass_cases()), ids=lambda c: c[0])
def test_masses_of_the_kernels(case, precision):
    name, exact, rows = case
    module, dtype, tolerance = MODULES[precision]
    rows = [tuple(dtype(v) for v in row) for row in rows]
    assert worst([getattr(module, name)(*row) for row in rows], rows, exact) <= tolerance


@pytest.mark.parametrize("case", list(mass_cases()), ids=lambda c: c[0])
def test_masses_of_the_interpreter(case):
    name, exact, rows = case
    with np.errstate(all="ignore"):
        got = getattr(oracle, name)(*np.array(rows).T)
    assert worst(got, rows, exact) <= 1e-10


@pytest.mark.parametrize("module", [scalar, scalar_module])
def test_masses_at_the_edges(module):
    kind = np.float32 if module is scalar else np.float64
    zero, one, half = kind(0), kind(1), kind(0.5)
    assert module.log_poisson(zero, zero) == 0 and module.log_poisson(one, zero) == -np.inf
    for name, sure, never in (("log_binomial", one, zero), ("log_binomial_logits", kind(1e6), kind(-1e6))):
        mass = getattr(module, name)
        assert mass(one, zero, sure) == mass(zero, one, never) == mass(zero, zero, half) == 0
    assert module.log_binomial(one, zero, zero) == module.log_binomial(zero, one, one) == -np.inf
    assert module.log_binomial_logits(one, zero, kind(-1e6)) == -1e6


LOG_RATES = (-200.0, -80.0, -40.0, -3.0, 0.0, 1.25, 2.75, 6.75, 11.5, 18.0)


@each_precision
@pytest.mark.parametrize("log_rate", LOG_RATES)
def test_masses_by_the_logarithm_of_the_rate(log_rate, precision):
    module, dtype, tolerance = MODULES[precision]
    rate = np.exp(log_rate)
    counts = np.array([k for k in (*around(rate, np.sqrt(rate)), 3.0, 4.0, 5.0) if k < 2**24], dtype)
    got = [module.log_poisson_log_rate(k, dtype(log_rate)) for k in counts]
    with np.errstate(all="ignore"):
        interpreted = oracle.log_poisson_log_rate(counts, np.full(len(counts), log_rate))
    with mp.workdps(50):
        x = mp.mpf(log_rate)
        for k, value, other in zip(counts, got, interpreted, strict=True):
            n = mp.mpf(float(k))
            exact = n * x - mp.exp(x) - mp.loggamma(n + 1)
            rounded = float(abs(n - mp.exp(x))) * 2 * np.finfo(dtype).eps  # the rate is
            assert abs(float(value) - exact) <= tolerance * max(1, abs(exact)) + rounded
            assert abs(float(other) - exact) <= 1e-10 * max(1, abs(exact))


@pytest.mark.parametrize(("module", "kind", "most"), [(scalar, np.float32, 100.0), (scalar_module, np.float64, 800.0)])
def test_masses_of_infinite_and_of_no_rates(module, kind, most):
    mass = module.log_poisson_log_rate
    for k in (0, 1, 2, 3, 50):
        assert mass(kind(k), kind(most)) == mass(kind(k), kind(np.inf)) == -np.inf
        assert mass(kind(k), kind(-np.inf)) == (-np.inf if k else 0.0)


@each_precision
def test_poisson_regressions_far_out(precision):
    """Values and slopes of log-rates at which float32 has no rate, against k x - exp(x) - log k! and k - exp(x)."""

    @ppl.model
    def counts(x, y):
        slope = ppl.param("slope", 1.0)
        with ppl.plate("data", x, y) as (x, y):
            ppl.sample("y", ppl.Poisson(np.exp(slope * x)), obs=y)

    x = np.array([-300.0, -120.0, -20.0, 0.0, 0.5, 3.0, 7.0])
    program = ppl.compile(ppl.likelihood(counts), data=(x, np.zeros(7, int)), dtype=precision)
    state, rate = program.init(0), np.exp(x)
    assert "log_poisson_log_rate" in program.source
    for k, row in itertools.product((0, 1, 2, 3, 40), range(7)):
        loss, grads, _ = program.step(state, x[row : row + 1], np.array([k]))
        exact = k * x[row] - rate[row] - special.gammaln(k + 1)
        assert loss == pytest.approx(-exact, rel=3e-6, abs=3e-6)
        assert grads["slope"] == pytest.approx(-(k - rate[row]) * x[row], rel=3e-6, abs=1e-12)


def draws_of(module, dtype, name, parameters, stream=3):
    """Compiled draws with the columns 0, 1, … of one key."""
    values = tuple(dtype(p) for p in parameters)
    return np.array([drawer(module, name)(values, i, stream) for i in range(SIZE)])


@functools.cache
def drawer(module, name):
    """A sampler of (parameters, column, stream) under one key, compiled once a dtype."""
    function = getattr(module, name)
    draw = {
        "poisson_draw": lambda values, i, stream: function(values[0], KEY, i, stream),
        "binomial_draw": lambda values, i, stream: function(values[0], values[1], values[2], KEY, i, stream),
    }[name]
    return numba.njit(draw) if COMPILED else draw


PARAMETERS = [("poisson_draw", (r,)) for r in (1e-8, 1e-3, 0.5, 1.0, 9.99, 10.0, 40.0, 1e5, 1e8)]

PARAMETERS += [
    ("binomial_draw", (n, p, 1 - p))
    for n, p in ((1, 0.3), (7, 0.5), (50, 0.3), (50, 0.7), (1000, 1e-3), (1000, 0.999), (1e6, 0.2), (9, 0.0), (9, 1.0))
]


@each_precision
@pytest.mark.parametrize(("name", "parameters"), PARAMETERS)
def test_draws_equal_the_oracle(name, parameters, precision):
    module, dtype, _ = MODULES[precision]
    got = draws_of(module, dtype, name, parameters)
    keys = np.full(SIZE, KEY).view(np.int64)
    with np.errstate(all="ignore"):
        wanted = getattr(oracle, name)(*(np.full(SIZE, p, dtype) for p in parameters), keys, np.arange(SIZE), 3)
    assert (got != wanted).sum() <= (SIZE // 400 if precision == "float32" else 0)  # decisions at rounding distance


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "parameters"), PARAMETERS)
def test_draws_have_the_law(name, parameters, dtype):
    n, keys = 100_000, np.full(100_000, 77, np.int64)
    with np.errstate(all="ignore"):
        x = getattr(oracle, name)(*(np.full(n, p, dtype) for p in parameters), keys, np.arange(n), 0)
    law = stats.poisson(*parameters) if name == "poisson_draw" else stats.binom(*parameters[:2])
    last = np.unique(law.ppf(np.linspace(0.005, 0.995, 40)))
    counts, wanted = np.histogram(x, [-np.inf, *(last + 0.5), np.inf])[0], np.diff([0, *law.cdf(last), 1.0]) * n
    keep = wanted > 1
    assert counts[~keep].sum() <= 5
    if keep.sum() > 1:
        assert stats.chisquare(counts[keep], wanted[keep] * counts[keep].sum() / wanted[keep].sum()).pvalue > 1e-3


def test_rare_events_are_drawn_in_single_precision():
    """A rate far below the spacing of single-precision uniforms, by the uniforms below it."""
    t = (np.arange(1, 200) / 100 * 1e-8).astype(np.float32)
    if COMPILED:
        from ppl.kernels.generated.f32.scalar.poisson import _inversion

        counts = [_inversion(np.float32(1e-8), v) for v in t]
        np.testing.assert_array_equal(counts, t < 1e-8)
    words = oracle.attempt_words(np.full(2**16, 5), np.arange(2**16), 0, 0)
    u = oracle._inversion_uniform(np.full(2**16, 5), np.arange(2**16), 0, np.float32)
    exact = ((words[0] >> 9).astype(float) * 2**23 + (words[1] >> 9) + 0.5) * 2.0**-46
    np.testing.assert_allclose(u, exact, rtol=1.2e-7)


def test_large_poisson_counts_are_whole_in_single_precision():
    with np.errstate(all="ignore"):
        x = oracle.poisson_draw(np.full(1000, 1e8, np.float32), np.full(1000, 5), np.arange(1000), 0)
    assert len(set(x % 8)) == 8


@pytest.mark.parametrize("stacked", [False, True])
def test_multinomial_margins_are_binomial(stacked):
    p = np.array([0.02, 0.5, 0.1, 0.0, 0.38])
    dist = ppl.Multinomial(np.array([300, 20]), np.stack([p, p])) if stacked else ppl.Multinomial(300, p)
    x = value_of(dist.draw(*noise_of(dist, 20_000)), 4)
    for row, n in (((slice(None), 0), 300), ((slice(None), 1), 20)) if stacked else ((slice(None), 300),):
        counts = x[row]
        assert (counts.sum(-1) == n).all() and (counts[:, 3] == 0).all()
        for i in (0, 1, 2, 4):
            law = stats.binom(n, p[i])
            last = np.unique(law.ppf(np.linspace(0.02, 0.98, 12)))
            seen = np.histogram(counts[:, i], [-np.inf, *(last + 0.5), np.inf])[0]
            assert stats.chisquare(seen, np.diff([0, *law.cdf(last), 1.0]) * len(x)).pvalue > 1e-3
        gap = np.cov(counts.T) - n * (np.diag(p) - np.outer(p, p))
        assert np.abs(gap).max() < 6 * n / 4 * np.sqrt(2 / len(x))


def test_multinomial_of_one_class_and_of_rare_classes():
    one = ppl.Multinomial(7, [1.0])
    assert value_of(one.draw(*noise_of(one, 3))).tolist() == [7] and one.log_prob(np.array([7])) == 0
    rare = ppl.Multinomial(2, logits=[0.0, -1e4, -np.inf])
    assert rare.log_prob(np.array([1, 1, 0])) == pytest.approx(np.log(2) - 1e4, rel=1e-12)
    assert rare.log_prob(np.array([1, 0, 1])) == -np.inf and rare.log_prob(np.array([2, 0, 0])) == pytest.approx(
        0, abs=1e-12
    )


def test_supports_of_rows():
    table = ppl.Multinomial(3, [0.2, 0.3, 0.5]).support_table()
    assert len(table) == 10 and (table.sum(-1) == 3).all() and len({tuple(r) for r in table}) == 10
    assert ppl.Multinomial(1, [0.2, 0.8]).support_table().tolist() == [[0, 1], [1, 0]]
    orders = ppl.PlackettLuce(np.ones((2, 3)) / 3)
    assert orders.support_size() == 36 and orders.support_table().shape == (36, 2, 3)
    assert ppl.PlackettLuce(np.ones(40) / 40).unit_support() is None
    assert ppl.Binomial(leaf("n"), 0.5).support_size() == np.inf


def test_units_of_different_totals():
    dist = ppl.Binomial(np.array([2, 5]), np.array([0.3, 0.6]))
    assert np.exp(dist.log_prob(dist.support_table())).sum() == pytest.approx(1.0)
    assert dist.entropy() == pytest.approx(stats.binom(2, 0.3).entropy() + stats.binom(5, 0.6).entropy())
    np.testing.assert_allclose(dist.cdf(np.array([1, 5])), [stats.binom(2, 0.3).cdf(1), 1.0])


def test_entropy_of_a_large_total_is_refused():
    for dist in (ppl.Binomial(10**5, 0.5), ppl.Multinomial(10**5, [0.5, 0.5]), ppl.BetaBinomial(1.0, 1.0, 10**5)):
        with pytest.raises(ModelError, match="below 4096"):
            dist.entropy()


def test_log_mass_of_a_beta_binomial_without_cancellation():
    for a, b, n in ((1e-6, 2.0, 10), (1e6, 3e6, 10**6), (0.3, 1e5, 2000)):
        k = np.unique(np.floor(np.linspace(0, n, 7)))
        with mp.workdps(40):
            for at in k:
                x, y, c, d = mp.mpf(at), mp.mpf(n - at), mp.mpf(a), mp.mpf(b)
                truth = mp.loggamma(n + 1) - mp.loggamma(x + 1) - mp.loggamma(y + 1)
                truth += mp.log(mp.beta(x + c, y + d)) - mp.log(mp.beta(c, d))
                error = abs(ppl.BetaBinomial(a, b, n).log_prob(at) - truth) / max(1, abs(truth))
                assert error < 1e-10, (a, b, n, at)


def test_geometric_edges():
    sure = ppl.Geometric(1.0)
    assert sure.log_prob(0) == 0 and sure.log_prob(1) == -np.inf and sure.entropy() == 0 and sure.mean == 0
    assert (value_of(sure.draw(*noise_of(sure, 10))) == 0).all()
    rare = ppl.Geometric(logits=-1e4)
    assert rare.log_prob(3) == pytest.approx(-1e4)
    assert (value_of(rare.draw(*noise_of(rare, 10))) == 2**62).all()


def test_bernoulli_of_huge_logits():
    for a in (1e4, -1e4):
        dist = ppl.Bernoulli(logits=leaf("a"))
        for x in (0.0, 1.0):
            slope = values_of(gradient(dist.node_log_prob(ops.const(x)), [leaf("a")]), a=a)[0]
            assert slope == x - special.expit(a)
        (bit, entropy) = evaluate(
            [dist.draw(ops.const(np.full(3, 0.5))), dist.unit_entropy()],
            Env(params={"a": np.float32(a)}, dtype=np.float32),
        )
        assert (bit == (a > 0)).all() and entropy == 0


def test_delta_passes_its_path_and_says_where_it_lies():
    v = leaf("v")
    dist = ppl.Delta(ops.exp(v))
    assert values_of(gradient(dist.draw(), [v]), v=0.3)[0] == pytest.approx(np.exp(0.3))
    assert dist.support is ppl.distributions.Support.POSITIVE and dist.bounds.lo == 0


def test_zero_inflation_of_large_rates():
    for gate, rate in ((0.3, 200.0), (1e-12, 500.0), (0.0, 500.0)):
        wanted = np.log(gate) if gate else -rate
        assert ppl.ZeroInflatedPoisson(gate, rate).log_prob(0) == pytest.approx(wanted, rel=1e-12)
    wide = ppl.ZeroInflatedPoisson(gate_logits=-1e4, rate=500.0)
    assert wide.log_prob(0) == pytest.approx(-500.0)


BAD = [
    (lambda: ppl.Binomial(2.5, 0.5), "Binomial: total_count must be a whole number of at least 0, got 2.5"),
    (lambda: ppl.Binomial(3), "Binomial takes exactly one of probs and logits"),
    (lambda: ppl.Geometric(0.0), "Geometric: probs must be above 0 and at most 1"),
    (lambda: ppl.NegativeBinomial(0.0, 0.5), "NegativeBinomial: total_count must be positive"),
    (lambda: ppl.NegativeBinomial(2.0, 1.0), "NegativeBinomial: probs must be at least 0 and below 1"),
    (lambda: ppl.BetaBinomial(0.0, 1.0), "BetaBinomial: concentration1"),
    (lambda: ppl.ZeroInflatedPoisson(rate=2.0), "exactly one of gate and gate_logits"),
    (lambda: ppl.ZeroInflatedPoisson(1.0, 2.0), "ZeroInflatedPoisson: gate"),
    (lambda: ppl.Multinomial(-1, [0.5, 0.5]), "Multinomial: total_count"),
    (lambda: ppl.Multinomial(3, [0.5, 0.6]), "Multinomial: probs .* rows that sum to 1"),
    (lambda: ppl.DiscreteUniform(3, 2), "low must not exceed high, got low 3 and high 2"),
    (lambda: ppl.DiscreteUniform(0.5, 2), "DiscreteUniform: low must be a whole number"),
    (lambda: ppl.Delta(np.inf), "Delta: v must be finite"),
    (lambda: ppl.PlackettLuce([1.0, 0.0]), "PlackettLuce: probs must be positive"),
    (lambda: ppl.PlackettLuce(logits=[1.0, -np.inf]), "PlackettLuce: logits must be finite"),
]


@pytest.mark.parametrize(("make_bad", "message"), BAD, ids=[m for _, m in BAD])
def test_parameters_are_checked(make_bad, message):
    with pytest.raises(ModelError, match=message):
        make_bad()


def test_orders_of_many_items_follow_the_keys():
    dist = ppl.PlackettLuce(logits=np.linspace(-3, 3, 30))
    axis = Axis("draws", Kind.PLATE, 50)
    u = ops.noise("x", 0, (axis,), (30,))
    order, noise = evaluate([dist.draw(u), u], Env(seed=2))
    np.testing.assert_array_equal(order, np.argsort(-(np.linspace(-3, 3, 30) - np.log(-np.log(noise))), -1))
    total = sum(
        np.exp(
            ppl.PlackettLuce(logits=[9e3, 0.0, 1e4, 9999.0]).log_prob(np.array(list(itertools.permutations(range(4)))))
        )
    )
    assert total == pytest.approx(1.0)
