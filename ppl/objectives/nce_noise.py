"""The noise of `ppl.nce`: a known distribution that stands in for rows of the data."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from ppl.distributions.base import Distribution
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.ir.types import Axis
from ppl.lang.model import Model
from ppl.lang.plate import plate, scope
from ppl.lang.sites import sample
from ppl.lang.trace import Site, SiteKind, Trace
from ppl.lang.tracing import trace_model

SCOPE = "noise"


def noise_model(noise: Model | Distribution, model: Model, arguments: Mapping[str, Any]) -> Model:
    """The noise as a model, its nodes under names of their own, so that the model may observe under the same names."""
    inner = noise if isinstance(noise, Model) else _drawing(noise, model, arguments)

    @functools.wraps(inner.function)
    def function(*args: Any, **static: Any) -> None:
        with scope(SCOPE):
            inner.function(*args, **static)

    return Model(function, inner.static)


def _drawing(dist: Distribution, model: Model, arguments: Mapping[str, Any]) -> Model:
    """A model that draws the only argument of `model` from `dist`, row by row, in the plate that `model` opens."""
    if len(model.arguments) != 1:
        raise ModelError(
            f"nce: model '{model.name}' takes {len(model.arguments)} data arguments: write the noise as a @ppl.model "
            "that samples those it draws, under their names"
        )
    (name,) = model.arguments
    axis = plate_of(trace_model(model, arguments), model, name)

    def noise(row: Any) -> None:
        with plate(axis.name, row):
            sample(name, dist)

    argument = inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    noise.__signature__ = inspect.Signature([argument])  # type: ignore[attr-defined]
    return Model(noise)


def plate_of(trace: Trace, model: Model, name: str) -> Axis:
    """The plate by which the model opens data argument `name`."""
    given = trace.inputs.get(name)
    if given is None or given.plate is None:
        raise ModelError(
            f"nce: model '{model.name}' does not open a plate over '{name}', so it has no rows to contrast with noise"
        )
    return given.plate


def drawn_sites(trace: Trace, model: Model) -> dict[str, Site]:
    """The noise's nodes by the argument they stand in for, in the trace of the noise alone.

    Its distribution has no parameters and does not depend on the data that it replaces.
    """
    if trace.params:
        names = ", ".join(f"'{n.removeprefix(f'{SCOPE}/')}'" for n in trace.params)
        raise ModelError(f"nce: the noise declares parameters ({names}); its distribution must be known and fixed")
    other = next(iter((*trace.costs, *trace.rowkeys)), None)
    if other is not None:
        raise ModelError(f"nce: the noise declares '{other}'; it only samples, and all its randomness is in its nodes")
    drawn = {s.name.removeprefix(f"{SCOPE}/"): s for s in trace.random_sites()}
    if not drawn:
        raise ModelError("nce: the noise samples nothing")
    for name, site in drawn.items():
        if name not in model.arguments:
            raise ModelError(
                f"nce: the noise samples '{name}' ({site.where}), which is no data argument of model '{model.name}': "
                f"{', '.join(model.arguments) or 'it has none'}"
            )
        for leaf in topological([node_of(site)]):
            if leaf.op == "input" and leaf.attrs["name"] in drawn:
                raise ModelError(
                    f"nce: the distribution of noise '{name}' ({site.where}) depends on the data "
                    f"'{leaf.attrs['name']}' that noise replaces, so that log q of the data is not defined"
                )
    return drawn


def replaced_rows(trace: Trace, model: Model, drawn: Mapping[str, Site], noise_axis: Axis) -> dict[str, Node]:
    """The data rows that noise replaces: all of one plate, of the noise's shapes and types."""
    found = {}
    for name, site in drawn.items():
        axis = plate_of(trace, model, name)
        node, dist = trace.inputs[name].node, dist_of(site)
        if set(site.axes) != {axis, noise_axis}:
            inside = ", ".join(a.name for a in site.axes if a != noise_axis) or "none"
            raise ShapeError(
                f"nce: noise '{name}' ({site.where}) is drawn in plates {inside}, the model opens '{name}' by plate "
                f"'{axis.name}'"
            )
        if node.type.shape != dist.event_shape:
            raise ShapeError(
                f"nce: noise '{name}' ({site.where}) has event shape {dist.event_shape}, a row of the data "
                f"{node.type.shape}"
            )
        if (dist.dtype == "int") != (node.type.dtype == "int"):
            raise ShapeError(f"nce: noise '{name}' ({site.where}) is of {dist.dtype}s, the data of {node.type.dtype}s")
        found[name] = ops.cast(node, dist.dtype)
    if len({n.type.axes for n in found.values()}) > 1:
        raise ModelError(f"nce: the noise's nodes {', '.join(found)} are rows of different plates")
    return found


def log_q_of_data(
    noise: Model, arguments: Mapping[str, Any], drawn: Mapping[str, Site], rows: Mapping[str, Node]
) -> Node:
    """log q of the data: the noise is run again with its nodes set to the data's rows."""
    set_to = {
        site.name: Site(site.name, SiteKind.RANDOM, rows[name].type.axes, site.where, site.dist, rows[name])
        for name, site in drawn.items()
    }
    again = trace_model(noise, arguments, substitute=set_to, allow_obs=False)
    return log_q(again.scored)


def log_q(sites: Mapping[str, Site]) -> Node:
    """The log-density of the noise at the values of its nodes."""
    return functools.reduce(ops.add, [dist_of(s).node_log_prob(node_of(s)) for s in sites.values()])


def node_of(site: Site) -> Node:
    """The value of a node."""
    assert site.node is not None
    return site.node


def dist_of(site: Site) -> Distribution:
    """The distribution of a node."""
    assert site.dist is not None
    return site.dist
