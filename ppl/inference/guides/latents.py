"""The latents that a guide samples, and the bijectors from the reals onto their supports.

Latents are found by tracing the model with the guide's arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppl.distributions.base import CONSTANT_OPS, Distribution
from ppl.distributions.bijectors import Affine, Bijector, CorrCholesky, Exp, Inverse, Sigmoid, StickBreaking
from ppl.distributions.constraints import constant_value
from ppl.distributions.delta import Delta
from ppl.distributions.exponential import Pareto
from ppl.distributions.support import Support
from ppl.distributions.transformed import Transformed
from ppl.distributions.truncated import Truncated
from ppl.distributions.truncated_normal import TruncatedNormal
from ppl.distributions.uniform import Uniform
from ppl.errors import ModelError, PplError
from ppl.ir import ops
from ppl.ir.node import Node, rebuild, remake, topological
from ppl.ir.op_facts import ELEMENTWISE
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, union_axes
from ppl.lang.context import Context, UnrollPolicy, activate
from ppl.lang.loops import scan_of
from ppl.lang.model import Model
from ppl.lang.trace import Site, Trace
from ppl.records import dataclass

Bijectors = tuple[Bijector, ...]

BIJECTORS_BY_SUPPORT: dict[Support, Bijectors] = {
    Support.REAL: (),
    Support.POSITIVE: (Exp(),),
    Support.NONNEGATIVE: (Exp(),),
    Support.UNIT_INTERVAL: (Sigmoid(),),
    Support.CIRCLE: (Sigmoid(), Affine(-math.pi, 2 * math.pi)),
    Support.SIMPLEX: (StickBreaking(),),
    Support.CORRELATION_CHOLESKY: (CorrCholesky(),),
}
"""Of supports that no parameter moves."""


def bijectors_of(dist: Distribution) -> Bijectors | None:
    """Bijectors that lead from the reals onto the support of a continuous law, in order; None where none are known."""
    found = BIJECTORS_BY_SUPPORT.get(dist.support)
    if found is not None:
        return found
    if isinstance(dist, Transformed):
        inner = bijectors_of(dist.base)
        return None if inner is None else (*inner, *dist.bijectors)
    low, high = _interval_ends(dist)
    return None if low is None and high is None else _onto_interval(low, high)


def _interval_ends(dist: Distribution) -> tuple[Node | None, Node | None]:
    """Return the ends of an interval; None for an infinite one. Both None where they are not known."""
    if isinstance(dist, Pareto):
        return dist.params["scale"], None
    base_is_real = isinstance(dist, Truncated) and dist.base.support is Support.REAL
    if isinstance(dist, (Uniform, TruncatedNormal)) or base_is_real:
        low, high = dist.params["low"], dist.params["high"]
        return (None if _is_infinite(low) else low), (None if _is_infinite(high) else high)
    if isinstance(dist, Truncated) and dist.base.support in (Support.POSITIVE, Support.UNIT_INTERVAL):
        return _clipped_ends(dist)
    return None, None


def _clipped_ends(dist: Truncated) -> tuple[Node | None, Node | None]:
    """Return the ends of a law on the half line or the unit interval between bounds."""
    inside, low, high = dist.base.bounds, dist.params["low"], dist.params["high"]
    low = ops.maximum(low, inside.lo)
    if math.isfinite(inside.hi):
        return low, ops.minimum(high, inside.hi)
    return low, None if _is_infinite(high) else high


def _is_infinite(end: Node) -> bool:
    value = constant_value(end)
    return value is not None and bool(np.isinf(value).all())


def _onto_interval(low: Node | None, high: Node | None) -> Bijectors:
    """Onto low < y < high, where either may be missing."""
    if low is not None and high is not None:
        return Sigmoid(), Affine(low, ops.sub(high, low))
    return (Exp(), Affine(low, 1.0)) if low is not None else (Exp(), Affine(high, -1.0))


def unconstrained_shape(bijectors: Bijectors, event: tuple[int, ...]) -> tuple[int, ...]:
    """Event shape of the reals that lead to an event."""
    for bijector in reversed(bijectors):
        event = bijector.source(event)
    return event


def constrain(bijectors: Bijectors, x: Node) -> tuple[Node, Node]:
    """Return the value at reals x, and the logarithm of the volume change of the whole event."""
    total = ops.const(0.0)
    for bijector in bijectors:
        total = ops.add(total, ops.reduce_sum(bijector.log_det(x)))
        x = bijector.forward(x)
    return x, total


FLAT_BEYOND = 20.0
"""Reals beyond which a bijector is flat: no guide starts there."""


@dataclass(frozen=True, eq=False)
class Latent:
    """A latent of the model, as a guide samples it.

    `plates` are those that it stands in, `times` the lengths of the loops over time, which lead its event. `law` is its
    law given the guide's values, `bijectors` lead onto its support from reals of event shape `shape`.
    """

    site: Site
    plates: tuple[Axis, ...]
    times: tuple[int, ...]
    law: Distribution
    bijectors: Bijectors
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the site."""
        return self.site.name

    @property
    def in_data_plate(self) -> bool:
        """Whether it stands in a plate whose number of rows is known at run time only."""
        return any(a.size is None for a in self.plates)

    @property
    def fixed(self) -> tuple[Axis, ...]:
        """Its plates of fixed size."""
        return tuple(a for a in self.plates if a.size is not None)

    @property
    def shape_with_plates(self) -> tuple[int, ...]:
        """Shape of the reals of all rows of its plates of fixed size."""
        return (*(a.size or 0 for a in self.fixed), *self.shape)

    @property
    def size(self) -> int:
        """How many reals these are."""
        return math.prod(self.shape_with_plates)

    def start(self) -> np.ndarray:
        """Return where a guide starts, of shape `shape`: the mean of a law of constants, else its median, else 0."""
        for formula in ("node_mean", "node_icdf"):
            found = _start_reals(self, formula)
            if found is not None:
                return np.broadcast_to(found, self.shape)
        return np.zeros(self.shape)


def _start_reals(latent: Latent, formula: str) -> np.ndarray | None:
    """Return the reals of a formula of a latent's law, where it is known and not far out."""
    law = latent.law
    if any(n.op not in CONSTANT_OPS or n.type.axes for n in topological(list(law.params.values()))):
        return None
    arguments = () if formula == "node_mean" else (ops.expand(ops.const(0.5), (), law.event_shape),)
    try:
        with np.errstate(all="ignore"):
            value = ops.const(evaluate([getattr(law, formula)(*arguments)], Env(dtype=np.float64))[0])
            for bijector in reversed(latent.bijectors):
                value = Inverse(bijector).forward(value)
            found = evaluate([value], Env(dtype=np.float64))[0]
    except PplError:
        return None
    near = np.isfinite(found).all() and (not latent.bijectors or np.abs(found).max(initial=0.0) < FLAT_BEYOND)
    return found if near else None


def trace_model_in_guide(model: Model, arguments: Sequence[Any], static: Mapping[str, Any]) -> Trace:
    """Return a trace of the model of its own, with the symbolic arguments of a guide."""
    trace = Trace()
    with activate(Context(trace, unroll_policy=UnrollPolicy())):
        model.function(*arguments, **static)
    return trace


def _substitute(outputs: Sequence[Node], values: Mapping[Node, Node]) -> list[Node]:
    """Return `outputs` with other values, which may have gained axes (importance samples)."""
    by_id = {id(node): value for node, value in values.items()}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if id(node) in by_id:
            return by_id[id(node)]
        if node.op == "expand":
            return ops.expand(args[0], node.attrs["axes"], node.type.shape)
        if node.op in ELEMENTWISE:
            axes = union_axes(*(a.type.axes for a in args))
            args = tuple(ops.expand(a, axes) for a in args)
        return remake(node, args)

    return rebuild(outputs, visit)


def make_latent(site: Site, sampled: Mapping[Node, Node], owner: str = "autoguide") -> Latent:
    """Return a random site as a latent, given the guide's values of those before it; `owner` is for messages.

    Raises
    ------
    ModelError
        No guide of reals samples it, with the reason.
    """
    dist = site.dist
    assert dist is not None and site.node is not None
    kind, at = type(dist).__name__, f"{owner}: latent '{site.name}' ({site.where})"
    if dist.discrete:
        raise ModelError(
            f"{at} is discrete ({kind}), and guides that are made here are continuous: sum it out in the model "
            "(ppl.likelihood(marginalize=...), or a Mixture in place of the node), or write a guide that samples it, "
            "which Enumerate or a score function trains"
        )
    if isinstance(dist, Delta):
        raise ModelError(f"{at} is a sure value: write ppl.deterministic, which no guide samples")
    if dist.event_mask is not None:
        raise ModelError(f"{at} has a mask: entries that no density holds have no posterior")
    if site.active is not None:
        raise ModelError(f"{at} stands in a loop with until: rows have no density after they stop")
    law = dist.with_params(tuple(_substitute(list(dist.params.values()), sampled)))
    bijectors = bijectors_of(law)
    if bijectors is None:
        raise ModelError(f"{at} is a {kind} on '{dist.support.value}', onto which no bijector is known")
    moved = [n for b in bijectors for n in b.params.values()]
    if site.scan is not None and any(scan_of(n) is not None for n in moved):
        raise ModelError(f"{at} has a support that changes with the steps of a loop: write its guide in a loop, too")
    times = tuple(loop.length for loop in site.scan.chain) if site.scan is not None else ()
    shape = unconstrained_shape(bijectors, (*times, *dist.event_shape))
    return Latent(site, tuple(site.axes), times, law, bijectors, shape)
