"""First-order optimizers: SGD, momentum, AdaGrad, RMSProp, Adam, AdamW and LazyAdam.

Each is a frozen dataclass of its numbers; `FlatOptimizer` checks them, and calls the kernel that takes the step."""

from __future__ import annotations

from typing import ClassVar

from ppl.errors import OptionError
from ppl.records import dataclass
from ppl.training.optim.base import FlatOptimizer
from ppl.training.optim.schedules import Rate


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
    kernel: ClassVar[str] = "sgd_into"


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
        super().__post_init__()
        if not isinstance(self.nesterov, bool):
            raise OptionError(f"Momentum: nesterov is True or False, not {self.nesterov!r}")

    def _kernel(self) -> str:
        return "nesterov_into" if self.nesterov else "momentum_into"


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
    kernel: ClassVar[str] = "adagrad_into"


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
    kernel: ClassVar[str] = "rmsprop_into"


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
    kernel: ClassVar[str] = "adamw_into"
    reads_params: ClassVar[bool] = True


@dataclass(frozen=True)
class LazyAdam(Adam):
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

    kernel: ClassVar[str] = "lazy_adam_into"
