"""Distributions: log-density, sampling path, support and closed KL divergences, written in IR ops, one per
file.

`REGISTRY` lists every distribution; the law tests run over it, so that a new one is tested the day it is
added. `COMBINATORS` lists those that are made of other distributions.
"""

from ppl.distributions import bijectors
from ppl.distributions.base import Distribution
from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.beta import Beta
from ppl.distributions.beta_binomial import BetaBinomial
from ppl.distributions.binomial import Binomial
from ppl.distributions.categorical import Categorical
from ppl.distributions.cauchy import Cauchy
from ppl.distributions.chi2 import Chi2
from ppl.distributions.delta import Delta
from ppl.distributions.dirichlet import Dirichlet
from ppl.distributions.discrete_uniform import DiscreteUniform
from ppl.distributions.divergences import counts as _kl_counts  # noqa: F401  (registers its pairs)
from ppl.distributions.divergences import gamma as _kl_gamma  # noqa: F401
from ppl.distributions.divergences import location_scale as _kl_location_scale  # noqa: F401
from ppl.distributions.divergences import multivariate as _kl_multivariate  # noqa: F401
from ppl.distributions.divergences import von_mises as _kl_von_mises  # noqa: F401
from ppl.distributions.divergences.registry import kl, kl_divergence, register_kl
from ppl.distributions.domain.support import Support, support_of
from ppl.distributions.exponential import Exponential
from ppl.distributions.families import counts as _counts  # noqa: F401  (fills the table)
from ppl.distributions.families import fit as _fit  # noqa: F401
from ppl.distributions.families import gaussian as _gaussian  # noqa: F401
from ppl.distributions.families import table as _families  # noqa: F401
from ppl.distributions.gamma import Gamma
from ppl.distributions.gaussian_random_walk import GaussianRandomWalk
from ppl.distributions.geometric import Geometric
from ppl.distributions.gumbel import Gumbel
from ppl.distributions.half_cauchy import HalfCauchy
from ppl.distributions.half_normal import HalfNormal
from ppl.distributions.inverse_gamma import InverseGamma
from ppl.distributions.kumaraswamy import Kumaraswamy
from ppl.distributions.laplace import Laplace
from ppl.distributions.lkj_cholesky import LKJCholesky
from ppl.distributions.logistic import Logistic
from ppl.distributions.lognormal import LogNormal
from ppl.distributions.low_rank_multivariate_normal import LowRankMultivariateNormal
from ppl.distributions.masked import Masked
from ppl.distributions.mixture import Mixture
from ppl.distributions.multinomial import Multinomial
from ppl.distributions.multivariate_normal import MultivariateNormal
from ppl.distributions.negative_binomial import NegativeBinomial
from ppl.distributions.normal import Normal
from ppl.distributions.onehot import OneHotCategorical
from ppl.distributions.pareto import Pareto
from ppl.distributions.plackett_luce import PlackettLuce
from ppl.distributions.poisson import Poisson
from ppl.distributions.relaxed_bernoulli import RelaxedBernoulli
from ppl.distributions.relaxed_onehot import RelaxedOneHotCategorical
from ppl.distributions.student_t import StudentT
from ppl.distributions.transformed import Transformed
from ppl.distributions.truncated import Truncated
from ppl.distributions.truncated_normal import TruncatedNormal
from ppl.distributions.uniform import Uniform
from ppl.distributions.von_mises import VonMises
from ppl.distributions.weibull import Weibull
from ppl.distributions.zero_inflated_poisson import ZeroInflatedPoisson

REGISTRY: dict[str, type[Distribution]] = {
    d.__name__: d
    for d in (
        Normal,
        LogNormal,
        Bernoulli,
        Categorical,
        OneHotCategorical,
        Uniform,
        Exponential,
        Gamma,
        Beta,
        Dirichlet,
        StudentT,
        Poisson,
        MultivariateNormal,
        Laplace,
        Logistic,
        Gumbel,
        VonMises,
        RelaxedBernoulli,
        RelaxedOneHotCategorical,
        BetaBinomial,
        Binomial,
        Cauchy,
        Delta,
        DiscreteUniform,
        Geometric,
        Multinomial,
        NegativeBinomial,
        PlackettLuce,
        ZeroInflatedPoisson,
        Chi2,
        HalfCauchy,
        HalfNormal,
        InverseGamma,
        Kumaraswamy,
        Pareto,
        Weibull,
        TruncatedNormal,
        GaussianRandomWalk,
        LKJCholesky,
        LowRankMultivariateNormal,
    )
}

COMBINATORS: dict[str, type[Distribution]] = {d.__name__: d for d in (Mixture, Transformed, Truncated)}

__all__ = [
    "COMBINATORS",
    "REGISTRY",
    "Bernoulli",
    "Beta",
    "BetaBinomial",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "Delta",
    "Dirichlet",
    "DiscreteUniform",
    "Distribution",
    "Exponential",
    "Gamma",
    "GaussianRandomWalk",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "Kumaraswamy",
    "LKJCholesky",
    "Laplace",
    "LogNormal",
    "Logistic",
    "LowRankMultivariateNormal",
    "Masked",
    "Mixture",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "Pareto",
    "PlackettLuce",
    "Poisson",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "StudentT",
    "Support",
    "Transformed",
    "Truncated",
    "TruncatedNormal",
    "Uniform",
    "VonMises",
    "Weibull",
    "ZeroInflatedPoisson",
    "bijectors",
    "kl",
    "kl_divergence",
    "register_kl",
    "support_of",
]
