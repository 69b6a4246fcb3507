"""ppl: stochastic computation graphs of layered random units, with a gradient estimator chosen per random node.

Declare a model with `@ppl.model`, compile it with `ppl.compile`, train it with `ppl.fit`; `program.explain()` says
which estimator each node got and why."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ppl import moved as _moved
from ppl.lazy import loading as _loading

if _TYPE_CHECKING:
    from ppl.chains.arviz_data import to_arviz
    from ppl.chains.mcmc import mcmc
    from ppl.chains.psis import Psis, psis
    from ppl.choosing.choices import Choices
    from ppl.choosing.tune import tune
    from ppl.inference.diagnose import compare
    from ppl.inference.guides.autoguide import autoguide
    from ppl.sweeps.sweep import sweep
    from ppl.sweeps.table import Sweep
    from ppl.tensorboard import TensorBoard
    from ppl.training.checkpoints import Checkpoints
    from ppl.training.fit import fit
    from ppl.training.history import load_history
    from ppl.training.result import Fit

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
    from ppl.lang.interventions import condition, do
    from ppl.lang.scan import scan
    from ppl.notebook.graph_picture import draw
    from ppl.objectives.elbo import elbo
    from ppl.objectives.iwae import iwae
    from ppl.objectives.likelihood import likelihood
    from ppl.objectives.nce import nce
    from ppl.objectives.predictive import predictive
    from ppl.program.program import Program, compile
    from ppl.runtime.state import State, load_state
    from ppl.training import optim

_moved.register()

_LATER = {
    "compare": "ppl.inference.diagnose",
    "fit": "ppl.training.fit",
    "Fit": "ppl.training.result",
    "load_history": "ppl.training.history",
    "Checkpoints": "ppl.training.checkpoints",
    "Choices": "ppl.choosing.choices",
    "autoguide": "ppl.inference.guides.autoguide",
    "tune": "ppl.choosing.tune",
    "mcmc": "ppl.chains.mcmc",
    "Psis": "ppl.chains.psis",
    "psis": "ppl.chains.psis",
    "to_arviz": "ppl.chains.arviz_data",
    "TensorBoard": "ppl.tensorboard",
    "Sweep": "ppl.sweeps.table",
    "sweep": "ppl.sweeps.sweep",
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
