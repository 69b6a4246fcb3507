"""ppl: stochastic computation graphs of layered random units, with a gradient estimator chosen per random node.

Declare a model with `@ppl.model`, compile it with `ppl.compile`, train it with `ppl.fit`; `program.explain()` says
which estimator each node got and why.
"""

from importlib.metadata import PackageNotFoundError, version

from ppl import distributions, errors, estimators, random
from ppl.compiler.program import Program, compile
from ppl.compiler.state import State, load_state
from ppl.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Cauchy,
    Chi2,
    Dirichlet,
    Exponential,
    Gamma,
    Gumbel,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    Kumaraswamy,
    Laplace,
    Logistic,
    LogNormal,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Pareto,
    Poisson,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    StudentT,
    Uniform,
    VonMises,
    Weibull,
    kl,
)
from ppl.graph.draw import draw
from ppl.inference import optim
from ppl.inference.diagnose import compare
from ppl.inference.elbo import elbo
from ppl.inference.fit import Fit, fit
from ppl.inference.iwae import iwae
from ppl.inference.likelihood import likelihood
from ppl.inference.nce import nce
from ppl.inference.tune import tune
from ppl.lang import (
    Model,
    Value,
    carried,
    carry,
    collect,
    constant,
    cost,
    dense,
    deterministic,
    external,
    factor,
    hyper,
    init,
    layers,
    log_sigmoid,
    log_softmax,
    logsumexp,
    model,
    one_hot,
    param,
    plate,
    relu,
    sample,
    scope,
    sigmoid,
    softmax,
    softplus,
    spec,
    stop_gradient,
)

try:
    __version__ = version("numba-ppl")
except PackageNotFoundError:
    __version__ = "0.0.0"

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Cauchy",
    "Chi2",
    "Dirichlet",
    "Exponential",
    "Fit",
    "Gamma",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "Kumaraswamy",
    "Laplace",
    "LogNormal",
    "Logistic",
    "Model",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "Pareto",
    "Poisson",
    "Program",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "State",
    "StudentT",
    "Uniform",
    "Value",
    "VonMises",
    "Weibull",
    "carried",
    "carry",
    "collect",
    "compare",
    "compile",
    "constant",
    "cost",
    "dense",
    "deterministic",
    "distributions",
    "draw",
    "elbo",
    "errors",
    "estimators",
    "external",
    "factor",
    "fit",
    "hyper",
    "init",
    "iwae",
    "kl",
    "layers",
    "likelihood",
    "load_state",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "model",
    "nce",
    "one_hot",
    "optim",
    "param",
    "plate",
    "random",
    "relu",
    "sample",
    "scope",
    "sigmoid",
    "softmax",
    "softplus",
    "spec",
    "stop_gradient",
    "tune",
]
