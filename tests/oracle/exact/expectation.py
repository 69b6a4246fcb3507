"""The expectation of a term: its value on all states and grids, summed and integrated latest site first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.oracle.exact.errors import TooLarge
from tests.oracle.exact.evaluate import Evaluation, World
from tests.oracle.exact.grids import panels_for, prepare
from tests.oracle.exact.variables import SiteVariables
from tests.oracle.exact.walk import FROZEN, Reading, Term, read

Array = np.ndarray
LIMIT, MOST, BUDGET = 1_000_000, 3_000_000, 4_000_000
UNITS = 4
EMPTY = 1e-13  # the weight of a panel between two findings of one pole


def sum_out(ev: Evaluation, x: Array, made: SiteVariables) -> Array:
    """`x` averaged over one site. Where a state cannot be reached at the base, a value that is not finite is none."""
    for index in reversed(range(len(made.units))):
        position = made.units[index]
        if x.shape[position] > 1 or ev.t[position].shape[position] == 1:
            w = ev.unit_weight(made, index)
            if not np.all(np.isfinite(x)):
                x = np.where((np.abs(w) < EMPTY) & ~np.isfinite(x), 0.0, x)
            x = np.sum(x * w, axis=position, keepdims=True)
    if made.table is not None and x.shape[made.table] > 1:
        w = ev.weight(made)
        if not np.all(np.isfinite(x)):
            unreachable = ev.weight(made, FROZEN) == 0
            x = np.where(unreachable & ~np.isfinite(x), 0.0, x)
        x = np.sum(x * w, axis=made.table, keepdims=True)
    return x


def _totals(ev: Evaluation, term: Term, x: Array) -> Array:
    """The sum over the term's plates, each with its scale; one number per parameter value."""
    for axis in term.plates:
        position = ev.layout.plates[axis.name]
        counts = ev.world.counts.get(axis.name)
        if counts is None:
            counts = np.ones(ev.world.size(axis))
        weights = ev.layout.along(position, counts)
        x = np.sum(x * weights, axis=position, keepdims=True) * ev.world.scales.get(axis.name, 1.0)
    return np.broadcast_to(x.reshape(x.shape[0], -1)[:, 0], (len(next(iter(ev.theta.values()), [0])),))


def at(
    world: World, term: Term, reading: Reading, theta: Mapping[str, Array], coarser: bool, points: float = np.inf
) -> Array:
    """The term's expectation at every parameter value of `theta`."""
    ev = Evaluation(world, reading, theta)
    prepare(ev, coarser, points)
    with np.errstate(all="ignore"):
        x = np.asarray(term.value(ev), np.float64)
        for site in reversed(reading.sites):
            if site.name not in term.hidden:
                x = sum_out(ev, x, ev.made[site.name])
        return _totals(ev, term, x)


def size_of(world: World, reading: Reading, theta: Mapping[str, Array], points: float = np.inf) -> int:
    """Numbers in the largest array at one parameter value."""
    one = {k: v[:1] for k, v in theta.items()}
    ev = Evaluation(world, reading, one)
    prepare(ev, points=points)
    size = int(np.prod([world.size(a) for a in reading.plates.values()], initial=1))
    for made in ev.made.values():
        size *= 1 if made.digits is None else len(made.digits)
        for position in made.units:
            size *= ev.t[position].shape[position]
    return size


def expected(world: World, term: Term, theta: Mapping[str, Array], coarser: bool = False) -> Array:
    """The term's expectation at every parameter value, a chunk of them at a time.

    Where that would take more than `BUDGET` numbers, grids have fewer points.
    """
    reading = read(term)
    count = len(next(iter(theta.values()), np.zeros(1)))
    units = sum(len(m.units) for m in Evaluation(world, reading, theta).made.values())
    if units > UNITS:
        raise TooLarge(f"{term.name}: {units} continuous units")
    points, size = np.inf, size_of(world, reading, theta)
    if units and size * count > BUDGET:
        panels, order = panels_for(units, np.inf)
        points = panels * order * (BUDGET / (size * count)) ** (1 / units)
        size = size_of(world, reading, theta, points)
    if size > MOST or size * count > 8 * BUDGET:
        raise TooLarge(f"{term.name}: {size} joint states")
    chunk = max(1, LIMIT // size)
    out = [
        at(world, term, reading, {k: v[i : i + chunk] for k, v in theta.items()}, coarser, points)
        for i in range(0, count, chunk)
    ]
    return np.concatenate(out)


def has_grid(term: Term) -> bool:
    """Whether the term is integrated anywhere, so that it has an error of quadrature."""
    ev = Evaluation(World({}), read(term), {})
    return any(made.units for made in ev.made.values())
