"""What a guide has to sample: the latents of a model, found by tracing it with the guide's arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.bijectors import Inverse
from ppl.distributions.delta import Delta
from ppl.distributions.parts.eager import EAGER_OPS
from ppl.errors import ModelError, PplError
from ppl.inference.guides.supports import Bijectors, bijectors_of, source_shape
from ppl.ir import ops
from ppl.ir.node import Node, rebuild, remake, topological
from ppl.ir.op_facts import ELEMENTWISE
from ppl.ir.reference.interpret import Env, evaluate
from ppl.ir.types import Axis, union_axes
from ppl.lang.context import Context, Written, tracing
from ppl.lang.model import Model
from ppl.lang.time.record import scan_of
from ppl.lang.trace import Site, Trace
from ppl.records import dataclass

FAR = 20.0
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
    def by_row(self) -> bool:
        """Whether it stands in a plate whose number of rows is known at run time only."""
        return any(a.size is None for a in self.plates)

    @property
    def fixed(self) -> tuple[Axis, ...]:
        """Its plates of fixed size."""
        return tuple(a for a in self.plates if a.size is not None)

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """Shape of the reals of all rows of its plates of fixed size."""
        return (*(a.size or 0 for a in self.fixed), *self.shape)

    @property
    def size(self) -> int:
        """How many reals these are."""
        return math.prod(self.whole_shape)

    def start(self) -> np.ndarray:
        """Where a guide starts, of shape `shape`: the mean of a law of constants, else its median, else 0."""
        for formula in ("node_mean", "node_icdf"):
            found = _reals(self, formula)
            if found is not None:
                return np.broadcast_to(found, self.shape)
        return np.zeros(self.shape)


def _reals(latent: Latent, formula: str) -> np.ndarray | None:
    """The reals of a formula of a latent's law, where it is known and not far out."""
    law = latent.law
    if any(n.op not in EAGER_OPS or n.type.axes for n in topological(list(law.params.values()))):
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
    near = np.isfinite(found).all() and (not latent.bijectors or np.abs(found).max(initial=0.0) < FAR)
    return found if near else None


def traced(model: Model, arguments: Sequence[Any], static: Mapping[str, Any]) -> Trace:
    """A trace of the model of its own, with the symbolic arguments of a guide."""
    trace = Trace()
    with tracing(Context(trace, written=Written())):
        model.function(*arguments, **static)
    return trace


def _given(outputs: Sequence[Node], values: Mapping[Node, Node]) -> list[Node]:
    """`outputs` with other values, which may have gained axes (importance samples)."""
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


def latent_of(site: Site, sampled: Mapping[Node, Node], owner: str = "autoguide") -> Latent:
    """A random site as a latent, given the guide's values of those before it; `owner` is for messages.

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
    law = dist.with_params(tuple(_given(list(dist.params.values()), sampled)))
    bijectors = bijectors_of(law)
    if bijectors is None:
        raise ModelError(f"{at} is a {kind} on '{dist.support.value}', onto which no bijector is known")
    moved = [n for b in bijectors for n in b.params.values()]
    if site.scan is not None and any(scan_of(n) is not None for n in moved):
        raise ModelError(f"{at} has a support that changes with the steps of a loop: write its guide in a loop, too")
    times = tuple(loop.length for loop in site.scan.chain) if site.scan is not None else ()
    shape = source_shape(bijectors, (*times, *dist.event_shape))
    return Latent(site, tuple(site.axes), times, law, bijectors, shape)
