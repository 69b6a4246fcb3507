"""Draws from a program and posteriors: `sample`, `predict`, `posterior` and `posterior_probs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.arguments import names
from ppl.compiler.surrogate.conditions.range_guards import INVALID
from ppl.compiler.surrogate.posterior.backward import refused
from ppl.compiler.surrogate.posterior.draws import IMPOSSIBLE, drawing, key_of
from ppl.errors import DataError, ModelError
from ppl.inference.absent import completed, require_unread
from ppl.inference.computed import is_computed
from ppl.inference.new_rows import numbered, without_tables
from ppl.inference.probabilities import (
    Probabilities,
    exact,
    finite_guide_names,
    has_guide,
    of_guide,
    queries_of,
    require_exact,
    summed_names,
)
from ppl.inference.steps import steps_named, steps_of
from ppl.lang.trace import Trace
from ppl.names import Named, keywords
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

    @keywords
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
        """Draw every latent, observed and deterministic site (auxiliary ones of a guide left out), or those in `sites`.

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
        wanted = _wanted(compiled.trace, site_names(compiled.trace), sites, summed_out(compiled.trace))
        return self._draws("sample", wanted, Call(state, read, seed, particles, rows, None, hyper), keep, missing)

    @keywords
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

        Latents come from the guide of an `elbo`, from the importance samples of an `iwae` by their weights, those that
        `ppl.likelihood` sums out from their exact posterior given the data, else from the model. A site that is
        computed from what `ppl.sample` returned for an observation sees the new draw; one that is computed from the
        data argument itself sees the data. Draws do not depend on threads, nor on how rows are split into calls that
        say which `rows` they are.

        Parameters
        ----------
        data : as for `value`. An argument that is used as `obs=` and nowhere else may be None: new rows, whose number
            the other arguments of the plate, or `rows`, say. Latents that are summed out have no evidence from it. A
            forecast is a model with more steps whose `obs_mask` is False there.
        particles : number of draws, the leading axis; None for one draw without that axis.
        sites : names, or one name; by default all sites but the auxiliary ones of a guide.
        rows : global numbers of the rows. Rows beyond the tables of an `autoguide` draw their latents from the model,
            given the others; so do rows without a number whose observation is None.

        Returns
        -------
        dict
            Arrays by site, with axes (particles, *plates, *event); in a loop over time, time leads the event.

        Raises
        ------
        DataError
            `sites` has an unknown name, an argument is None that something is computed from, one does not fit, or
            some rows are beyond the guide's tables and others are not.
        ParameterError, NonFiniteError
            As for `value`.
        """
        keep, (read, missing) = keeps(nonfinite), completed(self, data, rows)
        rows, beyond = numbered(self, read, missing, rows)
        program, state = without_tables(self, state, read) if beyond else (self, state)
        compiled = program.prepare(*read)
        hidden = summed_out(compiled.trace)
        require_drawable("predict", compiled, hidden)
        wanted = _wanted(compiled.trace, (*site_names(compiled.trace), *hidden), sites, {})
        return program._draws("predict", wanted, Call(state, read, seed, particles, rows, None, hyper), keep, missing)

    @keywords
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
        """Draws of the latents given the data: from the guide, by the weights of importance samples (`iwae`), or exact.

        The draws of latents that `ppl.likelihood` sums out are exact, and joint ones.

        Parameters and errors are those of `predict`; `sites` are latents, by default all of them. What
        `ppl.deterministic` computes of latents, parameters and data may be named, too.

        Raises
        ------
        ModelError
            Latents have no guide: draws of the model are none of their posterior.
        DataError
            `sites` has another name, or one of a value that is computed from what `ppl.sample` returned for an
            observation, which `predict` draws.
        """
        keep, read = keeps(nonfinite), self.read(data)
        compiled = self.prepare(*read)
        known = _latents(compiled.trace)
        _require_posterior(self, compiled, known)
        wanted = _shown(compiled.trace, known) if sites is None else names("sites=", sites)
        computed = [name for name in wanted if name not in known and is_computed(compiled.trace, name)]
        _require_known(wanted, (*known, *computed), "latent")
        return self._draws("predict", wanted, Call(state, read, seed, particles, rows, None, hyper), keep)

    def posterior_probs(
        self,
        state: State,
        *data: Any,
        sites: Sequence[str | tuple[str, ...]] | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> Probabilities:
        """Exact posterior probabilities of finite latents given data and parameters.

        With `ppl.likelihood(model, marginalize=...)` they are those of the latents that are summed out:
        responsibilities of a mixture, marginals of a Bayesian network, smoothing in a loop over time. With a guide they
        are the guide's q(z | data), which is an approximation; `.source` of the result says which ("exact", "guide").

        Parameters
        ----------
        sites : names; a tuple of names asks for the joint probabilities of these. By default every latent by itself.

        Returns
        -------
        dict
            By name arrays with axes (*plates, *times, *units, values), the values in the order of the support (0, 1 of
            a Bernoulli; classes; counts from 0). By tuple of names (*plates, *times, values of the first, ...).

        Raises
        ------
        ModelError
            No finite latent is summed out or has probabilities in a guide that depend on data alone; or the sum
            has a latent in it that is drawn.
        NonFiniteError
            The data have probability 0; `nonfinite="keep"` gives NaN.
        ParameterError
            A parameter, an index or a computed observation is out of range; `nonfinite="keep"` goes on.
        """
        keep, read = keeps(nonfinite), self.read(data)
        compiled = self.prepare(*read)
        summed = summed_names(compiled)
        known = summed or (finite_guide_names(compiled) if has_guide(compiled) else [])
        if not known:
            raise ModelError(
                f"posterior_probs: model '{self.objective.model.name}' has no finite latent that is summed out "
                "(ppl.likelihood(model, marginalize=[...])), or whose probabilities in a guide depend on data alone"
            )
        queries = queries_of(sites, known)
        bound = bind(self, Call(state, read, None, 1, rows, None, hyper))
        if not summed:
            return Probabilities("site", of_guide(bound, queries, keep), "guide")
        require_exact(compiled, queries)
        return Probabilities("site", exact(bound, queries, keep))

    def _draws(
        self, key: str, wanted: Sequence[str], call: Call, keep: bool, missing: frozenset[str] = frozenset()
    ) -> dict[str, np.ndarray]:
        """The arrays of a drawing variant, checked, particles first."""
        asked, k = call.particles, 1 if call.particles is None else call.particles
        bound = bind(self, replace(call, particles=k), unread=missing)
        compiled = bound.compiled
        trace = drawing(compiled).trace if key == "predict" else compiled.trace
        steps = {name: steps_named(trace, name) for name in wanted}
        listed = tuple(n for group in steps.values() for n in group)
        variant_key = key_of(key, missing if key == "predict" else ())
        require_unread(compiled, variant_key, listed, missing)
        result = run(bound, variant_key, listed)
        invalid, impossible = (bool(np.isnan(result.arrays.pop(n, 0.0))) for n in (INVALID, IMPOSSIBLE))
        if not keep:
            require_finite_sample(bound, {n: result.arrays[n] for n in listed}, invalid, key, impossible)
        variant, drawn = compiled.variant(variant_key, listed), {}
        for name, group in steps.items():
            parts = [particles_first(result.arrays[n], variant.arrays[n].type, k, asked) for n in group]
            lead = len(trace.sites[group[0]].axes) + (asked is not None)
            drawn[name] = steps_of(trace, group, parts, lead)
        return Named("site", drawn)


def _wanted(
    trace: Trace, known: tuple[str, ...], sites: Sequence[str] | None, hidden: Mapping[str, str]
) -> tuple[str, ...]:
    """The sites to draw: all that are known but for the reals of an autoguide, or those named."""
    wanted = _shown(trace, known) if sites is None else names("sites=", sites)
    for name, latent in hidden.items():
        if name in wanted:
            what = "is" if name == latent else f"depends on '{latent}', which is"
            raise DataError(
                f"site '{name}' {what} summed out by ppl.likelihood(marginalize=...): program.posterior and predict "
                "draw it given the data; for draws from the model, compile the model without marginalize"
            )
    _require_known(wanted, known, "site")
    return wanted


def _shown(trace: Trace, known: tuple[str, ...]) -> tuple[str, ...]:
    """The sites without those that an autoguide draws for itself."""
    return tuple(name for name in known if name not in trace.sites or not trace.sites[name].aux)


def _require_known(wanted: Sequence[str], known: Sequence[str], what: str) -> None:
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise DataError(f"no {what} named {unknown}; the program has {list(known) if what == 'latent' else known}")


def _latents(trace: Trace) -> tuple[str, ...]:
    """Names of the latents."""
    return tuple(s.name for s in trace.random_sites())


def require_drawable(method: str, compiled: Compiled, hidden: Mapping[str, str]) -> None:
    """Raise a ModelError where latents that are summed out cannot be drawn."""
    reason = refused(compiled.working, compiled.working_plan) if hidden else None
    if reason is not None:
        raise ModelError(f"{method}: {reason}, where no draw from its posterior is made")


def _require_posterior(program: Prepared, compiled: Compiled, latents: Sequence[str]) -> None:
    """Raise a ModelError unless what is drawn of the latents is a posterior."""
    model = program.objective.model.name
    if not latents:
        raise ModelError(f"posterior: model '{model}' has no latents")
    summed = set(summed_names(compiled))
    drawn = [name for name in latents if name not in summed]
    if drawn and not hasattr(program.objective, "guide"):
        raise ModelError(
            f"posterior: {', '.join(map(repr, drawn))} of model '{model}' would be drawn from the model, not given "
            "the data: use ppl.elbo(model, guide), or sum finite latents out, ppl.likelihood(model, marginalize=[...])"
        )
    require_drawable("posterior", compiled, dict.fromkeys(summed, ""))
