"""What a program is called with, as one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ppl.runtime.state import State


class Call(NamedTuple):
    """What a program is called with."""

    state: State
    data: Sequence[Any]
    seed: int | None
    particles: int | None
    total_rows: Any
    rows: Any
    hyper: Mapping[str, Any] | None

    @property
    def noise(self) -> tuple[int, int]:
        """Seed and step of the noise."""
        return (self.state.seed, self.state.step) if self.seed is None else (int(self.seed), 0)
