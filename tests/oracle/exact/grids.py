"""Grids of normal variables: Gauss-Legendre panels that end wherever the integrand is not smooth.

Variables are laid out from the outermost sum to the innermost. For each, the functions whose zeros make jumps, kinks
and poles are evaluated on a coarse grid, at every state of the discrete sites, later ones too (later continuous
variables being NaN, what depends on them is left out). Their zeros are found by bracketed secants, for every state and
grid point of the earlier variables, and become ends of panels: those of all states of the later sites, over which this
grid is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from tests.oracle.exact import densities, variables
from tests.oracle.exact.errors import TooLarge
from tests.oracle.exact.evaluate import Evaluation
from tests.oracle.exact.layout import Layout
from tests.oracle.exact.switches import Switch, flat, switches
from tests.oracle.exact.variables import SiteVariables
from tests.oracle.exact.walk import FROZEN, LIVE

Array = np.ndarray
END, NEARER, COARSE, MOST = 8.3, 7.8, 193, 48
PANELS = {1: (26, 10), 2: (14, 7), 3: (8, 6), 4: (5, 6)}  # continuous variables: panels and points in each
FEWEST = 4
MOVED = 0.37  # of a panel


def panels_for(variables: int, points: float) -> tuple[int, int]:
    """Panels and points in each for one of `variables` continuous ones, at most `points` in all."""
    panels, order = PANELS[min(max(variables, 1), 4)]
    return max(FEWEST, int(min(panels, points / order))), order


def prepare(ev: Evaluation, coarser: bool = False, points: float = np.inf) -> None:
    """Give every variable of the evaluation its states or grid."""
    panels, order = panels_for(sum(len(m.units) for m in ev.made.values()), points)
    panels, order = (panels, order - 1) if coarser else (panels, order)
    listed = list(ev.made.values())
    for i, made in enumerate(listed):
        if made.table is not None:
            _fill(ev, made)
        ev.admit(made.name)
        for position in made.units:
            _lay(ev, made, position, panels, order, listed[i + 1 :], coarser)


def _fill(ev: Evaluation, made: SiteVariables) -> None:
    world = LIVE if made.name in ev.reading.live else FROZEN
    variables.fill(made, variables.gathered(made, ev.layout, ev.params(made.site, world)))


def _range(made: SiteVariables, moved: bool) -> tuple[float, float]:
    end = np.pi if made.kind == "VonMises" else NEARER if moved else END
    return -end, end


def _edges(made: SiteVariables, panels: int, moved: bool) -> Array:
    """Ends of equal panels. Where `moved`, they lie elsewhere, so that a jump is at no end of both."""
    low, high = _range(made, moved)
    edges = np.linspace(low, high, panels + 1)
    if moved:
        edges[1:-1] += MOVED * (edges[1] - edges[0])
    return edges


def _lay(
    ev: Evaluation,
    made: SiteVariables,
    position: int,
    panels: int,
    order: int,
    later: Sequence[SiteVariables],
    moved: bool,
) -> None:
    edges = ev.layout.along(position, _edges(made, panels, moved))
    found = _breaks(ev, position, *_range(made, moved), later)
    if found is not None:
        shape = list(found.shape)
        shape[position] = panels + 1
        edges = np.sort(np.concatenate([np.broadcast_to(edges, shape), found], axis=position), axis=position)
    x, w = np.polynomial.legendre.leggauss(order)
    left, right = _cut(edges, position)
    half, middle = (right - left)[..., None] / 2, (right + left)[..., None] / 2
    t, weight = _flat(middle + half * x, position, ev.layout), _flat(half * w, position, ev.layout)
    if made.kind != "VonMises":
        weight = weight * np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi)
    ev.set_t(position, t, weight)


def _cut(edges: Array, position: int) -> tuple[Array, Array]:
    n = edges.shape[position]
    return np.take(edges, np.arange(n - 1), axis=position), np.take(edges, np.arange(1, n), axis=position)


def _flat(x: Array, position: int, layout: Layout) -> Array:
    """Panels and the points in each as one dimension."""
    moved = np.moveaxis(x, -1, position + 1)
    shape = list(moved.shape)
    return moved.reshape(*shape[:position], shape[position] * shape[position + 1], *shape[position + 2 :])


def _open(ev: Evaluation, later: Sequence[SiteVariables]) -> list[SiteVariables]:
    """Admit those later discrete sites whose states are known by now."""
    out = []
    for made in later:
        if made.table is None or made.units:
            continue
        world = LIVE if made.name in ev.reading.live else FROZEN
        unknown = any(np.all(np.isnan(v)) for v in ev.params(made.site, world).values())
        if unknown and made.kind not in ("Bernoulli", "Categorical", "OneHotCategorical"):
            continue
        _fill(ev, made)
        ev.admit(made.name)
        out.append(made)
    return out


def _folded(switch: Switch, positions: Sequence[int], ev: Evaluation) -> Array:
    """The entries of a switch at every state of the variables at `positions`, as so many entries."""
    g = switch(ev)
    for position in positions:
        moved = np.moveaxis(np.expand_dims(g, position), position + 1, -1)
        g = moved.reshape(*moved.shape[:-2], -1)
    return g


def _breaks(
    ev: Evaluation, position: int, low: float, high: float, later: Sequence[SiteVariables] = ()
) -> Array | None:
    """Zeros of all switches along the variable, padded by its upper end; None where there are none."""
    corners = [corner for made in ev.made.values() for corner in densities.kinks(made.site)]
    listed = switches(ev.reading.nodes) + [partial(flat, kink) for kink in (*ev.reading.kinks, *corners)]
    if not listed:
        return None
    inside = np.linspace(low, high, COARSE) * (1 - 1e-9) + 1e-7
    ev.set_t(position, ev.layout.along(position, inside))
    opened = _open(ev, later)
    tables = [made.table for made in opened if made.table is not None]
    try:
        return _zeros(ev, position, [partial(_folded, s, tables) for s in listed], inside, high)
    finally:
        ev.close(made.name for made in opened)


def _zeros(ev: Evaluation, position: int, listed: list[Switch], inside: Array, high: float) -> Array | None:
    """Zeros of functions along the variable, which has the grid `inside`."""
    brackets = []
    for which, function in enumerate(listed):
        brackets += [(which, entry, lo, hi) for entry, lo, hi in _signs(function(ev), position, inside)]
    if not brackets:
        return None
    if len(brackets) > MOST:
        raise TooLarge(f"{len(brackets)} switches along one variable")
    lead = np.broadcast_shapes(*(b[2].shape for b in brackets))
    lo = np.concatenate([np.broadcast_to(b[2], lead) for b in brackets], axis=position)
    hi = np.concatenate([np.broadcast_to(b[3], lead) for b in brackets], axis=position)
    found = _roots(ev, position, listed, [(b[0], b[1]) for b in brackets], lo, hi)
    return np.where(np.isnan(found), high, found)


def _signs(g: Array, position: int, grid: Array) -> list[tuple[int, Array, Array]]:
    """Brackets of the sign changes of every entry of `g`: (entry, lower ends, upper ends), NaN where one is missing."""
    rank_lead = g.ndim - 1
    if g.shape[position] == 1:
        return []
    out = []
    for entry in range(g.shape[-1]):
        x = np.moveaxis(g[..., entry], position, -1)
        positive = x >= 0
        changed = (positive[..., 1:] != positive[..., :-1]) & ~np.isnan(x[..., 1:]) & ~np.isnan(x[..., :-1])
        if not changed.any():
            continue
        count = np.count_nonzero(changed, axis=-1)
        for k in range(int(count.max())):
            nth = (np.cumsum(changed, axis=-1) == k + 1) & changed
            index = np.argmax(nth, axis=-1)
            missing = count <= k
            lo = np.where(missing, np.nan, grid[index])
            hi = np.where(missing, np.nan, grid[index + 1])
            out.append((entry, np.expand_dims(lo, position), np.expand_dims(hi, position)))
    assert all(o[1].ndim == rank_lead for o in out)
    return out


def _roots(ev: Evaluation, position: int, listed: list, which: list[tuple[int, int]], lo: Array, hi: Array) -> Array:
    """Zeros between `lo` and `hi`, one column per bracket: bisection and bracketed secants in turn."""

    def at(t: Array) -> Array:
        ev.set_t(position, t)
        columns, values = [], {i: listed[i](ev) for i in {i for i, _ in which}}
        for column, (i, entry) in enumerate(which):
            g = values[i][..., entry]
            g = np.broadcast_to(g, np.broadcast_shapes(g.shape, t.shape))
            columns.append(np.take(g, [column], axis=position))
        return np.concatenate(np.broadcast_arrays(*columns) if columns else columns, axis=position)

    f_lo, f_hi = at(lo), at(hi)
    lo, hi = np.broadcast_to(lo, f_lo.shape), np.broadcast_to(hi, f_lo.shape)
    for step in range(24):
        with np.errstate(all="ignore"):
            secant = lo - f_lo * (hi - lo) / (f_hi - f_lo)
        middle = (lo + hi) / 2
        t = np.where((step % 3 == 2) | ~np.isfinite(secant) | ~np.isfinite(f_lo + f_hi), middle, secant)
        f = at(t)
        left = (f >= 0) == (f_lo >= 0)
        lo, f_lo = np.where(left, t, lo), np.where(left, f, f_lo)
        hi, f_hi = np.where(left, hi, t), np.where(left, f_hi, f)
    with np.errstate(all="ignore"):
        secant = lo - f_lo * (hi - lo) / (f_hi - f_lo)
    return np.where(np.isfinite(secant) & np.isfinite(f_lo + f_hi), secant, (lo + hi) / 2)
