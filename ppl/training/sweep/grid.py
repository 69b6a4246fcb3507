"""The runs of a grid: its settings, what a table shows of them, and the key by which a run is known again.

A key is a hash of the settings' names and of what their values mean, so that it is the same in every process: a
function goes by its name and code, a dataclass by its fields, other objects by what `joblib` hashes of them. A `repr`
is trusted where it says all: texts of tables and arrays round numbers and leave rows out. What has no such meaning
needs a label.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import shown
from ppl.errors import OptionError
from ppl.training.sweep.code import code_of

UNKNOWN = "which other processes cannot know again"
SPOKEN = (bytes, complex, PurePath, Enum, date, time, timedelta, Decimal, Fraction)
"""Objects whose `repr` says all of them."""
RESERVED = ("run", "status", "seconds", "attempts", "error")
"""Columns of every table, which no setting may be called."""

Cell = None | bool | int | float | str


class Planned(NamedTuple):
    """One run of a grid: what `build` is given, what the table shows of it, and its key."""

    settings: dict[str, Any]
    cells: dict[str, Cell]
    key: str


def planned(grid: Any) -> tuple[Planned, ...]:
    """The runs of a grid in order, each once.

    A grid is a dict of settings, or a sequence of such dicts, whose runs follow one another. A list, range, rank-1
    array or dict of labels has the alternatives of a setting; anything else is its one value.

    Raises
    ------
    OptionError
        It is no grid, has no runs, or a value has no meaning that other processes could know it by.
    """
    parts = [grid] if isinstance(grid, Mapping) else grid
    if isinstance(parts, (str, bytes)) or not isinstance(parts, Sequence) or not parts:
        raise OptionError(f"sweep: grid must be a dict of settings, or a list of such dicts, not {shown(grid)}")
    found: dict[str, Planned] = {}
    for part in parts:
        for run in _product(part):
            found.setdefault(run.key, run)
    if not found:
        raise OptionError("sweep: the grid has no runs, because a setting has no values")
    return tuple(found.values())


def _product(part: Any) -> Iterator[Planned]:
    """The runs of one dict: all combinations, the last setting changing fastest."""
    if not isinstance(part, Mapping) or not all(isinstance(n, str) and n.isidentifier() for n in part):
        raise OptionError(f"sweep: grid must map names of arguments of build to values, which {shown(part)} does not")
    if taken := sorted(set(part) & set(RESERVED)):
        raise OptionError(f"sweep: a setting may not be called {taken[0]!r}, which is a column of every table")
    choices = [[(name, *choice) for choice in _alternatives(name, values)] for name, values in part.items()]
    for chosen in itertools.product(*choices):
        settings = {name: value for name, value, _, _ in chosen}
        cells = {name: cell for name, _, cell, _ in chosen}
        meaning = json.dumps(sorted((name, known) for name, _, _, known in chosen))
        yield Planned(settings, cells, hashlib.blake2b(meaning.encode(), digest_size=8).hexdigest())


def _alternatives(name: str, values: Any) -> Iterator[tuple[Any, Cell, Any]]:
    """(value, what is shown, what is hashed) of every alternative of a setting."""
    if isinstance(values, Mapping):
        for label, value in values.items():
            cell = _plain(label) if isinstance(label, np.generic) else label
            if not isinstance(cell, (bool, int, float, str)):
                raise OptionError(f"sweep: setting {name!r}: a label must be a text or number, not {shown(label)}")
            yield value, cell, ["label", cell]
        return
    several = isinstance(values, (list, range)) or (isinstance(values, np.ndarray) and values.ndim == 1)
    for value in values if several else [values]:
        value = _plain(value)
        try:
            known = meaning_of(value)
        except OptionError as error:
            raise OptionError(
                f"sweep: setting {name!r} is {shown(value)}, {error}. Give its values labels: "
                f"{{{name!r}: {{'label': value, …}}}}"
            ) from None
        yield value, _cell(value), known


def meaning_of(value: Any) -> Any:
    """What a value means, as JSON that is the same in every process.

    Raises
    ------
    OptionError
        It cannot be told.
    """
    value = _plain(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return ["float", repr(value)]
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return [type(value).__name__, *map(meaning_of, value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return ["dict", sorted([key, meaning_of(entry)] for key, entry in value.items())]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return ["array", value.dtype.str, list(value.shape), hashlib.blake2b(value.tobytes()).hexdigest()]
    if isinstance(value, FunctionType):
        if "<lambda>" in value.__qualname__:
            raise OptionError("a function without a name")
        return ["function", value.__qualname__, code_of(value)]
    if isinstance(value, type):
        return ["class", value.__module__, value.__qualname__]
    if isinstance(value, functools.partial):
        return ["partial", *map(meaning_of, (value.func, value.args, value.keywords))]
    kind = [type(value).__module__, type(value).__qualname__]
    if isinstance(value, SPOKEN) or kind[0].startswith("ppl.training.optim."):
        return ["object", *kind, _text(value)]
    if dataclasses.is_dataclass(value):
        return ["fields", *kind, [[f.name, meaning_of(getattr(value, f.name))] for f in dataclasses.fields(value)]]
    if kind[0].partition(".")[0] == "ppl":  # models, laws, programs: their texts leave numbers out
        raise OptionError(UNKNOWN)
    return ["content", *kind, _content(value)]


def _text(value: Any) -> str:
    """What an object says of itself."""
    text = shown(value, 10_000)
    if " at 0x" in text or "<lambda>" in text or len(text) >= 10_000 or text == f"a {type(value).__name__}":
        raise OptionError(UNKNOWN)
    return text


def _content(value: Any) -> str:
    """A hash of what an object is pickled to, which does not depend on the order of sets and dicts."""
    if not any("__repr__" in vars(kind) for kind in type(value).__mro__[:-1]):
        raise OptionError(UNKNOWN)
    try:
        from joblib import hash as content  # optional
    except ImportError:
        raise OptionError(UNKNOWN) from None
    try:
        return str(content(value))
    except Exception:
        raise OptionError(UNKNOWN) from None


def _plain(value: Any) -> Any:
    """Python's own number in place of NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def _cell(value: Any) -> Cell:
    """What a table shows of a value."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, "__name__", None) or shown(value)
