"""Fuzz the public API: ``python -m tests.fuzz.run CALLS SEED [--all]``; the exit status says whether all went well.

A call takes its right arguments, of which up to two are replaced by values of the pool. It has to return, or to raise
a ppl error; with right arguments alone it returns the same every time. Each call is printed before it is made, so that
the last line of the output is the call that crashed the process, if one did.
"""

from __future__ import annotations

import collections
import sys
import warnings
from typing import Any

import matplotlib
import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ppl.errors import PplError
from tests.fuzz.calls import calls, uncompiled_calls
from tests.fuzz.pool import pool

KEYS = tuple(pool())
answers: dict[str, Any] = {}
counts: collections.Counter[str] = collections.Counter()


def digest(value: Any) -> Any:
    """A result as something that compares; None for what is no number, array, dict or tuple of them."""
    if isinstance(value, dict):
        return {key: digest(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(map(digest, value))
    if isinstance(value, (int, float, str, np.generic)):
        return repr(value)
    return (value.shape, value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else None


def attempt(name: str, replaced: dict[str, str], table: dict[str, Any]) -> None:
    """Make one call."""
    print(f"{name}({', '.join(f'{k} = {v}' for k, v in replaced.items())})", flush=True)
    call, values = table[name], pool()
    arguments = {**call.good, **{k: values[v] for k, v in replaced.items()}}
    counts["calls"] += 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = call.function(**arguments)
    except (PplError, *call.raises):
        counts["refused"] += 1
        return
    counts["accepted"] += 1
    if not replaced:
        assert answers.setdefault(name, digest(result)) == digest(result), f"{name} gave two answers"


def main(number: int, start: int, everything: bool) -> None:
    """Make so many calls."""
    matplotlib.use("Agg")
    table = calls() if everything else uncompiled_calls()

    @st.composite
    def replacements(draw: Any) -> tuple[str, dict[str, str]]:
        name = draw(st.sampled_from(sorted(table)))
        free = [k for k in table[name].good if k not in table[name].kept]
        chosen = draw(st.lists(st.sampled_from(free), max_size=2, unique=True)) if free else []
        return name, {k: draw(st.sampled_from(KEYS)) for k in chosen}

    @seed(start)
    @settings(max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(replacements())
    def fuzz(drawn: tuple[str, dict[str, str]]) -> None:
        attempt(*drawn, table)

    fuzz()
    print(f"{counts['calls']} calls: {counts['accepted']} accepted, {counts['refused']} refused", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), "--all" in sys.argv)
