"""Decisions of a run with `tune=`: `fit.choices` replays the run, and a checkpoint stores it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from ppl.arguments import file_path
from ppl.compiler.plan.plan import Configuration, JointChoice, describe_choice
from ppl.errors import DataError
from ppl.estimators.base import Estimator
from ppl.estimators.serialize import from_json, to_json
from ppl.records import dataclass
from ppl.runtime.array_files import read_npz
from ppl.text_table import format_number, render_table, seconds
from ppl.training.checkpoints import TUNING_PREFIX

FIGURES = ("variance", "variance_error", "squared_bias")


@dataclass(frozen=True)
class Decision:
    """One decision of a run.

    Attributes
    ----------
    step : steps that had been taken.
    measured : all choices that were compared, with the variance of the gradient of one step, its standard error,
        squared bias, and seconds of a step; `taken` marks the one that took the next steps.
    """

    step: int
    measured: tuple[JointChoice, ...]

    @property
    def chosen(self) -> JointChoice:
        """What took the next steps."""
        return next(j for j in self.measured if j.taken)

    @property
    def estimators(self) -> dict[str, Estimator]:
        """The chosen estimators by node."""
        return dict(self.chosen.estimators)

    @property
    def particles(self) -> int:
        """The chosen number of particles."""
        return self.chosen.particles


@dataclass(frozen=True, eq=False, repr=False)
class Choices(Sequence[Decision]):
    """The decisions of a run of `ppl.fit(..., tune=True)`, in order: prints as a table, indexes as `Decision`s.

    `ppl.fit(..., tune=choices)` takes the same decisions at the same steps without measuring. It can be pickled, and
    `ppl.Choices.load(path)` reads it out of a checkpoint.

    Attributes
    ----------
    family : the choices that were compared; the first is that of the program that was passed.
    seconds : of a step of each, as measured at the start of the run.
    probing : seconds of one comparison.
    steps, taken : of every decision, after which step, and the number in the family.
    variance, variance_error, squared_bias : of every decision and member of the family.
    """

    family: tuple[Configuration, ...]
    seconds: np.ndarray
    probing: float
    steps: np.ndarray
    taken: np.ndarray
    variance: np.ndarray
    variance_error: np.ndarray
    squared_bias: np.ndarray

    def __post_init__(self) -> None:
        for array in (self.seconds, self.steps, self.taken, *(getattr(self, name) for name in FIGURES)):
            array.setflags(write=False)

    @classmethod
    def begin(cls, family: Sequence[Configuration], seconds: Sequence[float], probing: float) -> Choices:
        """Before the first decision."""
        none, empty = np.zeros(0, np.int64), np.zeros((0, len(family)))
        return cls(tuple(family), np.array(seconds, float), probing, none, none.copy(), empty, empty, empty)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Choices:
        """Return the choices of the run in a checkpoint.

        Raises
        ------
        MissingFileError
            There is no such file.
        DataError
            It is no checkpoint of a run with `tune=`, or names an estimator that is not defined in this process.
        """
        path = file_path("path", path, DataError)
        found = unpack_choices(read_npz(path))
        if found is None:
            raise DataError(f"'{path}' has no choices: it is not a checkpoint of a run with tune= that has begun")
        return found

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, i: int) -> Decision: ...
    @overload
    def __getitem__(self, i: slice) -> list[Decision]: ...
    def __getitem__(self, i: int | slice) -> Decision | list[Decision]:
        """Return a decision, or a list of them."""
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        rows = zip(self.family, self.seconds, *(getattr(self, name)[i] for name in FIGURES), strict=True)
        measured = (
            JointChoice(
                c.estimators,
                c.particles,
                float(v),
                float(e),
                float(b),
                float(s),
                0,
                "training",
                bool(k == self.taken[i]),
            )
            for k, (c, s, v, e, b) in enumerate(rows)
        )
        return Decision(int(self.steps[i]), tuple(measured))

    def __iter__(self) -> Iterator[Decision]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Choices):
            return NotImplemented
        mine, theirs = pack_choices(self), pack_choices(other)
        return all(np.array_equal(mine[k], theirs[k], equal_nan=k not in (FAMILY_KEY,)) for k in mine)

    __hash__ = None  # type: ignore[assignment]

    @property
    def current(self) -> int:
        """The number in the family of what takes the next step."""
        return int(self.taken[-1]) if len(self) else 0

    def having(self, step: int, taken: int, measured: Mapping[str, np.ndarray]) -> Choices:
        """Return the choices with one more decision."""
        rows: Any = {name: np.vstack([getattr(self, name), measured[name]]) for name in FIGURES}
        return replace(self, steps=np.append(self.steps, step), taken=np.append(self.taken, taken), **rows)

    def first(self, count: int) -> Choices:
        """Return the first decisions."""
        cut: Any = {name: getattr(self, name)[:count].copy() for name in ("steps", "taken", *FIGURES)}
        return replace(self, **cut)

    def __repr__(self) -> str:
        """Print one row a decision: what was taken, and the best of the others; below, what the numbers stand for."""
        what = "error² × seconds" if self.squared_bias.any() else "variance × seconds"
        columns = ("after step", "choice", what, "the best other", what)
        labels = [describe_choice(c.estimators, c.particles) for c in self.family]
        notes = [
            f"{i}: {label}, {seconds(s)} a step" for i, (label, s) in enumerate(zip(labels, self.seconds, strict=True))
        ]
        return render_table(columns, [self._cells(i) for i in range(len(self))], notes)

    def _cells(self, i: int) -> tuple[str, ...]:
        """Return a row of the table; an arrow marks another choice than before."""
        taken, moved = int(self.taken[i]), i > 0 and self.taken[i] != self.taken[i - 1]
        costs = [(j.cost, format_number(j.cost, j.variance_error * j.seconds)) for j in self[i].measured]
        others = sorted((math.isnan(cost), cost, k) for k, (cost, _) in enumerate(costs) if k != taken)
        rest = (str(others[0][2]), costs[others[0][2]][1]) if others else ("", "")
        return str(self.steps[i]), f"{'→ ' if moved else ''}{taken}", costs[taken][1], *rest


FAMILY_KEY = TUNING_PREFIX + "family"


def pack_choices(choices: Choices) -> dict[str, np.ndarray]:
    """Choices as arrays of a checkpoint."""
    family = [[to_json(dict(c.estimators)), c.particles] for c in choices.family]
    arrays = {name: getattr(choices, name) for name in ("seconds", "steps", "taken", *FIGURES)}
    return {
        FAMILY_KEY: np.frombuffer(json.dumps(family).encode(), np.uint8),
        TUNING_PREFIX + "probing": np.array(choices.probing),
        **{TUNING_PREFIX + name: array for name, array in arrays.items()},
    }


def unpack_choices(arrays: Mapping[str, np.ndarray]) -> Choices | None:
    """Return the inverse of `packed`; None where a run has not measured yet.

    Raises
    ------
    DataError
        Arrays are damaged, or an estimator is not defined in this process.
    """
    if FAMILY_KEY not in arrays:
        return None
    try:
        given: Any = json.loads(arrays[FAMILY_KEY].tobytes().decode())
        family = tuple(Configuration(tuple(from_json(e).items()), int(particles)) for e, particles in given)
        found = {name: arrays[TUNING_PREFIX + name].astype(float) for name in ("seconds", *FIGURES)}
        whole = {name: arrays[TUNING_PREFIX + name].astype(np.int64) for name in ("steps", "taken")}
        made = Choices(family=family, probing=float(arrays[TUNING_PREFIX + "probing"]), **found, **whole)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the choices of its run are damaged ({type(error).__name__}: {error})") from error
    _require_consistent(made)
    return made


def _require_consistent(found: Choices) -> None:
    """Raise DataError unless the arrays belong together."""
    m, d = len(found.family), len(found.steps)
    shapes = {found.variance.shape, found.variance_error.shape, found.squared_bias.shape}
    good = m > 0 and found.seconds.shape == (m,) and found.taken.shape == (d,) and shapes == {(d, m)}
    good = good and bool(np.all(found.seconds > 0)) and found.probing >= 0
    if not (good and np.all(np.diff(found.steps) > 0) and np.all((found.taken >= 0) & (found.taken < m))):
        raise DataError("the choices of its run are damaged: its lists do not belong together")
