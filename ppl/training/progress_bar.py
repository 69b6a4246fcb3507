"""The progress bar of `ppl.fit`: steps, loss per row, rows per second, on a terminal or in a notebook."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol

from ppl.notebook.output import Output, in_notebook, progress_bar
from ppl.progress import line

REDRAW_SECONDS = 0.1


class BarDisplay(Protocol):
    """Where a bar is drawn."""

    def update(self, steps: int, total: int | None, loss: str, speed: str, waiting: str) -> None:
        """Draw the bar anew; `waiting` says what the next step waits for."""
        ...

    def close(self) -> None:
        """Leave the bar as it is."""
        ...


class TerminalBar:
    """A bar of rich."""

    def __init__(self, total: int | None):
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
        self._task: Any = self._progress.add_task("fit", total=total, loss="–", speed="")

    def update(self, steps: int, total: int | None, loss: str, speed: str, waiting: str) -> None:
        """Draw the bar anew."""
        description = f"fit: {waiting}" if waiting else "fit"
        self._progress.update(self._task, completed=steps, loss=loss, speed=speed, description=description)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


class NotebookBar:
    """A bar below a cell."""

    def __init__(self) -> None:
        self._output = Output()

    def update(self, steps: int, total: int | None, loss: str, speed: str, waiting: str) -> None:
        """Draw the bar anew."""
        share = None if not total else min(1.0, steps / total)
        parts = [f"fit: {waiting}" if waiting else "fit", f"{steps}/{total}" if total else f"{steps} steps"]
        parts += [f"loss {loss}", speed] if speed else []
        self._output.show(progress_bar(share, " · ".join(parts)))

    def close(self) -> None:
        """Leave the bar as it is."""


class ProgressBar:
    """A progress bar that is redrawn ten times a second at most; `loss` is averaged in between.

    Parameters
    ----------
    shown : False makes every method do nothing.
    total : number of steps, None if not known.
    unit : what `rows` counts, "rows" or "steps".
    """

    def __init__(self, shown: bool, total: int | None, unit: str):
        self.shown = shown and ((sys.stderr is not None and sys.stderr.isatty()) or in_notebook())
        self.total, self.unit = total, unit
        self.drawn = self.began = time.monotonic()
        self.loss, self.losses, self.rows, self.steps = 0.0, 0, 0, 0
        self._screen: BarDisplay | None = None
        self._last = "–", ""
        self._waits = ExitStack()

    def __enter__(self) -> ProgressBar:
        if self.shown:
            self._screen = NotebookBar() if in_notebook() else TerminalBar(self.total)
            self._update("")
            self._waits.enter_context(line.through(self._update))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waits.close()
        if self._screen is not None:
            self._draw(time.monotonic())
            self._screen.close()

    def step(self, loss: float, rows: int) -> None:
        """Count one training step on `rows` rows."""
        if not self.shown:
            return
        self.loss += loss
        self.losses += 1
        self.rows += rows
        self.steps += 1
        now = time.monotonic()
        if now - self.drawn > REDRAW_SECONDS:
            self._draw(now)

    def _update(self, waiting: str) -> None:
        """Show what the next step waits for, "" if nothing, with what was drawn last."""
        if self._screen is not None:
            self._screen.update(self.steps, self.total, *self._last, waiting)

    def _draw(self, now: float) -> None:
        if not self.losses:
            return
        speed = f"{self.rows / max(now - self.began, 1e-9):,.0f} {self.unit}/s"
        self._last = f"{self.loss / self.losses:.5g}", speed
        self._update("")
        self.drawn, self.loss, self.losses = now, 0.0, 0
