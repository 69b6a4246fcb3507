"""Gradient descent with momentum: b ← β b + g; θ ← θ − lr b."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ppl.errors import OptionError
from ppl.lazy import parallel_optimizers
from ppl.records import dataclass
from ppl.training.optim.base import FlatOptimizer, Slots, check_fraction, check_positive, fresh
from ppl.training.optim.schedules import Rate, check_rate, rate_at


@dataclass(frozen=True)
class Momentum(FlatOptimizer):
    """Heavy-ball or Nesterov momentum, without dampening.

    Parameters
    ----------
    lr : float or schedule
        Learning rate.
    beta : float
        Decay of the running sum of gradients, in [0, 1).
    nesterov : bool
        Step along g + β b instead of b.
    clip_norm : float, optional
        Largest Euclidean norm of the gradient over all parameters handled; longer gradients are shortened
        to it.

    Raises
    ------
    OptionError
        An option is out of range.

    References
    ----------
    Polyak, Some methods of speeding up the convergence of iteration methods, 1964; Sutskever, Martens, Dahl
    and Hinton, On the importance of initialization and momentum in deep learning, 2013.
    """

    lr: Rate
    beta: float = 0.9
    nesterov: bool = False
    clip_norm: float | None = None
    slots: ClassVar[tuple[str, ...]] = ("momentum",)

    def __post_init__(self) -> None:
        check_rate("Momentum", self.lr)
        if not isinstance(self.nesterov, bool):
            raise OptionError(f"Momentum: nesterov is True or False, not {self.nesterov!r}")
        check_fraction("Momentum", beta=self.beta)
        check_positive("Momentum", clip_norm=self.clip_norm)
        self._as_floats("lr", "beta", "clip_norm")

    def _step(self, flat: np.ndarray, grad: np.ndarray, slots: Slots, step: int, t: int, scale: float) -> Slots:
        new, buffer = fresh("parameters", flat), fresh("buffer", flat)
        kernel = "nesterov_into" if self.nesterov else "momentum_into"
        parallel_optimizers.into(
            kernel, new, buffer, flat, grad, slots[0], rate_at(self.lr, step, "Momentum"), self.beta, scale
        )
        return new, buffer
