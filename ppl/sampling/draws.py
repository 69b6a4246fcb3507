"""Values of sites at draws of the parameters: what chains have walked over, as users see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ppl.arguments import fits_memory
from ppl.inference.steps import steps_named, steps_of
from ppl.lang.time.record import OPEN, base_name
from ppl.lang.trace import SiteKind, Trace
from ppl.program.embedding import particles_first, summed_out
from ppl.records import dataclass
from ppl.runtime.call import BoundCall
from ppl.sampling.pointwise import DATA, LOG_LIKELIHOOD

IMPORTANCE = "importance"
"""The axis of the samples of a bound, of which draws take one."""


@dataclass(frozen=True)
class Sites:
    """Names of sites, those of steps that are written out without their numbers.

    `posterior` are latents and deterministic ones; `observed` those with data, of which `scored` have a log-likelihood
    at a draw.
    """

    posterior: tuple[str, ...]
    observed: tuple[str, ...]
    scored: tuple[str, ...]


def sites_of(trace: Trace, hidden_too: bool = False) -> Sites:
    """The sites of a trace.

    What hangs on latents that are summed out is left out, unless `hidden_too`: given parameters it has no value, only
    draws.
    """
    hidden = {} if hidden_too else summed_out(trace)
    posterior, observed, scored = [], [], []
    for name, site in trace.sites.items():
        if site.kind is SiteKind.OBSERVED:
            observed.append(base_name(name))
            scored += [base_name(name)] if LOG_LIKELIHOOD + name not in hidden else []
        elif name.startswith((LOG_LIKELIHOOD, DATA)) or name in hidden or site.aux:
            continue
        else:
            posterior.append(base_name(name))
    return Sites(*(tuple(dict.fromkeys(found)) for found in (posterior, observed, scored)))


def dims_of(trace: Trace, name: str, shape: tuple[int, ...]) -> list[tuple[str, int]]:
    """Name and length of every axis of a site's values of one draw: its plates, the times of its loops, its event."""
    site = trace.sites[steps_named(trace, name)[0]]
    named = [*(a.name for a in site.axes if a.name != IMPORTANCE), *_times(trace, name)]
    named += [f"{name}_dim_{i}" for i in range(len(shape) - len(named))]
    return list(zip(named, shape, strict=True))


def _times(trace: Trace, name: str) -> list[str]:
    """The names of the loops over time that a site stands in, in the model or its guide, the outermost first."""
    steps = steps_named(trace, name)
    laws = [trace.sites[steps[0]], *(law for law in trace.scored.values() if base_name(law.name) == name)]
    scan = next((law.scan for law in laws if law.scan is not None), None)
    if scan is not None:
        return [loop.name for loop in scan.chain]
    written = max((law.name.count(OPEN) for law in laws), default=0)
    return ["time", *(f"time_{i}" for i in range(2, written + 1))][:written]


def values_at(bound: BoundCall, points: np.ndarray, sites: Sequence[str], key: str = "sample") -> dict[str, np.ndarray]:
    """Values of sites at parameter vectors of shape (draws, parameters), by name with the draws in front.

    `key` is a variant of draws; noise differs from draw to draw.
    """
    compiled = bound.compiled
    trace = compiled.trace
    steps = {name: steps_named(trace, name) for name in sites}
    listed = tuple(n for group in steps.values() for n in group)
    if not listed:
        return {}
    executable, types = compiled.executable(key, listed, 1, bound.int32), compiled.variant(key, listed).arrays
    found: dict[str, np.ndarray] = {}
    for i, point in enumerate(points):
        arrays = replace(bound, particles=1, step=i).run(executable, params=point).arrays
        for name, group in steps.items():
            parts = [particles_first(arrays[n], types[n].type, 1, None) for n in group]
            value = steps_of(trace, group, parts, len(trace.sites[group[0]].axes))
            if i == 0:
                with fits_memory(f"{len(points)} draws of site '{name}' of shape {value.shape}"):
                    found[name] = np.empty((len(points), *value.shape), value.dtype)
            found[name][i] = value
    return found
