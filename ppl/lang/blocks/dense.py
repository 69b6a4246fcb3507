"""`ppl.dense`: an affine layer with parameters `name.weight` (in, out) and `name.bias`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl.arguments import flag, integer, text
from ppl.errors import ModelError, ShapeError
from ppl.lang.blocks import init
from ppl.lang.blocks.functional import activate
from ppl.lang.params import param
from ppl.lang.source import user_line
from ppl.lang.value import Value, as_value
from ppl.names import keywords


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
    return activate(out, activation)
