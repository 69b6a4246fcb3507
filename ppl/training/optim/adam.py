"""Adam: steps scaled by running estimates of the gradient's first two moments."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ppl.lazy import parallel_optimizers
from ppl.records import dataclass
from ppl.training.optim.base import FlatOptimizer, Slots, check_fraction, check_positive, check_tiny, fresh
from ppl.training.optim.schedules import Rate, check_rate, rate_at


@dataclass(frozen=True)
class Adam(FlatOptimizer):
    """Adam with bias correction.

    m ← b1 m + (1 − b1) g;  v ← b2 v + (1 − b2) g²;  θ ← θ − lr m̂ / (√v̂ + eps), where m̂ = m / (1 − b1ᵗ) and
    v̂ = v / (1 − b2ᵗ).

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
    kernel: ClassVar[str] = "adam_into"

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_rate(name, self.lr)
        check_fraction(name, b1=self.b1, b2=self.b2)
        check_tiny(name, self.eps)
        check_positive(name, clip_norm=self.clip_norm)
        self._as_floats("lr", "b1", "b2", "eps", "clip_norm")

    def _step(self, flat: np.ndarray, grad: np.ndarray, slots: Slots, step: int, t: int, scale: float) -> Slots:
        new, m, v = fresh("parameters", flat), fresh("m", flat), fresh("v", flat)
        lr = rate_at(self.lr, step, type(self).__name__)
        parallel_optimizers.into(self.kernel, new, m, v, flat, grad, *slots, lr, self.b1, self.b2, self.eps, t, scale)
        return new, m, v
