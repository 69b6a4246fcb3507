"""Distributions as SciPy has them: densities of single units, which broadcast, and draws outside of a model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import array, fits_memory, integer, shown
from ppl.distributions.domain.support import exact, infinite, is_exact
from ppl.distributions.parts.eager import is_symbolic, present
from ppl.errors import ModelError, OptionError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.reference.interpret import Env, evaluate
from ppl.ir.types import Axis, Kind

if TYPE_CHECKING:
    from ppl.distributions.base import Distribution

FINEST = 2**52
"""Uniforms are odd multiples of half of its inverse: floats that are neither 0 nor 1."""


def per_unit(dist: Distribution, value: Any) -> Any:
    """The log-density of every unit of `value`, after value and distribution have been broadcast."""
    symbolic = isinstance(value, Node) or hasattr(value, "__ppl_node__")
    given: Any = (
        ops.as_node(value).type.shape if symbolic else array(f"{type(dist).__name__}: the value", value, ShapeError)
    )
    shape = given if symbolic else given.shape
    rank = dist.unit_rank
    unit = dist.event_shape[len(dist.event_shape) - rank :]
    batch = shape[: max(len(shape) - rank, 0)]
    try:
        whole = np.broadcast_shapes(batch, dist.batch_of_units)
        fits = np.broadcast_shapes(shape[len(batch) :], unit) == unit
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{type(dist).__name__} has event {dist.event_shape}, its value shape {shape}")
    wide = dist if whole == dist.batch_of_units else dist.expand(whole)

    def formula(x: Node) -> Node:
        x = ops.expand(exact(x), (), wide.event_shape)
        found = wide.unit_log_prob(x)
        found = ops.where(infinite(x, rank), -math.inf, found) if is_exact(x) else found
        return found if wide.event_mask is None else ops.where(wide.event_mask, found, 0.0)

    return present((wide,), formula, value if symbolic else np.broadcast_to(given, wide.event_shape))


def drawn(dist: Distribution, rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Draws of shape (*shape, *event)."""
    owner = type(dist).__name__
    if is_symbolic((dist,)):
        raise ModelError(
            f"{owner}.sample draws with parameters that are numbers: in a model, use ppl.sample(name, dist)"
        )
    generator = _generator(rng)
    with fits_memory(owner):
        axis = Axis("eager", Kind.PLATE, max(math.prod(shape), 1))
        rows = [ops.distribute(ops.const(_uniforms(generator, axis.size or 1, s)), axis) for s in dist.uniforms()]
        found = dist.shown(dist.draw(*rows))
        out = evaluate([ops.expand(found, (axis,))], Env(dtype=np.float64))[0]
    return out[: math.prod(shape)].reshape((*shape, *out.shape[1:]))[()]


def _generator(rng: Any) -> np.random.Generator:
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (bool, np.bool_)) or not isinstance(rng, (int, np.integer)):
        raise OptionError(f"sample: rng must be a numpy.random.Generator or a seed, not {shown(rng)}")
    return np.random.default_rng(integer("sample: rng", rng, 0))


def _uniforms(rng: np.random.Generator, rows: int, shape: tuple[int, ...] | None) -> np.ndarray:
    """Uniforms of an event shape for every row, or a noise key for each."""
    if shape is None:
        return rng.integers(np.iinfo(np.int64).min, np.iinfo(np.int64).max, rows, endpoint=True)
    return (rng.integers(0, FINEST, (rows, *shape)) + 0.5) / FINEST
