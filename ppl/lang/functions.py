"""Functions that NumPy lacks, on values and arrays: softmax, logsumexp, sigmoid, one_hot, activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.arguments import array, flag, integer, shown
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.lang.source import user_line
from ppl.lang.value import Value, lift
from ppl.lazy import special

NEED_ENTRIES = ("softmax", "log_softmax", "logsumexp")


def _array_of_numbers(label: str, x: Any, axis: Any = None) -> np.ndarray:
    """An array of numbers that has the axes asked for (None: any)."""
    found = array(f"{label}: x", x, ShapeError)
    for dim in () if axis is None else axis if isinstance(axis, tuple) else (axis,):
        integer(f"{label}: axis", dim, -found.ndim, found.ndim - 1, ShapeError)
    if label in NEED_ENTRIES and not found.size:
        raise ShapeError(f"{label}: x is empty, its shape is {found.shape}")
    return found.astype(np.float64) if found.dtype.kind in "iub" else found


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) / sum exp(x) along one event axis."""
    if isinstance(x, Value):
        return lift("softmax", ops.softmax, x, dim=axis)
    return special.softmax(_array_of_numbers("softmax", x, axis), axis=axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """x - logsumexp(x) along one event axis."""
    if isinstance(x, Value):
        return lift("log_softmax", ops.log_softmax, x, dim=axis)
    return special.log_softmax(_array_of_numbers("log_softmax", x, axis), axis=axis)


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """log sum exp over event axes (all of them by default), without overflow; -inf where all entries are."""
    if isinstance(x, Value):
        return lift("logsumexp", ops.logsumexp, x, dims=axis, keepdims=keepdims)
    flag("logsumexp: keepdims", keepdims, ShapeError)
    return special.logsumexp(_array_of_numbers("logsumexp", x, axis), axis=axis, keepdims=keepdims)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    if isinstance(x, Value):
        return lift("sigmoid", ops.sigmoid, x)
    return special.expit(_array_of_numbers("sigmoid", x))


def log_sigmoid(x: Any) -> Any:
    """log sigmoid(x), stable in both tails."""
    if isinstance(x, Value):
        return lift("log_sigmoid", ops.log_sigmoid, x)
    return special.log_expit(_array_of_numbers("log_sigmoid", x))


def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    return (
        lift("softplus", ops.softplus, x)
        if isinstance(x, Value)
        else np.logaddexp(0.0, _array_of_numbers("softplus", x))
    )


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return np.maximum(x if isinstance(x, Value) else _array_of_numbers("relu", x), 0.0)


def one_hot(x: Any, n: int) -> Any:
    """Float indicator of shape event + (n,); integers outside 0, …, n - 1 give zeros."""
    n = integer("one_hot: n", n, 0, 2**31 - 1, ShapeError)
    if isinstance(x, Value):
        return lift("one_hot", ops.one_hot, x, n=n)
    return (_array_of_numbers("one_hot", x)[..., None] == np.arange(n)).astype(np.float64)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": np.tanh,
    "relu": relu,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "softmax": softmax,
    "exp": np.exp,
    "sin": np.sin,
}


def apply_activation(x: Any, activation: str | Callable[[Any], Any] | None) -> Any:
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
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ModelError(
            f"unknown activation {shown(activation)}; there are {', '.join(ACTIVATIONS)}, or pass a function\n"
            f"  at {user_line()}"
        )
    return ACTIVATIONS[activation](x)
