"""Draws from a program and posteriors: `sample`, `predict`, `posterior` and `posterior_probs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.arguments import names
from ppl.compiler.surrogate.guards import OUT_OF_RANGE
from ppl.compiler.surrogate.posterior import IMPOSSIBLE_DATA, draw_key, why_not_drawable
from ppl.errors import DataError, ModelError
from ppl.inference.new_data import fill_missing_data, number_rows, program_without_tables, require_missing_unread
from ppl.inference.posterior import (
    Probabilities,
    exact_probabilities,
    finite_guide_names,
    guide_probabilities,
    has_guide,
    is_deterministic,
    parse_queries,
    require_exact_probabilities,
    sites_named,
    stack_steps,
    summed_out_names,
)
from ppl.ir.node import topological
from ppl.lang.trace import SiteKind, Trace
from ppl.names import Named, keywords
from ppl.objectives.predictive import Predictive
from ppl.runtime.call import Call, HyperValues, bind_call, run_variant
from ppl.runtime.compiled import Compiled
from ppl.runtime.nonfinite import keeps_nonfinite, require_finite_sample
from ppl.runtime.prepared import PreparedProgram
from ppl.runtime.state import State


class ProgramDraws(PreparedProgram):
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
        keep, redraws = keeps_nonfinite(nonfinite), isinstance(self.objective, Predictive)
        read, missing = fill_missing_data(self, data, rows) if redraws else (self.read(data), frozenset())
        compiled = self.prepare(*read)
        wanted = _select_sites(
            compiled.trace, drawable_sites(compiled.trace), sites, marginalized_sites(compiled.trace)
        )
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
        keep, (read, missing) = keeps_nonfinite(nonfinite), fill_missing_data(self, data, rows)
        rows, beyond = number_rows(self, read, missing, rows)
        program, state = program_without_tables(self, state, read) if beyond else (self, state)
        compiled = program.prepare(*read)
        hidden = marginalized_sites(compiled.trace)
        require_drawable("predict", compiled, hidden)
        wanted = _select_sites(compiled.trace, (*drawable_sites(compiled.trace), *hidden), sites, {})
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
        keep, read = keeps_nonfinite(nonfinite), self.read(data)
        compiled = self.prepare(*read)
        known = _latent_names(compiled.trace)
        _require_posterior(self, compiled, known)
        wanted = _without_auxiliary_sites(compiled.trace, known) if sites is None else names("sites=", sites)
        computed = [name for name in wanted if name not in known and is_deterministic(compiled.trace, name)]
        _require_known_sites(wanted, (*known, *computed), "latent")
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
        keep, read = keeps_nonfinite(nonfinite), self.read(data)
        compiled = self.prepare(*read)
        summed = summed_out_names(compiled)
        known = summed or (finite_guide_names(compiled) if has_guide(compiled) else [])
        if not known:
            raise ModelError(
                f"posterior_probs: model '{self.objective.model.name}' has no finite latent that is summed out "
                "(ppl.likelihood(model, marginalize=[...])), or whose probabilities in a guide depend on data alone"
            )
        queries = parse_queries(sites, known)
        bound = bind_call(self, Call(state, read, None, 1, rows, None, hyper))
        if not summed:
            return Probabilities("site", guide_probabilities(bound, queries, keep), "guide")
        require_exact_probabilities(compiled, queries)
        return Probabilities("site", exact_probabilities(bound, queries, keep))

    def _draws(
        self, key: str, wanted: Sequence[str], call: Call, keep: bool, missing: frozenset[str] = frozenset()
    ) -> dict[str, np.ndarray]:
        """The arrays of a drawing variant, checked, particles first."""
        asked, k = call.particles, 1 if call.particles is None else call.particles
        bound = bind_call(self, replace(call, particles=k), unread=missing)
        compiled = bound.compiled
        trace = compiled.posterior_graph.trace if key == "predict" else compiled.trace
        steps = {name: sites_named(trace, name) for name in wanted}
        listed = tuple(n for group in steps.values() for n in group)
        variant_key = draw_key(key, missing if key == "predict" else ())
        require_missing_unread(compiled, variant_key, listed, missing)
        result = run_variant(bound, variant_key, listed)
        invalid, impossible = (bool(np.isnan(result.arrays.pop(n, 0.0))) for n in (OUT_OF_RANGE, IMPOSSIBLE_DATA))
        if not keep:
            require_finite_sample(bound, {n: result.arrays[n] for n in listed}, invalid, key, impossible)
        variant, drawn = compiled.variant(variant_key, listed), {}
        for name, group in steps.items():
            parts = [move_particles_first(result.arrays[n], variant.arrays[n].type, k, asked) for n in group]
            lead = len(trace.sites[group[0]].axes) + (asked is not None)
            drawn[name] = stack_steps(trace, group, parts, lead)
        return Named("site", drawn)


def _select_sites(
    trace: Trace, known: tuple[str, ...], sites: Sequence[str] | None, hidden: Mapping[str, str]
) -> tuple[str, ...]:
    """The sites to draw: all that are known but for the reals of an autoguide, or those named."""
    wanted = _without_auxiliary_sites(trace, known) if sites is None else names("sites=", sites)
    for name, latent in hidden.items():
        if name in wanted:
            what = "is" if name == latent else f"depends on '{latent}', which is"
            raise DataError(
                f"site '{name}' {what} summed out by ppl.likelihood(marginalize=...): program.posterior and predict "
                "draw it given the data; for draws from the model, compile the model without marginalize"
            )
    _require_known_sites(wanted, known, "site")
    return wanted


def _without_auxiliary_sites(trace: Trace, known: tuple[str, ...]) -> tuple[str, ...]:
    """The sites without those that an autoguide draws for itself."""
    return tuple(name for name in known if name not in trace.sites or not trace.sites[name].aux)


def _require_known_sites(wanted: Sequence[str], known: Sequence[str], what: str) -> None:
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise DataError(f"no {what} named {unknown}; the program has {list(known) if what == 'latent' else known}")


def _latent_names(trace: Trace) -> tuple[str, ...]:
    """Names of the latents."""
    return tuple(s.name for s in trace.random_sites())


def require_drawable(method: str, compiled: Compiled, hidden: Mapping[str, str]) -> None:
    """Raise a ModelError where latents that are summed out cannot be drawn."""
    reason = why_not_drawable(compiled.working, compiled.working_plan) if hidden else None
    if reason is not None:
        raise ModelError(f"{method}: {reason}, where no draw from its posterior is made")


def _require_posterior(program: PreparedProgram, compiled: Compiled, latents: Sequence[str]) -> None:
    """Raise a ModelError unless what is drawn of the latents is a posterior."""
    model = program.objective.model.name
    if not latents:
        raise ModelError(f"posterior: model '{model}' has no latents")
    summed = set(summed_out_names(compiled))
    drawn = [name for name in latents if name not in summed]
    if drawn and not hasattr(program.objective, "guide"):
        raise ModelError(
            f"posterior: {', '.join(map(repr, drawn))} of model '{model}' would be drawn from the model, not given "
            "the data: use ppl.elbo(model, guide), or sum finite latents out, ppl.likelihood(model, marginalize=[...])"
        )
    require_drawable("posterior", compiled, dict.fromkeys(summed, ""))


def drawable_sites(trace: Trace) -> tuple[str, ...]:
    """Names of everything that a program can sample: all sites but those that hang on a marginalised one."""
    hidden = marginalized_sites(trace)
    known = (n for n, s in trace.sites.items() if s.kind is not SiteKind.SCORED and s.node is not None)
    return tuple(n for n in known if n not in hidden)


def marginalized_sites(trace: Trace) -> dict[str, str]:
    """Sites that are not drawn, and the marginalised latent that each is or depends on.

    A draw of that latent from the model would not be one given the data.
    """
    summed = {s.name for s in trace.sites.values() if s.estimator is not None and s.estimator.within_cost}
    found: dict[str, str] = {}
    for site in trace.sites.values() if summed else ():
        value = site.node if site.redrawn is None else site.redrawn
        names = [] if value is None else [n.attrs["site"].name for n in topological([value]) if n.op == "sample"]
        latent = next((name for name in names if name in summed), None)
        if latent is not None:
            found[site.name] = latent
    return found


def move_particles_first(array: np.ndarray, type_: Any, k: int, asked: int | None) -> np.ndarray:
    """A drawn site with the axis of particles in front, or without one where none were `asked` for."""
    names = [a.name for a in type_.axes]
    if "particles" in names:
        i = names.index("particles")
        return np.moveaxis(array, i, 0) if asked is not None else array[(slice(None),) * i + (0,)]
    return array if asked is None else np.broadcast_to(array, (k, *array.shape)).copy()
