"""Results that are NaN or infinite: refused, with the node where the first such value appeared.

A call pays for one look at its loss and one pass over its gradient. Only when that finds something is the call
replayed in the interpreter, which names the parameter, node or cost.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from ppl.arguments import choice, fits_memory
from ppl.compiler.lower.request import Result
from ppl.errors import NonFiniteError, TooLargeError
from ppl.estimators.base import Estimator
from ppl.lazy import optimizers
from ppl.runtime.call import BoundCall
from ppl.runtime.replay import first_bad, first_bad_part
from ppl.runtime.state import State
from ppl.runtime.violations import violation
from ppl.tuning import SCANNED_BY_PYTHON

RAISE = "raise"
"""The default, which is recognised by being this object."""
KEEP = '; nonfinite="keep" returns such results'


def keeps(nonfinite: Any) -> bool:
    """Whether NaN and infinite results are returned; raises unless the option is "raise" or "keep"."""
    return nonfinite is not RAISE and choice("nonfinite", nonfinite, ("raise", "keep")) == "keep"


def finite(vector: np.ndarray) -> bool:
    """Whether no entry is NaN or infinite."""
    if vector.size <= SCANNED_BY_PYTHON:
        return all(map(math.isfinite, vector.tolist()))
    return bool(optimizers.all_finite(vector))


def require_finite_gradient(bound: BoundCall, result: Result, adapted: bool) -> None:
    """Raise unless loss and gradient, and where they are `adapted` the auxiliary variables, are finite."""
    loss = result.scalars["loss"]
    if math.isfinite(loss) and finite(result.grad) and (not adapted or finite(result.aux)):
        return
    if not math.isfinite(loss):
        refuse(bound, f"the loss is {loss}")
    params, aux = bound.state._layouts
    if (name := first_bad_part(params, result.grad)) is not None:
        refuse(bound, f"the gradient with respect to '{name}' is not finite")
    refuse(bound, f"the adapted variable '{first_bad_part(aux, result.aux)}' is not finite")


def require_finite_update(bound: BoundCall, loss: float, grad: np.ndarray, new: State, transform: Any) -> None:
    """Raise unless loss, new parameters and auxiliary variables are finite; then the gradient says where it began."""
    if math.isfinite(loss) and finite(new._flat) and finite(new._aux):
        return  # what is not finite in the gradient of a parameter that moves is not finite in the parameter
    if not math.isfinite(loss):
        refuse(bound, f"the loss is {loss}")
    frozen = getattr(transform, "trainable", None)
    if not np.isfinite(grad if frozen is None else grad[frozen(new._layouts[0])]).all():
        refuse(bound, "the gradient is not finite")
    for layout, flat, what in zip(new._layouts, (new._flat, new._aux), ("parameter", "adapted variable"), strict=True):
        if (name := first_bad_part(layout, flat)) is not None:
            raise NonFiniteError(f"update: {what} '{name}' is no longer finite{KEEP}", name)


def require_finite_loss(bound: BoundCall, loss: Any, per_row: bool) -> None:
    """Raise unless a loss, or the loss of every row, is finite."""
    if not per_row and not math.isfinite(loss):
        refuse(bound, f"the loss is {loss}", "value")
    if per_row and not np.isfinite(loss).all():
        at = int(np.argwhere(~np.isfinite(loss))[0, 0])
        refuse(bound, f"the loss of row {at} is {loss[at]}", "value")


def require_finite_sample(
    bound: BoundCall,
    arrays: Mapping[str, np.ndarray],
    invalid: bool,
    method: str = "sample",
    impossible: bool = False,
) -> None:
    """Raise if parameters were out of range, the data have probability 0, or a site is not finite.

    `method` is what was called.
    """
    names = tuple(arrays)
    if invalid:
        refuse_invalid(bound, method, names)
    if impossible:
        raise NonFiniteError(
            f"{method}: the data have probability 0 given the parameters, so latents have no posterior{KEEP}", None
        )
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not finite(np.ravel(array)):
            refuse_violation(bound, "sample", names)
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            place = f" at {at}" if at else ""
            raise NonFiniteError(f"{method}: '{name}' is {array[at]}{place}{KEEP}", name)


def refuse(bound: BoundCall, what: str, mode: str = "gradient", advice: str = KEEP) -> NoReturn:
    """Raise a ParameterError if a condition is violated, else say where the first value that is not finite appeared."""
    with contextlib.suppress(TooLargeError):  # an error here must not hide the one that is being reported
        refuse_violation(bound, mode)
    found = first_bad(bound, mode)
    raise NonFiniteError(f"{what}. First: {found.text}{advice}", found.node)


def refuse_invalid(bound: BoundCall, method: str, sites: Sequence[str]) -> NoReturn:
    """Raise a ParameterError of what was out of range where sites were drawn, or in the evidence they are given."""
    refuse_violation(bound, "sample", sites)
    refuse_violation(bound, "value")
    raise NonFiniteError(f"{method}: a parameter, an observation or an index is out of range{KEEP}", None)


def refuse_violation(
    bound: BoundCall, mode: str, sites: Sequence[str] = (), plan: Mapping[str, Estimator] | None = None
) -> None:
    """Raise a ParameterError if a parameter, an observation or an index was out of range in this call."""
    with fits_memory("the search for a parameter that is out of range"):
        found = violation(bound.compiled, mode, bound.environment(), bound.data, sites, plan)
    if found is not None:
        raise found.error()
