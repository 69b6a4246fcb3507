"""What ends a training: the first value that is not finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppl.runtime.call import Call, bind
from ppl.runtime.replay import Culprit, first_bad, first_bad_part
from ppl.runtime.state import State


def culprit(
    program: Any, transform: Any, call: Call, loss: float, grad: np.ndarray, new: State
) -> tuple[str, Culprit] | None:
    """What is wrong with the step of `call` to the state `new`, and where it came from.

    None if all that is not finite is the gradient of a frozen parameter.
    """
    layout, aux_layout = new._layouts
    frozen = getattr(transform, "trainable", None)
    used = grad if frozen is None else grad[frozen(layout)]
    if not math.isfinite(loss) or not np.isfinite(used).all():
        what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
        return what, first_bad(bind(program, call, check=False))
    if (name := first_bad_part(layout, new._flat)) is not None:
        return "the optimizer's step is not finite", Culprit(name, f"parameter '{name}' overflows")
    if (name := first_bad_part(aux_layout, new._aux)) is not None:
        return "an adapted variable is not finite", Culprit(name.rpartition("/")[0], f"'{name}' overflows")
    return None
