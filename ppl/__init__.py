"""A Numba-accelerated probabilistic programming framework."""

import importlib
from typing import Any

from ppl import distributions, errors
from ppl.distributions import (
    Bernoulli,
    Categorical,
    Exponential,
    Gumbel,
    Laplace,
    Logistic,
    LogNormal,
    Normal,
    OneHotCategorical,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    Uniform,
)
from ppl.lang import (
    collect,
    constant,
    cost,
    dense,
    deterministic,
    external,
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

LAZY = ("random",)  # modules that import Numba, which a look at a model does not need


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return importlib.import_module(f"ppl.{name}")
    raise AttributeError(f"module 'ppl' has no attribute {name!r}")


__all__ = [
    "Bernoulli",
    "Categorical",
    "Exponential",
    "Gumbel",
    "Laplace",
    "LogNormal",
    "Logistic",
    "Normal",
    "OneHotCategorical",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "Uniform",
    "collect",
    "constant",
    "cost",
    "dense",
    "deterministic",
    "distributions",
    "errors",
    "external",
    "hyper",
    "init",
    "layers",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "model",
    "one_hot",
    "param",
    "plate",
    "relu",
    "sample",
    "scope",
    "sigmoid",
    "softmax",
    "softplus",
    "spec",
    "stop_gradient",
]
