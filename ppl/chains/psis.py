"""`ppl.psis`: how far a guide is from the posterior, by the tail of its importance weights.

Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto smoothed importance sampling", JMLR 2024; Yao, Vehtari, Simpson & Gelman,
"Yes, but did it work?: Evaluating variational inference", ICML 2018."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

import numpy as np

from ppl.arguments import MANY, integer
from ppl.distributions.delta import Delta
from ppl.errors import ModelError, NonFiniteError
from ppl.extras import require_package
from ppl.inference.guides.kinds import Placed
from ppl.ir import ops
from ppl.ir.types import Axis, Kind
from ppl.lang.trace import Site, SiteKind, Trace
from ppl.names import Named, keywords
from ppl.objectives.elbo import Elbo
from ppl.program.program import Program
from ppl.records import dataclass
from ppl.runtime.prepared import require_program

TOTAL_WEIGHT, ROW_WEIGHTS = "log-weight", "log-weights by row"

EQUAL_TOLERANCE = 1e-9
"""Log-weights that differ by less, relative to their size, are equal up to rounding."""

FEWEST_SAMPLES = 25
"""Samples at least: the tail that a Pareto law is fitted to has a fifth of them."""


@dataclass(frozen=True, eq=False)
class Psis:
    """Importance weights of a guide, with the tail smoothed, and what it says of the guide.

    Attributes
    ----------
    khat : the shape k of the Pareto law of the largest weights: moments of the weights of order 1 / k and above are
        infinite. -inf where all weights are equal.
    log_weights : shape (particles,), smoothed and normalised: their exponentials add up to 1.
    draws : the draws of latents that the weights belong to, by name, of shape (particles, *plates, *event).
    rows : k of every row of the plate over data, where rows are independent in guide and model; else None.
    no_rows : why there are no `rows`.
    """

    khat: float
    log_weights: np.ndarray = field(repr=False)
    draws: Mapping[str, np.ndarray] = field(repr=False)
    rows: np.ndarray | None = field(default=None, repr=False)
    no_rows: str = ""

    @property
    def weights(self) -> np.ndarray:
        """The smoothed weights, which add up to 1, shape (particles,)."""
        return np.exp(self.log_weights)

    @property
    def ess(self) -> float:
        """How many independent draws of the posterior the weighted ones are worth."""
        return float(1.0 / np.sum(self.weights**2))

    @property
    def threshold(self) -> float:
        """The largest k at which estimates from so many draws are good: 1 - 1 / log10(particles), at most 0.7."""
        return min(0.7, 1.0 - 1.0 / math.log10(len(self.log_weights)))

    @property
    def verdict(self) -> str:
        """What `khat` says, in a sentence."""
        if self.khat < self.threshold:
            return "good: the guide is near enough to the posterior that weighted draws correct it"
        if self.khat < 0.7:
            return f"too few draws for this k: take more than {10 ** (1.0 / (1.0 - self.khat)):.0f} particles"
        if self.khat < 1.0:
            return "bad: the guide misses parts of the posterior, and weighted draws correct it slowly or not at all"
        return "very bad: the weights have no mean; the guide is not an approximation of this posterior"

    def mean(self, name: str) -> np.ndarray:
        """Return the weighted mean of a latent: the posterior's, as far as the verdict is good."""
        return np.asarray(np.tensordot(self.weights, self.draws[name], axes=1))

    def __str__(self) -> str:
        lines = [f"Pareto k = {self.khat:.2f} ({self.verdict})",
                 f"{len(self.log_weights)} draws, worth {self.ess:.0f} of the posterior"]  # fmt: skip
        if self.rows is not None:
            bad = int(np.sum(self.rows >= self.threshold))
            lines.append(f"by row: k of {bad} of {self.rows.size} rows is {self.threshold:.2f} or above")
        elif self.no_rows:
            lines.append(f"no k by row: {self.no_rows}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Psis(khat={self.khat:.3f}, ess={self.ess:.0f} of {len(self.log_weights)}: {self.verdict})"


@keywords
def psis(
    program: Any,
    state: Any,
    *data: Any,
    particles: int = 1000,
    seed: int | None = None,
    hyper: Mapping[str, float] | None = None,
) -> Psis:
    """Return Pareto-smoothed importance weights p(data, latents) / q(latents) of a fitted guide.

    Parameters
    ----------
    program : of `ppl.elbo` or `ppl.iwae`; a weight of the divergence (`kl_weight`) does not count.
    state : after the fit.
    data : all rows.
    particles : draws of the guide, at least 25; some thousands tell k more surely.
    seed : by default that of the state.

    Returns
    -------
    Psis
        `khat`, `verdict`, smoothed `log_weights` and the `draws` they belong to; `rows`, k of every row, where the
        guide has all of its nodes in the plate over data. Computed in float64, whatever the program is in.

    Raises
    ------
    ModelError
        The program has no guide, or one that is a point; the model declares costs.
    NonFiniteError
        A weight is NaN, or all are 0.
    MissingPackageError
        ArviZ is not installed.

    References
    ----------
    Vehtari et al. 2024; Yao et al. 2018.
    """
    require_program("psis", program)
    particles = integer("psis: particles", particles, FEWEST_SAMPLES, MANY)
    if not hasattr(program.objective, "guide"):
        raise ModelError("psis: the program has no guide: it takes one of ppl.elbo(model, guide) or ppl.iwae")
    require_package("arviz", "ppl.psis", "mcmc")
    weighing = ImportanceWeights(program.objective.model, program.objective.guide)
    exact = Program(weighing, replace(program.settings, dtype="float64", target="cpu", particles=1, estimators="auto",
                                      measured={}, tuning=None))  # fmt: skip
    fresh = exact.init(state.seed, *data).replace(params=state.params, step=state.step)
    trace = exact.prepare().trace
    latents = [s.name for s in trace.random_sites() if not s.aux]
    by_row = [ROW_WEIGHTS] if ROW_WEIGHTS in trace.sites else []
    drawn = exact.sample(
        fresh,
        *data,
        particles=particles,
        sites=[*latents, TOTAL_WEIGHT, *by_row],
        seed=seed,
        hyper=hyper,
        nonfinite="keep",
    )
    log_weights, khat = smooth_weights(drawn[TOTAL_WEIGHT])
    rows = smooth_weights(np.moveaxis(drawn[ROW_WEIGHTS], 0, -1))[1] if by_row else None
    draws: Named[np.ndarray] = Named("latent", {name: drawn[name] for name in latents})
    return Psis(float(khat), log_weights, draws, rows, "" if by_row else independent_rows(trace)[1])


def smooth_weights(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised log-weights with smoothed tails, and k, of samples along the last axis.

    Raises
    ------
    NonFiniteError
        A weight is NaN or infinite, or all of them are 0.
    """
    if np.isnan(log_weights).any() or np.isposinf(log_weights).any():
        raise NonFiniteError("psis: a weight is NaN or infinite: the densities are not finite at a draw of the guide")
    largest = log_weights.max(-1, keepdims=True)
    if np.isneginf(largest).any():
        raise NonFiniteError("psis: every draw of the guide has posterior density 0")
    equal = np.ptp(
        np.where(np.isneginf(log_weights), -np.finfo(float).max, log_weights), axis=-1
    ) <= EQUAL_TOLERANCE * (1.0 + np.abs(largest[..., 0]))
    moved = log_weights - largest
    spread = moved + np.where(equal[..., None], np.linspace(0.0, 1.0, moved.shape[-1]), 0.0)  # of which a fit is asked
    found, k = _arviz_psislw(np.maximum(spread, -1e300))
    found = np.where(equal[..., None], -math.log(moved.shape[-1]), np.asarray(found))
    return found, np.where(equal, -np.inf, np.asarray(k))


def _arviz_psislw(log_weights: np.ndarray) -> tuple[Any, Any]:
    """Smooth by ArviZ; from version 1 on it takes minus the log-weights (log-likelihoods)."""
    arviz = require_package("arviz", "ppl.psis", "mcmc")
    if arviz.__version__.startswith("0."):
        return arviz.psislw(log_weights)
    return require_package("arviz_stats.base", "ppl.psis", "mcmc").array_stats.psislw(-log_weights)


def independent_rows(trace: Trace) -> tuple[Axis | None, str]:
    """Return the plate over data in whose rows model and guide are independent; without one, None and why."""
    plates = [a for a in trace.plates.values() if a.size is None and a.depth == 0]
    outside = [s.name for s in trace.random_sites() if not any(a in s.axes for a in plates)]
    if len(plates) == 1 and not outside:
        return plates[0], ""
    if outside and plates:
        listed = ", ".join(map(repr, outside[:3]))
        return None, f"rows share latent {listed}, so that weights do not factorise by row"
    return None, "there are several plates over data" if plates else ""


class ImportanceWeights:
    """An objective to sample from: the logarithm of a guide's importance weight, besides the guide's latents."""

    def __init__(self, model: Any, guide: Any):
        self.bound = Elbo(model, guide, kl="sampled")
        self.model, self.guide = model, guide

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Those of the bound."""
        return self.bound.argument_names

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Return the trace of the bound, with the log-weights as sites in place of costs' sums."""
        trace = self.bound.trace(arguments)
        known = ("-log p(", "log q(", "-factor(")
        own = [name for name in trace.costs if not name.startswith(known)]
        if own:
            raise ModelError(f"psis: the model declares costs ({', '.join(own)}), which are no part of a density")
        if all(isinstance(s.dist, (Delta, Placed)) for s in trace.random_sites()):
            raise ModelError("psis: the guide is a point, or has no latents: there are no weights")
        plate, _ = independent_rows(trace)
        self._add(trace, TOTAL_WEIGHT, ())
        if plate is not None:
            self._add(trace, ROW_WEIGHTS, (plate,))
        return trace

    def _add(self, trace: Trace, name: str, keep: tuple[Axis, ...]) -> None:
        """Add a site with the log-weight, summed over all plates but those to `keep`."""
        total = ops.const(0.0)
        for cost in trace.costs.values():
            away = [a for a in cost.node.type.axes if a.kind is Kind.PLATE and a not in keep]
            if all(a in cost.axes for a in keep):
                total = ops.sub(total, ops.sum_axes(cost.node, away))
        node = ops.expand(total, keep)
        trace.sites[name] = Site(name, SiteKind.DETERMINISTIC, keep, "", node=node)
