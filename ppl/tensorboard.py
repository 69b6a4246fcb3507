"""Write the metrics of `ppl.fit` for TensorBoard."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ppl.arguments import MANY, file_path, integer
from ppl.extras import require_package


class TensorBoard:
    """A `callback=` of `ppl.fit` that writes the loss, the costs and the validation of every `every`-th step.

    A run that is taken up writes a new file, which tells TensorBoard to forget what came behind its first step.
    ``tensorboard --logdir folder`` shows it.

    Parameters
    ----------
    folder : made if it is not there.
    every : steps between two entries. Steps between them are taken in one call of compiled code.

    Raises
    ------
    OptionError
        `folder` is no path, or `every` no positive number.
    MissingPackageError
        tensorboardX is not installed: ``pip install "numba-ppl[tensorboard]"``.
    """

    _writer: Any = None

    def __init__(self, folder: Any, every: int = 100):
        self.folder = file_path("TensorBoard: folder", folder)
        self.every = integer("TensorBoard: every", every, 1, MANY)
        require_package("tensorboardX", "ppl.TensorBoard", "tensorboard")

    def __reduce__(self) -> tuple[Any, ...]:
        return TensorBoard, (self.folder, self.every)

    def __call__(self, step: int, state: Any, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a step."""
        from tensorboardX.event_file_writer import EventsWriter  # optional
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary

        if self._writer is None:
            os.makedirs(self.folder, exist_ok=True)
            own = f".{os.getpid()}.{time.time_ns()}"  # two runs may begin in the same second
            self._writer = EventsWriter(os.path.join(self.folder, "events"), own)
            start = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(step=step, wall_time=time.time(), session_log=start))
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._writer.write_event(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))
        self._writer.flush()
