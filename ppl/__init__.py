"""ppl: stochastic computation graphs of layered random units, with a gradient estimator chosen per random node.

Declare a model with `@ppl.model`, compile it with `ppl.compile`, train it with `ppl.fit`; `program.explain()` says
which estimator each node got and why.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ppl.lazy import loading as _loading

with _loading():
    from ppl import distributions, errors, estimators
    from ppl.distributions import (
        Bernoulli,
        Beta,
        BetaBinomial,
        Binomial,
        Categorical,
        Cauchy,
        Chi2,
        Delta,
        Dirichlet,
        DiscreteUniform,
        Exponential,
        Gamma,
        GaussianRandomWalk,
        Geometric,
        Gumbel,
        HalfCauchy,
        HalfNormal,
        InverseGamma,
        Kumaraswamy,
        Laplace,
        LKJCholesky,
        Logistic,
        LogNormal,
        LowRankMultivariateNormal,
        Masked,
        Mixture,
        Multinomial,
        MultivariateNormal,
        NegativeBinomial,
        Normal,
        OneHotCategorical,
        Pareto,
        PlackettLuce,
        Poisson,
        RelaxedBernoulli,
        RelaxedOneHotCategorical,
        StudentT,
        Transformed,
        Truncated,
        TruncatedNormal,
        Uniform,
        VonMises,
        Weibull,
        ZeroInflatedPoisson,
        bijectors,
        kl,
    )
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
        log_sigmoid,
        log_softmax,
        logsumexp,
        model,
        one_hot,
        param,
        plate,
        relu,
        row_index,
        sample,
        scope,
        sigmoid,
        softmax,
        softplus,
        solve_triangular,
        spec,
        stop_gradient,
    )
    from ppl.lang.blocks import init, layers
    from ppl.lang.interventions.models import condition, do
    from ppl.lang.time.scan import scan
    from ppl.objectives.elbo import elbo
    from ppl.objectives.iwae import iwae
    from ppl.objectives.likelihood import likelihood
    from ppl.objectives.nce import nce
    from ppl.objectives.predictive import predictive
    from ppl.program.pictures.draw import draw
    from ppl.program.program import Program, compile
    from ppl.runtime.state import State
    from ppl.runtime.storage.unpacking import load_state
    from ppl.training import optim

if _TYPE_CHECKING:
    from ppl.inference.diagnose import compare
    from ppl.inference.guides.autoguide import autoguide
    from ppl.inference.tune import tune
    from ppl.sampling.mcmc import mcmc
    from ppl.sampling.psis import Psis, psis
    from ppl.sampling.to_arviz import to_arviz
    from ppl.training.fit import Fit, fit
    from ppl.training.history.file import load_history
    from ppl.training.history.policy import Checkpoints
    from ppl.training.history.tensorboard import TensorBoard
    from ppl.training.sweep.result import Sweep
    from ppl.training.sweep.sweep import sweep
    from ppl.training.tuned.choices import Choices

_LATER = {
    "compare": "ppl.inference.diagnose",
    "fit": "ppl.training.fit",
    "Fit": "ppl.training.run",
    "load_history": "ppl.training.history.file",
    "Checkpoints": "ppl.training.history.policy",
    "Choices": "ppl.training.tuned.choices",
    "autoguide": "ppl.inference.guides.autoguide",
    "tune": "ppl.inference.tune",
    "mcmc": "ppl.sampling.mcmc",
    "Psis": "ppl.sampling.psis",
    "psis": "ppl.sampling.psis",
    "to_arviz": "ppl.sampling.to_arviz",
    "TensorBoard": "ppl.training.history.tensorboard",
    "Sweep": "ppl.training.sweep.result",
    "sweep": "ppl.training.sweep.sweep",
}
"""What many programs do not need, by the module that is imported when it is first asked for."""


def __getattr__(name: str) -> _Any:
    """What takes long to import and is seldom needed: `ppl.random`, `ppl.__version__`, and `_LATER`."""
    if name in _LATER:
        with _loading():
            found = globals()[name] = getattr(_import_module(_LATER[name]), name)
        return found
    if name == "random":
        return _import_module("ppl.random")
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version  # takes as long as NumPy does

        try:
            return version("numba-ppl")
        except PackageNotFoundError:
            return "0.0.0"
    raise AttributeError(f"module 'ppl' has no attribute {name!r}")


__all__ = [
    "Bernoulli",
    "Beta",
    "BetaBinomial",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Checkpoints",
    "Chi2",
    "Choices",
    "Delta",
    "Dirichlet",
    "DiscreteUniform",
    "Exponential",
    "Fit",
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
    "Model",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "Pareto",
    "PlackettLuce",
    "Poisson",
    "Program",
    "Psis",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "State",
    "StudentT",
    "Sweep",
    "TensorBoard",
    "Transformed",
    "Truncated",
    "TruncatedNormal",
    "Uniform",
    "Value",
    "VonMises",
    "Weibull",
    "ZeroInflatedPoisson",
    "autoguide",
    "bijectors",
    "carried",
    "carry",
    "collect",
    "compare",
    "compile",
    "condition",
    "constant",
    "cost",
    "dense",
    "deterministic",
    "distributions",
    "do",
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
    "load_history",
    "load_state",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "mcmc",
    "model",
    "nce",
    "one_hot",
    "optim",
    "param",
    "plate",
    "predictive",
    "psis",
    "random",
    "relu",
    "row_index",
    "sample",
    "scan",
    "scope",
    "sigmoid",
    "softmax",
    "softplus",
    "solve_triangular",
    "spec",
    "stop_gradient",
    "sweep",
    "to_arviz",
    "tune",
]
