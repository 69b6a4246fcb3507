"""Showing the result of a formula: symbolic inside a model, NumPy arrays outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.ir import ops
from ppl.ir.interpret import Env, evaluate
from ppl.ir.node import Node, topological
from ppl.ir.types import Axis, Kind

if TYPE_CHECKING:
    from ppl.distributions.base import Distribution


def present(dist: Distribution, formula: Callable[..., Node], *values: Any) -> Any:
    """Apply `formula` to `values`; evaluate at once (float64) where nothing is symbolic.

    Eagerly, axes of a value beyond the event are leading axes that stay in the result.
    """
    nodes = [*dist.params.values(), *(ops.as_node(v) for v in values)]
    if any(n.op not in ("const", "expand", "cast", "reshape") for n in topological(nodes)):
        from ppl.lang.value import Value

        return Value(formula(*(ops.as_node(v) for v in values)))
    arrays = [np.asarray(v) for v in values]
    lead = arrays[0].shape[: max(arrays[0].ndim - len(dist.event_shape), 0)] if arrays else ()
    if not lead:
        return evaluate([formula(*map(ops.as_node, arrays))], Env(dtype=np.float64))[0][()]
    axis = Axis("eager", Kind.PLATE, math.prod(lead))
    rows = [ops.distribute(ops.const(a.reshape(-1, *a.shape[len(lead) :])), axis) for a in arrays]
    out = evaluate([formula(*rows)], Env(dtype=np.float64))[0]
    return out.reshape(*lead, *out.shape[1:])
