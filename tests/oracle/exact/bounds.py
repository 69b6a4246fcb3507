"""Terms with a logarithm outside a sum: marginalised latents, and bounds of several samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind
from ppl.lang.trace import Site
from tests.oracle.exact import densities
from tests.oracle.exact.errors import TooLarge
from tests.oracle.exact.evaluate import Evaluation
from tests.oracle.exact.walk import Term, ancestors

Array = np.ndarray
Density = Callable[[Evaluation], Array]
PAIRS = 30_000_000


def _inner(ev: Evaluation, x: Array, site: Site, plates: Sequence[Axis]) -> Array:
    """`x` summed over the plates of its site that the term is not in."""
    for axis in site.axes:
        if axis.kind is Kind.PLATE and axis not in plates:
            position = ev.layout.plates[axis.name]
            shape = list(x.shape)
            shape[position] = ev.world.size(axis)
            x = np.sum(np.broadcast_to(x, shape), axis=position, keepdims=True)
    return x


def marginal_terms(summed: list[Site], parts: list[tuple[Site, Density, tuple[Node, ...]]]) -> list[Term]:
    """One term for each group of observations that marginalised latents tie together, and one for every other."""
    names = {s.name for s in summed}
    above = {s.name: _closure(roots, names) for s, _, roots in parts}
    terms, left = [], list(parts)
    while left:
        group, reached = [left.pop(0)], set()
        reached |= above[group[0][0].name]
        while tied := [p for p in left if above[p[0].name] & reached]:
            group += tied
            left = [p for p in left if p not in tied]
            reached |= set().union(*(above[p[0].name] for p in tied))
        own = [s for s in summed if s.name in reached]
        terms.append(_marginal(own, group))
    return terms


def _closure(roots: tuple[Node, ...], names: set[str]) -> set[str]:
    return set().union(*(ancestors(r) for r in roots)) & names


def _marginal(own: list[Site], group: list[tuple[Site, Density, tuple[Node, ...]]]) -> Term:
    plates = own[0].axes if own else group[0][0].axes
    roots = tuple(r for _, _, rs in group for r in rs)

    def value(ev: Evaluation) -> Array:
        total: Any = 0.0
        for site, density, _ in group:
            total = total + _inner(ev, density(ev), site, plates)
        for site in reversed([s for s in ev.reading.sites if any(s is o for o in own)]):
            made = ev.made[site.name]
            assert made.table is not None
            total = special.logsumexp(total + np.log(ev.weight(made)), axis=made.table, keepdims=True)
        return -total

    name = ", ".join(s.name for s, _, _ in group)
    kinks = tuple(k for s, _, _ in group for k in densities.kinks(s))
    return Term(f"-log p({name})", plates, roots, value, frozenset(s.name for s in own), kinks)


class Part(NamedTuple):
    """A log-density of a bound, its sign, and where it has kinks."""

    site: Site
    density: Density
    roots: tuple[Node, ...]
    sign: float
    kinks: tuple[Density, ...]


def bound_terms(latents: list[Site], parts: list[Part], samples: int) -> list[Term]:
    """The bound over the plates that all latents share, and a term of its own for what no latent enters."""
    groups = [list(s.axes) for s in latents]
    plates = tuple(a for a in groups[0] if all(a in g for g in groups)) if groups else ()
    inside = [p for p in parts if any(ancestors(r) for r in p.roots)]
    terms = []
    for site, density, roots, sign, _ in parts:
        if all(not ancestors(r) for r in roots):
            terms.append(Term(f"log p({site.name})", site.axes, roots, lambda ev, f=density, s=sign: -s * f(ev)))
    if not inside:
        return terms

    def value(ev: Evaluation) -> Array:
        log_w: Any = 0.0
        for site, density, _, sign, _ in inside:
            log_w = log_w + sign * _inner(ev, density(ev), site, plates)
        return -_log_mean(ev, log_w, samples)

    roots = tuple(r for p in inside for r in p.roots)
    kinks = tuple(k for p in inside for k in p.kinks)
    return [*terms, Term("bound", plates, roots, value, frozenset(s.name for s in latents), kinks)]


def _joint(ev: Evaluation, log_w: Array) -> tuple[Array, Array]:
    """Log-weights and probabilities of all joint states of the latents, in one last dimension."""
    weight: Any = np.ones((1,) * ev.layout.rank)
    for made in ev.made.values():
        if made.table is not None:
            weight = weight * ev.weight(made)
        for i in range(len(made.units)):
            weight = weight * ev.unit_weight(made, i)
    log_w, weight = np.broadcast_arrays(log_w, weight)
    lead = log_w.shape[: ev.layout.first]
    return log_w.reshape(*lead, -1), weight.reshape(*lead, -1)


def _log_mean(ev: Evaluation, log_w: Array, samples: int) -> Array:
    """E log (1/K) sum_k w_k over K independent joint states."""
    x, w = _joint(ev, log_w)
    n = x.shape[-1]
    if np.prod(x.shape[:-1]) * n**samples > PAIRS:
        raise TooLarge(f"{n} ** {samples} states of a bound")
    total: Any = 0.0
    others = [np.array(c) for c in itertools.product(range(n), repeat=samples - 1)] if samples > 1 else [np.zeros(0)]
    index = np.array(others, int).reshape(len(others), samples - 1)
    rest_w = np.prod(w[..., index], axis=-1) if samples > 1 else np.ones((*w.shape[:-1], 1))
    rest = special.logsumexp(x[..., index], axis=-1) if samples > 1 else np.full((*x.shape[:-1], 1), -np.inf)
    for s in range(n):
        total = total + w[..., s] * np.sum(rest_w * np.logaddexp(rest, x[..., s, None]), axis=-1)
    return (total - np.log(samples)).reshape(*total.shape, *(1,) * (ev.layout.rank - total.ndim))
