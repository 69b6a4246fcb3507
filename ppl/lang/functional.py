"""Functions that NumPy lacks, on values and arrays: softmax, logsumexp, sigmoid, one_hot, activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.errors import ModelError
from ppl.ir import ops
from ppl.lang.source import user_line
from ppl.lang.value import Value, lift


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) / sum exp(x) along one event axis."""
    if isinstance(x, Value):
        return lift("softmax", ops.softmax, x, dim=axis)
    from scipy import special

    return special.softmax(x, axis=axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """x - logsumexp(x) along one event axis."""
    if isinstance(x, Value):
        return lift("log_softmax", ops.log_softmax, x, dim=axis)
    from scipy import special

    return special.log_softmax(x, axis=axis)


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """log sum exp over event axes (all of them by default), without overflow; -inf where all entries are."""
    if isinstance(x, Value):
        return lift("logsumexp", ops.logsumexp, x, dims=axis, keepdims=keepdims)
    from scipy import special

    return special.logsumexp(x, axis=axis, keepdims=keepdims)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    if isinstance(x, Value):
        return lift("sigmoid", ops.sigmoid, x)
    from scipy import special

    return special.expit(x)


def log_sigmoid(x: Any) -> Any:
    """log sigmoid(x), stable in both tails."""
    if isinstance(x, Value):
        return lift("log_sigmoid", ops.log_sigmoid, x)
    from scipy import special

    return special.log_expit(x)


def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    return lift("softplus", ops.softplus, x) if isinstance(x, Value) else np.logaddexp(0.0, x)


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return np.maximum(x, 0.0)


def one_hot(x: Any, n: int) -> Any:
    """Float indicator of shape event + (n,); integers outside 0, …, n - 1 give zeros."""
    if isinstance(x, Value):
        return lift("one_hot", ops.one_hot, x, n=n)
    return (np.asarray(x)[..., None] == np.arange(n)).astype(np.float64)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": np.tanh,
    "relu": relu,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "softmax": softmax,
    "exp": np.exp,
    "sin": np.sin,
}


def activate(x: Any, activation: str | Callable[[Any], Any] | None) -> Any:
    """Apply an activation given by name or as a function.

    Raises
    ------
    ModelError
        There is no activation of that name.
    """
    if activation is None:
        return x
    if callable(activation):
        return activation(x)
    if activation not in ACTIVATIONS:
        raise ModelError(
            f"unknown activation {activation!r}; there are {', '.join(ACTIVATIONS)}, or pass a function\n"
            f"  at {user_line()}"
        )
    return ACTIVATIONS[activation](x)
