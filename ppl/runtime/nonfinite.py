"""Results that are NaN or infinite: refused, with the node where the first such value appeared.

A call pays for one look at its loss and one pass over its gradient. Only when that finds something is the call
replayed in the interpreter, which names the parameter, node or cost.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import choice, fits_memory
from ppl.errors import NonFiniteError, TooLargeError
from ppl.estimators.base import Estimator
from ppl.lazy import optimizers
from ppl.runtime.call import Call
from ppl.runtime.state import State
from ppl.runtime.violations import environment, violation

if TYPE_CHECKING:
    from ppl.compiler.lower.request import Result
    from ppl.runtime.prepared import Prepared

RAISE = "raise"
"""The default, which is recognised by being this object."""
KEEP = '; nonfinite="keep" returns such results'


def keeps(nonfinite: Any) -> bool:
    """Whether NaN and infinite results are returned; raises unless the option is "raise" or "keep"."""
    return nonfinite is not RAISE and choice("nonfinite", nonfinite, ("raise", "keep")) == "keep"


def require_finite_gradient(
    program: Prepared, given: tuple[Any, ...], result: Result, aux: np.ndarray | None = None
) -> None:
    """Raise unless loss, gradient and new auxiliary variables are finite."""
    loss = result.scalars["loss"]
    if math.isfinite(loss) and optimizers.all_finite(result.grad) and (aux is None or optimizers.all_finite(aux)):
        return
    call = Call(*given)
    if not math.isfinite(loss):
        refuse(program, call, f"the loss is {loss}")
    bad = [n for n, part in call.state._layouts[0].split(result.grad).items() if not np.isfinite(part).all()]
    if bad:
        refuse(program, call, f"the gradient with respect to '{bad[0]}' is not finite")
    bad = [n for n, part in call.state._layouts[1].split(result.aux).items() if not np.isfinite(part).all()]
    refuse(program, call, f"the adapted variable '{bad[0]}' is not finite")


def require_finite_update(
    program: Prepared, given: tuple[Any, ...], loss: float, grad: np.ndarray, new: State, transform: Any
) -> None:
    """Raise unless loss, new parameters and auxiliary variables are finite; then the gradient says where it began."""
    if math.isfinite(loss) and optimizers.all_finite(new._flat) and optimizers.all_finite(new._aux):
        return  # what is not finite in the gradient of a parameter that moves is not finite in the parameter
    call = Call(*given)
    if not math.isfinite(loss):
        refuse(program, call, f"the loss is {loss}")
    frozen = getattr(transform, "trainable", None)
    if not np.isfinite(grad if frozen is None else grad[frozen(new._layouts[0])]).all():
        refuse(program, call, "the gradient is not finite")
    for layout, flat, what in zip(new._layouts, (new._flat, new._aux), ("parameter", "adapted variable"), strict=True):
        for name, part in layout.split(flat).items():
            if not np.isfinite(part).all():
                raise NonFiniteError(f"update: {what} '{name}' is no longer finite{KEEP}", name)


def require_finite_loss(program: Prepared, given: tuple[Any, ...], loss: Any, per_row: bool) -> None:
    """Raise unless a loss, or the loss of every row, is finite."""
    if not per_row and not math.isfinite(loss):
        refuse(program, Call(*given), f"the loss is {loss}", "value")
    if per_row and not np.isfinite(loss).all():
        at = int(np.argwhere(~np.isfinite(loss))[0, 0])
        refuse(program, Call(*given), f"the loss of row {at} is {loss[at]}", "value")


def require_finite_sample(
    program: Prepared, given: tuple[Any, ...], arrays: Mapping[str, np.ndarray], invalid: bool
) -> None:
    """Raise if parameters were out of range, or a site is not finite."""
    names, call = tuple(arrays), Call(*given)
    if invalid:
        refuse_violation(program, call, "sample", names)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not optimizers.all_finite(np.ravel(array)):
            refuse_violation(program, call, "sample", names)
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            place = f" at {at}" if at else ""
            raise NonFiniteError(f"sample: '{name}' is {array[at]}{place}{KEEP}", name)


def refuse(program: Prepared, call: Call, what: str, mode: str = "gradient") -> None:
    """Raise a ParameterError if a condition is violated, else say where the first value that is not finite appeared."""
    from ppl.runtime.replay import first_bad  # only what goes wrong needs the replay

    with contextlib.suppress(TooLargeError):  # an error here must not hide the one that is being reported
        refuse_violation(program, call, mode)
    found = first_bad(program, call, mode)
    raise NonFiniteError(f"{what}. First: {found.text}{KEEP}", found.node)


def refuse_violation(
    program: Prepared, call: Call, mode: str, sites: Sequence[str] = (), plan: Mapping[str, Estimator] | None = None
) -> None:
    """Raise a ParameterError if a parameter, an observation or an index was out of range in this call."""
    compiled = program.prepare(*call.data)
    bound = compiled.binder.bind(call.data, call.rows, call.total_rows, False)
    count = program.settings.particles if call.particles is None else call.particles
    hypers = compiled.hyper_vector(call.hyper, call.state.step)
    env = environment(compiled, call.state.params, call.state.aux, hypers, bound, count, *call.noise)
    with fits_memory("the search for a parameter that is out of range"):
        found = violation(compiled, mode, env, bound, sites, plan)
    if found is not None:
        raise found.error()
