"""Optimizers and schedules, public as `ppl.optim`.

An optimizer is a pure pair of functions, `init(params)` and `update(grads, opt_state, params)`, on dicts
of arrays; `ppl.fit` and `program.update` accept those below, a dict of parameter-name globs → optimizer
or None (frozen), and any object with optax's `init` and `update`. A learning rate is a number or a
schedule (a callable step → float).
"""

from ppl.training.optim.adagrad import AdaGrad
from ppl.training.optim.adam import Adam
from ppl.training.optim.adamw import AdamW
from ppl.training.optim.base import Optimizer
from ppl.training.optim.lazy_adam import LazyAdam
from ppl.training.optim.momentum import Momentum
from ppl.training.optim.natural import NaturalGradient
from ppl.training.optim.rmsprop import RMSProp
from ppl.training.optim.schedules import constant, cosine, exponential, linear, piecewise, robbins_monro
from ppl.training.optim.sgd import SGD
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
