"""Programs on several processes: their calls and trainings, each on the rows of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from ppl.arguments import flag
from ppl.errors import OptionError
from ppl.inference.diagnose import Diagnosis
from ppl.names import keywords
from ppl.program.program import Program
from ppl.ranks.calls import call_on_ranks, update_on_ranks
from ppl.ranks.communicator import Communicator, require_communicator
from ppl.ranks.diagnosis import diagnose_on_ranks
from ppl.ranks.partitioned import SummedResult
from ppl.ranks.training import fit_on_ranks
from ppl.runtime.call import Call, HyperValues
from ppl.runtime.nonfinite import keeps_nonfinite
from ppl.runtime.state import State
from ppl.training.optim.transform import as_transform
from ppl.training.result import Fit


def on(program: Program, comm: Any, replicated: bool | None) -> Program:
    """Return the program for the processes of a communicator; see `Program.on`."""
    require_communicator(comm)
    if replicated is not None:
        flag("replicated=", replicated)
    local = program.local if isinstance(program, RankProgram) else program
    processes = int(comm.Get_size())
    if processes == 1:
        return local
    found = RankProgram(local.objective, local.settings)
    vars(found).update(vars(local), local=local, comm=comm, replicated=replicated, processes=processes)
    return found


class RankProgram(Program):
    """A program whose losses, gradients, steps and trainings all processes compute together, each on its rows.

    It shares what has been traced and compiled with the program that it was made of, `local`. Each call duplicates the
    communicator, so that messages of programs and of users do not meet.
    """

    local: Program
    comm: Any
    replicated: bool | None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a program on several processes cannot be pickled: pickle the program itself")

    @keywords
    def value(
        self,
        state: State,
        *data: Any,
        seed: int | None = None,
        particles: int | None = None,
        per_row: bool = False,
        total_rows: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> Any:
        """Return the loss on the rows of all processes; see `Program.value`."""
        flag("per_row", per_row)
        if per_row:
            raise OptionError("per_row=True gives the losses of the rows that are passed: leave out on(comm)")
        call = Call(state, data, seed, particles, rows, total_rows, hyper)
        return self._sum_over_ranks(call, "value", nonfinite).scalars["loss"]

    @keywords
    def value_and_grad(
        self,
        state: State,
        *data: Any,
        seed: int | None = None,
        particles: int | None = None,
        total_rows: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> tuple[float, dict[str, np.ndarray]]:
        """Return loss and gradient on the rows of all processes; see `Program.value_and_grad`."""
        call = Call(state, data, seed, particles, rows, total_rows, hyper)
        found = self._sum_over_ranks(call, "gradient", nonfinite)
        return found.scalars["loss"], state._layouts[0].split(found.grad)

    @keywords
    def step(
        self,
        state: State,
        *data: Any,
        seed: int | None = None,
        particles: int | None = None,
        total_rows: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> tuple[float, dict[str, np.ndarray], State]:
        """Return loss, gradient and the next state on the rows of all processes; see `Program.step`."""
        call = Call(state, data, seed, particles, rows, total_rows, hyper)
        found = self._sum_over_ranks(call, "gradient", nonfinite, adapted=True)
        estimators, step = self.prepare(*self.read(data)).estimators, state._step + 1
        new = State.unchecked(state._flat, found.aux, state._layouts, step, state._seed, state._opt, estimators)
        return found.scalars["loss"], state._layouts[0].split(found.grad), new

    @keywords
    def update(
        self,
        state: State,
        *data: Any,
        optimizer: Any,
        seed: int | None = None,
        particles: int | None = None,
        total_rows: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> tuple[State, float]:
        """Take one training step on the rows of all processes; see `Program.update`."""
        keep, transform = keeps_nonfinite(nonfinite), as_transform(optimizer)
        call = Call(state, data, seed, particles, rows, total_rows, hyper)
        with Communicator(self.comm) as ranks:
            return update_on_ranks(self.local, ranks, call, self.replicated, transform, keep)

    def fit(self, data: tuple[Any, ...], options: Mapping[str, Any]) -> Fit:
        """Train with data and options of `ppl.fit`."""
        with Communicator(self.comm) as ranks:
            return fit_on_ranks(ranks, self.local, data, {**options, "replicated": self.replicated})

    def _diagnose(self, call: Call, repeats: int, timing: bool, backend: str) -> Diagnosis:
        with Communicator(self.comm) as ranks:
            return diagnose_on_ranks(self.local, ranks, call, self.replicated, repeats, timing, backend)

    def _sum_over_ranks(self, call: Call, key: str, nonfinite: str, adapted: bool = False) -> SummedResult:
        keep = keeps_nonfinite(nonfinite)
        with Communicator(self.comm) as ranks:
            return call_on_ranks(self.local, ranks, call, self.replicated, key, keep, adapted)
