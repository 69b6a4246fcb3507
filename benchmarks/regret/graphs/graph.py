"""What a graph of the table is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

GRAPHS: dict[str, Callable[[], Graph]] = {}


@dataclass(frozen=True, eq=False)
class Graph:
    """An objective with data, parameters to measure at (those of `init` where none are given), and a title.

    With `trained`, parameters are measured after so many steps of Adam at `rate` under the automatic plan.
    """

    title: str
    objective: Any
    data: tuple[Any, ...] = ()
    params: dict[str, np.ndarray] = field(default_factory=dict)
    trained: int = 0
    rate: float = 0.01
    group: str = ""


def graph(build: Callable[[], Graph]) -> Callable[[], Graph]:
    """Register a graph under the name of the function that builds it."""
    group = build.__module__.rpartition(".")[2]
    GRAPHS[build.__name__] = lambda: replace(build(), group=group)
    return build


def trained(steps: int, rate: float = 0.01) -> Callable[[Callable[[], Graph]], Callable[[], Graph]]:
    """Register a graph twice: at its start, and after training."""

    def register(build: Callable[[], Graph]) -> Callable[[], Graph]:
        graph(build)
        group = build.__module__.rpartition(".")[2]

        def after() -> Graph:
            found = build()
            return replace(found, title=f"{found.title}, trained", trained=steps, rate=rate, group=group)

        GRAPHS[f"{build.__name__}_trained"] = after
        return build

    return register
