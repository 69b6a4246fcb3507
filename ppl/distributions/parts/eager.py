"""Showing the result of a formula: symbolic inside a model, NumPy arrays outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import array, fits_memory
from ppl.distributions.domain.conditions import unexpanded
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, make, topological
from ppl.ir.reference.interpret import Env, evaluate
from ppl.ir.types import Axis, Kind

if TYPE_CHECKING:
    from ppl.distributions.base import Distribution

EAGER_OPS = ("const", "expand", "cast", "reshape", "and")


_shown: Callable[[Sequence[Distribution], Node], Any] | None = None


def show_in_models(function: Callable[[Sequence[Distribution], Node], Any]) -> None:
    """Say what a model is given for a formula of distributions: the language wraps its node, and notes the use."""
    global _shown
    _shown = function


def in_model(dists: Sequence[Distribution], found: Node) -> Any:
    """A formula's result in a model."""
    return found if _shown is None else _shown(dists, found)


def present(dists: Sequence[Distribution], formula: Callable[..., Node], *values: Any) -> Any:
    """Apply `formula` to `values`; evaluate at once (float64) where nothing is symbolic.

    Eagerly, axes of a value beyond the event are leading axes that stay in the result. `dists` are the
    distributions whose parameters and masks the formula reads; values have the event shape of the first.
    """
    symbolic = any(isinstance(v, Node) or hasattr(v, "__ppl_node__") for v in values)
    if symbolic or is_symbolic(dists):
        return in_model(dists, formula(*(ops.as_node(v) for v in values)))
    owner = type(dists[0]).__name__
    with fits_memory(owner):
        return _evaluated(owner, dists, formula, values)


def is_symbolic(dists: Sequence[Distribution]) -> bool:
    """Whether a parameter or a mask is more than numbers."""
    nodes = [n for d in dists for n in (*d.params.values(), d.event_mask) if n is not None]
    return any(n.op not in EAGER_OPS for n in topological(nodes))


def _evaluated(
    owner: str, dists: Sequence[Distribution], formula: Callable[..., Node], values: Sequence[Any]
) -> np.ndarray:
    """The formula of arrays, as an array."""
    arrays = [array(f"{owner}: the value", v, ShapeError) for v in values]
    event = len(dists[0].event_shape)
    lead = np.broadcast_shapes(*(a.shape[: max(a.ndim - event, 0)] for a in arrays))
    if not lead:
        return evaluate([formula(*map(ops.as_node, arrays))], Env(dtype=np.float64))[0][()]
    axis = Axis("eager", Kind.PLATE, math.prod(lead))
    rows = [ops.distribute(ops.const(_flat(a, lead, event)), axis) for a in arrays]
    out = evaluate([formula(*rows)], Env(dtype=np.float64))[0]
    return out.reshape(*lead, *out.shape[1:])


def own_node(dists: Sequence[Distribution], found: Node) -> Node:
    """A result that is a parameter as it stands, as a node that nobody else reads; where nothing needs a guard, itself.

    So who is computed with the parameter alone is not taken for one who uses the distribution.
    """
    given = {id(unexpanded(n)) for d in dists for n in d.params.values()}
    if id(unexpanded(found)) not in given or all(c.proved for d in dists for c in d.conditions()):
        return found
    return make("reshape", found, shape=found.type.shape)


def _flat(array: np.ndarray, lead: tuple[int, ...], event: int) -> np.ndarray:
    """`array` with its leading axes broadcast to `lead` and flattened."""
    tail = array.shape[array.ndim - event :]
    return np.broadcast_to(array, lead + tail).reshape(-1, *tail)
