"""Prediction where data are missing or new: arguments that are None, and rows for which a guide has no parameters.

Observations that a draw does not read may be None. Latents of new rows come from the model, the others from the
guide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.errors import DataError
from ppl.graph.elimination import data_arguments_of
from ppl.inference.guides.autoguide import AutoGuide
from ppl.ir.node import Node, topological
from ppl.lang.trace import ArgumentSpec, Input
from ppl.objectives.iwae import Iwae
from ppl.objectives.predictive import Predictive
from ppl.runtime.compiled import Compiled
from ppl.runtime.prepared import PreparedProgram
from ppl.runtime.state import State


def fill_missing_data(
    program: PreparedProgram, data: Sequence[Any], rows: Any
) -> tuple[tuple[Any, ...], frozenset[str]]:
    """Return the data with zeros in place of None, and the names of the arguments that were None.

    Raises
    ------
    DataError
        The program has not seen what an argument is like, or nothing says how many rows it has.
    """
    names = program.argument_names
    if len(data) != len(names) or all(x is not None for x in data):
        return program.read(data), frozenset()
    missing = frozenset(name for name, x in zip(names, data, strict=True) if x is None)
    compiled = program.prepare(*_fill_specs(program, data))
    inputs = {i.name: i for i in compiled.binder.inputs}
    given = {name: np.shape(x) for name, x in zip(names, data, strict=True) if x is not None}
    found = [
        _zeros_for(compiled, name, inputs, given, rows) if name in missing else x
        for name, x in zip(names, data, strict=True)
    ]
    return program.read(found), missing


def _fill_specs(program: PreparedProgram, data: Sequence[Any]) -> list[Any]:
    """Return the data with what is known of its arguments in place of None."""
    known = program._latest.trace.arguments if program._latest is not None else {}
    found = []
    for name, x in zip(program.argument_names, data, strict=True):
        if x is None and name not in known:
            raise DataError(
                f"argument '{name}' is None, and the program has not seen what it is like: pass data= to ppl.compile"
            )
        found.append(known[name] if x is None else x)
    return found


def _zeros_for(
    compiled: Compiled, name: str, inputs: Mapping[str, Input], given: Mapping[str, tuple[int, ...]], rows: Any
) -> np.ndarray:
    spec: ArgumentSpec = compiled.trace.arguments[name]
    found = inputs.get(name)
    if found is None or found.plate is None:
        return np.zeros([n or 1 for n in spec.shape], spec.dtype)
    plate = found.plate
    together = [n for n, i in inputs.items() if i.plate == plate and n in given and given[n]]
    count = given[together[0]][0] if together else _row_count_of(rows, plate.name)
    if count is None:
        raise DataError(
            f"argument '{name}' is None, so nothing says how many rows plate '{plate.name}' has: pass "
            "rows=np.arange(n), or a slice(start, stop)"
        )
    return np.zeros((count, *found.shape), spec.dtype)


def _row_count_of(rows: Any, plate: str) -> int | None:
    """Return how many rows `rows=` names, if it says so."""
    own = rows.get(plate) if isinstance(rows, Mapping) else rows
    if isinstance(own, slice):
        return None if own.stop is None else max(0, len(range(own.start or 0, own.stop, own.step or 1)))
    shape = np.shape(own) if own is not None else ()
    return shape[0] if shape else None


def require_missing_unread(compiled: Compiled, key: str, sites: Sequence[str], missing: frozenset[str]) -> None:
    """Raise a DataError where a site is computed from an argument that is None."""
    if not missing:
        return
    if any(e.within_cost for e in compiled.plan.estimators.values()):
        _require_observed_only(compiled, missing)
    arrays = compiled.variant(key, sites).arrays
    for site, node in arrays.items():
        read = {n.attrs["name"] for n in topological([node]) if n.op == "input"} & missing
        if read:
            name = min(read)
            what = f"'{site}' is computed from it" if site in compiled.trace.sites else "what is drawn depends on it"
            raise DataError(
                f"argument '{name}' is None, but {what}: only an argument that is used as obs= and nowhere else may "
                "be None; for draws from the model without its guide, compile ppl.predictive(model)"
            )


def _require_observed_only(compiled: Compiled, missing: frozenset[str]) -> None:
    """Raise a DataError where summed-out latents are given something that reads an argument that is None."""
    read: list[tuple[str, Node, Node | None]] = []
    for site in compiled.trace.sites.values():
        if site.mask is not None:
            read.append((f"obs_mask of '{site.name}'", site.mask, site.observed))
    read += [(f"factor '{f.name}'", f.node, None) for f in compiled.trace.factors.values()]
    for what, node, observed in read:
        names = data_arguments_of(node) & missing
        if names and (observed is None or not data_arguments_of(observed) & missing):
            raise DataError(
                f"argument '{min(names)}' is None, but {what} is computed from it, on which latents depend that are "
                "summed out"
            )


def number_rows(program: PreparedProgram, read: Sequence[Any], missing: frozenset[str], rows: Any) -> tuple[Any, bool]:
    """Global row numbers for `predict`, and whether the guide's tables end before them.

    Rows whose observation is None, and whose numbers are not given, are numbered from the end of the tables.

    Raises
    ------
    DataError
        Some rows have parameters and others have none.
    """
    guide = getattr(program.objective, "guide", None)
    if not isinstance(guide, AutoGuide) or not guide.rows or guide.only_outside:
        return rows, False
    compiled = program.prepare(*read)
    binder = compiled.binder
    unseen = {i.plate.name for i in binder.inputs if i.plate is not None and i.name in missing}
    given = dict(rows) if isinstance(rows, Mapping) else {p.name: rows for p in binder.plates[:1] if rows is not None}
    inside = {axis.name for site in compiled.trace.random_sites() for axis in site.axes}
    tables = {plate: n for plate, n in guide.rows.items() if plate in inside}
    given = {plate: n for plate, n in tables.items() if plate in unseen} | given
    bound = binder.bind(read, given or None, check=False, unread=missing)
    beyond = {plate: _beyond_table(plate, bound.row_ids[plate], bound.rows[plate], n) for plate, n in tables.items()}
    if len(set(beyond.values())) > 1:
        new, old = (min(p for p, is_new in beyond.items() if is_new is which) for which in (True, False))
        raise DataError(
            f"predict: the rows of plate '{new}' are new, those of plate '{old}' have parameters in the guide; "
            "where both meet, give what is known by ppl.condition, or write the guide by hand"
        )
    return given or None, any(beyond.values())


def _beyond_table(plate: str, ids: Any, count: int, table: int) -> bool:
    """Return whether the rows with these numbers lie beyond a table; not some of them alone."""
    numbers = np.arange(ids, ids + count) if isinstance(ids, int) else ids
    new = numbers >= table
    if new.any() and not new.all():
        raise DataError(
            f"predict: plate '{plate}' has rows with parameters in the guide (numbers below {table}) and new ones: "
            "predict them in two calls, each with rows=, the numbers of its rows"
        )
    return bool(new.any())


def program_without_tables(program: Any, state: State, read: Sequence[Any]) -> tuple[Any, State]:
    """Return a program that draws latents of rows from the model and the others from the guide, and its state."""
    objective = program.objective
    if isinstance(objective, Iwae):
        raise DataError(
            "predict: new rows of a program of ppl.iwae, whose samples are weighed by their data: compile "
            "ppl.predictive(model, guide.outside), with the parameters of the state"
        )
    if program.outside is None:
        drawing = Predictive(objective.model, objective.guide.outside)
        program.outside = type(program)(drawing, replace(program.settings, estimators="auto", measured={}))
    other = program.outside
    names = other.prepare(*read).trace.params
    known = {name: value for name, value in program.params(state).items() if name in names}
    return other, other.init(state.seed, *read, params=known).replace(step=state.step)
