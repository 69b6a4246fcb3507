"""The runs of a grid: their settings, and the key by which other processes and later calls recognise a run.

A key is a hash of the settings' names and of what their values mean, so that it is the same in every process: a
function goes by its name and code (bytecode, and that of the user's functions that it names), a dataclass by its
fields, other objects by what `joblib` hashes of them. A `repr` is trusted where it says all. What has no such
meaning needs a label."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import shown
from ppl.errors import OptionError
from ppl.moved import MOVED

LIBRARY_PATHS = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))

PLAIN_TYPES = (bool, int, float, complex, str, bytes, type(None))


def hash_code(function: Any) -> str:
    """Return the hash of a function, a `functools.partial` or an object that is called."""
    digest = hashlib.blake2b(digest_size=12)
    for word in _collect_words(function):
        digest.update(f"{len(word)}:".encode() + word)
    return digest.hexdigest()


def _collect_words(function: Any) -> list[bytes]:
    """Return the words of all that `function` reaches, each function once."""
    words: list[bytes] = []
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        current = waiting.pop()
        if isinstance(current, (*PLAIN_TYPES, frozenset)):
            words.append(_constant_bytes(current))
            continue
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, (tuple, list)):
            waiting += current
        elif isinstance(current, functools.partial):
            waiting += [current.func, *current.args, *(v for _, v in sorted(current.keywords.items()))]
        else:
            inner = _underlying_function(current)
            if inner is not None and not _is_library(inner):
                words += _code_words(inner.__code__, inner.__doc__)
                static = getattr(current, "static", None)
                waiting += [*_referenced_values(inner), *(static.values() if isinstance(static, dict) else ())]
    return words


def _is_library(function: FunctionType) -> bool:
    """Return whether a function is of Python, of an installed package or of this one."""
    name = function.__module__ or ""
    return function.__code__.co_filename.startswith(LIBRARY_PATHS) or f"{name}.".startswith("ppl.")


def _constant_bytes(value: Any) -> bytes:
    """Return the text of a constant; the order of a set is that of its entries' texts."""
    text = str(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)
    return text.encode("utf-8", "backslashreplace")


def _underlying_function(value: Any) -> FunctionType | None:
    """Return the Python function behind a value: itself, what it wraps, or what a model is made of."""
    if isinstance(value, FunctionType):
        return value
    for name in ("py_func", "fn", "__func__", "__wrapped__"):
        inner = getattr(value, name, None) if not isinstance(value, type) else None
        if isinstance(inner, FunctionType):
            return inner
    if isinstance(value, type):
        return None
    called = vars(type(value)).get("__call__")
    return called if isinstance(called, FunctionType) else None


def _code_words(code: CodeType, doc: str | None = None) -> list[bytes]:
    """Return bytecode with its names and constants, less the docstring."""
    words = [code.co_code, repr((code.co_names, code.co_varnames, code.co_freevars)).encode()]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            words += _code_words(constant)
        elif doc is None or constant != doc:
            words.append(_constant_bytes(constant))
    return words


def _referenced_values(function: FunctionType) -> list[Any]:
    """Return defaults, and what the names of a function stand for, in a fixed order."""
    found: list[Any] = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not set yet
            continue
    names = sorted(_names_in_code(function.__code__))
    return found + [function.__globals__[name] for name in names if name in function.__globals__]


def _names_in_code(code: CodeType) -> set[str]:
    inner = [_names_in_code(c) for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*inner)


NOT_RECOGNISABLE = "which other processes cannot know again"

TYPES_WITH_FULL_REPR = (bytes, complex, PurePath, Enum, date, time, timedelta, Decimal, Fraction)
"""Objects whose `repr` says all of them."""

RESERVED_COLUMNS = ("run", "status", "seconds", "attempts", "error")
"""Columns of every table, which no setting may be called."""

Cell = None | bool | int | float | str


class PlannedRun(NamedTuple):
    """One run of a grid: what `build` is given, what the table shows of it, and its key."""

    settings: dict[str, Any]
    cells: dict[str, Cell]
    key: str


def plan_runs(grid: Any) -> tuple[PlannedRun, ...]:
    """Return the runs of a grid in order, each once.

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
    found: dict[str, PlannedRun] = {}
    for part in parts:
        for run in _combinations(part):
            found.setdefault(run.key, run)
    if not found:
        raise OptionError("sweep: the grid has no runs, because a setting has no values")
    return tuple(found.values())


def _combinations(part: Any) -> Iterator[PlannedRun]:
    """Yield the runs of one dict: all combinations, the last setting changing fastest."""
    if not isinstance(part, Mapping) or not all(isinstance(n, str) and n.isidentifier() for n in part):
        raise OptionError(f"sweep: grid must map names of arguments of build to values, which {shown(part)} does not")
    if taken := sorted(set(part) & set(RESERVED_COLUMNS)):
        raise OptionError(f"sweep: a setting may not be called {taken[0]!r}, which is a column of every table")
    choices = [[(name, *choice) for choice in _alternatives(name, values)] for name, values in part.items()]
    for chosen in itertools.product(*choices):
        settings = {name: value for name, value, _, _ in chosen}
        cells = {name: cell for name, _, cell, _ in chosen}
        meaning = json.dumps(sorted((name, known) for name, _, _, known in chosen))
        yield PlannedRun(settings, cells, hashlib.blake2b(meaning.encode(), digest_size=8).hexdigest())


def _alternatives(name: str, values: Any) -> Iterator[tuple[Any, Cell, Any]]:
    """Yield (value, what is shown, what is hashed) of every alternative of a setting."""
    if isinstance(values, Mapping):
        for label, value in values.items():
            cell = _to_python_number(label) if isinstance(label, np.generic) else label
            if not isinstance(cell, (bool, int, float, str)):
                raise OptionError(f"sweep: setting {name!r}: a label must be a text or number, not {shown(label)}")
            yield value, cell, ["label", cell]
        return
    several = isinstance(values, (list, range)) or (isinstance(values, np.ndarray) and values.ndim == 1)
    for value in values if several else [values]:
        value = _to_python_number(value)
        try:
            known = canonical_value(value)
        except OptionError as error:
            raise OptionError(
                f"sweep: setting {name!r} is {shown(value)}, {error}. Give its values labels: "
                f"{{{name!r}: {{'label': value, …}}}}"
            ) from None
        yield value, _table_cell(value), known


def canonical_value(value: Any) -> Any:
    """Return what a value means, as JSON that is the same in every process.

    Raises
    ------
    OptionError
        It cannot be told.
    """
    value = _to_python_number(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return ["float", repr(value)]
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return [type(value).__name__, *map(canonical_value, value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return ["dict", sorted([key, canonical_value(entry)] for key, entry in value.items())]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return ["array", value.dtype.str, list(value.shape), hashlib.blake2b(value.tobytes()).hexdigest()]
    if isinstance(value, FunctionType):
        if "<lambda>" in value.__qualname__:
            raise OptionError("a function without a name")
        return ["function", value.__qualname__, hash_code(value)]
    if isinstance(value, type):
        return ["class", _first_module(value), value.__qualname__]
    if isinstance(value, functools.partial):
        return ["partial", *map(canonical_value, (value.func, value.args, value.keywords))]
    kind = [_first_module(type(value)), type(value).__qualname__]
    if isinstance(value, TYPES_WITH_FULL_REPR) or kind[0].startswith("ppl.training.optim."):
        return ["object", *kind, _full_repr(value)]
    if dataclasses.is_dataclass(value):
        return ["fields", *kind, [[f.name, canonical_value(getattr(value, f.name))] for f in dataclasses.fields(value)]]
    if kind[0].partition(".")[0] == "ppl":  # models, laws, programs: their texts leave numbers out
        raise OptionError(NOT_RECOGNISABLE)
    return ["content", *kind, _content_hash(value)]


def _first_module(kind: type) -> str:
    """Return the first module that a class has stood in, so that keys of runs on disk stay when it moves."""
    file = kind.__qualname__.lower()
    moved = (old for old, new in MOVED.items() if new == kind.__module__)
    return next((old for old in moved if old.rpartition(".")[2].replace("_", "") == file), kind.__module__)


def _full_repr(value: Any) -> str:
    """Return what an object says of itself; raise OptionError where that does not tell it from others."""
    text = shown(value, 10_000)
    if " at 0x" in text or "<lambda>" in text or len(text) >= 10_000 or text == f"a {type(value).__name__}":
        raise OptionError(NOT_RECOGNISABLE)
    return text


def _content_hash(value: Any) -> str:
    """Return a hash of what an object is pickled to, which does not depend on the order of sets and dicts."""
    if not any("__repr__" in vars(kind) for kind in type(value).__mro__[:-1]):
        raise OptionError(NOT_RECOGNISABLE)
    try:
        from joblib import hash as content  # optional
    except ImportError:
        raise OptionError(NOT_RECOGNISABLE) from None
    try:
        return str(content(value))
    except Exception:
        raise OptionError(NOT_RECOGNISABLE) from None


def _to_python_number(value: Any) -> Any:
    """Return Python's own number in place of NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def _table_cell(value: Any) -> Cell:
    """Return what a table shows of a value."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, "__name__", None) or shown(value)
