"""The general loop of `ppl.fit`: one step per call from Python, what is recorded, and what ends a run.

`CompiledRun` (`ppl.training.compiled_run`) and `RankRun` (`ppl.ranks.training_loop`) are its variants. Where a step
is not finite, the run ends with an error that names the value where that began."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from ppl.choosing.tuner import Tuner, steps_until_decision
from ppl.errors import DataError, FitError, OptionError, ScheduleError
from ppl.ir.reference.noise import mix, node_hash
from ppl.lazy import optimizers
from ppl.runtime.call import Call, bind_call, take_optimizer_step
from ppl.runtime.nonfinite import FirstBadValue, find_bad_part, find_first_bad_value
from ppl.runtime.state import State
from ppl.training.batches import ArrayBatches, Batch
from ppl.training.checkpoints import INTEGER_COLUMNS, CheckpointFile
from ppl.training.history import BoundedHistory
from ppl.training.progress_bar import ProgressBar
from ppl.training.result import Fit, History
from ppl.training.signals import DeferredSignals
from ppl.training.streams import StreamBatches


def find_nonfinite_cause(
    program: Any, transform: Any, call: Call, loss: float, grad: np.ndarray, new: State
) -> tuple[str, FirstBadValue] | None:
    """Say what is wrong with the step of `call` to the state `new`, and where it came from.

    None if all that is not finite is the gradient of a frozen parameter.
    """
    layout, aux_layout = new._layouts
    frozen = getattr(transform, "trainable", None)
    used = grad if frozen is None else grad[frozen(layout)]
    if not math.isfinite(loss) or not np.isfinite(used).all():
        what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
        return what, find_first_bad_value(bind_call(program, call, check=False))
    if (name := find_bad_part(layout, new._flat)) is not None:
        return "the optimizer's step is not finite", FirstBadValue(name, f"parameter '{name}' overflows")
    if (name := find_bad_part(aux_layout, new._aux)) is not None:
        return "an adapted variable is not finite", FirstBadValue(name.rpartition("/")[0], f"'{name}' overflows")
    return None


Callback = Callable[[int, State, dict[str, float]], Any]

HyperValues = Mapping[str, float | Callable[[int], float]]

NO_MORE_BATCHES: Any = object()
"""Stands for a batch after the last."""


class Run:
    """One call of `fit`: the state, what was recorded, and the loop.

    Parameters
    ----------
    program, transform, hyper, source : what a step needs, and where batches come from.
    state : where the loop starts.
    start : the step at which the run began, before any interruption.
    """

    def __init__(
        self,
        program: Any,
        transform: Any,
        hyper: HyperValues | None,
        source: ArrayBatches | StreamBatches,
        state: State,
        start: int,
    ):
        self.program, self.transform, self.hyper, self.source = program, transform, hyper, source
        self.state, self.start = state, start
        self.history: dict[str, list[float]] = {"step": [], "loss": []}
        self.metrics: dict[str, float] = {}
        self.record: BoundedHistory | None = None
        self.end: int | None = None
        self.epochs: int | None = None
        self.checkpoint_file: CheckpointFile | None = None
        self.callback: Callback | None = None
        self.validate: Callable[[State], float] | None = None
        self.tuner: Tuner | None = None
        self.has_rows = not isinstance(source, ArrayBatches) or source.has_rows
        self.signals = DeferredSignals(ending=False)

    def limit(self, steps: int | None, epochs: int | None) -> None:
        """Work out where the run ends: at a step, or for a stream after a number of passes."""
        if steps is not None:
            self.end = self.start + steps
        elif isinstance(self.source, ArrayBatches):
            if not self.has_rows:
                raise OptionError("epochs= needs data rows in an outermost ppl.plate; use steps=")
            self.end = self.start + int(epochs or 0) * self.source.steps_per_epoch
        else:
            self.epochs = epochs

    @property
    def saves(self) -> bool:
        """Whether there is a checkpoint to write before the process ends."""
        return self.checkpoint_file is not None

    def train(self, progress: bool) -> Fit:
        """Take all steps; the checkpoint is written however this ends."""
        ahead = None if self.end is None else max(self.end - self.step, 0)
        with DeferredSignals(ending=self.saves) as self.signals:
            failed = hurried = True
            try:
                with ProgressBar(progress, ahead, "rows" if self.has_rows else "steps") as bar:
                    self._loop(bar)
                self._validate()
                failed = hurried = False
            except KeyboardInterrupt:
                failed = False
            finally:
                self.signals.close()
                self.source.close(hurried)
                self._save_last(failed)
            return self._result()

    def _save_checkpoint(self) -> None:
        """Write a checkpoint; if that fails, a warning says so."""
        assert self.checkpoint_file is not None
        self.checkpoint_file.try_to_save(*self._checkpoint_content())

    def _checkpoint_content(self) -> tuple[Any, ...]:
        """Return what a checkpoint stores; a file of the history is written first, so that it is not behind."""
        lists = self._consistent_history()
        if self.record is None:
            return self.state, self.start, lists, self.source.place, None
        self.record.flush()
        return self.state, self.start, lists, self.source.place, self.record.arrays()

    def _save_last(self, failed: bool) -> None:
        """Write the checkpoint at the end; where the training itself has not `failed`, that has to succeed."""
        if self.checkpoint_file is None:
            if self.record is not None:
                self._checkpoint_content()
            return
        if failed:
            self._save_checkpoint()
            return
        try:
            self.checkpoint_file.save(*self._checkpoint_content())
        except (OSError, DataError) as error:
            what = (
                f"the checkpoint '{self.checkpoint_file.path}' could not be written: {error}. The state is "
                f"this error's .state, "
            )
            what += "and what was reached is its .fit"
            raise FitError(what, self.shown, self.step, None, self._result()) from error

    def _loop(self, bar: ProgressBar) -> None:
        if self._finished():
            return
        self._validate_interrupted_epoch()
        batches = iter(self._batches())
        while (batch := self.signals.run_interruptible(next, batches, NO_MORE_BATCHES)) is not NO_MORE_BATCHES:
            if batch is not None:
                self._tune(batch)
                batch = self._take_batches(batch, batches, bar)
            self.source.used(batch)
            self._drain_history()
            if batch is None or batch.last:
                self._end_epoch()
            if self.checkpoint_file is not None and self.checkpoint_file.due(self.step):
                self._save_checkpoint()
            if (batch is not None and self._run_callback()) or self._finished():
                return
        warnings.warn(f"batches= ended after {self.step - self.start} steps", stacklevel=4)

    def _tune(self, batch: Batch) -> None:
        """Choose anew what takes the steps, beginning with that on `batch`, where that is due."""
        if steps_until_decision(self.tuner, self.step) > 0:
            return
        assert self.tuner is not None
        found = self.signals.run_interruptible(self.tuner.decide, self.state, batch, self)
        self.tuner.take(found)
        if found.state is not None:
            self._switch_program(found.program, found.state)

    def _switch_program(self, program: Any, state: State) -> None:
        """Go on with another program."""
        self.program, self.state = program, state

    @property
    def shown(self) -> State:
        """The state as one of the program that was passed."""
        return self.state if self.tuner is None else self.tuner.shown(self.state)

    def trains(self, program: Any) -> bool:
        """Return whether this loop can take the steps of a program."""
        return True

    def stepper(self, program: Any, state: State, batch: Batch) -> Callable[[int], int]:
        """Return a function that takes steps of a program on a batch, from a state, that nobody sees."""
        call = Call(state, batch.data, rows=batch.rows, total_rows=batch.total_rows, hyper=self.hyper)

        def take(count: int) -> int:
            for _ in range(count):
                take_optimizer_step(bind_call(program, call, False), self.transform)
            return count

        return take

    def comparison_batches(self, batch: Batch) -> Callable[[int], Batch]:
        """Return batches to compare choices on, by number; `batch` is that of the next step."""
        seed = mix(mix(self.state.seed, node_hash("ppl.fit/tuned rows")), self.step)
        drawn = self.source.batches_of_another_order(seed) if isinstance(self.source, ArrayBatches) else None
        return drawn or (lambda i: batch)

    def _take_batches(self, batch: Batch, batches: Iterator[Any], bar: ProgressBar) -> Batch:
        """Take the step on a batch, and perhaps those on more of the `batches` behind it; returns the last of them."""
        self._step(batch, bar)
        return batch

    def _validate_interrupted_epoch(self) -> None:
        """Validate where the run was interrupted between an epoch's last step and its validation."""
        if isinstance(self.source, ArrayBatches) and self.step % self.source.steps_per_epoch == 0:
            self._end_epoch()

    def _end_epoch(self) -> None:
        if self.has_rows and self.step > self.start:
            self._validate()

    def _batches(self) -> Iterable[Any]:
        return self.source.batches(self.step - (0 if isinstance(self.source, ArrayBatches) else self.start))

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.state.step

    def _finished(self) -> bool:
        if self.epochs is not None and isinstance(self.source, StreamBatches):
            return self.source.place[0] >= self.epochs
        return self.end is not None and self.step >= self.end

    def _run_callback(self) -> bool:
        """Call the user's function; whether it ends the training."""
        if self.callback is None or self.step % self._called_every:
            return False
        answer = self.signals.run_interruptible(self.callback, self.step, self.shown, dict(self.metrics))
        return isinstance(answer, (bool, np.bool_)) and bool(answer)

    @property
    def _called_every(self) -> int:
        """Steps between two calls of the callback: 1, unless it says so."""
        return int(getattr(self.callback, "every", 1))

    def _drain_history(self) -> None:
        """Move long lists out of memory, where the history is bounded."""
        if self.record is not None and self.record.due(self.history):
            self._consistent_history()
            self.record.flush()

    def _step(self, batch: Batch, bar: ProgressBar) -> None:
        call = Call(self.state, batch.data, rows=batch.rows, total_rows=batch.total_rows, hyper=self.hyper)
        try:
            new, scalars, grad = self.signals.run_interruptible(self._advance, call, batch.check)
        except ScheduleError as error:
            self._stop(str(error))
        loss = scalars["loss"]
        if not (math.isfinite(loss) and all(map(optimizers.all_finite, (grad, new._flat, new._aux)))):
            self.signals.run_interruptible(self._examine, call, loss, grad, new)
        for key, value in scalars.items():
            self.history.setdefault(key, []).append(value)
        self.history["step"].append(new.step)
        self.state = new
        self.metrics.update(scalars)
        bar.step(loss, batch.size)

    def _advance(self, call: Call, check: bool) -> tuple[State, dict[str, float], np.ndarray]:
        return take_optimizer_step(bind_call(self.program, call, check), self.transform)

    def _examine(self, call: Call, loss: float, grad: np.ndarray, new: State) -> None:
        """Raise FitError, unless all that is not finite is the gradient of a frozen parameter."""
        found = find_nonfinite_cause(self.program, self.transform, call, loss, grad, new)
        if found is not None:
            self._stop(f"{found[0]}. First: {found[1].text}", found[1].node)

    def _stop(self, what: str, node: str | None = None) -> NoReturn:
        """End the training before a step that must not be taken."""
        raise FitError(
            f"training stopped at step {self.step}: {what}. The state before that "
            "step is this error's .state, and what was reached is its .fit",
            self.shown,
            self.step,
            node,
            self._result(),
        )

    def _validate(self) -> None:
        """Evaluate and record, unless that has been done for this state."""
        if self.validate is None or self.step in self.history.get("validation_step", [])[-1:]:
            return
        if self.record is not None and self.step == self.record.last_check:
            return
        value = float(self.signals.run_interruptible(self.validate, self.shown))
        self.history.setdefault("validation", []).append(value)
        self.history.setdefault("validation_step", []).append(self.step)
        self.metrics["validation"] = value
        if self.checkpoint_file is not None:
            self.checkpoint_file.validated(value, self.shown)

    def _consistent_history(self) -> dict[str, list[float]]:
        """Return the history up to the state: an interrupt may have come between two entries."""
        n = bisect_right(self.history["step"], self.step)
        checks = min(len(self.history.get(key, ())) for key in ("validation", "validation_step"))
        found = {k: v[: checks if k.startswith("validation") else n] for k, v in self.history.items()}
        if self.record is None:
            return found
        self.history = found
        self.record.drain(found)
        return self.record.thinned()

    def _result(self) -> Fit:
        arrays = {
            k: np.array(v, np.int64 if k in INTEGER_COLUMNS else float) for k, v in self._consistent_history().items()
        }
        state, history, tuner = self.state, History("record of training", arrays), self.tuner
        chosen = () if tuner is None else (tuner.choices, self.program)
        return Fit(tuner.shown(state) if tuner else state, self.program.params(state), history, *chosen)
