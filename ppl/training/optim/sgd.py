"""Stochastic gradient descent: θ ← θ − lr g."""

from __future__ import annotations

import numpy as np

from ppl.lazy import parallel_optimizers
from ppl.records import dataclass
from ppl.training.optim.base import FlatOptimizer, Slots, check_positive, fresh
from ppl.training.optim.schedules import Rate, check_rate, rate_at


@dataclass(frozen=True)
class SGD(FlatOptimizer):
    """Stochastic gradient descent.

    Parameters
    ----------
    lr : float or schedule
        Learning rate; with `robbins_monro(a, b, power)` the iteration of stochastic approximation.
    clip_norm : float, optional
        Largest Euclidean norm of the gradient over all parameters handled; longer gradients are shortened
        to it.

    Raises
    ------
    OptionError
        An option is out of range.

    References
    ----------
    Robbins and Monro, A Stochastic Approximation Method, 1951.
    """

    lr: Rate
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        check_rate("SGD", self.lr)
        check_positive("SGD", clip_norm=self.clip_norm)
        self._as_floats("lr", "clip_norm")

    def _step(self, flat: np.ndarray, grad: np.ndarray, slots: Slots, step: int, t: int, scale: float) -> Slots:
        new = fresh("parameters", flat)
        parallel_optimizers.into("sgd_into", new, flat, grad, rate_at(self.lr, step, "SGD"), scale)
        return (new,)
