"""Optimizers and schedules, public as `ppl.optim`.

An optimizer is a pure pair of functions, `init(params)` and `update(grads, opt_state, params)`, on dicts
of arrays; `ppl.fit` and `program.update` accept those below, a dict of parameter-name globs → optimizer
or None (frozen), and any object with optax's `init` and `update`. A learning rate is a number or a
schedule (a callable step → float).
"""

from ppl.inference.optim.adagrad import AdaGrad
from ppl.inference.optim.adam import Adam
from ppl.inference.optim.base import Optimizer
from ppl.inference.optim.momentum import Momentum
from ppl.inference.optim.natural import NaturalGradient
from ppl.inference.optim.schedules import constant, cosine, exponential, linear, piecewise, robbins_monro
from ppl.inference.optim.sgd import SGD
from ppl.inference.optim.transform import as_transform

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "Momentum",
    "NaturalGradient",
    "Optimizer",
    "as_transform",
    "constant",
    "cosine",
    "exponential",
    "linear",
    "piecewise",
    "robbins_monro",
]
