"""Thresholds of `ppl/tuning.py`: times around them on this machine, and the file's lines that they speak for."""

from __future__ import annotations

import os
from typing import Any

from benchmarks import tuning, tuning_kernels, tuning_programs

BUSY = 0.5
"""Load of other programs from which on times of several threads say nothing."""


def run(peers: list[str]) -> dict[str, Any]:
    """A table for each number, and the lines."""
    before = os.getloadavg()
    questions = [*tuning_programs.questions(), *tuning_kernels.questions()]
    after = os.getloadavg()
    busy = max(before[0], after[0] - 1) > BUSY
    print("\n".join(found := tuning.lines({q.name: tuning.suggested(q, busy) for q in questions})))
    return {
        "title": "Thresholds of `ppl/tuning.py`",
        "tables": [*(q.table() for q in questions), {"columns": ["lines"], "rows": [[f"`{line}`"] for line in found]}],
        "notes": [
            "The least time of each in turns. A line changes where another value takes at least "
            f"{100 * tuning.SLACK:.0f} % less time, over all sizes together.",
            "They are times of these pieces of work. Before a changed line is taken, whole steps should agree: "
            "`python -m benchmarks suite`.",
            f"Load of the machine: {before[0]:.1f} at the start, {after[0]:.1f} at the end."
            + " Numbers about several threads keep their values: on a busy machine threads wait for one another."
            * busy,
        ],
    }
