"""Noise-contrastive estimation: an unnormalised density learned by telling data from noise.

The noise is a known distribution, traced under a scope of its own, whose samples stand in for rows of the data."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppl.arguments import MANY, shown
from ppl.distributions.base import Distribution
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.ir.types import Axis, Kind
from ppl.lang.model import Model
from ppl.lang.plate import plate, scope
from ppl.lang.sites import sample
from ppl.lang.trace import Cost, Site, SiteKind, Trace
from ppl.lang.tracing import trace_model
from ppl.names import keywords
from ppl.objectives.base import guide_arguments, log_likelihood, require_models

NOISE_SCOPE = "noise"


def noise_model(noise: Model | Distribution, model: Model, arguments: Mapping[str, Any]) -> Model:
    """The noise as a model, its nodes under names of their own, so that the model may observe under the same names."""
    inner = noise if isinstance(noise, Model) else _model_of_distribution(noise, model, arguments)

    @functools.wraps(inner.function)
    def function(*args: Any, **static: Any) -> None:
        with scope(NOISE_SCOPE):
            inner.function(*args, **static)

    return Model(function, inner.static)


def _model_of_distribution(dist: Distribution, model: Model, arguments: Mapping[str, Any]) -> Model:
    """A model that draws the only argument of `model` from `dist`, row by row, in the plate that `model` opens."""
    if len(model.arguments) != 1:
        raise ModelError(
            f"nce: model '{model.name}' takes {len(model.arguments)} data arguments: write the noise as a @ppl.model "
            "that samples those it draws, under their names"
        )
    (name,) = model.arguments
    axis = plate_of_argument(trace_model(model, arguments), model, name)

    def noise(row: Any) -> None:
        with plate(axis.name, row):
            sample(name, dist)

    argument = inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    noise.__signature__ = inspect.Signature([argument])  # type: ignore[attr-defined]
    return Model(noise)


def plate_of_argument(trace: Trace, model: Model, name: str) -> Axis:
    """The plate by which the model opens data argument `name`."""
    given = trace.inputs.get(name)
    if given is None or given.plate is None:
        raise ModelError(
            f"nce: model '{model.name}' does not open a plate over '{name}', so it has no rows to contrast with noise"
        )
    return given.plate


def noise_sites(trace: Trace, model: Model) -> dict[str, Site]:
    """The noise's nodes by the argument they stand in for, in the trace of the noise alone.

    Its distribution has no parameters and does not depend on the data that it replaces.
    """
    if trace.params:
        names = ", ".join(f"'{n.removeprefix(f'{NOISE_SCOPE}/')}'" for n in trace.params)
        raise ModelError(f"nce: the noise declares parameters ({names}); its distribution must be known and fixed")
    other = next(iter((*trace.costs, *trace.rowkeys)), None)
    if other is not None:
        raise ModelError(f"nce: the noise declares '{other}'; it only samples, and all its randomness is in its nodes")
    drawn = {s.name.removeprefix(f"{NOISE_SCOPE}/"): s for s in trace.random_sites()}
    if not drawn:
        raise ModelError("nce: the noise samples nothing")
    for name, site in drawn.items():
        if name not in model.arguments:
            raise ModelError(
                f"nce: the noise samples '{name}' ({site.where}), which is no data argument of model '{model.name}': "
                f"{', '.join(model.arguments) or 'it has none'}"
            )
        for leaf in topological([value_of_site(site)]):
            if leaf.op == "input" and leaf.attrs["name"] in drawn:
                raise ModelError(
                    f"nce: the distribution of noise '{name}' ({site.where}) depends on the data "
                    f"'{leaf.attrs['name']}' that noise replaces, so that log q of the data is not defined"
                )
    return drawn


def rows_replaced_by_noise(trace: Trace, model: Model, drawn: Mapping[str, Site], noise_axis: Axis) -> dict[str, Node]:
    """The data rows that noise replaces: all of one plate, of the noise's shapes and types."""
    found = {}
    for name, site in drawn.items():
        axis = plate_of_argument(trace, model, name)
        node, dist = trace.inputs[name].node, distribution_of_site(site)
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


def noise_log_density_of_data(
    noise: Model, arguments: Mapping[str, Any], drawn: Mapping[str, Site], rows: Mapping[str, Node]
) -> Node:
    """log q of the data: the noise is run again with its nodes set to the data's rows."""
    set_to = {
        site.name: Site(site.name, SiteKind.RANDOM, rows[name].type.axes, site.where, site.dist, rows[name])
        for name, site in drawn.items()
    }
    scored_noise = trace_model(noise, arguments, substitute=set_to, allow_obs=False)
    return noise_log_density(scored_noise.scored)


def noise_log_density(sites: Mapping[str, Site]) -> Node:
    """The log-density of the noise at the values of its nodes."""
    return functools.reduce(ops.add, [distribution_of_site(s).node_log_prob(value_of_site(s)) for s in sites.values()])


def value_of_site(site: Site) -> Node:
    """The value of a node."""
    assert site.node is not None
    return site.node


def distribution_of_site(site: Site) -> Distribution:
    """The distribution of a node."""
    assert site.dist is not None
    return site.dist


NOISE_DEPTH = 1_000_000
"""Depth of the noise axis: after every plate that a model can open."""


class Nce:
    """-Σ_data log σ(Δ(x)) - Σ_noise log σ(-Δ(x̃)), Δ(x) = s(x) - log(k q(x))."""

    def __init__(self, model: Model, noise: Model | Distribution, k: int):
        require_models("nce", model=model)
        if not isinstance(noise, (Model, Distribution)):
            kinds = "a function decorated with @ppl.model or a distribution"
            raise ModelError(f"nce: the noise is {kinds}, not {shown(noise)}")
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k <= MANY:
            raise ModelError(f"nce: k is a positive number of noise samples per row, not {shown(k)}")
        self.model, self.noise, self.k = model, noise, int(k)
        self.axis = Axis(NOISE_SCOPE, Kind.PLATE, self.k, NOISE_DEPTH)

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The model's data arguments, then those that only the noise takes."""
        return guide_arguments(self.model, self.noise) if isinstance(self.noise, Model) else self.model.arguments

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Trace the noise, then the model at the data and again at the noise; write one cost for each."""
        noise = noise_model(self.noise, self.model, arguments)
        trace = trace_model(noise, arguments, allow_obs=False, importance=self.axis)
        drawn = noise_sites(trace, self.model)
        trace_model(self.model, arguments, into=trace)
        self._require_density(trace, drawn)
        rows = rows_replaced_by_noise(trace, self.model, drawn, self.axis)
        values = {name: value_of_site(site) for name, site in drawn.items()}
        noise_trace = trace_model(self.model, arguments, importance=self.axis, rows=values)
        if set(trace.params) != set(noise_trace.params):
            raise ModelError(f"nce: model '{self.model.name}' declares other parameters when it is traced again")
        plates = next(iter(rows.values())).type.axes
        at_data = self._log_odds(trace, plates, noise_log_density_of_data(noise, arguments, drawn, rows))
        at_noise = self._log_odds(noise_trace, (*plates, self.axis), noise_log_density(drawn))
        where = next(iter(drawn.values())).where
        for name, odds in (("-log P(data)", at_data), ("-log P(noise)", ops.neg(at_noise))):
            trace.costs[name] = Cost(name, ops.neg(ops.log_sigmoid(odds)), where, odds.type.axes)
        trace.factors.clear()
        return trace

    def _log_odds(self, trace: Trace, rows: tuple[Axis, ...], log_q: Node) -> Node:
        """Δ over `rows`: the log-odds of data against noise."""
        noise = ops.add(ops.expand(log_q, rows), math.log(self.k))
        return ops.sub(self._log_density(trace, rows), noise)

    def _require_density(self, trace: Trace, drawn: Mapping[str, Site]) -> None:
        """Raise unless the model declares a log-density and nothing random."""
        noise = {s.name for s in drawn.values()}
        for site in trace.random_sites():
            if site.name not in noise:
                raise ModelError(
                    f"nce: model '{self.model.name}' samples '{site.name}' ({site.where}); NCE needs the log-density "
                    "itself: sum or integrate the latent out in a ppl.factor"
                )
        if not trace.factors and not any(s.kind is SiteKind.OBSERVED for s in trace.sites.values()):
            raise ModelError(
                f"nce: model '{self.model.name}' declares no log-density: use ppl.factor(name, log_density) or "
                "ppl.sample(name, dist, obs=...)"
            )

    def _log_density(self, trace: Trace, rows: tuple[Axis, ...]) -> Node:
        """s: the sum of the model's factors and log-likelihoods, one number for each entry of `rows`."""
        terms = [(f"factor '{f.name}' ({f.where})", f.node, f.axes) for f in trace.factors.values()]
        for s in trace.sites.values():
            if s.kind is SiteKind.OBSERVED:
                terms.append((f"observation '{s.name}' ({s.where})", log_likelihood(s), s.axes))
        total = ops.const(0.0)
        for label, node, axes in terms:
            outside = [a.name for a in rows if a not in axes]
            if outside:
                raise ModelError(
                    f"nce: {label} stands outside plate '{outside[0]}': every term of the log-density, log Z too, "
                    "belongs to a row"
                )
            inner = [a for a in axes if a not in rows]
            if any(a.size is None for a in inner):
                raise ModelError(f"nce: {label} stands in a plate of run-time length beside the rows")
            total = ops.add(total, ops.sum_axes(ops.expand(node, axes), inner))
        return total


@keywords
def nce(model: Model, noise: Model | Distribution, k: int) -> Nce:
    """Noise-contrastive estimation as an objective, for densities whose normaliser is unknown.

    With s(x) the model's log-density and k noise samples x̃ ~ q for every row x of the data,

        J = -Σ_data log σ(Δ(x)) - Σ_noise log σ(-Δ(x̃)),    Δ(x) = s(x) - log(k q(x)),

    the logistic loss of telling data from noise. Its minimum over all functions s is s = log p of the data, normalised:
    log Z is an ordinary parameter that the model subtracts, `ppl.factor("score", -energy - log_z)`. No normaliser is
    ever computed, and the noise has no parameters, so no gradient estimator is needed: for given noise the gradient is
    exact.

    Parameters
    ----------
    model : declares, inside the plate that opens its data, the log-density of a row as the sum of its
        `ppl.factor(name, log_density)` and of the log-densities of its `ppl.sample(name, dist, obs=...)`. It is run on
        the data and again on the noise. It has no latent nodes. A `ppl.cost` is a penalty, counted at the data only.
    noise : a `@ppl.model` that samples, in the same plate, some of the model's data arguments, each under the
        argument's name; the others are conditioned on, and it may use them (not those it samples). Or a distribution
        for a model with one argument. q must be positive wherever the data are: a row where log q = -inf costs nothing
        and teaches nothing.
    k : noise samples per row; compiled in. They form the plate `noise`, and `program.sample` returns them as
        `noise/NAME`.

    Raises
    ------
    ModelError : the noise has parameters, depends on what it replaces or samples no argument of the model; the model
        has latent nodes, no log-density, or a term of it outside the rows' plate.
    ShapeError : noise and data differ in shape, type or plates.

    References
    ----------
    Gutmann & Hyvärinen, Noise-contrastive estimation of unnormalized statistical models, JMLR 13, 2012.
    """
    return Nce(model, noise, k)
