"""The loop of `ppl.fit` on several processes for optimizers that leave rows without a gradient alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppl.errors import ScheduleError
from ppl.lazy import optimizers
from ppl.ranks.partitioned import PartitionedTableProgram, TouchedRows
from ppl.ranks.training_loop import FailedElsewhere, RankRun, StepShare
from ppl.runtime.nonfinite import find_first_bad_value
from ppl.runtime.state import State
from ppl.training.batches import Batch


class TableRankRun(RankRun):
    """A `RankRun` that updates the rows of tables that a step touches, on vectors of its own.

    The optimizer takes its step on one short vector: what lies outside tables, then the touched rows.
    """

    shared: PartitionedTableProgram
    _owned: State | None = None

    def _after_step(self, batch: Batch) -> bool:
        """As in `RankRun`; what a user's function has been shown stays as it is."""
        if self.callback is not None or (self.validate is not None and (batch.last or self.source.reads_ahead)):
            self._owned = None
        return super()._after_step(batch)

    def _reduce(self, batch: Batch, part: StepShare, heads: np.ndarray) -> Any:
        weights = heads[:, 1] / heads[:, 1].sum()
        found = self.shared.together(self.ranks, part.result, weights, self.state._flat.dtype)
        return found, *super()._reduce(batch, part, heads)

    def _finish(self, batch: Batch, part: StepShare, *rest: Any) -> None:
        touched, vector, values, rows, bar = rest
        total, scalars = self.source.total_of(rows), dict(zip(self.shared.scalars, values.tolist(), strict=True))
        aux = self.state._aux
        grad = np.concatenate([vector[: vector.size - aux.size] if self._adapts else vector,
                               *(t.sums.reshape(-1) for t in touched)])  # fmt: skip
        new_aux = vector[vector.size - aux.size :] if self._adapts else aux
        state = self._own_state()
        opt = state._opt or {"t": 0, **{name: np.zeros_like(state._flat) for name in self.transform.slots}}
        before = {"t": opt["t"], **{name: self._gathered(opt[name], touched) for name in self.transform.slots}}
        flat = self._gathered(state._flat, touched)
        try:
            new, after = self.transform.apply(flat, grad, before, None, state._step, 1.0 / total)
        except ScheduleError as error:
            self._stop(str(error))
        loss = scalars["loss"] / total
        if not (math.isfinite(loss) and all(map(optimizers.all_finite, (grad, new, new_aux)))):
            self._owned = None
            self.signals.run_interruptible(self._examine_rows, part, loss, grad)
        self._scatter(state._flat, new, touched)
        for name in self.transform.slots:
            self._scatter(opt[name], after[name], touched)
        compiled, step = self.shared.compiled, state._step + 1
        opt = {"t": after["t"], **{name: opt[name] for name in self.transform.slots}}
        self._owned = State.unchecked(state._flat, new_aux, state._layouts, step, state._seed, opt, compiled.estimators)
        self._accept_step(self._owned, {k: v / total for k, v in scalars.items()}, batch, bar)

    @property
    def _adapts(self) -> bool:
        return bool(self.shared.executable.request.aux)

    def _own_state(self) -> State:
        """The state, on vectors that nobody else sees."""
        if self._owned is self.state:
            return self.state
        state = self.state
        slots = self.transform.slots
        opt = None if state._opt is None else {"t": state._opt["t"], **{n: state._opt[n].copy() for n in slots}}
        return state.replace(opt=opt, params=state.params)

    def _gathered(self, vector: np.ndarray, touched: list[TouchedRows]) -> np.ndarray:
        """The entries that a step moves."""
        parts = [vector[part] for part in self.shared.dense]
        for table, t in zip(self.shared.tables, touched, strict=True):
            parts.append(self._view(vector, table)[t.rows].reshape(-1))
        return np.concatenate(parts)

    def _scatter(self, vector: np.ndarray, moved: np.ndarray, touched: list[TouchedRows]) -> None:
        """Put the entries that have moved in their places."""
        at = 0
        for part in self.shared.dense:
            size = part.stop - part.start
            vector[part] = moved[at : at + size]
            at += size
        for table, t in zip(self.shared.tables, touched, strict=True):
            size = len(t.rows) * table.width
            self._view(vector, table)[t.rows] = moved[at : at + size].reshape(-1, table.width)
            at += size

    def _view(self, vector: np.ndarray, table: Any) -> np.ndarray:
        return vector[table.offset : table.offset + table.length * table.width].reshape(table.length, table.width)

    def _examine_rows(self, part: StepShare, loss: float, grad: np.ndarray) -> None:
        """Raise FitError, on the rank whose part is not finite with the place where it began."""
        finite = math.isfinite(loss) and np.isfinite(grad).all()
        what = "the optimizer's step is not finite" if finite else f"the loss is {loss}"
        what = what if finite or not math.isfinite(loss) else "the gradient is not finite"
        own = part.result
        if own is not None and part.bound is not None:
            values = [*own.scalars.values(), *(float(np.sum(a)) for a in own.arrays.values())]
            if finite or not all(map(math.isfinite, values)):
                culprit = find_first_bad_value(part.bound)
                self._stop(f"{what}. First, on rank {self.ranks.rank}: {culprit.text}", culprit.node)
        raise FailedElsewhere(f"training stopped at step {self.step}: {what}", self.state, self.step, None)
