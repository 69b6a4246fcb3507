"""A way of taking training steps, ours or a peer's, and its clock. Needs the standard library only.

With `PPL_BENCHMARK_CLOCK=cpu` the clock counts the CPU seconds of the process, which other programs do not stop: for
busy machines, on one core (`taskset`), where no thread waits for another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

CPU_CLOCK = os.environ.get("PPL_BENCHMARK_CLOCK") == "cpu"
"""Whether seconds are those that the processor has worked for a process."""

now = time.process_time if CPU_CLOCK else time.perf_counter


def _ready(result: Any) -> None:
    """The call had finished when it returned."""


class Form(NamedTuple):
    """A call that takes `steps` training steps; `wait` blocks until what the call returned is computed."""

    call: Callable[[], Any]
    steps: int = 1
    wait: Callable[[Any], object] = _ready


def seconds_per_step(form: Form, calls: int) -> float:
    """Mean seconds of a step over `calls` calls in a row; waits once, after the last."""
    begin = now()
    last = None
    for _ in range(calls):
        last = form.call()
    form.wait(last)
    return (now() - begin) / (calls * form.steps)


def calls_for(form: Form, seconds: float) -> int:
    """How many calls last about `seconds`; the first two, which may compile, are not counted."""
    form.wait(form.call())
    form.wait(form.call())
    calls = 1
    while (taken := seconds_per_step(form, calls) * calls * form.steps) < seconds / 4:
        calls *= 4
    return max(1, round(calls * seconds / taken))
