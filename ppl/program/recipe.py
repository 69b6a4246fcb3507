"""Pickles of programs: the recipe, not the machine code.

A pickle holds the objective, whose models go by reference, the settings with choices that were tuned, and for every
signature of data that was traced the specs of its arguments and the hash of its trace. Loading it traces the models
again, refuses those that have changed, and compiles, or reads machine code from the disk, when that is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ppl.errors import ModelError
from ppl.lang.arguments import ArgumentSpec
from ppl.program.trace_digest import trace_digest
from ppl.runtime.prepared import Prepared, Settings

FORMAT = 1
"""The version of what a pickle holds."""


class Traced(NamedTuple):
    """A signature of data that a program was traced for, and the hash of its trace."""

    arguments: tuple[ArgumentSpec, ...]
    digest: str


class Pickled(Prepared):
    """A program that can be pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            compiled = sorted(self._compiled.values(), key=lambda c: c is self._latest)
        traced = [
            Traced(tuple(c.trace.arguments[name] for name in self.argument_names), trace_digest(c.trace))
            for c in compiled
        ]
        return restored, (FORMAT, type(self), self.objective, self.settings, traced)


def restored(version: int, kind: type[Pickled], objective: Any, settings: Settings, traced: Sequence[Traced]) -> Any:
    """The program of a pickle, traced for the same data.

    Raises
    ------
    ModelError
        A model is not there, or declares something else than when the program was pickled.
    """
    if version != FORMAT:
        raise ModelError(f"a pickled program of format {version!r}; this version of ppl reads format {FORMAT}")
    program = kind(objective, settings)
    for arguments, digest in traced:
        if trace_digest(program.prepare(*arguments).trace) != digest:
            raise ModelError(
                f"model '{objective.model.name}' has changed since this program was pickled: compile it again"
            )
    return program
