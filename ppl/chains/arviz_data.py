"""Draws as ArviZ data: values of sites at draws, log-likelihoods entry by entry, named axes, and `ppl.to_arviz`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.arguments import MANY, fits_memory, integer
from ppl.errors import ModelError
from ppl.extras import require_package
from ppl.inference.posterior import sites_named, stack_steps
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.loops import STEP_OPEN, base_name
from ppl.lang.trace import Site, SiteKind, Trace
from ppl.names import keywords
from ppl.objectives.base import Objective
from ppl.program.draws import marginalized_sites, move_particles_first
from ppl.program.program import Program
from ppl.records import dataclass
from ppl.runtime.call import BoundCall
from ppl.runtime.prepared import require_program

LOG_LIKELIHOOD_PREFIX, DATA_PREFIX = "log-likelihood of ", "data of "
"""What the names of such sites begin with."""


class PointwiseObjective:
    """An objective whose trace has these sites besides; costs are those of `base`."""

    def __init__(self, base: Objective):
        self.base, self.model = base, base.model
        if hasattr(base, "guide"):
            self.guide = base.guide

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Those of the objective."""
        return self.base.argument_names

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Return the objective's trace, with the sites."""
        trace = self.base.trace(arguments)
        add_pointwise(trace)
        return trace


def add_pointwise(trace: Trace) -> None:
    """Add log-likelihood and data of every observed site."""
    for name, site in list(trace.sites.items()):
        if site.kind is SiteKind.OBSERVED:
            trace.sites[LOG_LIKELIHOOD_PREFIX + name] = _deterministic_site(
                site, LOG_LIKELIHOOD_PREFIX, _log_likelihood(site)
            )
            trace.sites[DATA_PREFIX + name] = _deterministic_site(site, DATA_PREFIX, _observed_data(site))


def _deterministic_site(site: Site, prefix: str, node: Node) -> Site:
    node = ops.expand(node, site.axes)
    seen = Site(prefix + site.name, SiteKind.DETERMINISTIC, site.axes, site.where, node=node)
    seen.scan, seen.times, seen.active = site.scan, site.times, site.active
    return seen


def _log_likelihood(site: Site) -> Node:
    """Return a number for each unit of the observation, a scalar or a vector of a multivariate law; 0 where masked.

    It is that of the data in draws of the posterior predictive, too, where a draw stands for a masked `site.node`.
    """
    dist, value = site.dist, site.node
    assert dist is not None and value is not None
    value = value if site.mask is None else value.args[0]
    units = dist.unit_log_prob(ops.expand(value, (), dist.event_shape))
    for mask in (site.mask, dist.event_mask):
        units = units if mask is None else ops.where(mask, units, 0.0)
    return units


def _observed_data(site: Site) -> Node:
    """Return the observation, NaN in units that a mask drops."""
    dist, value = site.dist, site.observed
    assert dist is not None and value is not None
    if site.mask is None:
        return value
    unit = ops.reshape(site.mask, (*site.mask.type.shape, *(1,) * dist.unit_rank))
    return ops.where(ops.expand(unit, (), value.type.shape), ops.cast(value, "float"), float("nan"))


IMPORTANCE_AXIS = "importance"
"""The axis of the samples of a bound, of which draws take one."""


@dataclass(frozen=True)
class SiteNames:
    """Names of sites, those of steps that are written out without their numbers.

    `posterior` are latents and deterministic ones; `observed` those with data, of which `scored` have a log-likelihood
    at a draw.
    """

    posterior: tuple[str, ...]
    observed: tuple[str, ...]
    scored: tuple[str, ...]


def group_sites(trace: Trace, hidden_too: bool = False) -> SiteNames:
    """Return the sites of a trace.

    What hangs on latents that are summed out is left out, unless `hidden_too`: given parameters it has no value, only
    draws.
    """
    hidden = {} if hidden_too else marginalized_sites(trace)
    posterior, observed, scored = [], [], []
    for name, site in trace.sites.items():
        if site.kind is SiteKind.OBSERVED:
            observed.append(base_name(name))
            scored += [base_name(name)] if LOG_LIKELIHOOD_PREFIX + name not in hidden else []
        elif name.startswith((LOG_LIKELIHOOD_PREFIX, DATA_PREFIX)) or name in hidden or site.aux:
            continue
        else:
            posterior.append(base_name(name))
    return SiteNames(*(tuple(dict.fromkeys(found)) for found in (posterior, observed, scored)))


def named_dims(trace: Trace, name: str, shape: tuple[int, ...]) -> list[tuple[str, int]]:
    """Name and length of every axis of a site's values of one draw: its plates, the times of its loops, its event."""
    site = trace.sites[sites_named(trace, name)[0]]
    named = [*(a.name for a in site.axes if a.name != IMPORTANCE_AXIS), *_loop_names(trace, name)]
    named += [f"{name}_dim_{i}" for i in range(len(shape) - len(named))]
    return list(zip(named, shape, strict=True))


def _loop_names(trace: Trace, name: str) -> list[str]:
    """Return the names of the loops over time that a site stands in, in the model or its guide, the outermost first."""
    steps = sites_named(trace, name)
    laws = [trace.sites[steps[0]], *(law for law in trace.scored.values() if base_name(law.name) == name)]
    scan = next((law.scan for law in laws if law.scan is not None), None)
    if scan is not None:
        return [loop.name for loop in scan.chain]
    written = max((law.name.count(STEP_OPEN) for law in laws), default=0)
    return ["time", *(f"time_{i}" for i in range(2, written + 1))][:written]


def evaluate_sites(
    bound: BoundCall, points: np.ndarray, sites: Sequence[str], key: str = "sample"
) -> dict[str, np.ndarray]:
    """Return values of sites at parameter vectors of shape (draws, parameters), by name with the draws in front.

    `key` is a variant of draws; noise differs from draw to draw.
    """
    compiled = bound.compiled
    trace = compiled.trace
    steps = {name: sites_named(trace, name) for name in sites}
    listed = tuple(n for group in steps.values() for n in group)
    if not listed:
        return {}
    executable, types = compiled.executable(key, listed, 1, bound.int32), compiled.variant(key, listed).arrays
    found: dict[str, np.ndarray] = {}
    for i, point in enumerate(points):
        arrays = replace(bound, particles=1, step=i).run(executable, params=point).arrays
        for name, group in steps.items():
            parts = [move_particles_first(arrays[n], types[n].type, 1, None) for n in group]
            value = stack_steps(trace, group, parts, len(trace.sites[group[0]].axes))
            if i == 0:
                with fits_memory(f"{len(points)} draws of site '{name}' of shape {value.shape}"):
                    found[name] = np.empty((len(points), *value.shape), value.dtype)
            found[name][i] = value
    return found


Dims = Mapping[str, list[tuple[str, int]]]
"""Name and length of every axis of a variable, those of chains and draws left out."""

ARVIZ_AXES = ("chain", "draw")


def build_arviz_data(
    owner: str, groups: Mapping[str, Mapping[str, np.ndarray]], dims: Dims, attrs: Mapping[str, Any]
) -> Any:
    """Make ArviZ data of arrays by group and name, of shape (chains, draws, ...), observed data without these two.

    Axes are named after plates and loops, with coordinates from 0. An axis gets another name ("school_dim") where a
    variable has its own, and one of another length a number ("time_2"). In a DataTree, "scope/name" is "scope.name".

    Raises
    ------
    ModelError
        A variable is called "chain" or "draw".
    MissingPackageError
        ArviZ is not installed.
    """
    arviz = require_package("arviz", owner, "mcmc")
    variables = {name for group in groups.values() for name in group}
    require_free_names(owner, variables)
    named, coords = named_axes(dims, variables)
    given = {name: dict(group) for name, group in groups.items() if group}
    used = {name: axes for name, axes in named.items() if name in variables}
    if arviz.__version__.startswith("0."):
        return arviz.from_dict(**given, coords=coords, dims=used, attrs=dict(attrs))
    tree = arviz.from_dict(
        {name: _without_slashes(group) for name, group in given.items()}, coords=_without_slashes(coords),
        dims={name: [axis.replace("/", ".") for axis in axes] for name, axes in _without_slashes(used).items()},
    )  # fmt: skip
    tree.attrs.update(attrs)
    return tree


def _without_slashes(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same by names without slashes, which lead to groups in a DataTree: "scope.name"."""
    return {name.replace("/", "."): value for name, value in named.items()}


def named_axes(dims: Dims, variables: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """Return the names of the axes of every variable, one for each length, and their coordinates."""
    taken = {*ARVIZ_AXES, *variables}
    names: dict[tuple[str, int], str] = {}
    for axes in dims.values():
        for wanted, length in axes:
            if (wanted, length) not in names:
                name = wanted if wanted not in taken else f"{wanted}_dim"
                number, base = 2, name
                while name in taken or name in names.values():
                    name, number = f"{base}_{number}", number + 1
                names[wanted, length] = name
    coords = {name: np.arange(length) for (_, length), name in names.items()}
    return {variable: [names[axis] for axis in axes] for variable, axes in dims.items()}, coords


def require_free_names(owner: str, sites: Iterable[str]) -> None:
    """Raise if a site has the name of one of ArviZ's own axes."""
    for name in sorted(set(sites) & set(ARVIZ_AXES)):
        raise ModelError(f"{owner}: ArviZ calls its axes 'chain' and 'draw', so that no site can be called {name!r}")


@keywords
def to_arviz(
    program: Any,
    state: Any,
    *data: Any,
    particles: int = 1000,
    seed: int | None = None,
    hyper: Mapping[str, float] | None = None,
) -> Any:
    """Draw from the posterior that a program has, as ArviZ data: one chain of `particles` draws.

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
    require_package("arviz", "ppl.to_arviz", "mcmc")
    wider = Program(PointwiseObjective(program.objective), program.settings)
    trace = wider.prepare(*wider.read(data)).trace
    if trace.predictive:
        raise ModelError("to_arviz: ppl.predictive draws from the prior, or from a guide whatever the data are")
    if trace.random_sites():
        wider.posterior(state, *data, particles=1, seed=seed, hyper=hyper)  # raises where there is none
    sites = group_sites(trace, hidden_too=True)
    observed, scored = sites.observed, [LOG_LIKELIHOOD_PREFIX + name for name in sites.scored]
    wanted = [*sites.posterior, *observed, *scored]
    drawn = wider.predict(state, *data, particles=particles, seed=seed, sites=wanted, hyper=hyper)
    given = [DATA_PREFIX + name for name in observed]
    seen = wider.sample(state, *data, sites=given, hyper=hyper, nonfinite="keep") if given else {}
    chain = {name: x[None] for name, x in drawn.items()}
    groups = {
        "posterior": {name: chain[name] for name in sites.posterior},
        "posterior_predictive": {name: chain[name] for name in observed},
        "log_likelihood": {name: chain[LOG_LIKELIHOOD_PREFIX + name] for name in sites.scored},
        "observed_data": {name: seen[DATA_PREFIX + name] for name in observed},
    }
    dims = {name: named_dims(trace, name, drawn[name].shape[1:]) for name in (*sites.posterior, *observed)}
    return build_arviz_data("ppl.to_arviz", groups, dims, {"inference_library": "ppl"})
