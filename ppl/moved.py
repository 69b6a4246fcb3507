"""Names that pickles of earlier versions hold, and where what they name stands now.

Pickles refer to a class by its module and its name. A module that has moved is answered for by a `MovedModule`, which
looks for the class when it is asked for.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

# By old module: the names that a pickle can refer to, and their paths of today.
MOVED: Mapping[str, Mapping[str, str]] = {
    "ppl.compiler.plan.measured": {
        "Measured": "ppl.compiler.plan.plan.MeasuredCandidate",
        "Joint": "ppl.compiler.plan.plan.JointChoice",
        "Tuning": "ppl.compiler.plan.plan.TuningReport",
    },
    "ppl.inference.probabilities": {"Probabilities": "ppl.inference.posterior.Probabilities"},
    "ppl.lang.arguments": {"ArgumentSpec": "ppl.lang.trace.ArgumentSpec"},
    "ppl.lang.blocks.init": {"Initializer": "ppl.lang.init.Initializer"},
    "ppl.lang.interventions.models": {"Intervened": "ppl.lang.interventions.Intervened"},
    "ppl.program.c_function": {"_again": "ppl.c_export.function.restored"},
    "ppl.program.traffic": {"Rates": "ppl.program.roofline.Rates"},
    "ppl.sampling.density": {"LogDensity": "ppl.chains.log_density.LogDensity"},
    "ppl.sampling.psis": {"Psis": "ppl.chains.psis.Psis"},
    "ppl.training.history.policy": {"Checkpoints": "ppl.training.checkpoints.Checkpoints"},
    "ppl.training.history.result": {
        "Fit": "ppl.training.result.Fit",
        "History": "ppl.training.result.History",
    },
    "ppl.training.optim.adagrad": {"AdaGrad": "ppl.training.optim.first_order.AdaGrad"},
    "ppl.training.optim.adam": {"Adam": "ppl.training.optim.first_order.Adam"},
    "ppl.training.optim.adamw": {"AdamW": "ppl.training.optim.first_order.AdamW"},
    "ppl.training.optim.groups": {"Groups": "ppl.training.optim.transform.Groups"},
    "ppl.training.optim.lazy_adam": {"LazyAdam": "ppl.training.optim.first_order.LazyAdam"},
    "ppl.training.optim.momentum": {"Momentum": "ppl.training.optim.first_order.Momentum"},
    "ppl.training.optim.natural": {"NaturalGradient": "ppl.training.optim.natural_gradient.NaturalGradient"},
    "ppl.training.optim.rmsprop": {"RMSProp": "ppl.training.optim.first_order.RMSProp"},
    "ppl.training.optim.sgd": {"SGD": "ppl.training.optim.first_order.SGD"},
    "ppl.training.sweep.result": {
        "Pooled": "ppl.sweeps.table.Pooled",
        "Sweep": "ppl.sweeps.table.Sweep",
        "SweepComparison": "ppl.sweeps.table.SweepComparison",
    },
    "ppl.training.tuned.choices": {
        "Choices": "ppl.choosing.choices.Choices",
        "Decision": "ppl.choosing.choices.Decision",
    },
}


class MovedModule(ModuleType):
    """The name of a module that earlier versions had."""

    def __getattr__(self, name: str) -> Any:
        """Import what this name of the old module stands for."""
        if name not in MOVED[self.__name__]:
            raise AttributeError(f"module {self.__name__!r} of an earlier version has no attribute {name!r}")
        module, _, attribute = MOVED[self.__name__][name].rpartition(".")
        return getattr(import_module(module), attribute)


def register() -> None:
    """Make the old names importable, which imports none of what they stand for."""
    for name in MOVED:
        sys.modules.setdefault(name, MovedModule(name, "A module of an earlier version."))
