"""Modules of earlier versions that pickles name, and the modules that hold what stood in them.

A pickle refers to a class or function by its module and its name: so do programs, results of training, and the code of
a model that its pickle holds. A module that has moved is answered for by a `MovedModule`.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

MOVED: Mapping[str, str] = {
    "ppl.compiler.plan.measured": "ppl.compiler.plan.plan",
    "ppl.distributions.base.distribution": "ppl.distributions.base",
    "ppl.distributions.beta_binomial": "ppl.distributions.binomial",
    "ppl.distributions.bijectors.base": "ppl.distributions.bijectors",
    "ppl.distributions.bijectors.composed": "ppl.distributions.bijectors",
    "ppl.distributions.bijectors.corr_cholesky": "ppl.distributions.bijectors",
    "ppl.distributions.bijectors.elementwise": "ppl.distributions.bijectors",
    "ppl.distributions.bijectors.flows": "ppl.distributions.bijectors",
    "ppl.distributions.bijectors.stick_breaking": "ppl.distributions.bijectors",
    "ppl.distributions.cauchy": "ppl.distributions.location_scale",
    "ppl.distributions.chi2": "ppl.distributions.gamma",
    "ppl.distributions.dirichlet": "ppl.distributions.beta",
    "ppl.distributions.discrete_uniform": "ppl.distributions.uniform",
    "ppl.distributions.divergences.registry": "ppl.distributions.divergences",
    "ppl.distributions.domain.support": "ppl.distributions.support",
    "ppl.distributions.gaussian_random_walk": "ppl.distributions.multivariate_normal",
    "ppl.distributions.geometric": "ppl.distributions.binomial",
    "ppl.distributions.gumbel": "ppl.distributions.location_scale",
    "ppl.distributions.half_cauchy": "ppl.distributions.half_distributions",
    "ppl.distributions.half_normal": "ppl.distributions.half_distributions",
    "ppl.distributions.inverse_gamma": "ppl.distributions.gamma",
    "ppl.distributions.kumaraswamy": "ppl.distributions.beta",
    "ppl.distributions.laplace": "ppl.distributions.location_scale",
    "ppl.distributions.logistic": "ppl.distributions.location_scale",
    "ppl.distributions.low_rank_multivariate_normal": "ppl.distributions.multivariate_normal",
    "ppl.distributions.masked": "ppl.distributions.base",
    "ppl.distributions.negative_binomial": "ppl.distributions.binomial",
    "ppl.distributions.normal": "ppl.distributions.location_scale",
    "ppl.distributions.onehot": "ppl.distributions.categorical",
    "ppl.distributions.pareto": "ppl.distributions.exponential",
    "ppl.distributions.relaxed_bernoulli": "ppl.distributions.bernoulli",
    "ppl.distributions.relaxed_onehot": "ppl.distributions.categorical",
    "ppl.distributions.weibull": "ppl.distributions.exponential",
    "ppl.distributions.zero_inflated_poisson": "ppl.distributions.poisson",
    "ppl.estimators.parts.not_needed": "ppl.estimators.not_needed",
    "ppl.inference.probabilities": "ppl.inference.posterior",
    "ppl.inference.tune": "ppl.choosing.tune",
    "ppl.lang.arrays.linalg": "ppl.lang.numpy_functions",
    "ppl.lang.blocks.dense": "ppl.lang.layers",
    "ppl.lang.blocks.functional": "ppl.lang.functions",
    "ppl.lang.blocks.init": "ppl.lang.init",
    "ppl.lang.blocks.layers": "ppl.lang.layers",
    "ppl.lang.interventions.models": "ppl.lang.interventions",
    "ppl.lang.time.scan": "ppl.lang.scan",
    "ppl.program.c_function": "ppl.c_export.function",
    "ppl.program.pictures.draw": "ppl.notebook.graph_picture",
    "ppl.program.traffic": "ppl.program.roofline",
    "ppl.runtime.storage.unpacking": "ppl.runtime.state",
    "ppl.sampling.density": "ppl.chains.log_density",
    "ppl.sampling.mcmc": "ppl.chains.mcmc",
    "ppl.sampling.psis": "ppl.chains.psis",
    "ppl.sampling.to_arviz": "ppl.chains.arviz_data",
    "ppl.training.history.file": "ppl.training.history",
    "ppl.training.history.policy": "ppl.training.checkpoints",
    "ppl.training.history.result": "ppl.training.result",
    "ppl.training.history.tensorboard": "ppl.tensorboard",
    "ppl.training.optim.adagrad": "ppl.training.optim.first_order",
    "ppl.training.optim.adam": "ppl.training.optim.first_order",
    "ppl.training.optim.adamw": "ppl.training.optim.first_order",
    "ppl.training.optim.groups": "ppl.training.optim.transform",
    "ppl.training.optim.lazy_adam": "ppl.training.optim.first_order",
    "ppl.training.optim.momentum": "ppl.training.optim.first_order",
    "ppl.training.optim.natural": "ppl.training.optim.natural_gradient",
    "ppl.training.optim.rmsprop": "ppl.training.optim.first_order",
    "ppl.training.optim.sgd": "ppl.training.optim.first_order",
    "ppl.training.sweep.result": "ppl.sweeps.table",
    "ppl.training.sweep.sweep": "ppl.sweeps.sweep",
    "ppl.training.tuned.choices": "ppl.choosing.choices",
}

RENAMED: Mapping[tuple[str, str], str] = {
    ("ppl.compiler.plan.measured", "Measured"): "MeasuredCandidate",
    ("ppl.compiler.plan.measured", "Joint"): "JointChoice",
    ("ppl.compiler.plan.measured", "Tuning"): "TuningReport",
    ("ppl.program.c_function", "_again"): "restored",
}


class MovedModule(ModuleType):
    """The name of a module that earlier versions had."""

    def __getattr__(self, name: str) -> Any:
        """Return what this name of the old module stands for."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(MOVED[self.__name__]), RENAMED.get((self.__name__, name), name))


def register() -> None:
    """Make the old names importable, which imports none of the modules that they stand for."""
    for name in MOVED:
        sys.modules.setdefault(name, MovedModule(name, "A module of an earlier version."))
