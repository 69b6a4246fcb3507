"""AdamW: Adam with weight decay that does not go through the moments."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ppl.arguments import number
from ppl.errors import OptionError
from ppl.lazy import parallel_optimizers
from ppl.records import dataclass
from ppl.training.optim.base import FlatOptimizer, Slots, check_fraction, check_positive, check_tiny, fresh
from ppl.training.optim.schedules import Rate, check_rate, rate_at


@dataclass(frozen=True)
class AdamW(FlatOptimizer):
    """Adam with decoupled weight decay: θ ← θ − lr (m̂ / (√v̂ + eps) + weight_decay θ), m̂ and v̂ as in `Adam`.

    Decay pulls parameters to 0, those with a constraint in the unconstrained numbers that are trained. Groups leave
    biases and scales out: `{"*.weight": AdamW(1e-3), "*": Adam(1e-3)}`.

    Parameters
    ----------
    lr : float or schedule
        Learning rate; it multiplies the decay, too.
    b1, b2 : float
        Decay of the first and second moment, in [0, 1).
    eps : float
        Added to the root of the second moment; positive.
    weight_decay : float
        At least 0.
    clip_norm : float, optional
        Largest Euclidean norm of the gradient over all parameters handled; longer gradients are shortened
        to it. Decay is no part of the gradient.

    Raises
    ------
    OptionError
        An option is out of range.

    References
    ----------
    Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """

    lr: Rate = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 1e-2
    clip_norm: float | None = None
    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    reads_params: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_rate("AdamW", self.lr)
        check_fraction("AdamW", b1=self.b1, b2=self.b2)
        check_tiny("AdamW", self.eps)
        if not number("AdamW: weight_decay", self.weight_decay) >= 0.0:
            raise OptionError(f"AdamW: weight_decay must be at least 0, not {self.weight_decay}")
        check_positive("AdamW", clip_norm=self.clip_norm)
        self._as_floats("lr", "b1", "b2", "eps", "weight_decay", "clip_norm")

    def _step(self, flat: np.ndarray, grad: np.ndarray, slots: Slots, step: int, t: int, scale: float) -> Slots:
        new, m, v = fresh("parameters", flat), fresh("m", flat), fresh("v", flat)
        numbers = rate_at(self.lr, step, "AdamW"), self.b1, self.b2, self.eps, self.weight_decay
        parallel_optimizers.into("adamw_into", new, m, v, flat, grad, *slots, *numbers, t, scale)
        return new, m, v
