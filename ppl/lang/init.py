"""Initialisers of parameters, public as `ppl.init`: functions of (rng, shape) that return arrays.

Every parameter has a random generator of its own, keyed by (seed, name), so that its initial value does not depend on
the order of declarations. Fans are counted as for `x @ weight` with weight (in, out)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.arguments import array, number
from ppl.errors import ModelError, ShapeError
from ppl.records import dataclass

DrawArray = Callable[
    ["np.random.Generator", tuple[int, ...]], np.ndarray
]  # a string: NumPy imports generators when asked


@dataclass(frozen=True)
class Initializer:
    """A named function of (rng, shape); `arguments` show in its repr."""

    name: str
    arguments: tuple[Any, ...]
    draw: DrawArray

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(self.draw(rng, shape), np.float64)

    def __repr__(self) -> str:
        return f"ppl.init.{self.name}({', '.join(map(repr, self.arguments))})"


def generator(seed: int, name: str) -> np.random.Generator:
    """The generator of parameter `name` under `seed`."""
    digest = hashlib.blake2b(f"{int(seed)}:{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def _fan_in_out(shape: tuple[int, ...]) -> tuple[int, int]:
    if not shape:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


def constant(value: Any) -> Initializer:
    """Every entry `value` (a number, or an array that broadcasts to the shape)."""
    found = array("ppl.init.constant: value", value, ModelError)

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        try:
            return np.broadcast_to(found, shape).copy()
        except ValueError:
            raise ShapeError(f"ppl.init.constant: a value of shape {found.shape} does not fit shape {shape}") from None

    return Initializer("constant", (value,), draw)


def zeros() -> Initializer:
    """Zeros."""
    return Initializer("zeros", (), lambda rng, shape: np.zeros(shape))


def ones() -> Initializer:
    """Ones."""
    return Initializer("ones", (), lambda rng, shape: np.ones(shape))


def normal(std: float = 1.0) -> Initializer:
    """Normal of mean 0 and standard deviation `std`."""
    std = number("ppl.init.normal: std", std, 0, error=ModelError)
    return Initializer("normal", (std,), lambda rng, shape: std * rng.standard_normal(shape))


def uniform(low: float = 0.0, high: float = 1.0) -> Initializer:
    """Uniform on [low, high)."""
    low = number("ppl.init.uniform: low", low, error=ModelError)
    high = number("ppl.init.uniform: high", high, low, error=ModelError)
    return Initializer("uniform", (low, high), lambda rng, shape: rng.uniform(low, high, shape))


def _scaled_uniform(name: str, bound: Callable[[int, int], float]) -> Initializer:
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        limit = bound(*_fan_in_out(shape))
        return rng.uniform(-limit, limit, shape)

    return Initializer(name, (), draw)


def _scaled_normal(name: str, std: Callable[[int, int], float]) -> Initializer:
    return Initializer(name, (), lambda rng, shape: std(*_fan_in_out(shape)) * rng.standard_normal(shape))


def glorot_uniform() -> Initializer:
    """Uniform on ±sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return _scaled_uniform("glorot_uniform", lambda fan_in, fan_out: math.sqrt(6.0 / max(fan_in + fan_out, 1)))


def glorot_normal() -> Initializer:
    """Normal of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    return _scaled_normal("glorot_normal", lambda fan_in, fan_out: math.sqrt(2.0 / max(fan_in + fan_out, 1)))


def he_normal() -> Initializer:
    """Normal of variance 2 / fan_in (He et al. 2015)."""
    return _scaled_normal("he_normal", lambda fan_in, fan_out: math.sqrt(2.0 / max(fan_in, 1)))


def lecun_normal() -> Initializer:
    """Normal of variance 1 / fan_in (LeCun et al. 1998)."""
    return _scaled_normal("lecun_normal", lambda fan_in, fan_out: math.sqrt(1.0 / max(fan_in, 1)))


def orthogonal(gain: float = 1.0) -> Initializer:
    """Orthonormal rows or columns, whichever are fewer, times `gain` (Saxe et al. 2014); two axes or more."""
    gain = number("ppl.init.orthogonal: gain", gain, error=ModelError)

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) < 2:
            raise ShapeError(f"ppl.init.orthogonal needs a shape of two axes or more, not {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q = q * np.sign(np.diagonal(r))
        return gain * (q if rows >= columns else q.T).reshape(shape)

    return Initializer("orthogonal", (gain,), draw)
