"""RMSProp: steps scaled by a running mean of squared gradients."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ppl.lazy import parallel_optimizers
from ppl.records import dataclass
from ppl.training.optim.base import FlatOptimizer, Slots, check_fraction, check_positive, check_tiny, fresh
from ppl.training.optim.schedules import Rate, check_rate, rate_at


@dataclass(frozen=True)
class RMSProp(FlatOptimizer):
    """RMSProp, neither centred nor with momentum: v ← decay v + (1 − decay) g²;  θ ← θ − lr g / (√v + eps).

    Parameters
    ----------
    lr : float or schedule
        Learning rate.
    decay : float
        Decay of the mean of squares, in [0, 1).
    eps : float
        Added to the root of the mean; positive.
    clip_norm : float, optional
        Largest Euclidean norm of the gradient over all parameters handled; longer gradients are shortened
        to it.

    Raises
    ------
    OptionError
        An option is out of range.

    References
    ----------
    Tieleman and Hinton, Lecture 6.5: divide the gradient by a running average of its recent magnitude, 2012.
    """

    lr: Rate = 1e-2
    decay: float = 0.99
    eps: float = 1e-8
    clip_norm: float | None = None
    slots: ClassVar[tuple[str, ...]] = ("v",)

    def __post_init__(self) -> None:
        check_rate("RMSProp", self.lr)
        check_fraction("RMSProp", decay=self.decay)
        check_tiny("RMSProp", self.eps)
        check_positive("RMSProp", clip_norm=self.clip_norm)
        self._as_floats("lr", "decay", "eps", "clip_norm")

    def _step(self, flat: np.ndarray, grad: np.ndarray, slots: Slots, step: int, t: int, scale: float) -> Slots:
        new, v = fresh("parameters", flat), fresh("v", flat)
        lr = rate_at(self.lr, step, "RMSProp")
        parallel_optimizers.into("rmsprop_into", new, v, flat, grad, slots[0], lr, self.decay, self.eps, scale)
        return new, v
