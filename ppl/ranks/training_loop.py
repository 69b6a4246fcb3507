"""The loop of `ppl.fit` on several processes: each computes its share of a step, and all take the same update.

Between two messages every rank works alone, and whatever goes wrong there is told in the header of the next message;
so no rank waits for one that has left, and all end at the same step. Users' functions, checkpoints and the bar are
those of rank 0. Where MPI reads the memory of devices, gradients stay there (`DeviceRun`)."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ppl.compiler.lower.request import Result
from ppl.errors import FitError, RankError, ScheduleError, SimulatorError, in_words
from ppl.lazy import cuda_launch, optimizers
from ppl.ranks.calls import particle_range
from ppl.ranks.communicator import Communicator, mute_reported_errors
from ppl.ranks.device_sums import DeviceSums, mpi_reads_device_memory
from ppl.ranks.partitioned import CallInputs, PartitionedProgram, SummedResult
from ppl.ranks.training_batches import RankArrayBatches, RankStreamBatches
from ppl.runtime.call import BoundCall, Call, bind_call
from ppl.runtime.failures import locate_failure
from ppl.runtime.nonfinite import find_first_bad_value
from ppl.runtime.state import State
from ppl.training.batches import Batch
from ppl.training.progress_bar import ProgressBar
from ppl.training.run import NO_MORE_BATCHES, Run

STEP, ENDS, INTERRUPTED, FAILED, FAILED_ELSEWHERE = range(5)
"""What a rank says: it has taken its part of a step; the training ends; Ctrl-C; its own error; that of another rank."""

IN_PLACE_ENTRY, RATE_ENTRY, FIXED_ENTRIES = 3, 4, 5
"""Where a head has whether the step can be taken in place, and its rate; and what is in all heads, before what comes
next, as `source.ask` tells it, and the scalars."""


class FailedElsewhere(FitError):
    """A step that another rank has to explain."""


class StepShare(NamedTuple):
    """What a rank has found of a step: its result and call, None where it has no rows, and its rows (particles).

    `plain` says that it has found nothing that keeps the step from being taken in place, with the learning rate `rate`.
    """

    result: Result | None
    bound: BoundCall | None
    taken: int
    plain: bool = False
    rate: float = 0.0


HISTORY_STEPS = 4096
"""Steps that ranks remember which keep no history."""

COMPARE_EVERY = 256
"""Steps after which ranks compare their parameters."""


class RankRun(Run):
    """A `Run` of which every rank takes a part.

    Parameters
    ----------
    ranks : the communicator.
    shared : the gradient, shared out.
    saves : whether rank 0 writes checkpoints, for which all ranks wait.
    rest : arguments of `Run`.
    """

    source: RankArrayBatches | RankStreamBatches
    bounded = False
    """Whether rank 0 alone keeps the history while the run lasts."""
    gradient: np.ndarray | None = None
    """Where this rank's gradient is written, if not to memory of its own."""

    def __init__(self, ranks: Communicator, shared: PartitionedProgram, saves: bool, *rest: Any):
        self.ranks, self.shared = ranks, shared
        self._left, self._saves = False, saves
        super().__init__(*rest)
        self._scalars = FIXED_ENTRIES + self.source.nothing.size

    @property
    def saves(self) -> bool:
        """Whether rank 0 has a checkpoint to write before processes end."""
        return self._saves

    def _loop(self, bar: ProgressBar) -> None:
        batches = iter(self._batches())
        ready, unread = None, self.source.reads_ahead
        while True:
            said, part, batch, coming = STEP, StepShare(None, None, 0), None, self.source.nothing
            error: BaseException | None = None
            try:
                if ready is None:
                    if not self._finished():
                        self._validate_interrupted_epoch()
                else:
                    self._finish(*ready, bar)
                    if self._after_step(ready[0]):
                        said = ENDS
                if self._finished():
                    said = ENDS
                if said == STEP:
                    self.signals.check()
                    if not unread:
                        said, batch, part = self._next(batches)
                    coming = self._coming(said, batch)
            except KeyboardInterrupt:
                said = INTERRUPTED
            except FailedElsewhere as raised:
                said, error = FAILED_ELSEWHERE, raised
            except BaseException as raised:
                said, error = FAILED, raised
            heads = self.ranks.exchange(self._header(said, part, coming))
            self._raise_failures(heads, error)
            if (heads[:, 0] == ENDS).any():
                return
            self.source.told(heads[:, FIXED_ENTRIES : self._scalars])
            unread = False
            ready = None if batch is None else (batch, part, *self._reduce(batch, part, heads))

    def _next(self, batches: Iterator[Batch | None]) -> tuple[int, Batch | None, StepShare]:
        """What to say, the next batch, and this rank's part of the step on it; no batch where a pass ends."""
        batch = self.signals.run_interruptible(next, batches, NO_MORE_BATCHES)
        nothing = StepShare(None, None, 0)
        if batch is NO_MORE_BATCHES:
            if self.ranks.rank == 0:
                warnings.warn(f"batches= ended after {self.step - self.start} steps", stacklevel=5)
            return ENDS, None, nothing
        if batch is None:
            self.source.used(None)
            self._end_epoch()
            return STEP, None, nothing
        return STEP, batch, self.signals.run_interruptible(self._own_share, batch)

    def _coming(self, said: int, batch: Batch | None) -> np.ndarray:
        """What comes after this step, where ranks have to know and there is a step to come."""
        last = self.end is not None and self.step + (batch is not None) >= self.end
        if said == ENDS or last or self._finished():
            return self.source.nothing
        found: np.ndarray = self.signals.run_interruptible(self.source.ask)
        return found

    def _after_step(self, batch: Batch) -> bool:
        """What follows a step on rank 0: validation, checkpoint, callback; whether the training ends."""
        self.source.used(batch)
        self._drain_history()
        if batch.last:
            self._end_epoch()
        if self.checkpoint_file is not None and self.checkpoint_file.due(self.step):
            self._save_checkpoint()
        return self._run_callback()

    def _drain_history(self) -> None:
        """Move long lists out of memory; ranks that keep no history of their own forget them."""
        super()._drain_history()
        if self.bounded and self.ranks.rank and len(self.history["step"]) >= HISTORY_STEPS:
            for values in self.history.values():
                values.clear()

    @property
    def _current_state(self) -> State:
        """The state, which nobody keeps."""
        return self.state

    def _own_share(self, batch: Batch) -> StepShare:
        """This rank's part of a step."""
        if not batch.size:
            return StepShare(None, None, 0)
        if self.source.has_rows:
            first, count = 0, 0 if batch.rows is None else len(batch.rows)
        else:
            first, end = particle_range(self.ranks, self.program.settings.particles)
            count = end - first
        if not count:
            return StepShare(None, None, 0)
        call = Call(self._current_state, batch.data, rows=batch.rows, total_rows=batch.total_rows, hyper=self.hyper)
        bound = bind_call(self.program, call, batch.check)
        try:
            return StepShare(self.shared.own(bound, (first, count), self.gradient), bound, count)
        except SimulatorError as error:
            raise locate_failure(error, self.shared.compiled.gradient, bound.environment) from error.__cause__

    def _header(self, said: int, part: StepShare, coming: np.ndarray) -> np.ndarray:
        """What this rank tells the others: status, rows, a checksum now and then, what comes next, its scalars."""
        compared = self.step % COMPARE_EVERY == 0 or said == ENDS
        mark = zlib.crc32(self._current_state._flat.data) if compared else 0
        found = part.result
        scalars = [0.0 if found is None else found.scalars[name] for name in self.shared.scalars]
        return np.array([said, part.taken, mark, part.plain, part.rate, *coming, *scalars], float)

    def _raise_failures(self, heads: np.ndarray, error: BaseException | None) -> None:
        """Raise on all ranks what has gone wrong on one of them."""
        said = heads[:, 0]
        if (said >= FAILED).any():
            self._left = True
            self._explain(said, error)
        if (said == INTERRUPTED).any():
            raise KeyboardInterrupt
        if len(set(said)) == 1 and len(set(heads[:, 2])) > 1:
            self._left = True
            mute_reported_errors()
            raise RankError(
                f"ranks hold different parameters after {self.step} steps: they run on different processors, or an "
                "optimizer does not do the same on all",
                0,
            )

    def _explain(self, said: np.ndarray, error: BaseException | None) -> NoReturn:
        """Raise this rank's `error`, or that of the first rank that has one of its own, which alone prints it."""
        told = self.ranks.comm.allgather(None if error is None else (in_words(error), str(error)))
        speaker = int(np.flatnonzero(said == (FAILED if (said == FAILED).any() else FAILED_ELSEWHERE))[0])
        if speaker == self.ranks.rank:
            assert error is not None
            raise error
        mute_reported_errors()
        if isinstance(error, FitError):
            stopped = FitError(told[speaker][1], self.state, self.step, None, self._result())
            stopped.__ppl_quiet__ = True  # type: ignore[attr-defined]
            raise stopped
        if error is not None:
            error.__ppl_quiet__ = True  # type: ignore[attr-defined]
            raise error
        raise RankError(f"rank {speaker} stopped: {told[speaker][0]}", speaker)

    def _reduce(self, batch: Batch, part: StepShare, heads: np.ndarray) -> tuple[Any, ...]:
        """The sum over ranks, the scalars, and how many rows there were."""
        rows, weights, scalars = self._weighted_scalars(heads)
        if part.result is None:
            vector = np.zeros(self.shared.entries, self._current_state._flat.dtype)
        else:
            vector = self.shared.packed(part.result, weights[self.ranks.rank])
        return self.ranks.weighted_sum(vector, weights), scalars, rows

    def _weighted_scalars(self, heads: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
        """The rows of all ranks, the weights of these, and the scalars."""
        rows = int(heads[:, 1].sum())
        weights = heads[:, 1] / rows
        nothing = np.zeros(len(self.shared.scalars))
        scalars = sum((w * head[self._scalars :] for w, head in zip(weights, heads, strict=True) if w), nothing)
        return rows, weights, scalars

    def _finish(self, batch: Batch, part: StepShare, *rest: Any) -> None:
        """Take the step that all ranks have computed; `rest` are what `_reduce` gives, and the bar."""
        vector, scalars, rows, bar = rest
        state, total = self._current_state, self.source.total_of(rows)
        compiled = self.shared.compiled
        try:
            found = self.shared.unpacked(vector, scalars, self._moment(), rows, total)
            flat, opt = self.transform.apply(
                state._flat, found.grad, state._opt, state._layouts[0], state._step, 1.0 / total
            )
        except ScheduleError as error:
            self._stop(str(error))
        new = State.unchecked(flat, found.aux, state._layouts, state._step + 1, state._seed, opt, compiled.estimators)
        loss = found.scalars["loss"] / total
        if not (math.isfinite(loss) and all(map(optimizers.all_finite, (found.grad, new._flat, new._aux)))):
            self.signals.run_interruptible(self._examine_part, part, loss, found, new)
        self._accept_step(new, {k: v / total for k, v in found.scalars.items()}, batch, bar)

    def _moment(self) -> CallInputs:
        """What all ranks know of the step to come."""
        state = self._current_state
        hypers = self.shared.compiled.hyper_vector(self.hyper, state._step)
        return CallInputs(state, hypers, self.program.settings.particles, state._seed, state._step)

    def _accept_step(self, new: State, scalars: dict[str, float], batch: Batch, bar: ProgressBar) -> None:
        """Record a step, which led to a new state."""
        self.state = new
        self._record_step(new.step, scalars, batch, bar)

    def _record_step(self, step: int, scalars: dict[str, float], batch: Batch, bar: ProgressBar) -> None:
        """Record a step."""
        for key, value in scalars.items():
            self.history.setdefault(key, []).append(value)
        self.metrics.update(scalars)
        self.history["step"].append(step)
        bar.step(scalars["loss"], batch.size)

    def _examine_part(self, part: StepShare, loss: float, found: SummedResult, new: State) -> None:
        """`_examine` on the rank whose part is not finite; the others wait for what it says."""
        frozen = getattr(self.transform, "trainable", None)
        used = found.grad if frozen is None else found.grad[frozen(new._layouts[0])]
        if not math.isfinite(loss) or not np.isfinite(used).all():
            what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
            own = part.result
            if own is None or (math.isfinite(own.scalars["loss"]) and np.isfinite(own.grad).all()):
                raise FailedElsewhere(f"training stopped at step {self.step}: {what}", self.state, self.step, None)
            assert part.bound is not None
            culprit = find_first_bad_value(part.bound)
            self._stop(f"{what}. First, on rank {self.ranks.rank}: {culprit.text}", culprit.node)
        self._examine(None, loss, found.grad, new)  # type: ignore[arg-type]

    def _save_last(self, failed: bool) -> None:
        """Rank 0 writes the checkpoint; no rank leaves before that is done."""
        error: BaseException | None = None
        try:
            super()._save_last(failed)
        except BaseException as raised:
            error = raised
        ended = self._left
        self._left = True
        said = FAILED if error is not None or (failed and not ended) else ENDS
        head = np.zeros(self._scalars + len(self.shared.scalars))
        head[0] = said
        heads = self.ranks.exchange(head)
        if ended:
            if error is not None:
                raise error
            return
        if (heads[:, 0] == FAILED).any():
            if failed:
                self.ranks.comm.allgather(("it failed", "it failed"))
                return
            self._explain(heads[:, 0], error)
        whole = self._consistent_history() if self.bounded else self.history
        told = {k: list(v) for k, v in whole.items() if self.bounded or k.startswith("validation")}
        told = self.ranks.comm.bcast(told, 0)
        if self.ranks.rank:
            self.history.update(told)


class DeviceRun(RankRun):
    """A `RankRun` whose gradients stay on the devices until they have been added up."""

    def __init__(self, ranks: Communicator, shared: PartitionedProgram, *rest: Any):
        executable = shared.executable
        self.sums = DeviceSums(ranks, executable.target.device, executable.n_params, executable.float)
        self.gradient = self.sums.vector
        super().__init__(ranks, shared, *rest)

    def _reduce(self, batch: Batch, part: StepShare, heads: np.ndarray) -> tuple[Any, ...]:
        """See `RankRun`."""
        rows, weights, scalars = self._weighted_scalars(heads)
        found = self.sums.total(weights)
        more = self.shared.entries - found.size
        if not more:
            return found, scalars, rows
        own = np.zeros(more, found.dtype)
        if part.result is not None:
            own = self.shared.rest(part.result, weights[self.ranks.rank])
        return np.concatenate([found, self.ranks.weighted_sum(own, weights)]), scalars, rows

    def _examine_part(self, part: StepShare, loss: float, found: SummedResult, new: State) -> None:
        """See `RankRun`."""
        if part.result is not None:
            part = part._replace(result=part.result._replace(grad=cuda_launch.fetched(self.sums.vector)))
        super()._examine_part(part, loss, found, new)


def reduces_on_devices(ranks: Communicator, shared: PartitionedProgram) -> bool:
    """Whether gradients are computed on devices whose memory MPI reads, on all ranks. Collective."""
    own = shared.executable.target.printer == "cuda" and bool(shared.executable.request.grads)
    if not own:
        return False
    aware = ranks.run_on_all(mpi_reads_device_memory)
    return bool(ranks.exchange(np.array([aware], float)).all())
