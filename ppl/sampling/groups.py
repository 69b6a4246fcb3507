"""Results as ArviZ data: the DataTree of ArviZ 1 and later, the InferenceData before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ppl.errors import ModelError
from ppl.sampling.optional import needed

Dims = Mapping[str, list[tuple[str, int]]]
"""Name and length of every axis of a variable, those of chains and draws left out."""
OWN = ("chain", "draw")


def arviz_data(owner: str, groups: Mapping[str, Mapping[str, np.ndarray]], dims: Dims, attrs: Mapping[str, Any]) -> Any:
    """ArviZ data of arrays by group and name, of shape (chains, draws, ...), observed data without these two.

    Axes are named after plates and loops, with coordinates from 0. An axis gets another name ("school_dim") where a
    variable has its own, and one of another length a number ("time_2"). In a DataTree, "scope/name" is "scope.name".

    Raises
    ------
    ModelError
        A variable is called "chain" or "draw".
    MissingPackageError
        ArviZ is not installed.
    """
    arviz = needed("arviz", owner)
    variables = {name for group in groups.values() for name in group}
    require_own_names(owner, variables)
    named, coords = named_axes(dims, variables)
    given = {name: dict(group) for name, group in groups.items() if group}
    used = {name: axes for name, axes in named.items() if name in variables}
    if arviz.__version__.startswith("0."):
        return arviz.from_dict(**given, coords=coords, dims=used, attrs=dict(attrs))
    tree = arviz.from_dict(
        {name: _plain(group) for name, group in given.items()}, coords=_plain(coords),
        dims={name: [axis.replace("/", ".") for axis in axes] for name, axes in _plain(used).items()},
    )  # fmt: skip
    tree.attrs.update(attrs)
    return tree


def _plain(named: Mapping[str, Any]) -> dict[str, Any]:
    """The same by names without slashes, which lead to groups in a DataTree: "scope.name"."""
    return {name.replace("/", "."): value for name, value in named.items()}


def named_axes(dims: Dims, variables: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """The names of the axes of every variable, one for each length, and their coordinates."""
    taken = {*OWN, *variables}
    names: dict[tuple[str, int], str] = {}
    for axes in dims.values():
        for wanted, length in axes:
            if (wanted, length) not in names:
                name = wanted if wanted not in taken else f"{wanted}_dim"
                number, base = 2, name
                while name in taken or name in names.values():
                    name, number = f"{base}_{number}", number + 1
                names[wanted, length] = name
    coords = {name: np.arange(length) for (_, length), name in names.items()}
    return {variable: [names[axis] for axis in axes] for variable, axes in dims.items()}, coords


def require_own_names(owner: str, sites: Iterable[str]) -> None:
    """Raise if a site has the name of one of ArviZ's own axes."""
    for name in sorted(set(sites) & set(OWN)):
        raise ModelError(f"{owner}: ArviZ calls its axes 'chain' and 'draw', so that no site can be called {name!r}")
