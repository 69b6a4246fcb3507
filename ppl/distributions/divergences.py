"""Closed Kullback-Leibler divergences, one registered function per pair of distributions.

Two laws of one exponential family need none: `bregman_divergence` follows from the log-partition function. Divergences
of the gamma family are written without cancellation (`formulas.gamma_shape_kl`). Gaussians in every form of their
covariance share one formula: with Sigma_p = sum_j c_j c_j^T, KL = (sum_j |c_j|^2 + |loc_p - loc_q|^2 - d) / 2 + H(q) -
H(p), lengths in the metric Sigma_q^-1 and H the entropies. Divergences of counts are that of one trial times the
expected number of trials."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, TypeVar

from ppl.distributions.base import Distribution, apply_formula, require_distribution
from ppl.distributions.bernoulli import Bernoulli, BinaryTrials
from ppl.distributions.beta import Beta, Dirichlet
from ppl.distributions.binomial import Binomial, Geometric, NegativeBinomial
from ppl.distributions.categorical import Categorical, CategoricalBase, OneHotCategorical
from ppl.distributions.exponential import Exponential, Pareto, Weibull
from ppl.distributions.families.family import FAMILIES, bregman_divergence, has_same_fixed_parameters
from ppl.distributions.formulas import EULER, gamma_shape_kl, one_minus_cos, poisson_deviance
from ppl.distributions.gamma import Chi2, Gamma, InverseGamma
from ppl.distributions.half_distributions import HalfCauchy
from ppl.distributions.location_scale import Cauchy, Gumbel, Laplace, Normal
from ppl.distributions.lognormal import LogNormal
from ppl.distributions.multinomial import Multinomial
from ppl.distributions.multivariate_normal import LowRankMultivariateNormal, MultivariateNormal, diagonal_matrix
from ppl.distributions.poisson import Poisson
from ppl.distributions.uniform import Uniform
from ppl.distributions.von_mises import VonMises
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node

KLFormula = Callable[[Any, Any], Node]

AnyFormula = TypeVar("AnyFormula", bound=KLFormula)

KL_PAIRS: dict[tuple[type[Distribution], type[Distribution]], KLFormula] = {}


def register_kl(p: type[Distribution], q: type[Distribution]) -> Callable[[AnyFormula], AnyFormula]:
    """Register a function of (p, q) that gives KL(p || q) per unit, event shape `batch_of_units`."""

    def register(function: AnyFormula) -> AnyFormula:
        KL_PAIRS[p, q] = function
        return function

    return register


def kl_formula(p: type[Distribution], q: type[Distribution]) -> KLFormula | None:
    """The registered formula of a pair; for two laws of one exponential family, that of its log-partition function."""
    return KL_PAIRS.get((p, q)) or (bregman_divergence if p is q and p in FAMILIES else None)


def kl_divergence(p: Distribution, q: Distribution) -> Node | None:
    """KL(p || q) = E_p[log p - log q] summed over units: a scalar per row; None where no closed form is
    known.

    With masks it is the sum over units that count, and closed only where both sides have the same mask. Counts of
    different numbers of trials have none.
    """
    formula = kl_formula(type(p), type(q))
    if (
        formula is None
        or (type(p) is type(q) and not has_same_fixed_parameters(p, q))
        or p.event_mask is not q.event_mask
    ):
        return None
    if p.event_shape != q.event_shape:
        raise ShapeError(f"KL of {p!r} and {q!r}: event shapes differ")
    return p.masked_sum(formula(p, q))


def kl(p: Distribution, q: Distribution) -> Any:
    """KL(p || q), symbolic inside a model and a number outside.

    Raises
    ------
    ModelError
        Where no closed form is registered for the pair, or the masks differ.
    """

    require_distribution("kl: p", p)
    require_distribution("kl: q", q)

    def formula() -> Node:
        found = kl_divergence(p, q)
        if found is None:
            raise ModelError(f"KL({type(p).__name__} || {type(q).__name__}) has no closed form here")
        return found

    return apply_formula((p, q), formula)


@register_kl(Normal, Normal)
@register_kl(LogNormal, LogNormal)
def _normal_kl(p: Normal | LogNormal, q: Normal | LogNormal) -> Node:
    """(r^2 - 1) / 2 - log r + (shift / scale_q)^2 / 2, r = scale_p / scale_q; exp changes nothing."""
    scale_p, scale_q = p.params["scale"], q.params["scale"]
    ratio = ops.div(scale_p, scale_q)
    shift = ops.div(ops.sub(p.params["loc"], q.params["loc"]), scale_q)
    squares = ops.sub(ops.add(ops.mul(ratio, ratio), ops.mul(shift, shift)), 1.0)
    return ops.add(ops.mul(0.5, squares), ops.sub(ops.log(scale_q), ops.log(scale_p)))


@register_kl(Bernoulli, Bernoulli)
def bernoulli_kl(p: Bernoulli, q: Bernoulli) -> Node:
    """Sum over both outcomes of P (log P - log Q)."""
    outcomes = p.outcome_probs()
    return ops.sub(p.expected_log_prob(*outcomes), q.expected_log_prob(*outcomes))


@register_kl(Categorical, Categorical)
@register_kl(OneHotCategorical, OneHotCategorical)
def categorical_kl(p: CategoricalBase, q: CategoricalBase) -> Node:
    """Sum over classes of P (log P - log Q)."""
    if p.count != q.count:
        raise ShapeError(f"KL of {p!r} and {q!r}: {p.count} and {q.count} classes")
    probs = p.class_probs()
    return ops.sub(p.expected_log_prob(probs), q.expected_log_prob(probs))


@register_kl(Exponential, Exponential)
def _exponential_kl(p: Exponential, q: Exponential) -> Node:
    """log(rate_p / rate_q) + rate_q / rate_p - 1."""
    rate_p, rate_q = p.params["rate"], q.params["rate"]
    return ops.sub(ops.add(ops.sub(ops.log(rate_p), ops.log(rate_q)), ops.div(rate_q, rate_p)), 1.0)


@register_kl(Gamma, Gamma)
def gamma_kl(p: Gamma, q: Gamma) -> Node:
    """(a - b) digamma(a) - log gamma(a) + log gamma(b) + b log(rate_p / rate_q) + a (rate_q / rate_p - 1).

    It is the deviance of b from m = a rate_q / rate_p, and what the shapes differ by besides.
    """
    (a, rate_p), (b, rate_q) = p.params.values(), q.params.values()
    return _gamma_kl_by_ratio(a, ops.div(rate_q, rate_p), ops.sub(ops.log(rate_q), ops.log(rate_p)), b)


def _gamma_kl_by_ratio(a: Node, ratio: Node, log_ratio: Node, b: Node) -> Node:
    """KL from concentration a and rate 1 to concentration b and rate `ratio`."""
    means = poisson_deviance(ops.mul(a, ratio), ops.add(ops.log(a), log_ratio), b)
    return ops.add(means, gamma_shape_kl(a, b))


@register_kl(InverseGamma, InverseGamma)
def _inverse_gamma_kl(p: InverseGamma, q: InverseGamma) -> Node:
    """That of the reciprocals."""
    (a, scale_p), (b, scale_q) = p.params.values(), q.params.values()
    return _gamma_kl_by_ratio(a, ops.div(scale_q, scale_p), ops.sub(ops.log(scale_q), ops.log(scale_p)), b)


@register_kl(Chi2, Chi2)
def _chi2_kl(p: Chi2, q: Chi2) -> Node:
    """That of the gamma laws."""
    return gamma_kl(p.original(), q.original())


@register_kl(Poisson, Poisson)
def _poisson_kl(p: Poisson, q: Poisson) -> Node:
    """rate_p log(rate_p / rate_q) + rate_q - rate_p."""
    return poisson_deviance(q.params["rate"], ops.log(q.params["rate"]), p.params["rate"])


def _dirichlet_kl_terms(a: list[Node], b: list[Node], total_a: Node, total_b: Node) -> list[Node]:
    """The terms of the KL divergence from Dirichlet concentrations a to b, less that of their totals.

    The deviances are of b_i from a_i times the ratio of the totals, whose differences sum to 0.
    """
    ratio = ops.div(total_b, total_a)
    log_ratio = ops.sub(ops.log(total_b), ops.log(total_a))
    return [
        ops.add(poisson_deviance(ops.mul(x, ratio), ops.add(ops.log(x), log_ratio), y), gamma_shape_kl(x, y))
        for x, y in zip(a, b, strict=True)
    ]


@register_kl(Beta, Beta)
def _beta_kl(p: Beta, q: Beta) -> Node:
    """log B_q - log B_p + the sum of (a - b) digamma(a), less the same of the totals."""
    a, b = list(p.params.values()), list(q.params.values())
    totals = ops.add(*a), ops.add(*b)
    return ops.sub(ops.add(*_dirichlet_kl_terms(a, b, *totals)), gamma_shape_kl(*totals))


@register_kl(Dirichlet, Dirichlet)
def _dirichlet_kl(p: Dirichlet, q: Dirichlet) -> Node:
    """log B_q - log B_p + the sum of (a_i - b_i) digamma(a_i), less the same of the totals."""
    a, b = p.params["concentration"], q.params["concentration"]
    if a.type.shape != b.type.shape:
        raise ShapeError(f"KL of {p!r} and {q!r}: event shapes differ")
    total_a, total_b = (ops.reduce_sum(c, -1, keepdims=True) for c in (a, b))
    (each,) = _dirichlet_kl_terms([a], [b], total_a, total_b)
    whole = gamma_shape_kl(total_a, total_b)
    return ops.sub(ops.reduce_sum(each, -1), ops.reshape(whole, whole.type.shape[:-1]))


def _one_trial(dist: BinaryTrials) -> Bernoulli:
    return Bernoulli(**{name: node for name, node in dist.params.items() if name in ("probs", "logits")})


def _trial_kl(p: BinaryTrials, q: BinaryTrials) -> Node:
    return bernoulli_kl(_one_trial(p), _one_trial(q))


@register_kl(Binomial, Binomial)
def _binomial_kl(p: Binomial, q: Binomial) -> Node:
    """n KL of a trial."""
    return ops.mul(p.params["total_count"], _trial_kl(p, q))


@register_kl(Geometric, Geometric)
def _geometric_kl(p: Geometric, q: Geometric) -> Node:
    """KL of a trial over the probability of success."""
    return ops.div(_trial_kl(p, q), p.outcome_probs()[0])


@register_kl(NegativeBinomial, NegativeBinomial)
def _negative_binomial_kl(p: NegativeBinomial, q: NegativeBinomial) -> Node:
    """r KL of a trial over the probability of failure."""
    return ops.div(ops.mul(p.params["total_count"], _trial_kl(p, q)), p.outcome_probs()[1])


@register_kl(Multinomial, Multinomial)
def _multinomial_kl(p: Multinomial, q: Multinomial) -> Node:
    """n KL of a draw."""
    return ops.mul(p.total, categorical_kl(p, q))


@register_kl(Laplace, Laplace)
def _laplace_kl(p: Laplace, q: Laplace) -> Node:
    """log(b_q / b_p) + (b_p exp(-gap / b_p) + gap) / b_q - 1, gap = |loc_p - loc_q|."""
    (loc_p, own), (loc_q, other) = p.params.values(), q.params.values()
    gap = ops.absolute(ops.sub(loc_p, loc_q))
    spread = ops.add(ops.mul(own, ops.exp(ops.neg(ops.div(gap, own)))), gap)
    return ops.add(ops.sub(ops.log(other), ops.log(own)), ops.sub(ops.div(spread, other), 1.0))


@register_kl(Uniform, Uniform)
def _uniform_kl(p: Uniform, q: Uniform) -> Node:
    """log of the ratio of lengths, infinite where the first interval leaves the second."""
    (low_p, high_p), (low_q, high_q) = p.params.values(), q.params.values()
    inside = ops.logical_and(ops.less_equal(low_q, low_p), ops.less_equal(high_p, high_q))
    ratio = ops.sub(ops.log(ops.sub(high_q, low_q)), ops.log(ops.sub(high_p, low_p)))
    return ops.where(inside, ratio, math.inf)


@register_kl(Gumbel, Gumbel)
def _gumbel_kl(p: Gumbel, q: Gumbel) -> Node:
    """log(b_q / b_p) + euler (r - 1) + gap + exp(-gap) gamma(r + 1) - 1, r = b_p / b_q, gap = (loc_p - loc_q) / b_q."""
    (loc_p, own), (loc_q, other) = p.params.values(), q.params.values()
    ratio, gap = ops.div(own, other), ops.div(ops.sub(loc_p, loc_q), other)
    power = ops.exp(ops.sub(ops.lgamma(ops.add(ratio, 1.0)), gap))
    flat = ops.add(ops.neg(ops.log(ratio)), ops.mul(EULER, ops.sub(ratio, 1.0)))
    return ops.add(flat, ops.add(gap, ops.sub(power, 1.0)))


def _cauchy_kl_by_gap(own: Node, other: Node, gap: Node) -> Node:
    """log of ((b_p + b_q)^2 + gap^2) / (4 b_p b_q) (Chyzak & Nielsen 2019)."""
    apart, shift = ops.sub(own, other), ops.div(gap, ops.mul(2.0, ops.mul(ops.sqrt(own), ops.sqrt(other))))
    scaled = ops.div(apart, ops.mul(2.0, ops.mul(ops.sqrt(own), ops.sqrt(other))))
    return ops.log1p(ops.add(ops.mul(scaled, scaled), ops.mul(shift, shift)))


@register_kl(Cauchy, Cauchy)
def _cauchy_kl(p: Cauchy, q: Cauchy) -> Node:
    """See `_cauchies`."""
    return _cauchy_kl_by_gap(p.params["scale"], q.params["scale"], ops.sub(p.params["loc"], q.params["loc"]))


@register_kl(HalfCauchy, HalfCauchy)
def _half_cauchy_kl(p: HalfCauchy, q: HalfCauchy) -> Node:
    """That of the Cauchy laws they are halves of."""
    return _cauchy_kl_by_gap(p.params["scale"], q.params["scale"], ops.as_node(0.0))


@register_kl(Weibull, Weibull)
def _weibull_kl(p: Weibull, q: Weibull) -> Node:
    """That of -log x, whose laws are Gumbel(-log scale, 1 / concentration)."""
    first, second = (
        Gumbel(ops.neg(ops.log(d.params["scale"])), ops.div(1.0, d.params["concentration"])) for d in (p, q)
    )
    return _gumbel_kl(first, second)


@register_kl(Pareto, Pareto)
def _pareto_kl(p: Pareto, q: Pareto) -> Node:
    """b log(scale_p / scale_q) + log(a / b) + b / a - 1, infinite where the first support leaves the second."""
    (low_p, a), (low_q, b) = p.params.values(), q.params.values()
    shape = ops.add(ops.sub(ops.log(a), ops.log(b)), ops.sub(ops.div(b, a), 1.0))
    found = ops.add(ops.mul(b, ops.sub(ops.log(low_p), ops.log(low_q))), shape)
    return ops.where(ops.less_equal(low_q, low_p), found, math.inf)


@register_kl(Exponential, Gamma)
def _exponential_gamma_kl(p: Exponential, q: Gamma) -> Node:
    """That of Gamma(1, rate)."""
    return gamma_kl(Gamma(1.0, p.params["rate"]), q)


@register_kl(Gamma, Exponential)
def _gamma_exponential_kl(p: Gamma, q: Exponential) -> Node:
    """That from Gamma(1, rate)."""
    return gamma_kl(p, Gamma(1.0, q.params["rate"]))


def _columns_first(matrix: Node) -> Node:
    """The columns of matrices (…, d, k) as (k, …, d)."""
    rank = len(matrix.type.shape)
    return ops.transpose(matrix, (rank - 1, *range(rank - 1)))


def _covariance_columns(p: Distribution) -> Node:
    """c_j along a new first dimension."""
    if isinstance(p, LowRankMultivariateNormal):
        common, own = p.params["cov_factor"], diagonal_matrix(ops.sqrt(p.params["cov_diag"]))
        return ops.concat([_columns_first(common), _columns_first(own)], 0)
    if isinstance(p, MultivariateNormal):
        return _columns_first(p.lower())
    return _columns_first(diagonal_matrix(p.params["scale"]))


def _squared_mahalanobis(q: Distribution, vectors: Node) -> Node:
    """Squared lengths in the metric of the precision of `q`; one leading dimension before its event."""
    repeated = q.expand((vectors.type.shape[0], *q.batch_of_units))
    centre = repeated.params["loc"]
    if isinstance(repeated, MultivariateNormal):
        white = repeated.standardized(ops.add(centre, vectors))
        return ops.reduce_sum(ops.mul(white, white), -1)
    fall = ops.sub(repeated.unit_log_prob(centre), repeated.unit_log_prob(ops.add(centre, vectors)))
    return ops.mul(2.0, fall)


def _as_gaussian_vectors(p: Distribution) -> Distribution:
    """Independent normals as one vector per row."""
    if isinstance(p, Normal):
        return MultivariateNormal(p.params["loc"], scale_diag=p.params["scale"])
    return p


def _gaussian_kl(p: Distribution, q: Distribution) -> Node:
    """See the module."""
    first, second = _as_gaussian_vectors(p), _as_gaussian_vectors(q)
    columns, shift = _covariance_columns(first), ops.sub(first.params["loc"], second.params["loc"])
    every = ops.concat([columns, ops.reshape(shift, (1, *shift.type.shape))], 0)
    spread = ops.sub(ops.reduce_sum(_squared_mahalanobis(second, every), 0), float(p.event_shape[-1]))
    return ops.add(ops.mul(0.5, spread), ops.sub(second.unit_entropy(), first.unit_entropy()))


for _pair in itertools.product((Normal, MultivariateNormal, LowRankMultivariateNormal), repeat=2):
    if _pair != (Normal, Normal):
        register_kl(*_pair)(_gaussian_kl)


@register_kl(VonMises, VonMises)
def _von_mises_kl(p: VonMises, q: VonMises) -> Node:
    """log I0(b) - log I0(a) + A(a) (a - b cos(gap)) for concentrations a, b, A = I1 / I0, gap of the locs.

    Without cancellation, in l = log(I0 exp(-x)) with l' = A - 1:
    l(b) - l(a) + a l'(a) + b (1 - cos(gap) - l'(a) cos(gap)).
    """
    (loc_p, a), (loc_q, b) = p.params.values(), q.params.values()
    normalizers = ops.sub(ops.log_i0e(b), ops.log_i0e(a))
    gap, slope = ops.sub(loc_p, loc_q), ops.log_i0e(a, 1)
    apart = ops.sub(one_minus_cos(gap), ops.mul(slope, ops.cos(gap)))
    return ops.add(ops.add(normalizers, ops.mul(a, slope)), ops.mul(b, apart))
