"""LazyAdam: Adam for tables, whose rows stay as they are where a batch does not touch them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ppl.lazy import parallel_optimizers
from ppl.training.optim.base import FlatOptimizer, Slots, check_fraction, check_positive, check_tiny, fresh
from ppl.training.optim.schedules import Rate, check_rate, rate_at


@dataclass(frozen=True)
class LazyAdam(FlatOptimizer):
    """`Adam`, but that an entry whose gradient is 0 keeps its bits, as do its moments.

    Tables are trained by the rows that a batch reads; others neither move on nor forget. t counts the steps of the
    optimizer, not those of a row. Where all gradients differ from 0 it is `Adam`.

    Parameters
    ----------
    lr : float or schedule
        Learning rate.
    b1, b2 : float
        Decay of the first and second moment, in [0, 1).
    eps : float
        Added to the root of the second moment; positive.
    clip_norm : float, optional
        Largest Euclidean norm of the gradient over all parameters handled; longer gradients are shortened
        to it.

    Raises
    ------
    OptionError
        An option is out of range.

    References
    ----------
    Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015.
    """

    lr: Rate = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float | None = None
    slots: ClassVar[tuple[str, ...]] = ("m", "v")

    def __post_init__(self) -> None:
        check_rate("LazyAdam", self.lr)
        check_fraction("LazyAdam", b1=self.b1, b2=self.b2)
        check_tiny("LazyAdam", self.eps)
        check_positive("LazyAdam", clip_norm=self.clip_norm)
        self._as_floats("lr", "b1", "b2", "eps", "clip_norm")

    def _step(self, flat: np.ndarray, grad: np.ndarray, slots: Slots, step: int, t: int, scale: float) -> Slots:
        new, m, v = fresh("parameters", flat), fresh("m", flat), fresh("v", flat)
        lr = rate_at(self.lr, step, "LazyAdam")
        numbers = lr, self.b1, self.b2, self.eps, t, scale
        parallel_optimizers.into("lazy_adam_into", new, m, v, flat, grad, *slots, *numbers)
        return new, m, v
