"""LazyAdam: Adam for tables, whose rows stay as they are where a batch does not touch them."""

from __future__ import annotations

from typing import ClassVar

from ppl.records import dataclass
from ppl.training.optim.adam import Adam


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
