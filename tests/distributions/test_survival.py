"""Survival functions, log tails and their inverses of every registered distribution that has a cdf."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_laws import CASES, IDS, LAWS, build, value_of
from scipy import stats

from ppl.distributions import REGISTRY, Beta, Distribution, Truncated
from ppl.distributions.combinator import has_formula
from ppl.distributions.support import Support
from ppl.errors import ModelError
from ppl.ir import ops

SCALARS = [
    (n, c) for n, c in CASES if not (build(n, c).unit_rank or n == "Delta") and has_formula(build(n, c), "node_cdf")
]

each_case = pytest.mark.parametrize(
    ("name", "case"), SCALARS, ids=[i for i, pair in zip(IDS, CASES, strict=True) if pair in SCALARS]
)

LEVELS = np.array([1e-300, 1e-100, 1e-30, 1e-12, 1e-3, 0.2, 0.5, 0.8, 0.999])


def test_a_cdf_comes_with_both_tails():
    for kind in REGISTRY:
        dist = build(kind, LAWS[kind].cases[0])
        if has_formula(dist, "node_cdf"):
            assert all(
                has_formula(dist, f"node_{what}") for what in ("sf", "isf", "log_cdf", "log_sf", "log_icdf", "log_isf")
            )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@each_case
def test_tails(name, case):
    """SciPy's where it has them; logarithms are those of the probabilities where these do not underflow."""
    dist, reference = build(name, case), LAWS[name].reference(**case)
    x = np.asarray(LAWS[name].values, float)
    above, below = dist.sf(x), dist.cdf(x)
    np.testing.assert_allclose(above + below, 1.0, atol=1e-12)
    for tail, what in ((above, "sf"), (below, "cdf")):
        exact = getattr(reference, what, None)
        if exact is not None and name not in ("Binomial", "Categorical", "VonMises"):
            counted = exact(x) > 1e-290
            np.testing.assert_allclose(tail[counted], exact(x)[counted], rtol=1e-8)
        kept = (tail > 1e-290) & (tail < 0.5)
        np.testing.assert_allclose(getattr(dist, f"log_{what}")(x)[kept], np.log(tail[kept]), rtol=1e-9)
        assert not np.isnan(getattr(dist, f"log_{what}")(x)).any()


@each_case
def test_inverse_of_the_survival_function(name, case):
    dist = build(name, case)
    x = dist.isf(LEVELS)
    assert np.isnan(dist.isf(np.array([-0.1, 1.5, np.nan]))).all()
    assert not np.isnan(x).any()
    if dist.discrete:
        assert (dist.sf(x) <= LEVELS * (1 + 1e-9)).all()
        first = dist.icdf(0.0)
        assert ((dist.sf(x - 1) > LEVELS * (1 - 1e-9)) | (x <= first)).all()
        return
    rounding = 4 * np.spacing(np.maximum(np.abs(x), abs(case.get("loc", 0.0))))  # what x - loc can tell apart
    assert (dist.sf(x + rounding) <= LEVELS * (1 + 1e-8)).all() and (dist.sf(x - rounding) >= LEVELS * (1 - 1e-8)).all()


@each_case
def test_nothing_is_known_at_nan(name, case):
    dist = build(name, case)
    for tail in ("cdf", "sf", "log_cdf", "log_sf"):
        assert np.isnan(getattr(dist, tail)(np.nan)).all(), tail
        assert not np.isnan(getattr(dist, tail)(np.array([-np.inf, np.inf]))).any(), tail


@pytest.mark.parametrize(
    ("one", "zero", "x"),
    [
        (50, 300, 0.42),
        (500, 3000, 0.2),
        (5, 300, 0.1255),
        (5, 300, 0.4),
        (0.01, 0.02, 1e-20),
        (2, 2, 0.3),
        (300, 5, 0.999),
    ],
)
def test_upper_tails_of_beta_below_a_half(one, zero, x):
    reference = stats.beta(one, zero)
    np.testing.assert_allclose(Beta(one, zero).sf(x), reference.sf(x), rtol=1e-10)
    np.testing.assert_allclose(Beta(one, zero).log_sf(x), reference.logsf(x), rtol=1e-10)


@pytest.mark.slow
@each_case
def test_quantiles_at_logarithms(name, case):
    """Of probabilities that underflow, where the tails are logarithms."""
    dist = build(name, case)
    if name == "TruncatedNormal":
        return  # its quantiles lie where a float tells x, but not x - loc, apart
    for log_p in (-1e-3, -0.5, -30.0, -39.9, -40.1, *((-2000.0, -1e5) if dist.log_tails else ())):
        for quantile, tail in (("log_isf", "log_sf"), ("log_icdf", "log_cdf")):
            x = float(value_of(getattr(dist, f"node_{quantile}")(ops.const(log_p))))
            found = float(value_of(getattr(dist, f"node_{tail}")(ops.const(x))))
            near = float(value_of(getattr(dist, f"node_{tail}")(ops.const(x * (1 + 1e-12) + 1e-300))))
            if dist.discrete or not np.isfinite(found) or abs(near - found) > 1e-6 * abs(found):
                continue  # x is as near to an end of the support as a float goes
            assert found == pytest.approx(log_p, rel=1e-7, abs=1e-9), (quantile, x)


class Half(Distribution):
    """A law of one's own on 0 <= x <= 1 with a cdf and quantiles, but no upper tail: density 2 x."""

    reparameterized = True
    draws_quantiles = True

    def __init__(self):
        super().__init__(one=1.0)

    @property
    def support(self):
        return Support.UNIT_INTERVAL

    def unit_log_prob(self, value):
        return ops.log(ops.mul(2.0, value))

    def draw(self, *u):
        return ops.sqrt(u[0])

    def node_cdf(self, value):
        return ops.mul(value, value)


def test_a_law_without_upper_tail_is_truncated_where_its_cdf_is_exact():
    dist = Truncated(Half(), 0.1, 0.5)
    assert dist.log_prob(0.3) == pytest.approx(np.log(0.6 / 0.24)) and dist.icdf(0.5) == pytest.approx(0.13**0.5)
    with pytest.raises(ModelError, match="Half has no survival function and little probability"):
        Truncated(Half(), 0.9999)
