"""Data arguments that are None: observations of new rows, which a draw does not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppl.errors import DataError
from ppl.graph.summed.scopes import inputs_of
from ppl.ir.node import Node, topological
from ppl.lang.arguments import ArgumentSpec
from ppl.lang.trace import Input
from ppl.runtime.compiled import Compiled
from ppl.runtime.prepared import Prepared


def completed(program: Prepared, data: Sequence[Any], rows: Any) -> tuple[tuple[Any, ...], frozenset[str]]:
    """The data with zeros in place of None, and the names of the arguments that were None.

    Raises
    ------
    DataError
        The program has not seen what an argument is like, or nothing says how many rows it has.
    """
    names = program.argument_names
    if len(data) != len(names) or all(x is not None for x in data):
        return program.read(data), frozenset()
    missing = frozenset(name for name, x in zip(names, data, strict=True) if x is None)
    compiled = program.prepare(*_specs(program, data))
    inputs = {i.name: i for i in compiled.binder.inputs}
    given = {name: np.shape(x) for name, x in zip(names, data, strict=True) if x is not None}
    found = [
        _zeros(compiled, name, inputs, given, rows) if name in missing else x
        for name, x in zip(names, data, strict=True)
    ]
    return program.read(found), missing


def _specs(program: Prepared, data: Sequence[Any]) -> list[Any]:
    """The data with what is known of its arguments in place of None."""
    known = program._latest.trace.arguments if program._latest is not None else {}
    found = []
    for name, x in zip(program.argument_names, data, strict=True):
        if x is None and name not in known:
            raise DataError(
                f"argument '{name}' is None, and the program has not seen what it is like: pass data= to ppl.compile"
            )
        found.append(known[name] if x is None else x)
    return found


def _zeros(
    compiled: Compiled, name: str, inputs: Mapping[str, Input], given: Mapping[str, tuple[int, ...]], rows: Any
) -> np.ndarray:
    spec: ArgumentSpec = compiled.trace.arguments[name]
    found = inputs.get(name)
    if found is None or found.plate is None:
        return np.zeros([n or 1 for n in spec.shape], spec.dtype)
    plate = found.plate
    together = [n for n, i in inputs.items() if i.plate == plate and n in given and given[n]]
    count = given[together[0]][0] if together else _named(rows, plate.name)
    if count is None:
        raise DataError(
            f"argument '{name}' is None, so nothing says how many rows plate '{plate.name}' has: pass "
            "rows=np.arange(n), or a slice(start, stop)"
        )
    return np.zeros((count, *found.shape), spec.dtype)


def _named(rows: Any, plate: str) -> int | None:
    """How many rows `rows=` names, if it says so."""
    own = rows.get(plate) if isinstance(rows, Mapping) else rows
    if isinstance(own, slice):
        return None if own.stop is None else max(0, len(range(own.start or 0, own.stop, own.step or 1)))
    shape = np.shape(own) if own is not None else ()
    return shape[0] if shape else None


def require_unread(compiled: Compiled, key: str, sites: Sequence[str], missing: frozenset[str]) -> None:
    """Raise a DataError where a site is computed from an argument that is None."""
    if not missing:
        return
    if any(e.within_cost for e in compiled.plan.estimators.values()):
        _require_observed(compiled, missing)
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


def _require_observed(compiled: Compiled, missing: frozenset[str]) -> None:
    """Raise a DataError where summed-out latents are given something that reads an argument that is None."""
    read: list[tuple[str, Node, Node | None]] = []
    for site in compiled.trace.sites.values():
        if site.mask is not None:
            read.append((f"obs_mask of '{site.name}'", site.mask, site.observed))
    read += [(f"factor '{f.name}'", f.node, None) for f in compiled.trace.factors.values()]
    for what, node, observed in read:
        names = inputs_of(node) & missing
        if names and (observed is None or not inputs_of(observed) & missing):
            raise DataError(
                f"argument '{min(names)}' is None, but {what} is computed from it, on which latents depend that are "
                "summed out"
            )
