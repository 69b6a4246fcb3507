"""Rows for which a guide has no parameters: their latents come from the model, the others from the guide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.errors import DataError
from ppl.inference.guides.autoguide import AutoGuide
from ppl.objectives.iwae import Iwae
from ppl.objectives.predictive import Predictive
from ppl.runtime.prepared import Prepared
from ppl.runtime.state import State


def numbered(program: Prepared, read: Sequence[Any], missing: frozenset[str], rows: Any) -> tuple[Any, bool]:
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
    beyond = {plate: _beyond(plate, bound.row_ids[plate], bound.rows[plate], n) for plate, n in tables.items()}
    if len(set(beyond.values())) > 1:
        new, old = (min(p for p, is_new in beyond.items() if is_new is which) for which in (True, False))
        raise DataError(
            f"predict: the rows of plate '{new}' are new, those of plate '{old}' have parameters in the guide; "
            "where both meet, give what is known by ppl.condition, or write the guide by hand"
        )
    return given or None, any(beyond.values())


def _beyond(plate: str, ids: Any, count: int, table: int) -> bool:
    """Whether the rows with these numbers lie beyond a table; not some of them alone."""
    numbers = np.arange(ids, ids + count) if isinstance(ids, int) else ids
    new = numbers >= table
    if new.any() and not new.all():
        raise DataError(
            f"predict: plate '{plate}' has rows with parameters in the guide (numbers below {table}) and new ones: "
            "predict them in two calls, each with rows=, the numbers of its rows"
        )
    return bool(new.any())


def without_tables(program: Any, state: State, read: Sequence[Any]) -> tuple[Any, State]:
    """A program that draws latents of rows from the model and the others from the guide, and its state."""
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
