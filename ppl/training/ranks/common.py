"""The loop of `ppl.fit` on ranks of one machine that share memory: they train one state, as threads do.

Parameters and the optimizer's vectors lie in memory of all ranks, and so does the gradient of each. A rank adds up its
share of the entries of all gradients, and takes the optimizer's step on that share in place; then all meet. Steps that
are not finite, or may not be, are left to the general path of `RankRun`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppl.compiler.emit.cpu.training import LARGEST, LARGEST_STEP, RULES
from ppl.errors import RankError, ScheduleError
from ppl.lazy import optimizers, parallel_optimizers, rank_sums
from ppl.runtime.ranks.comm import Ranks, hush
from ppl.runtime.ranks.memory import Window, padded, shares_of
from ppl.runtime.ranks.shared import Shared
from ppl.runtime.state import State
from ppl.training.batches import Batch
from ppl.training.live import LARGEST_RATE, Live, rule_of
from ppl.training.optim.schedules import rate_at
from ppl.training.ranks.heads import PLAIN, RATE, STEP, Part
from ppl.training.ranks.run import RankRun
from ppl.tuning import GATHERED_BYTES

VECTORS = 3
"""Parameters, and at most two vectors of an optimizer."""


class Adapted:
    """Stands for the sum of a step that has been taken in place: its new auxiliary variables."""

    def __init__(self, aux: np.ndarray):
        self.aux = aux


class CommonRun(RankRun):
    """A `RankRun` whose ranks share their memory.

    `state` is a copy, which users may keep; `_now` is a view of what all ranks write to.

    Parameters
    ----------
    window : an area for each rank: its gradient, and in the first one the vectors of the state.
    rest : arguments of `RankRun`.
    """

    _live: Live

    def __init__(self, window: Window, ranks: Ranks, shared: Shared, *rest: Any):
        self.window, size = window, shared.executable.n_params
        dtype = np.dtype(shared.executable.dtype)
        step = padded(size * dtype.itemsize)
        self._gradients = [area[: size * dtype.itemsize].view(dtype) for area in window.areas]
        starts = (step * (1 + i) for i in range(VECTORS))
        self._vectors = [window.areas[0][a : a + size * dtype.itemsize].view(dtype) for a in starts]
        self._share = shares_of(size, ranks.size)[ranks.rank]
        self.gradient = self._gradients[ranks.rank]
        self._sum = np.empty(self._share.stop - self._share.start, dtype)
        super().__init__(ranks, shared, *rest)

    @property
    def state(self) -> State:
        """The state as it is now."""
        now = self._now
        opt = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in (now._opt or {}).items()}
        return State.made(now._flat.copy(), now._aux.copy(), now._layouts, now._step, now._seed, opt,
                          self.shared.compiled.estimators)  # fmt: skip

    @state.setter
    def state(self, new: State) -> None:
        """All ranks have the same new state; the first one writes it, once no rank reads the old one. Collective."""
        rule = rule_of(self.transform)
        assert rule is not None
        live = Live(new, rule, self.shared.compiled.estimators)
        self.window.meet()
        if self.ranks.rank == 0:
            for place, vector in zip(self._vectors, (live.flat, *live.slots), strict=False):
                place[:] = vector
        self.window.meet()
        live.flat, live.slots = self._vectors[0], self._vectors[1 : 1 + len(live.slots)]
        self._live = live

    @property
    def _now(self) -> State:
        return self._live.state

    @property
    def step(self) -> int:
        """Steps taken."""
        return self._live.step

    def _own(self, batch: Batch) -> Part:
        try:
            rate = self._rate()
        except ScheduleError as error:
            self._stop(str(error))
        part = super()._own(batch)
        return part._replace(plain=self._is_plain(part, rate, self.source.total_of(batch.size)), rate=rate)

    def _is_plain(self, part: Part, rate: float, total: int) -> bool:
        """Whether nothing keeps the step from being taken in place, as far as this rank knows."""
        found = part.result
        if rate > LARGEST_RATE or found is None:
            return rate <= LARGEST_RATE
        limit = min(LARGEST, LARGEST_STEP / max(rate / total, 1e-30))
        return math.isfinite(found.scalars["loss"]) and bool(optimizers.bounded(found.grad, limit))

    def _rate(self) -> float:
        """The learning rate of the next step."""
        return float(rate_at(self.transform.lr, self.step, type(self.transform).__name__))

    def _hear(self, heads: np.ndarray, error: BaseException | None) -> None:
        """See `RankRun`. Ranks see the parameters of all, so it is the rates that show another optimizer."""
        super()._hear(heads, error)
        if (heads[:, 0] == STEP).all() and len(set(heads[:, RATE])) > 1:
            self._left = True
            hush()
            rates = ", ".join(f"{rate:.6g}" for rate in heads[:, RATE])
            raise RankError(
                f"ranks were given different optimizers: step {self.step} has the learning rates {rates}", 0
            )

    def _reduced(self, batch: Batch, part: Part, heads: np.ndarray) -> tuple[Any, ...]:
        """See `RankRun`; where all ranks find that it can be done, the step is taken here."""
        rows, weights, scalars = self._weighed(heads)
        if heads[:, PLAIN].all():
            total, aux = self.source.total_of(rows), self._adapted(part, weights, rows)
            if optimizers.all_finite(aux):
                self._update(weights, float(heads[0, RATE]), 1.0 / total)
                return Adapted(aux), scalars, rows
        return super()._reduced(batch, part, heads)

    def _adapted(self, part: Part, weights: np.ndarray, rows: int) -> np.ndarray:
        """The new auxiliary variables. Collective."""
        entries = self.shared.entries - self.gradient_size
        if not entries:
            return self._live.aux
        dtype = self._sum.dtype
        own = np.zeros(entries, dtype) if part.result is None else self.shared.rest(
            part.result, weights[self.ranks.rank]
        )  # fmt: skip
        rest = self.ranks.total(own, weights)
        found = self.shared.adapted(rest, self._moment(), rows, self.source.total_of(rows))
        if self.shared.last is not None:
            self.window.meet()  # it has read the parameters
        return found

    @property
    def gradient_size(self) -> int:
        """Entries of a gradient."""
        return self.shared.executable.n_params

    def _update(self, weights: np.ndarray, rate: float, factor: float) -> None:
        """The optimizer's step on this rank's share. Collective."""
        live, own = self._live, self._share
        count = int(live.counter[0] - live.counter[1]) + 1
        rank_sums.weighted_into(self._sum, [g[own] for g in self._gradients], weights)
        first, second = (x[own] if x.size else x for x in live.vectors)
        numbers = np.array([*live.rule.numbers, 0.0])
        parallel_optimizers.in_place(
            live.flat[own], first, second, self._sum, RULES[live.rule.name], rate, numbers, count, factor
        )
        self.window.meet()

    def _finish(self, batch: Batch, part: Part, *rest: Any) -> None:
        found, scalars, rows, bar = rest
        if not isinstance(found, Adapted):
            super()._finish(batch, part, *rest)
            return
        live, total = self._live, self.source.total_of(rows)
        live.aux = found.aux
        live.counter[0] += 1
        named = zip(self.shared.scalars, scalars.tolist(), strict=True)
        self._note(live.step, {name: value / total for name, value in named}, batch, bar)


def worth_sharing(ranks: Ranks, shared: Shared, transform: Any) -> bool:
    """Whether ranks that can share memory should train in it."""
    executable = shared.executable
    nbytes = executable.n_params * np.dtype(executable.dtype).itemsize
    return rule_of(transform) is not None and nbytes * ranks.size > GATHERED_BYTES


def common_window(ranks: Ranks, shared: Shared, more: int = 0) -> Window | None:
    """Memory of all ranks for a `CommonRun`, with `more` in the first area, or None without it. Collective."""
    executable = shared.executable
    size = padded(executable.n_params * np.dtype(executable.dtype).itemsize)
    own = size if ranks.rank else size * (1 + VECTORS) + more
    return ranks.window(own, size * (ranks.size + VECTORS) + more)
