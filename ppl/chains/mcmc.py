"""`ppl.mcmc`: draws from the posterior of a model by NUTS, and warnings about chains that do not agree."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ppl.arguments import MANY, flag, integer, mapping, names, noise_seed, number
from ppl.chains import nuts
from ppl.chains.arviz_data import (
    DATA_PREFIX,
    LOG_LIKELIHOOD_PREFIX,
    PointwiseObjective,
    build_arviz_data,
    evaluate_sites,
    group_sites,
    named_dims,
    require_free_names,
)
from ppl.chains.log_density import CompiledDensity, LogDensity, sampled_sites
from ppl.compiler.pipeline import Settings
from ppl.errors import ModelError, NonFiniteError, OptionError
from ppl.extras import require_package
from ppl.lang.arguments import as_array, as_spec
from ppl.lang.trace import Trace
from ppl.lang.tracing import trace_model
from ppl.names import keywords
from ppl.objectives.base import require_models
from ppl.program.program import Program
from ppl.runtime.call import BoundCall, Call, bind_call

FEWEST_DRAWS = 4
"""Draws that ArviZ wants of a chain."""

LARGEST_R_HAT, MOST_COMPARED_REALS = 1.01, 1000
"""R-hat from which on chains do not agree yet, and how many reals are looked at: some 8 ms a real of 4000 draws."""

SAMPLE_STATS = (
    "diverging", "energy", "tree_depth", "reached_max_treedepth", "n_steps", "step_size", "lp", "acceptance_rate",
    "energy_error",
)  # fmt: skip


@keywords
def mcmc(
    model: Any,
    *data: Any,
    marginalize: Sequence[str] = (),
    params: Mapping[str, Any] | None = None,
    draws: int = 1000,
    warmup: int = 1000,
    chains: int = 4,
    seed: int = 0,
    cores: int | None = None,
    target_accept: float = 0.8,
    max_treedepth: int = 10,
    predictive: bool = False,
    hyper: Mapping[str, float] | None = None,
    progress: bool = True,
) -> Any:
    """Draw from the posterior of a model by NUTS, in float64, with nutpie on the compiled density and gradient.

    Every continuous latent is moved on the reals, under the bijector that leads onto its support, with the volume
    change in the density. Latents in plates over data and in loops over time are sampled for all rows and steps.

    Parameters
    ----------
    model : a `@ppl.model`; `ppl.condition` and `ppl.do` of one as well.
    data : the model's data arguments, all rows.
    marginalize : finite latents that are summed out exactly, as in `ppl.likelihood`. They, and what hangs on them, are
        not in the result.
    params : constrained values of the model's `ppl.param`, by name, which stay as they are.
    draws, warmup : of every chain; step size and scales adapt in the warmup, whose draws are dropped.
    chains : chains start at different points: where a guide starts (the mean or median of a latent's law, or where the
        reals are 0), each real moved by up to 1. A point where the density is not finite is drawn anew.
    seed : the same seed gives the same bits on a machine with the same versions, whatever `cores` is.
    cores : how many chains run at a time; by default as many as there are cores.
    target_accept : mean acceptance that the step size aims at. Larger ones take smaller steps.
    max_treedepth : a draw takes at most 2 ** max_treedepth steps.
    predictive : whether observations are redrawn at each draw.
    hyper : values of `ppl.hyper`.
    progress : whether a line tells how many draws there are, where somebody reads it.

    Returns
    -------
    arviz.InferenceData, or xarray.DataTree with ArviZ 1 and later
        Groups `posterior` (latents and deterministic sites), `sample_stats`, `log_likelihood` (by unit of an
        observation), `observed_data`, and `posterior_predictive` if asked for. Axes are named after plates and loops.
        Ctrl-C ends the chains; the draws that all of them have by then are returned, with a warning.

    Raises
    ------
    MissingPackageError
        nutpie or ArviZ is not installed: ``pip install "numba-ppl[mcmc]"``.
    ModelError
        A latent is discrete and not in `marginalize`, masked, in a loop with `until`, or on a support without a
        bijector; a `ppl.param` has no value in `params`; the model declares costs, or has no latent.
    NonFiniteError
        No point with a finite density was found to start from.
    SimulatorError
        A user's function raised an exception.

    Warns
    -----
    UserWarning
        Divergences, draws that reached `max_treedepth`, or an R-hat above 1.01 among 1000 reals, small latents first;
        `arviz.summary` has that of all.

    References
    ----------
    Hoffman & Gelman 2014; Betancourt 2017; Vehtari et al. 2021 (R-hat).
    """
    require_models("mcmc", model=model)
    settings = _check_settings(draws, warmup, chains, seed, cores, target_accept, max_treedepth)
    flag("mcmc: predictive", predictive)
    flag("mcmc: progress", progress)
    summed = names("mcmc: marginalize", marginalize, ModelError)
    for package in ("nutpie", "arviz"):
        require_package(package, "ppl.mcmc", "mcmc")
    program, bound, given = prepare_density(model, data, summed, params, seed, hyper)
    require_free_names("ppl.mcmc", bound.compiled.trace.sites)
    density = CompiledDensity(bound, settings.cores + 1)
    found = _run_chains(program, density, settings, given, progress)
    points = np.stack([density.params(x) for x in found.reals.reshape(-1, density.size)])
    posterior = _collect_groups(bound, points, found, predictive)
    _warn_if_suspect(found, density.split_by_latent(found.reals), settings)
    return _make_arviz(bound.compiled.trace, posterior, found)


def _check_settings(
    draws: Any, warmup: Any, chains: Any, seed: Any, cores: Any, target_accept: Any, max_treedepth: Any
) -> nuts.NutsSettings:
    chains = integer("mcmc: chains", chains, 1, 10_000)
    cores = None if cores is None else integer("mcmc: cores", cores, 1, MANY)
    target = number("mcmc: target_accept", target_accept)
    if not 0.0 < target < 1.0:
        raise OptionError(f"mcmc: target_accept must lie between 0 and 1, not {target_accept!r}")
    return nuts.NutsSettings(
        draws=integer("mcmc: draws", draws, 1, MANY),
        warmup=integer("mcmc: warmup", warmup, 0, MANY),
        chains=chains,
        seed=noise_seed("mcmc: seed", seed),
        cores=nuts.count_cores(chains, cores),
        target_accept=target,
        max_treedepth=integer("mcmc: max_treedepth", max_treedepth, 1, 30),
    )


def prepare_density(
    model: Any, data: Sequence[Any], summed: tuple[str, ...], params: Any, seed: int, hyper: Any
) -> tuple[Program, BoundCall, tuple[np.ndarray, ...]]:
    """Compile the log-density; return its program, its call, and the data."""
    arguments = model.arguments
    if len(data) != len(arguments):
        listed = ", ".join(arguments) or "none"
        raise OptionError(f"mcmc: the model takes {len(arguments)} data arguments ({listed}); {len(data)} given")
    given = tuple(_widen_integers(as_array(x, name)) for name, x in zip(arguments, data, strict=True))
    trace = trace_model(model, {name: as_spec(x, name) for name, x in zip(arguments, given, strict=True)})
    if not sampled_sites(trace, summed):
        raise ModelError(
            f"mcmc: model '{model.name}' has no latent to sample"
            + (": all are summed out, so that ppl.likelihood and posterior_probs are exact" if summed else "")
        )
    known = _check_params(trace, {} if params is None else mapping("mcmc: params", params, "arrays", ModelError))
    objective = PointwiseObjective(LogDensity(model, summed, _rows_by_plate(trace, arguments, given)))
    program = Program(objective, Settings("auto", False, 1, 4, "float64", "cpu"))
    state = program.init(seed, *given, params=known)
    return program, bind_call(program, Call(state, given, hyper=hyper)), given


def _widen_integers(x: np.ndarray) -> np.ndarray:
    """Return whole numbers in 64 bits, as compiled code on addresses takes them."""
    return x.astype(np.int64) if x.dtype == np.int32 else x


def _check_params(trace: Trace, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all parameters, or raise ModelError."""
    missing = [f"'{name}' ({p.where})" for name, p in trace.params.items() if name not in given]
    if missing:
        raise ModelError(
            f"mcmc: no value is given for parameter {', '.join(missing)}: chains sample latents, and keep parameters "
            "at params={name: value}. Give it a law, ppl.sample, to have it sampled"
        )
    unknown = [name for name in given if name not in trace.params]
    if unknown:
        raise ModelError(f"mcmc: params has {unknown}; the model's parameters are {list(trace.params) or 'none'}")
    return dict(given)


def _rows_by_plate(trace: Trace, arguments: Sequence[str], data: Sequence[np.ndarray]) -> dict[str, int]:
    """Return how many rows the plates over data have."""
    found = {}
    for name, x in zip(arguments, data, strict=True):
        plate = trace.inputs[name].plate if name in trace.inputs else None
        if plate is not None and plate.size is None:
            found[plate.name] = len(x)
    return found


def _run_chains(
    program: Program, density: CompiledDensity, settings: nuts.NutsSettings, data: Sequence[Any], progress: bool
) -> nuts.Chains:
    """Run the chains; errors are in the model's words."""
    try:
        return nuts.run_chains(density, settings, progress)
    except nuts.NoFiniteStart as lost:
        why = density.explain(program, lost.point, data)
        raise NonFiniteError(
            f"mcmc: the log-density is not finite at any of {nuts.MOST_STARTS} points around the start of a "
            f"chain; at the "
            f"last one: {why}"
        ) from None
    except BaseException:
        if density.raised_at is not None:
            density.explain(program, density.raised_at, data)  # raises the user's error
        raise


Groups = dict[str, dict[str, np.ndarray]]


def _collect_groups(bound: BoundCall, points: np.ndarray, found: nuts.Chains, predictive: bool) -> Groups:
    """Return arrays by group and name: of every draw, and the data."""
    trace, lead = bound.compiled.trace, found.reals.shape[:2]
    sites = group_sites(trace)
    drawn = evaluate_sites(bound, points, [*sites.posterior, *(LOG_LIKELIHOOD_PREFIX + name for name in sites.scored)])
    drawn = {name: x.reshape(*lead, *x.shape[1:]) for name, x in drawn.items()}
    data = evaluate_sites(bound, points[:1], [DATA_PREFIX + name for name in sites.observed])
    groups = {
        "posterior": {name: drawn[name] for name in sites.posterior},
        "log_likelihood": {name: drawn[LOG_LIKELIHOOD_PREFIX + name] for name in sites.scored},
        "observed_data": {name: data[DATA_PREFIX + name][0] for name in sites.observed},
        "sample_stats": {name: found.stats[name] for name in SAMPLE_STATS if name in found.stats},
    }
    if predictive:
        again = evaluate_sites(bound, points, sites.observed, "predict")
        groups["posterior_predictive"] = {name: x.reshape(*lead, *x.shape[1:]) for name, x in again.items()}
    return groups


def _make_arviz(trace: Trace, groups: Groups, found: nuts.Chains) -> Any:
    dims = {name: named_dims(trace, name, x.shape[2:]) for name, x in groups["posterior"].items()}
    dims |= {name: named_dims(trace, name, x.shape) for name, x in groups["observed_data"].items()}
    attrs = {"inference_library": "ppl", "sampling_time": found.seconds}
    return build_arviz_data("ppl.mcmc", groups, dims, attrs)


def _warn_if_suspect(found: nuts.Chains, reals: Mapping[str, np.ndarray], settings: nuts.NutsSettings) -> None:
    """Say what speaks against the draws."""
    complaints = list(_diagnostic_warnings(found, reals, settings))
    if complaints:
        warnings.warn("mcmc: " + "; ".join(complaints), stacklevel=4)


def _diagnostic_warnings(
    found: nuts.Chains, reals: Mapping[str, np.ndarray], settings: nuts.NutsSettings
) -> Iterable[str]:
    if found.interrupted:
        yield f"interrupted: {found.reals.shape[1]} of {settings.draws} draws of each chain are there"
    diverging, deep = (int(np.sum(found.stats.get(k, 0))) for k in ("diverging", "reached_max_treedepth"))
    total = math.prod(found.reals.shape[:2])
    if diverging:
        yield (
            f"{diverging} of {total} draws diverged, so that parts of the posterior may be missed: try a larger "
            f"target_accept (now {settings.target_accept}), or a non-centred model"
        )
    if deep:
        yield f"{deep} of {total} draws reached max_treedepth={settings.max_treedepth} and took fewer steps than meant"
    worst = worst_r_hats(reals)
    bad = sorted((name for name, value in worst.items() if value > LARGEST_R_HAT), key=lambda n: -worst[n])
    if bad:
        listed = ", ".join(f"{name} {worst[name]:.3f}" for name in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        yield f"R-hat is above {LARGEST_R_HAT}: {listed}{more}: chains do not agree yet, take more draws or warmup"


def worst_r_hats(reals: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return ArviZ's largest split R-hat of every latent, small latents first, up to `MOST_COMPARED_REALS` in all.

    Arrays have shape (chains, draws, reals). A latent without a number has 0: too few draws, or draws that do not vary.
    """
    found, left = {}, MOST_COMPARED_REALS
    for name, x in sorted(reals.items(), key=lambda item: item[1].shape[2]):
        left -= x.shape[2]
        if left < 0:
            break
        found[name] = float(np.nanmax(_arviz_r_hat(x), initial=0.0))
    return found


def _arviz_r_hat(draws: np.ndarray) -> np.ndarray:
    """Return ArviZ's R-hat, shape (reals,), of shape (chains, draws, reals); halves of a single chain are compared."""
    if len(draws) == 1:
        half = draws.shape[1] // 2
        draws = np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])
    if draws.shape[1] < FEWEST_DRAWS:
        return np.full(draws.shape[2], np.nan)
    arviz = require_package("arviz", "ppl.mcmc", "mcmc")
    with np.errstate(all="ignore"):  # draws that do not vary
        if arviz.__version__.startswith("0."):
            return np.asarray(arviz.rhat({"reals": draws})["reals"].values)
        statistics = require_package("arviz_stats.base", "ppl.mcmc", "mcmc").array_stats
        return np.asarray(statistics.rhat(draws, chain_axis=0, draw_axis=1))
