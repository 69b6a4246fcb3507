"""`ppl.to_arviz`: draws of a fitted program as ArviZ data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl.arguments import MANY, integer
from ppl.errors import ModelError
from ppl.names import keywords
from ppl.program.program import Program
from ppl.runtime.prepared import require_program
from ppl.sampling.draws import dims_of, sites_of
from ppl.sampling.groups import arviz_data
from ppl.sampling.optional import needed
from ppl.sampling.pointwise import DATA, LOG_LIKELIHOOD, Pointwise


@keywords
def to_arviz(
    program: Any,
    state: Any,
    *data: Any,
    particles: int = 1000,
    seed: int | None = None,
    hyper: Mapping[str, float] | None = None,
) -> Any:
    """Draws from the posterior that a program has, as ArviZ data, one chain of `particles` draws.

    Latents are those of `program.posterior`: of the guide of an `elbo` (an approximation: see `ppl.psis`), of an `iwae`
    by their weights, exact ones where `ppl.likelihood` sums them out.

    Parameters
    ----------
    program, state, data : as for `program.predict`; all data are given.
    particles : how many draws.
    seed : by default that of the state.

    Returns
    -------
    arviz.InferenceData, or xarray.DataTree with ArviZ 1 and later
        Groups `posterior` (latents and deterministic sites), `posterior_predictive`, `log_likelihood` (by unit of an
        observation, 0 where it is masked) and `observed_data` (NaN there). Axes are named after plates and loops.

    Raises
    ------
    ModelError
        The program has no posterior: latents without a guide, or `ppl.predictive`.
    MissingPackageError
        ArviZ is not installed: ``pip install "numba-ppl[mcmc]"``.
    """
    require_program("to_arviz", program)
    particles = integer("to_arviz: particles", particles, 1, MANY)
    needed("arviz", "ppl.to_arviz")
    wider = Program(Pointwise(program.objective), program.settings)
    trace = wider.prepare(*wider.read(data)).trace
    if trace.predictive:
        raise ModelError("to_arviz: ppl.predictive draws from the prior, or from a guide whatever the data are")
    if trace.random_sites():
        wider.posterior(state, *data, particles=1, seed=seed, hyper=hyper)  # raises where there is none
    sites = sites_of(trace, hidden_too=True)
    observed, scored = sites.observed, [LOG_LIKELIHOOD + name for name in sites.scored]
    wanted = [*sites.posterior, *observed, *scored]
    drawn = wider.predict(state, *data, particles=particles, seed=seed, sites=wanted, hyper=hyper)
    given = [DATA + name for name in observed]
    seen = wider.sample(state, *data, sites=given, hyper=hyper, nonfinite="keep") if given else {}
    chain = {name: x[None] for name, x in drawn.items()}
    groups = {
        "posterior": {name: chain[name] for name in sites.posterior},
        "posterior_predictive": {name: chain[name] for name in observed},
        "log_likelihood": {name: chain[LOG_LIKELIHOOD + name] for name in sites.scored},
        "observed_data": {name: seen[DATA + name] for name in observed},
    }
    dims = {name: dims_of(trace, name, drawn[name].shape[1:]) for name in (*sites.posterior, *observed)}
    return arviz_data("ppl.to_arviz", groups, dims, {"inference_library": "ppl"})
