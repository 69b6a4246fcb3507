"""Noise-contrastive estimation: an unnormalised density learned by telling data from noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppl.arguments import MANY, shown
from ppl.distributions.base import Distribution
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind
from ppl.lang.model import Model
from ppl.lang.trace import Cost, Site, SiteKind, Trace
from ppl.lang.tracing import trace_model
from ppl.names import keywords
from ppl.objectives import nce_noise
from ppl.objectives.base import guide_arguments, require_models
from ppl.objectives.observed import log_likelihood

INNERMOST = 1_000_000
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
        self.axis = Axis(nce_noise.SCOPE, Kind.PLATE, self.k, INNERMOST)

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The model's data arguments, then those that only the noise takes."""
        return guide_arguments(self.model, self.noise) if isinstance(self.noise, Model) else self.model.arguments

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Trace the noise, then the model at the data and again at the noise; write one cost for each."""
        noise = nce_noise.noise_model(self.noise, self.model, arguments)
        trace = trace_model(noise, arguments, allow_obs=False, importance=self.axis)
        drawn = nce_noise.drawn_sites(trace, self.model)
        trace_model(self.model, arguments, into=trace)
        self._require_density(trace, drawn)
        rows = nce_noise.replaced_rows(trace, self.model, drawn, self.axis)
        values = {name: nce_noise.node_of(site) for name, site in drawn.items()}
        again = trace_model(self.model, arguments, importance=self.axis, rows=values)
        if set(trace.params) != set(again.params):
            raise ModelError(f"nce: model '{self.model.name}' declares other parameters when it is traced again")
        plates = next(iter(rows.values())).type.axes
        at_data = self._log_odds(trace, plates, nce_noise.log_q_of_data(noise, arguments, drawn, rows))
        at_noise = self._log_odds(again, (*plates, self.axis), nce_noise.log_q(drawn))
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
