"""A way of taking training steps, ours or a peer's, and its clock. Needs the standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple


def _ready(result: Any) -> None:
    """The call had finished when it returned."""


class Form(NamedTuple):
    """A call that takes `steps` training steps; `wait` blocks until what the call returned is computed."""

    call: Callable[[], Any]
    steps: int = 1
    wait: Callable[[Any], object] = _ready


def seconds_per_step(form: Form, calls: int) -> float:
    """Mean seconds of a step over `calls` calls in a row; waits once, after the last."""
    begin = time.perf_counter()
    last = None
    for _ in range(calls):
        last = form.call()
    form.wait(last)
    return (time.perf_counter() - begin) / (calls * form.steps)


def calls_for(form: Form, seconds: float) -> int:
    """How many calls last about `seconds`; the first two, which may compile, are not counted."""
    form.wait(form.call())
    form.wait(form.call())
    calls = 1
    while (taken := seconds_per_step(form, calls) * calls * form.steps) < seconds / 4:
        calls *= 4
    return max(1, round(calls * seconds / taken))
