"""Layers: `ppl.dense`, and `ppl.layers`, layers of random units that `chain` applies in one line.

A layer is called with (node name, parameter name, input, obs) and returns its value. Where the input is None it has
only a bias: the top layer of a belief network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ppl import arguments
from ppl.arguments import called, flag, integer, shown, text
from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.categorical import OneHotCategorical
from ppl.distributions.location_scale import Normal
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.lang import init
from ppl.lang.functions import apply_activation
from ppl.lang.params import param
from ppl.lang.sites import declare_random
from ppl.lang.source import user_line
from ppl.lang.value import Value, as_value, lift
from ppl.names import keywords
from ppl.records import dataclass


@keywords
def dense(
    name: str,
    x: Any,
    units: int,
    activation: str | Callable[[Any], Any] | None = None,
    bias: bool = True,
    shared: bool = False,
) -> Value:
    """activation(x @ weight + bias).

    Parameters
    ----------
    name : the parameters are `name.weight` (Glorot uniform) and `name.bias` (zeros).
    x : value of event shape (..., in).
    units : number of outputs.
    activation : "tanh", "relu", "sigmoid", "softplus", "softmax", "exp", "sin", a function, or None.
    bias : whether to add a bias.
    shared : as for `ppl.param`: a layer applied more than once says so each time.

    Returns
    -------
    Value of event shape (..., units).

    Raises
    ------
    ShapeError
        `x` is a scalar.
    """
    text("dense: name", name, ModelError)
    units = integer(f"dense {name!r}: units", units, 1, error=ModelError)
    flag(f"dense {name!r}: bias", bias, ModelError)
    x = as_value(x)
    if x.ndim == 0:
        raise ShapeError(f"dense {name!r}: x is a scalar; use x.reshape(1)\n  at {user_line()}")
    weight = param(f"{name}.weight", init.glorot_uniform(), (x.shape[-1], units), shared=shared)
    out = x @ weight
    if bias:
        out = out + param(f"{name}.bias", init.zeros(), (units,), shared=shared)
    return apply_activation(out, activation)


BINARY_NOISES = ("logistic", "normal", "uniform")


class Layer(Protocol):
    """The contract of a layer, which `chain` calls.

    Arguments are the node's name, the prefix of parameter names, the input of event shape (..., in) or None, and an
    observed value or None. The result is the layer's value.
    """

    def __call__(self, name: str, params: str, x: Value | None, obs: Any = None) -> Value: ...


def _affine_of_input(params: str, x: Value | None, units: int) -> Value:
    """dense of the ravelled input, or a bias alone."""
    units = integer("a layer's units", units, 1, error=ModelError)
    if x is None:
        return param(f"{params}.bias", init.zeros(), (units,))
    return dense(params, x if x.ndim == 1 else x.ravel(), units)


@dataclass(frozen=True)
class Dense:
    """A deterministic layer, activation(x @ weight + bias), of event shape (units,).

    Parameters
    ----------
    units : number of outputs.
    activation : as for `ppl.dense`.
    """

    units: int
    activation: str | Callable[[Any], Any] | None = None

    def __call__(self, name: str, params: str, x: Value | None, obs: Any = None) -> Value:
        if obs is not None:
            raise ModelError(f"layer {name!r} is deterministic and cannot be observed\n  at {user_line()}")
        return apply_activation(_affine_of_input(params, x, self.units), self.activation)


@dataclass(frozen=True)
class BinaryUnits:
    """Binary units y = 1[a + ε > 0] with a = x @ weight + bias, of event shape (units,).

    They are Bernoulli nodes with P(y = 1) = F(a), F the cdf of the noise.

    Parameters
    ----------
    units : number of units.
    noise : "logistic" (F is sigmoid), "normal" (ndtr), or "uniform" on (-1, 1) (clip((a + 1) / 2, 0, 1)).
    estimator : pins the gradient estimator.
    """

    units: int
    noise: str = "logistic"
    estimator: Any = None

    def __call__(self, name: str, params: str, x: Value | None, obs: Any = None) -> Value:
        if not isinstance(self.noise, str) or self.noise not in BINARY_NOISES:
            raise ModelError(
                f"BinaryUnits: noise {self.noise!r} is not one of {', '.join(BINARY_NOISES)}\n  at {user_line()}"
            )
        a = _affine_of_input(params, x, self.units)
        if self.noise == "logistic":
            dist = Bernoulli(logits=a)
        elif self.noise == "normal":
            dist = Bernoulli(probs=lift("ndtr", ops.ndtr, a))
        else:
            dist = Bernoulli(probs=np.clip((a + 1.0) * 0.5, 0.0, 1.0))
        return declare_random(name, dist, obs, estimator=self.estimator, unit_noise=self.noise)


@dataclass(frozen=True)
class GaussianUnits:
    """Normal units around x @ weight + bias, of event shape (units,).

    Parameters
    ----------
    units : number of units.
    scale : "learned" (a positive parameter `.scale` per unit, which starts at 1), "affine" (exp of a second affine map
        of the input, `.log_scale`), or a number.
    estimator : pins the gradient estimator.
    """

    units: int
    scale: str | float = "learned"
    estimator: Any = None

    def __call__(self, name: str, params: str, x: Value | None, obs: Any = None) -> Value:
        loc = _affine_of_input(params, x, self.units)
        scale: Any = self.scale
        if not isinstance(scale, str):
            scale = as_value(scale)
        elif self.scale == "learned":
            scale = param(f"{params}.scale", init.ones(), (self.units,), constraint="positive")
        elif self.scale == "affine":
            scale = np.exp(_affine_of_input(f"{params}.log_scale", x, self.units))
        else:
            raise ModelError(
                f"GaussianUnits: scale is 'learned', 'affine' or a number, not {shown(scale)}\n  at {user_line()}"
            )
        return declare_random(name, Normal(loc, scale), obs, estimator=self.estimator)


@dataclass(frozen=True)
class CategoricalUnits:
    """Categorical units as one-hot rows, of event shape (units, classes).

    Parameters
    ----------
    units, classes : number of units, and of values of each.
    estimator : pins the gradient estimator.
    """

    units: int
    classes: int
    estimator: Any = None

    def __call__(self, name: str, params: str, x: Value | None, obs: Any = None) -> Value:
        for field in ("units", "classes"):
            integer(f"CategoricalUnits: {field}", getattr(self, field), 1, error=ModelError)
        logits = _affine_of_input(params, x, self.units * self.classes).reshape(self.units, self.classes)
        return declare_random(name, OneHotCategorical(logits=logits), obs, estimator=self.estimator)


def chain(
    x: Any,
    *layers: Layer,
    name: str = "layer",
    names: Sequence[str] | None = None,
    params: str | None = None,
    obs: Any = None,
) -> Value:
    """Apply layers one after the other: p(x¹ … xᴸ | x⁰; θ) in one line.

    Parameters
    ----------
    x : the input x⁰, of event shape (..., in). None: the first layer has only a bias.
    layers : random or deterministic layers.
    name : layer i is node `name/i`, with parameters `name/i.weight`, `name/i.bias`, …
    names : node names instead, one per layer. A guide that runs upwards gives the names of its model's nodes, which
        run downwards.
    params : prefix of parameter names instead of `name`. A guide needs another one than its model.
    obs : observed value of the last layer.

    Returns
    -------
    Value of the last layer.

    Raises
    ------
    ModelError
        There are no layers, or `names` does not have one name per layer.
    """
    if names is not None:
        names = arguments.names("chain: names", names, ModelError)
    text("chain: name", name, ModelError)
    if params is not None:
        text(f"chain {name!r}: params", params, ModelError)
    for layer in layers:
        called(f"chain {name!r}: a layer", layer, ModelError)
    if not layers or (names is not None and len(names) != len(layers)):
        raise ModelError(f"chain {name!r}: {len(layers)} layers, names {names}\n  at {user_line()}")
    value = None if x is None else as_value(x)
    for i, layer in enumerate(layers):
        node = f"{name}/{i}" if names is None else names[i]
        leaf = f"{params or name}/{i}"
        value = layer(node, leaf, value, obs if i == len(layers) - 1 else None)
        if value is None:
            raise ModelError(f"chain {name!r}: layer {i} returned no value\n  at {user_line()}")
    assert value is not None
    return value
