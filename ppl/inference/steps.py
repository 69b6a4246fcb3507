"""Sites of loops over time that are written out: one name for all steps, and their values with an axis of time."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ppl.lang.time.record import CLOSE, OPEN, base_name
from ppl.lang.trace import Trace


def steps_named(trace: Trace, name: str) -> list[str]:
    """The sites of a trace that `name` stands for: itself, or those of all steps in order."""
    if name in trace.sites:
        return [name]
    return sorted((n for n in trace.sites if base_name(n) == name), key=_numbers)


def with_steps(trace: Trace, query: Sequence[str]) -> list[tuple[str, ...]]:
    """The names of a query in every step."""
    columns = [steps_named(trace, name) for name in query]
    return [tuple(names) for names in zip(*columns, strict=True)]


def steps_of(trace: Trace, names: Sequence[str], parts: Sequence[np.ndarray], lead: int) -> np.ndarray:
    """The values of all steps as one array; their axes stand after the `lead` first ones."""
    if len(names) == 1 and not _numbers(names[0]):
        return parts[0]
    lengths = [n + 1 for n in _numbers(names[-1])]
    found = np.stack(parts, axis=lead)
    return found.reshape(*found.shape[:lead], *lengths, *found.shape[lead + 1 :])


def _numbers(name: str) -> list[int]:
    return [int(n) for n in re.findall(f"{OPEN}(\\d+){CLOSE}", name)]
