"""The progress bar of `ppl.fit`: steps, loss per row, rows per second. Silent where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from ppl.progress import line

INTERVAL = 0.1


class Bar:
    """A rich progress bar that is redrawn ten times a second at most; `loss` is averaged in between.

    Parameters
    ----------
    shown : False makes every method do nothing.
    total : number of steps, None if not known.
    unit : what `rows` counts, "rows" or "steps".
    """

    def __init__(self, shown: bool, total: int | None, unit: str):
        self.shown = shown and sys.stderr is not None and sys.stderr.isatty()
        self.total, self.unit = total, unit
        self.drawn = self.began = time.monotonic()
        self.loss, self.losses, self.rows, self.steps = 0.0, 0, 0, 0
        self._progress: Any = None
        self._task: Any = None
        self._waits = ExitStack()

    def __enter__(self) -> Bar:
        if self.shown:
            from rich.console import Console  # rich is slow to import
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}"),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=Console(file=sys.stderr))
            self._progress.start()
            self._task = self._progress.add_task("fit", total=self.total, loss="–", speed="")
            self._waits.enter_context(line.through(self._waiting))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waits.close()
        if self._progress is not None:
            self._draw(time.monotonic())
            self._progress.stop()

    def step(self, loss: float, rows: int) -> None:
        """Count one training step on `rows` rows."""
        if not self.shown:
            return
        self.loss += loss
        self.losses += 1
        self.rows += rows
        self.steps += 1
        now = time.monotonic()
        if now - self.drawn > INTERVAL:
            self._draw(now)

    def _waiting(self, text: str) -> None:
        """Show what the next step waits for, "" if nothing, before the bar."""
        self._progress.update(self._task, description=f"fit: {text}" if text else "fit")

    def _draw(self, now: float) -> None:
        if not self.losses:
            return
        speed = f"{self.rows / max(now - self.began, 1e-9):,.0f} {self.unit}/s"
        self._progress.update(self._task, completed=self.steps, loss=f"{self.loss / self.losses:.5g}", speed=speed)
        self.drawn, self.loss, self.losses = now, 0.0, 0
