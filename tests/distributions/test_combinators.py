"""Mixture, Transformed, Masked, Truncated: laws against independent formulas, samples, paths, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_laws import laplace, leaf, noise_of, symbolic, value_of, values_of
from scipy import special, stats

from ppl import bijectors as b
from ppl.distributions import (
    COMBINATORS,
    Bernoulli,
    Categorical,
    Dirichlet,
    Exponential,
    Gamma,
    Laplace,
    Logistic,
    LogNormal,
    Masked,
    Mixture,
    MultivariateNormal,
    Normal,
    Poisson,
    Support,
    Transformed,
    Truncated,
    Uniform,
    VonMises,
)
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.simplify import simplify

N = 100_000

LEVEL = 1e-3  # of every goodness-of-fit test, at fixed seeds

WIDE = np.array([-1e3, -30.0, -4.0, -1.0, -0.1, 0.0, 1e-8, 0.3, 0.9, 1.0, 2.5, 12.0, 40.0, 700.0])

SHARES = np.array([0.3, 0.6, 0.1])


class Law:
    """A law written without the package: log-density and cdf (or log-mass), and whether a path exists."""

    def __init__(self, dist, logpdf, cdf, path):
        self.dist, self.logpdf, self.cdf, self.path = dist, logpdf, cdf, path


def mixed(*laws, weights=SHARES):
    """scipy's laws under weights."""

    def logpdf(x):
        each = np.stack([law.logpdf(x) for law in laws])
        return special.logsumexp(each, axis=0, b=weights.reshape(-1, *(1,) * np.ndim(x)))

    return logpdf, lambda x: sum(w * law.cdf(x) for w, law in zip(weights, laws, strict=True))


def clipped(law, low, high):
    """A law given that it lies between bounds."""
    below, above = law.cdf(low), law.cdf(high)

    def logpdf(x):
        return np.where((x >= low) & (x <= high), law.logpdf(x), -np.inf) - np.log(above - below)

    return logpdf, lambda x: np.clip((law.cdf(x) - below) / (above - below), 0, 1)


def changed(law, inverse, log_slope, low=-np.inf, high=np.inf, falls=False):
    """The law of g(x), by the inverse of g and the logarithm of that inverse's slope."""

    def inside(x):
        return (x > low) & (x < high)

    def logpdf(x):
        y = np.where(inside(x), x, 0.5 * (max(low, -1.0) + min(high, 1.0)))
        return np.where(inside(x), law.logpdf(inverse(y)) + log_slope(y), -np.inf)

    def cdf(x):
        y = np.where(inside(x), x, 0.5 * (max(low, -1.0) + min(high, 1.0)))
        p = law.sf(inverse(y)) if falls else law.cdf(inverse(y))
        return np.where(inside(x), p, (x >= high).astype(float))

    return logpdf, cdf


NORMALS = (stats.norm(-1.0, 0.5), stats.norm(2.0, 1.0), stats.norm(0.0, 3.0))

LAWS = {
    "mixture of normals": Law(
        Mixture(SHARES, Normal([-1.0, 2.0, 0.0], [0.5, 1.0, 3.0])), *mixed(*NORMALS), True
    ),
    "mixture by logits": Law(
        Mixture(logits=np.log(SHARES) + 3.0, components=Normal([-1.0, 2.0, 0.0], [0.5, 1.0, 3.0])),
        *mixed(*NORMALS), True,
    ),
    "mixture of families": Law(
        Mixture(SHARES, [Normal(-1.0, 0.5), Laplace(2.0, 1.0), Logistic(0.0, 3.0)]),
        *mixed(NORMALS[0], laplace(2.0, 1.0), stats.logistic(0.0, 3.0)), True,
    ),
    "mixture on the half line": Law(
        Mixture([0.4, 0.6], [Exponential(2.0), LogNormal(0.5, 0.7)]),
        *mixed(stats.expon(scale=0.5), stats.lognorm(0.7, scale=np.exp(0.5)), weights=np.array([0.4, 0.6])), True,
    ),
    "mixture over a gap": Law(
        Mixture([0.4, 0.6], Uniform([0.0, 2.0], [1.0, 5.0])),
        *mixed(stats.uniform(0, 1), stats.uniform(2, 3), weights=np.array([0.4, 0.6])), False,
    ),
    "mixture with a zero weight": Law(
        Mixture([0.4, 0.0, 0.6], Normal([-1.0, 2.0, 0.0], [0.5, 1.0, 3.0])),
        *mixed(NORMALS[0], NORMALS[2], weights=np.array([0.4, 0.6])), True,
    ),
    "log-normal": Law(
        Transformed(Normal(0.3, 0.7), b.Exp()),
        *changed(stats.norm(0.3, 0.7), np.log, lambda y: -np.log(y), 0.0), True,
    ),
    "logit-normal": Law(
        Transformed(Normal(0.3, 0.7), b.Sigmoid()),
        *changed(stats.norm(0.3, 0.7), special.logit, lambda y: -np.log(y) - np.log1p(-y), 0.0, 1.0), True,
    ),
    "tanh": Law(
        Transformed(Normal(0.3, 0.7), b.Tanh()),
        *changed(stats.norm(0.3, 0.7), np.arctanh, lambda y: -np.log1p(-y * y), -1.0, 1.0), True,
    ),
    "softplus": Law(
        Transformed(Logistic(0.3, 0.7), b.Softplus()),
        *changed(stats.logistic(0.3, 0.7), lambda y: y + np.log(-np.expm1(-y)), lambda y: -np.log(-np.expm1(-y)), 0.0),
        True,
    ),
    "mirrored": Law(
        Transformed(LogNormal(0.3, 0.7), b.Affine(2.0, -3.0)),
        *changed(stats.lognorm(0.7, scale=np.exp(0.3)), lambda y: (2.0 - y) / 3.0, lambda y: -np.log(3.0) + 0 * y,
                 -np.inf, 2.0, True), True,
    ),
    "inverse power": Law(
        Transformed(Exponential(1.3), b.Power(-0.5)),
        *changed(stats.expon(scale=1 / 1.3), lambda y: y**-2.0, lambda y: np.log(2.0) - 3 * np.log(y), 0.0, falls=True),
        True,
    ),
    "chain": Law(
        Transformed(Normal(0.3, 0.7), b.Chain((b.Exp(), b.Affine(1.0, 2.0))), b.Log()),
        *changed(stats.norm(0.3, 0.7), lambda y: np.log((np.exp(y) - 1) / 2), lambda y: y - np.log(np.expm1(y)), 0.0),
        True,
    ),
    "truncated normal": Law(
        Truncated(Normal(0.3, 0.7), -1.0, 2.0), *clipped(stats.norm(0.3, 0.7), -1.0, 2.0), True
    ),
    "upper exponential": Law(
        Truncated(Exponential(0.7), 2.5), *clipped(stats.expon(scale=1 / 0.7), 2.5, np.inf), True
    ),
    "truncated laplace": Law(
        Truncated(Laplace(1.0, 0.4), high=0.5), *clipped(laplace(1.0, 0.4), -np.inf, 0.5), True
    ),
    "truncated mixture base": Law(
        Truncated(Transformed(Normal(0.3, 0.7), b.Exp()), 0.5, 4.0),
        *clipped(stats.lognorm(0.7, scale=np.exp(0.3)), 0.5, 4.0), True,
    ),
}  # fmt: skip

each = pytest.mark.parametrize("name", LAWS)


def free(dist):
    """`dist` with leaves for parameters that can move (no infinite bound, no zero weight); leaves and values."""
    with_leaves, leaves, at = symbolic(dist)
    fixed = {k for k, v in at.items() if not np.isfinite(v).all() or (k == "weights" and (v == 0).any())}
    params = {k: dist.params[k] if k in fixed else n for k, n in with_leaves.params.items()}
    kept = {k: n for k, n in leaves.items() if k not in fixed}
    return dist.with_params(tuple(params.values())), kept, {k: at[k] for k in kept}


def assert_close(got, wanted, tolerance=1e-10):
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(got[~finite], wanted[~finite])
    error = np.abs(got[finite] - wanted[finite]) / np.maximum(1, np.abs(wanted[finite]))
    assert error.max(initial=0) <= tolerance, (got, wanted)


def test_every_combinator_has_a_law():
    assert {type(law.dist).__name__ for law in LAWS.values()} == set(COMBINATORS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@each
def test_log_prob_and_cdf(name):
    law = LAWS[name]
    assert_close(law.dist.log_prob(WIDE), law.logpdf(WIDE))
    np.testing.assert_allclose(law.dist.cdf(WIDE), law.cdf(WIDE), rtol=1e-10, atol=1e-15)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@each
def test_log_prob_in_float32(name):
    law = LAWS[name]
    x = WIDE.astype(np.float32).astype(np.float64)
    if name == "chain":  # exp and log of the chain are taken as they stand
        x = x[(np.abs(x) > 0.1) & (np.abs(x) < 80)]
    got = np.array([evaluate([law.dist.node_log_prob(ops.const(v))], Env(dtype=np.float32))[0] for v in x])
    assert_close(got.astype(np.float64), law.logpdf(x), 2e-5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@each
def test_score_and_its_zero_outside(name):
    law = LAWS[name]
    dist, leaves, at = free(law.dist)
    x = leaf("x")
    log_p = dist.node_log_prob(x)
    slopes = gradient(log_p, [*leaves.values(), x])
    for value in (-4.0, -0.1, 0.3, 0.9, 1.0, 2.5, 12.0):
        got = values_of(slopes, x=value, **at)
        assert np.isfinite(np.concatenate([g.ravel() for g in got])).all(), value
        if not np.isfinite(law.logpdf(np.array(value))):
            assert all((g == 0).all() for g in got), value
            continue
        for (key, theta), slope in zip(at.items(), got, strict=False):
            for index in np.ndindex(theta.shape):
                shift = np.zeros(theta.shape)
                shift[index] = 1e-5 * max(1.0, abs(theta[index]))
                ends = [value_of(log_p, **{**at, "x": value, key: theta + s * shift}) for s in (1, -1)]
                if np.isfinite(ends).all():
                    wanted = (ends[0] - ends[1]) / (2 * shift[index])
                    assert slope[index] == pytest.approx(wanted, rel=3e-5, abs=3e-5), (key, value)


@each
def test_goodness_of_fit(name):
    law = LAWS[name]
    x = value_of(law.dist.draw(*noise_of(law.dist, N)), 3)
    assert x.shape == (N,)
    assert stats.kstest(x, law.cdf).pvalue > LEVEL


@each
def test_path_is_the_implicit_derivative(name):
    """dx/dtheta = -(dF/dtheta) / p by finite differences of a cdf that is not the package's derivative."""
    law, n = LAWS[name], 40
    assert law.dist.reparameterized == law.path
    if not law.path:
        return
    dist, leaves, at = free(law.dist)
    drawn = dist.draw(*noise_of(dist, n))
    x = value_of(drawn, 5, **at)
    wrt = list(leaves.values())
    density = np.exp(law.logpdf(x))
    for i in range(0, n, 8):
        chosen = ops.const(np.eye(n)[i])
        picked = ops.reduce_sum(ops.mul(ops.collect(drawn, drawn.type.axes[0]), chosen))
        slopes = values_of(gradient(picked, wrt), 5, **at)
        for (key, theta), slope in zip(at.items(), slopes, strict=True):
            for index in np.ndindex(theta.shape):
                shift = np.zeros(theta.shape)
                shift[index] = 1e-5
                cdf = dist.node_cdf(ops.const(x[i]))
                high, low = (value_of(cdf, **{**at, key: theta + s * shift}) for s in (1, -1))
                wanted = -(high - low) / 2e-5 / density[i]
                assert slope[index] == pytest.approx(wanted, rel=1e-4, abs=1e-6), (key, x[i])


def test_quantiles_invert_the_cdf():
    p = np.array([1e-6, 0.2, 0.5, 0.999])
    for name, law in LAWS.items():
        if not isinstance(law.dist, Mixture):
            np.testing.assert_allclose(law.cdf(law.dist.icdf(p)), p, rtol=1e-7, err_msg=name)
    assert np.isnan(LAWS["truncated normal"].dist.icdf(1.5))
    mixture = LAWS["mixture of normals"].dist
    with pytest.raises(ModelError, match="Mixture has no icdf"):
        mixture.icdf(0.5)
    with pytest.raises(ModelError, match="Mixture has no icdf; truncate its components"):
        Truncated(mixture, 0.0, 1.0)


def test_moments():
    dist = LAWS["mixture of families"].dist
    means, variances = np.array([-1.0, 2.0, 0.0]), np.array([0.25, 2.0, 3 * np.pi**2])
    assert dist.mean == pytest.approx(SHARES @ means)
    assert dist.variance == pytest.approx(SHARES @ (variances + means**2) - (SHARES @ means) ** 2)
    moved = Transformed(Gamma(2.5, 2.0), b.Affine(1.0, -3.0))
    assert (moved.mean, moved.variance) == pytest.approx((1 - 3 * 1.25, 9 * 0.625))
    assert moved.entropy() == pytest.approx(stats.gamma(2.5, scale=1.5).entropy())
    with pytest.raises(ModelError, match="no mean in closed form"):
        _ = LAWS["log-normal"].dist.mean


def test_vector_mixture_is_one_unit_a_row():
    loc, scale = np.array([[-1.0, 0.0], [2.0, 1.0], [0.0, -3.0]]), np.array([[0.5, 2.0], [1.0, 1.0], [3.0, 0.4]])
    dist = Mixture(SHARES, Normal(loc, scale), joint=1)
    assert (dist.event_shape, dist.unit_rank, dist.batch_of_units) == ((2,), 1, ())
    x = np.array([[0.3, -1.0], [40.0, 2.0], [2.0, 1.0]])
    laws = [stats.multivariate_normal(m, np.diag(s**2)) for m, s in zip(loc, scale, strict=True)]
    wanted = special.logsumexp([law.logpdf(x) for law in laws], axis=0, b=SHARES[:, None])
    assert_close(dist.log_prob(x), wanted)
    full = Mixture(SHARES, MultivariateNormal(loc, scale_tril=scale[..., None] * np.eye(2)))
    assert_close(full.log_prob(x), wanted)
    assert full.event_shape == (2,) and not full.reparameterized and "vectors" in full.no_path
    mean = SHARES @ loc
    second = np.einsum("k,ki,kj->ij", SHARES, loc, loc) + np.diag(SHARES @ scale**2)
    for mixture in (dist, full):
        np.testing.assert_allclose(value_of(mixture.unit_covariance()), second - np.outer(mean, mean), rtol=1e-12)
        draws = value_of(mixture.draw(*noise_of(mixture, N)), 1)
        for i in range(2):
            marginal = mixed(*(stats.norm(m, s) for m, s in zip(loc[:, i], scale[:, i], strict=True)))[1]
            assert stats.kstest(draws[:, i], marginal).pvalue > LEVEL


def test_vector_path_solves_the_continuity_equation():
    """E[grad f . dx/dtheta] = d E f / dtheta with f coupling the entries, E f exact through the components' moments."""
    loc, scale = np.array([[-1.0, 0.0, 0.3], [1.2, 1.0, -0.7]]), np.array([[0.5, 1.2, 0.8], [1.0, 0.7, 1.1]])
    dist, leaves, at = symbolic(Mixture(logits=[0.2, -0.5], components=Normal(loc, scale), joint=1))
    x = dist.draw(*noise_of(dist, 400_000))

    def entry(i):
        return ops.reduce_sum(ops.mul(x, np.eye(3)[i]))

    f = ops.add(ops.mul(entry(0), entry(1)), ops.mul(ops.mul(entry(1), entry(2)), entry(2)))
    got = values_of(gradient(ops.div(ops.sum_axes(f, f.type.axes), 400_000.0), list(leaves.values())), 7, **at)

    def mean(logits, loc, scale):
        w = special.softmax(logits)
        return w @ (loc[:, 0] * loc[:, 1] + loc[:, 1] * (loc[:, 2] ** 2 + scale[:, 2] ** 2))

    for (key, theta), slope in zip(at.items(), got, strict=True):
        short = {"components.loc": "loc", "components.scale": "scale"}.get(key, key)
        values = {"logits": at["logits"], "loc": at["components.loc"], "scale": at["components.scale"]}
        for index in np.ndindex(theta.shape):
            shift = np.zeros(theta.shape)
            shift[index] = 1e-5
            high, low = (mean(**{**values, short: theta + s * shift}) for s in (1, -1))
            assert slope[index] == pytest.approx((high - low) / 2e-5, abs=0.02), (key, index)


def test_discrete_mixtures_and_truncations():
    k = np.arange(12)
    dist = Mixture([0.4, 0.6], Poisson([1.0, 4.0]))
    wanted = 0.4 * stats.poisson(1).pmf(k) + 0.6 * stats.poisson(4).pmf(k)
    np.testing.assert_allclose(np.exp(dist.log_prob(k)), wanted, rtol=1e-9)
    assert dist.discrete and dist.dtype == "int" and not dist.reparameterized
    draws = value_of(dist.draw(*noise_of(dist, N)), 2)
    counts = np.bincount(np.minimum(draws, 11), minlength=12)
    expected = np.append(wanted[:11], 1 - wanted[:11].sum()) * N
    assert stats.chisquare(counts, expected).pvalue > LEVEL
    classes = Mixture([0.4, 0.6], Categorical([[0.2, 0.8], [0.7, 0.3]]))
    assert classes.support_size() == 2 and np.exp(classes.log_prob([0, 1])) == pytest.approx([0.5, 0.5])
    assert Mixture([0.5, 0.5], Bernoulli([0.2, 0.6])).mean == pytest.approx(0.4)


def test_stick_breaking_and_back():
    dist = Transformed(Normal([0.2, -0.5, 1.0], 0.8), b.StickBreaking())
    assert dist.event_shape == (4,) and dist.support is Support.SIMPLEX and dist.unit_rank == 1
    x = value_of(dist.draw(*noise_of(dist, 1000)), 4)
    np.testing.assert_allclose(x.sum(-1), 1.0, rtol=1e-12)
    assert (dist.log_prob(np.array([[0.2, 0.3, 0.1, 0.5], [0.5, 0.6, -0.05, -0.05]])) == -np.inf).all()
    at = x[0]

    def back(y):
        return value_of(b.StickBreaking().inverse(ops.const(y)))

    jacobian = np.array([(back(at + h) - back(at - h)) / 2e-6 for h in 1e-6 * (np.eye(4)[:3] - np.eye(4)[3])])
    wanted = stats.norm([0.2, -0.5, 1.0], 0.8).logpdf(back(at)).sum() + np.log(abs(np.linalg.det(jacobian)))
    assert dist.log_prob(at) == pytest.approx(wanted, rel=1e-7)
    flat = Transformed(Dirichlet([1.0, 2.0, 3.0]), b.Inverse(b.StickBreaking()))
    assert flat.event_shape == (2,)
    y = np.array([0.3, -1.2])

    def forth(x):
        return value_of(b.StickBreaking().forward(ops.const(x)))

    jacobian = np.array([(forth(y + h) - forth(y - h))[:2] / 2e-6 for h in 1e-6 * np.eye(2)])
    simplex = forth(y)
    wanted = stats.dirichlet([1.0, 2.0, 3.0]).logpdf(simplex / simplex.sum()) + np.log(abs(np.linalg.det(jacobian)))
    assert flat.log_prob(y) == pytest.approx(wanted, rel=1e-7)


def test_far_samples_keep_their_density_in_float32():
    """The density at an own sample is computed from the argument of the last map, so saturation costs nothing."""
    for bijector in (b.Sigmoid(), b.Tanh(), b.Softplus(), b.Exp()):
        dist = Transformed(Normal(leaf("loc"), 1.0), bijector)
        for loc in (-20.0, 20.0):
            x = dist.draw(ops.const(0.7))
            found = simplify([dist.node_log_prob(x)])
            (log_p,) = evaluate(found, Env(params={"loc": loc}, dtype=np.float32))
            z = loc + stats.norm.ppf(0.7)
            slope = {"Sigmoid": -abs(z), "Tanh": 2 * (np.log(2) - abs(z)), "Softplus": min(z, 0.0), "Exp": z}
            wanted = stats.norm.logpdf(z - loc) - slope[type(bijector).__name__]
            assert log_p == pytest.approx(wanted, rel=2e-5), (bijector, loc)


def test_units_masks_and_broadcasting():
    rows = Mixture([[0.5, 0.5]] * 3, Normal([-1.0, 1.0], 1.0))
    assert rows.event_shape == (3,) and rows.batch_of_units == (3,)
    one = Mixture([0.5, 0.5], Normal([-1.0, 1.0], 1.0))
    x = np.array([0.3, 1.0, -2.0])
    assert rows.log_prob(x) == pytest.approx(sum(one.log_prob(v) for v in x))
    assert one.expand((3,)).log_prob(x) == pytest.approx(rows.log_prob(x))
    masked = Masked(rows, np.array([True, False, True]))
    assert isinstance(masked, Mixture) and masked.log_prob(x) == pytest.approx(one.log_prob(0.3) + one.log_prob(-2.0))
    assert Transformed(Normal(0.0, 1.0), b.Affine(np.zeros(3), 2.0)).event_shape == (3,)
    assert Truncated(Normal(0.0, 1.0), np.array([-1.0, 0.0])).expand((4, 2)).event_shape == (4, 2)
    nested = Mixture([0.5, 0.5], Transformed(Normal([0.0, 1.0], 1.0), b.Exp()))
    assert nested.reparameterized and nested.support is Support.POSITIVE
    wanted = 0.5 * stats.lognorm(1.0).pdf(2.0) + 0.5 * stats.lognorm(1.0, scale=np.e).pdf(2.0)
    assert nested.log_prob(2.0) == pytest.approx(np.log(wanted))


REFUSED = [
    (lambda: Mixture([0.5, 0.6], Normal([0.0, 1.0], 1.0)), ModelError, "Mixture: weights .* rows that sum to 1"),
    (lambda: Mixture([0.5, 0.5], Normal(0.0, 1.0)), ShapeError, "2 weights, but the components' units"),
    (lambda: Mixture([0.5, 0.5], [Normal(0.0, 1.0)]), ShapeError, "2 weights, but 1 components"),
    (lambda: Mixture([0.5, 0.5], [Normal(0.0, 1.0), Poisson(1.0)]), ModelError, "samples of one kind"),
    (lambda: Mixture([0.5, 0.5]), ModelError, "components must be"),
    (lambda: Mixture(components=Normal([0.0, 1.0], 1.0)), ModelError, "exactly one of weights and logits"),
    (lambda: Mixture([0.5, 0.5], Normal([0.0, 1.0], 1.0).mask([True, False])), ModelError, "has a mask"),
    (lambda: Transformed(Poisson(1.0), b.Affine(1.0)), ModelError, "must be a continuous distribution"),
    (lambda: Transformed(VonMises(0.0, 1.0), b.Affine(1.0)), ModelError, "must be a continuous distribution"),
    (lambda: Transformed(Normal(0.0, 1.0), b.Log()), ModelError, "inverse maps .* its argument lies in"),
    (lambda: Transformed(Normal(np.zeros(2), 1.0), b.Affine(np.zeros(3))), ShapeError, "does not fit event"),
    (lambda: Transformed(Normal(0.0, 1.0), b.StickBreaking()), ShapeError, "maps vectors"),
    (lambda: b.Affine(0.0, [1.0, -1.0]), ModelError, "all positive or all negative"),
    (lambda: Truncated(Mixture([0.5, 0.5], Normal([0.0, 1.0], 1.0)), 0.0), ModelError, "Mixture has no icdf"),
    (lambda: Truncated(Normal(0.0, 1.0), 2.0, 1.0), ModelError, "low must be less than high, got 2.0 and 1.0"),
    (lambda: Truncated(Normal(0.0, 1.0), np.nan), ModelError, "low is NaN"),
    (lambda: Truncated(Dirichlet([1.0, 1.0]), 0.0), ModelError, "distribution of scalars"),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[m for _, _, m in REFUSED])
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()
