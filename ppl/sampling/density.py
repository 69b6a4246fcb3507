"""The density that chains walk on: a model whose continuous latents are parameters, reals under their bijectors.

No node of its trace is random but those that are summed out, so that loss and gradient are exact: minus the logarithm
of the joint density of data and reals. That is the joint density of the model at the values that the reals lead to,
times the volume change of the bijectors.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ppl.distributions.domain.guards import known_inside
from ppl.distributions.domain.support import placed_in
from ppl.errors import ModelError
from ppl.inference.guides.latents import Latent, latent_of, traced
from ppl.inference.guides.supports import forward
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.lang.context import require
from ppl.lang.model import Model
from ppl.lang.params import param
from ppl.lang.plate import reopened, row_index
from ppl.lang.time.costs import step_cost
from ppl.lang.time.record import base_name
from ppl.lang.trace import Site, SiteKind, Trace
from ppl.lang.tracing import trace_model
from ppl.objectives.likelihood import add_log_likelihood

PREFIX = "reals"


def real_name(latent: str) -> str:
    """The parameter that holds the reals of a latent."""
    return f"{PREFIX}/{latent}"


class LogDensity:
    """The objective: minus the log-density of data and reals.

    Parameters
    ----------
    marginalize : finite latents that are summed out.
    rows : how many rows the plates over data have.
    """

    def __init__(self, model: Model, marginalize: Sequence[str], rows: Mapping[str, int]):
        self.model, self.marginalize, self.rows = model, tuple(marginalize), dict(rows)

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The model's data arguments."""
        return self.model.arguments

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Trace the latents as functions of reals, then the model on their values."""
        values: dict[str, Site] = {}
        volumes: dict[str, tuple[Site, Node]] = {}
        static = self.model.static
        trace = trace_model(_placing(self, values, volumes), arguments, static, allow_obs=False)
        trace_model(self.model, arguments, into=trace, substitute=values)
        if trace.costs:
            raise ModelError(
                f"mcmc: model '{self.model.name}' declares costs ({', '.join(trace.costs)}), which are no part of a "
                "density: declare ppl.factor(name, log_weight) where one is meant"
            )
        add_log_likelihood(trace, self.marginalize, "mcmc")
        for name, (site, log_det) in volumes.items():
            if log_det.op != "const":
                value = ops.expand(ops.neg(log_det), site.axes)
                trace.costs[f"-log volume({name})"] = step_cost(f"-log volume({name})", value, site.where, site.axes,
                                                                None, None)  # fmt: skip
        return trace

    def __reduce__(self) -> tuple[Any, ...]:
        return LogDensity, (self.model, self.marginalize, self.rows)


def _placing(
    objective: LogDensity, values: dict[str, Site], volumes: dict[str, tuple[Site, Node]]
) -> Callable[..., None]:
    """A model's function that declares the reals; it fills `values`, the latents as sites, and `volumes`."""
    base = objective.model

    @functools.wraps(base.function)
    def function(*args: Any, **static: Any) -> None:
        context = require("ppl.mcmc")
        placed: dict[Node, Node] = {}
        for site in sampled_sites(traced(base, args, static), objective.marginalize):
            latent = latent_of(site, placed, "mcmc")
            _require_known_support(latent)
            with reopened(latent.plates):
                value, log_det = forward(latent.bijectors, _reals(latent, objective.rows))
                value = placed_in(known_inside(value, latent.law.bounds), latent.law.support)
                node = ops.expand(value, latent.plates)
            assert site.node is not None
            placed[site.node] = node
            own = Site(latent.name, SiteKind.RANDOM, latent.plates, site.where, latent.law, node)
            values[latent.name], volumes[latent.name] = own, (own, log_det)
            seen = Site(latent.name, SiteKind.DETERMINISTIC, latent.plates, site.where, node=node)
            context.trace.sites[latent.name] = seen

    function.__signature__ = inspect.signature(base.function)  # type: ignore[attr-defined]
    return function


def sampled_sites(trace: Trace, marginalize: Sequence[str]) -> list[Site]:
    """The latents that chains sample: all that are not summed out.

    Raises
    ------
    ModelError
        One of them is discrete.
    """
    found = [s for s in trace.random_sites() if base_name(s.name) not in marginalize]
    for site in found:
        assert site.dist is not None
        if not site.dist.discrete:
            continue
        finite = site.dist.support_size() < float("inf")
        hint = (
            f"sum it out, marginalize=[{base_name(site.name)!r}]"
            if finite
            else "chains move continuous latents only, and its values are too many to be summed out: bound it (a "
            "Truncated or Categorical law), or integrate it by hand (a BetaBinomial or NegativeBinomial observation)"
        )
        raise ModelError(f"mcmc: latent '{site.name}' ({site.where}) is discrete ({type(site.dist).__name__}): {hint}")
    return found


def _require_known_support(latent: Latent) -> None:
    """Raise where the support depends on a latent that is summed out."""
    moved = [n for b in latent.bijectors for n in b.params.values()]
    names = sorted({n.attrs["site"].name for n in topological(moved) if n.op == "sample"})
    if names:
        raise ModelError(
            f"mcmc: the support of latent '{latent.name}' ({latent.site.where}) depends on {', '.join(names)}, which "
            "is summed out: its reals would have no fixed meaning"
        )


def _reals(latent: Latent, rows: Mapping[str, int]) -> Node:
    """The reals of a latent in its plates: an array, or a table with an entry for every row of plates over data."""
    outer = [a for a in latent.plates if a.size is None]
    shape, start = latent.whole_shape, np.broadcast_to(latent.start(), latent.whole_shape)
    if not outer:
        node = param(real_name(latent.name), start).node
    else:
        count, index = rows[outer[0].name], row_index(outer[0].name)
        for axis in outer[1:]:
            count, index = count * rows[axis.name], row_index(axis.name) + rows[axis.name] * index
        node = param(real_name(latent.name), np.broadcast_to(start, (count, *shape)))[index].node
    for axis in latent.fixed:
        node = ops.distribute(node, axis)
    return node
