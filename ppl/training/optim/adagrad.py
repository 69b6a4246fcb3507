"""AdaGrad: steps scaled by the sum of all squared gradients so far."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ppl.lazy import parallel_optimizers
from ppl.records import dataclass
from ppl.training.optim.base import FlatOptimizer, Slots, check_positive, check_tiny, fresh
from ppl.training.optim.schedules import Rate, check_rate, rate_at


@dataclass(frozen=True)
class AdaGrad(FlatOptimizer):
    """s ← s + g²;  θ ← θ − lr g / (√s + eps).

    An entry whose gradient is 0 keeps its bits, and its rate does not decay: rows of a table that a batch does not
    touch stay as they are.

    Parameters
    ----------
    lr : float or schedule
        Learning rate.
    eps : float
        Added to the root of the sum; positive.
    clip_norm : float, optional
        Largest Euclidean norm of the gradient over all parameters handled; longer gradients are shortened
        to it.

    Raises
    ------
    OptionError
        An option is out of range.

    References
    ----------
    Duchi, Hazan and Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, 2011.
    """

    lr: Rate = 1e-2
    eps: float = 1e-10
    clip_norm: float | None = None
    slots: ClassVar[tuple[str, ...]] = ("sum",)

    def __post_init__(self) -> None:
        check_rate("AdaGrad", self.lr)
        check_tiny("AdaGrad", self.eps)
        check_positive("AdaGrad", clip_norm=self.clip_norm)
        self._as_floats("lr", "eps", "clip_norm")

    def _step(self, flat: np.ndarray, grad: np.ndarray, slots: Slots, step: int, t: int, scale: float) -> Slots:
        new, total = fresh("parameters", flat), fresh("sum", flat)
        parallel_optimizers.into(
            "adagrad_into", new, total, flat, grad, slots[0], rate_at(self.lr, step, "AdaGrad"), self.eps, scale
        )
        return new, total
