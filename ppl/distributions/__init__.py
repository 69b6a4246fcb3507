"""Distributions: log-density, sampling path, support and closed KL divergences, written in IR ops.

Laws of one family stand in one file. `REGISTRY` lists every distribution; the law tests run over it, so that a new one
is tested the day it is added. `COMBINATORS` lists those that are made of other distributions."""

from ppl.distributions import bijectors
from ppl.distributions.base import Distribution, Masked, register_fit
from ppl.distributions.bernoulli import Bernoulli, RelaxedBernoulli
from ppl.distributions.beta import Beta, Dirichlet, Kumaraswamy
from ppl.distributions.binomial import BetaBinomial, Binomial, Geometric, NegativeBinomial
from ppl.distributions.categorical import Categorical, OneHotCategorical, RelaxedOneHotCategorical
from ppl.distributions.delta import Delta
from ppl.distributions.divergences import kl, kl_divergence, register_kl
from ppl.distributions.exponential import Exponential, Pareto, Weibull
from ppl.distributions.families import members as _members  # noqa: F401  (fills the table)
from ppl.distributions.families.fit import fit
from ppl.distributions.gamma import Chi2, Gamma, InverseGamma
from ppl.distributions.half_distributions import HalfCauchy, HalfNormal
from ppl.distributions.lkj_cholesky import LKJCholesky
from ppl.distributions.location_scale import Cauchy, Gumbel, Laplace, Logistic, Normal
from ppl.distributions.lognormal import LogNormal
from ppl.distributions.mixture import Mixture
from ppl.distributions.multinomial import Multinomial
from ppl.distributions.multivariate_normal import GaussianRandomWalk, LowRankMultivariateNormal, MultivariateNormal
from ppl.distributions.plackett_luce import PlackettLuce
from ppl.distributions.poisson import Poisson, ZeroInflatedPoisson
from ppl.distributions.student_t import StudentT
from ppl.distributions.support import Support, support_of
from ppl.distributions.transformed import Transformed
from ppl.distributions.truncated import Truncated
from ppl.distributions.truncated_normal import TruncatedNormal
from ppl.distributions.uniform import DiscreteUniform, Uniform
from ppl.distributions.von_mises import VonMises

register_fit(fit)

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
