"""Draws from a program: `sample`, `predict` and `posterior`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ppl.arguments import names
from ppl.compiler.surrogate.conditions.range_guards import INVALID
from ppl.errors import DataError, ModelError
from ppl.inference.absent import completed, require_unread
from ppl.lang.trace import Trace
from ppl.names import Named
from ppl.objectives.predictive import Predictive
from ppl.program.embedding import particles_first, site_names, summed_out
from ppl.runtime.call import Call, bind, run
from ppl.runtime.compiled import Compiled
from ppl.runtime.nonfinite import keeps, require_finite_sample
from ppl.runtime.prepared import Prepared
from ppl.runtime.state import State

HyperValues = Mapping[str, float | Callable[[int], float]]


class Drawing(Prepared):
    """The part of a Program that draws."""

    def sample(
        self,
        state: State,
        *data: Any,
        particles: int | None = None,
        sites: Sequence[str] | None = None,
        seed: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> dict[str, np.ndarray]:
        """Draw every latent, observed and deterministic site, or those named in `sites`.

        Latents are drawn from the guide if there is one, else from the model. Relaxed, enumerated and averaged nodes
        are true samples here. An observed site is the data; entries that `obs_mask` drops are drawn given the latents.
        Sites that `ppl.likelihood` sums out, and those that depend on them, are left out.

        Returns
        -------
        dict
            Arrays by site, with axes (particles, *plates, *event) if `particles` is given, else (*plates, *event).

        Raises
        ------
        DataError
            `sites` has an unknown name or one that is summed out, or an argument does not fit the program.
        ParameterError, NonFiniteError
            As for `value`.
        """
        keep, redraws = keeps(nonfinite), isinstance(self.objective, Predictive)
        read, missing = completed(self, data, rows) if redraws else (self.read(data), frozenset())
        compiled = self.prepare(*read)
        wanted = _wanted(compiled.trace, sites, summed_out(compiled.trace))
        return self._draws("sample", wanted, Call(state, read, seed, particles, rows, None, hyper), keep, missing)

    def predict(
        self,
        state: State,
        *data: Any,
        particles: int | None = 1000,
        sites: Sequence[str] | None = None,
        seed: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> dict[str, np.ndarray]:
        """Draws from the posterior predictive: latents as in `posterior`, and new draws of all observed sites.

        Latents come from the guide of an `elbo`, from the importance samples of an `iwae` by their weights, else from
        the model. A site that is computed from what `ppl.sample` returned for an observation sees the new draw; one
        that is computed from the data argument itself sees the data. Draws do not depend on threads, nor on how rows
        are split into calls that say which `rows` they are.

        Parameters
        ----------
        data : as for `value`. An argument that is used as `obs=` and nowhere else may be None: new rows, whose number
            the other arguments of the plate, or `rows`, say. A forecast is a model with more steps whose `obs_mask` is
            False there.
        particles : number of draws, the leading axis; None for one draw without that axis.
        sites : names, or one name; by default all sites.
        rows : global numbers of the rows.

        Returns
        -------
        dict
            Arrays by site, with axes (particles, *plates, *event); in a loop over time, time leads the event.

        Raises
        ------
        DataError
            `sites` has an unknown name, an argument is None that something is computed from, or one does not fit.
        ParameterError, NonFiniteError
            As for `value`.
        """
        keep, (read, missing) = keeps(nonfinite), completed(self, data, rows)
        compiled = self.prepare(*read)
        wanted = _wanted(compiled.trace, sites, summed_out(compiled.trace))
        return self._draws("predict", wanted, Call(state, read, seed, particles, rows, None, hyper), keep, missing)

    def posterior(
        self,
        state: State,
        *data: Any,
        particles: int | None = 1000,
        sites: Sequence[str] | None = None,
        seed: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> dict[str, np.ndarray]:
        """Draws of the latents given the data: from the guide, or by the weights of importance samples (`iwae`).

        Parameters and errors are those of `predict`; `sites` are latents, by default all of them.

        Raises
        ------
        ModelError
            Latents have no guide: draws of the model are none of their posterior.
        """
        keep, read = keeps(nonfinite), self.read(data)
        compiled = self.prepare(*read)
        known = _latents(compiled.trace)
        _require_posterior(self, compiled, known)
        wanted = known if sites is None else names("sites=", sites)
        _require_known(wanted, known, "latent")
        return self._draws("predict", wanted, Call(state, read, seed, particles, rows, None, hyper), keep)

    def _draws(
        self, key: str, wanted: Sequence[str], call: Call, keep: bool, missing: frozenset[str] = frozenset()
    ) -> dict[str, np.ndarray]:
        """The arrays of a drawing variant, checked, particles first."""
        asked, k = call.particles, 1 if call.particles is None else call.particles
        call.particles = k
        bound = bind(self, call, unread=missing)
        compiled = bound.compiled
        require_unread(compiled, key, wanted, missing)
        result = run(bound, key, wanted)
        invalid = bool(np.isnan(result.arrays.pop(INVALID, 0.0)))
        if not keep:
            require_finite_sample(bound, {n: result.arrays[n] for n in wanted}, invalid, key)
        variant = compiled.variant(key, wanted)
        drawn = {n: particles_first(result.arrays[n], variant.arrays[n].type, k, asked) for n in wanted}
        return Named("site", drawn)


def _wanted(trace: Trace, sites: Sequence[str] | None, hidden: Mapping[str, str]) -> tuple[str, ...]:
    """The sites to draw: all, or those named."""
    known = site_names(trace)
    wanted = known if sites is None else names("sites=", sites)
    for name, latent in hidden.items():
        if name in wanted:
            what = "is" if name == latent else f"depends on '{latent}', which is"
            raise DataError(
                f"site '{name}' {what} summed out by ppl.likelihood(marginalize=...), so no draw of it given the data "
                "is made; for draws from the model, compile the model without marginalize"
            )
    _require_known(wanted, known, "site")
    return wanted


def _require_known(wanted: Sequence[str], known: Sequence[str], what: str) -> None:
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise DataError(f"no {what} named {unknown}; the program has {list(known) if what == 'latent' else known}")


def _latents(trace: Trace) -> tuple[str, ...]:
    """Names of the latents."""
    return tuple(s.name for s in trace.random_sites())


def _require_posterior(program: Prepared, compiled: Compiled, latents: Sequence[str]) -> None:
    """Raise a ModelError unless what is drawn of the latents is a posterior."""
    model = program.objective.model.name
    if not latents:
        raise ModelError(f"posterior: model '{model}' has no latents")
    if not hasattr(program.objective, "guide"):
        raise ModelError(
            f"posterior: {', '.join(map(repr, latents))} of model '{model}' would be drawn from the model, not given "
            "the data: use ppl.elbo(model, guide), or sum finite latents out, ppl.likelihood(model, marginalize=[...])"
        )
