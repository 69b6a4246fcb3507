"""Optimizers and schedules, public as `ppl.optim`.

An optimizer is a pure pair of functions, `init(params)` and `update(grads, opt_state, params)`, on dicts
of arrays; `ppl.fit` and `program.update` accept those below, a dict of parameter-name globs → optimizer
or None (frozen), and any object with optax's `init` and `update`. A learning rate is a number or a
schedule (a callable step → float)."""

from ppl.training.optim.base import Optimizer
from ppl.training.optim.first_order import SGD, AdaGrad, Adam, AdamW, LazyAdam, Momentum, RMSProp
from ppl.training.optim.natural_gradient import NaturalGradient
from ppl.training.optim.schedules import constant, cosine, exponential, linear, piecewise, robbins_monro
from ppl.training.optim.transform import as_transform

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "LazyAdam",
    "Momentum",
    "NaturalGradient",
    "Optimizer",
    "RMSProp",
    "as_transform",
    "constant",
    "cosine",
    "exponential",
    "linear",
    "piecewise",
    "robbins_monro",
]
