"""`Truncated` with constant parameters in both precisions: draws and densities as SciPy's tails say, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl.errors import ParameterError

UNITS = 1500
LOWER = {
    "Gamma": (ppl.Gamma(200.0, 1.0), stats.gamma(200.0)),
    "Beta": (ppl.Beta(200.0, 2.0), stats.beta(200.0, 2.0)),
    "InverseGamma": (ppl.InverseGamma(50.0, 50.0), stats.invgamma(50.0, scale=50.0)),
    "Poisson": (ppl.Poisson(300.0), stats.poisson(300.0)),
    "NegativeBinomial": (ppl.NegativeBinomial(300.0, 0.5), stats.nbinom(300.0, 0.5)),
}
UPPER = {
    "Gamma": (ppl.Gamma(200.0, 1.0), stats.gamma(200.0)),
    "Chi2": (ppl.Chi2(400.0), stats.chi2(400.0)),
    "StudentT": (ppl.StudentT(6.0, 0.0, 1.0), stats.t(6.0)),
    "HalfCauchy": (ppl.HalfCauchy(1.0), stats.halfcauchy()),
}
LOGS = {
    "Weibull": (ppl.Weibull(2.0, 1.0), stats.weibull_min(2.0)),
    "Exponential": (ppl.Exponential(1.0), stats.expon()),
    "Logistic": (ppl.Logistic(0.0, 1.0), stats.logistic()),
}
CASES = [("lower", n) for n in LOWER] + [("upper", n) for n in UPPER] + [("logs", n) for n in LOGS]
IDS = [f"{side}-{name}" for side, name in CASES]


def window(side, name, mass):
    """The truncated law that keeps `mass` of a tail, SciPy's base, and the bounds."""
    base, reference = {"lower": LOWER, "upper": UPPER, "logs": LOGS}[side][name]
    if side == "lower":
        low, high = float(reference.support()[0]), float(reference.ppf(mass))
    else:
        low, high = float(reference.isf(mass)), np.inf
    return ppl.Truncated(base, low, high), reference, low, high


def drawn(dist, dtype):
    """Samples of a program whose only node is `dist`."""

    @ppl.model
    def model():
        z = ppl.sample("z", dist.expand((UNITS,)), estimator=ppl.estimators.ScoreFunction())
        ppl.cost("c", np.sum(z.astype(float)))

    program = ppl.compile(model, dtype=dtype)
    return np.asarray(program.sample(program.init(seed=0), seed=1)["z"], np.float64).ravel()


def shares(reference, low, high, x, discrete):
    """What SciPy says is the share of the window's probability up to `x`, counts spread evenly over their own."""
    tail = reference.sf if np.isinf(high) else reference.cdf
    ends = (tail(low - discrete), tail(high)) if np.isfinite(high) else (tail(low - discrete), 0.0)
    upto = (tail(x) - ends[0]) / (ends[1] - ends[0])
    if not discrete:
        return upto
    before = (tail(x - 1) - ends[0]) / (ends[1] - ends[0])
    return before + (upto - before) * np.random.default_rng(0).random(len(x))


@pytest.mark.parametrize(("dtype", "mass"), [("float32", 1e-29), ("float64", 1e-290)])
@pytest.mark.parametrize(("side", "name"), CASES, ids=IDS)
def test_draws(side, name, dtype, mass):
    dist, reference, low, high = window(side, name, mass)
    if mass < reference.pmf(0) if dist.discrete and side == "lower" else not np.isfinite(low):
        pytest.skip("the base has no window of this probability")
    x = drawn(dist, dtype)
    single = np.dtype(dtype).type
    ends = (low, high) if dist.discrete else (float(single(low)), float(single(high)))
    assert (x >= ends[0]).all() and (x <= ends[1]).all()
    found = np.clip(shares(reference, *ends, x, dist.discrete), 0.0, 1.0)
    assert stats.kstest(found, "uniform").pvalue > 1e-4
    assert dist.discrete or len(np.unique(x)) > UNITS // 10


@pytest.mark.parametrize("mass", [1e-33, 1e-60])
@pytest.mark.parametrize(
    ("side", "name"), [c for c in CASES if c[0] != "logs"], ids=[i for i in IDS if "logs" not in i]
)
def test_windows_that_float32_cannot_hold_are_refused(side, name, mass):
    dist = window(side, name, mass)[0]
    with pytest.raises(ParameterError, match=r"node 'z': .* of Truncated must be .*float can hold.*\(in float32\)"):
        drawn(dist, "float32")


@pytest.mark.parametrize("mass", [1e-10, 1e-60])
@pytest.mark.parametrize(("side", "name"), CASES, ids=IDS)
def test_eager_densities(side, name, mass):
    dist, reference, low, high = window(side, name, mass)
    if not np.isfinite(low) or (dist.discrete and side == "lower" and mass < reference.pmf(0)):
        pytest.skip("the base has no window of this probability")
    x = np.array([low, low + 1] if side != "lower" else [high, high - 1 if dist.discrete else 0.99 * high])
    kept = np.log(reference.sf(low - dist.discrete)) if side != "lower" else np.log(reference.cdf(high))
    wanted = (reference.logpmf if dist.discrete else reference.logpdf)(x) - kept
    np.testing.assert_allclose(dist.log_prob(x), wanted, rtol=1e-8, atol=1e-8)


def gamma_window(make=lambda v: v):
    return ppl.Truncated(ppl.Gamma(make(200.0), 1.0), 0.0, 60.0)


def test_constants_that_are_computed():
    """Folding sees through what a model does to constants."""

    @ppl.model
    def model():
        ppl.cost("c", ppl.sample("z", gamma_window(lambda v: ppl.stop_gradient(ppl.constant(v / 2)) * 2.0)))

    with pytest.raises(ParameterError, match=r"\(in float32\)"):
        ppl.compile(model).init(seed=0)
    program = ppl.compile(model, dtype="float64")
    z = float(program.sample(program.init(seed=0), seed=0)["z"])
    assert 55.0 < z < 60.0


def test_formulas():
    @ppl.model
    def model():
        p = ppl.param("p", 0.3)
        ppl.cost("c", gamma_window().icdf(p) + ppl.sample("z", ppl.Normal(p, 1.0)) ** 2)

    with pytest.raises(ParameterError, match=r"of Truncated must be .*\(in float32\)\n  at test_truncated_constants"):
        ppl.compile(model).init(seed=0)
    program = ppl.compile(model, dtype="float64")
    base = stats.gamma(200.0)
    found = program.sample(program.init(seed=0), seed=0)
    assert found is not None
    assert float(gamma_window().icdf(0.3)) == pytest.approx(base.ppf(0.3 * base.cdf(60.0)), rel=1e-10)


def test_observed_constants_need_no_draw():
    """A density alone has the constant of the window from float64."""

    @ppl.model
    def model():
        ppl.sample("x", gamma_window(), obs=np.float32(59.5))
        ppl.sample("y", ppl.Normal(ppl.param("a", 0.0), 1.0), obs=0.0)

    program = ppl.compile(ppl.likelihood(model))
    base = stats.gamma(200.0)
    wanted = -(base.logpdf(59.5) - base.logcdf(60.0)) - stats.norm.logpdf(0.0)
    assert program.value(program.init(seed=0)) == pytest.approx(wanted, rel=1e-5)
