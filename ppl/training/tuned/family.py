"""The few choices that a run with `tune=` moves between: programs over one model, with the same parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ppl.compiler.plan.measured import labelled
from ppl.errors import DataError, EstimatorError
from ppl.inference.tuning.bench import Bench
from ppl.inference.tuning.candidates import candidates_of
from ppl.inference.tuning.contender import Config, Programs
from ppl.runtime.call import Call
from ppl.runtime.state import State
from ppl.training.batches import Batch

LARGEST = 3
"""Choices that are compared besides the program's own."""
SECONDS = 2.0
"""What the first measurements may take, compiling not counted."""


def config_of(compiled: Any) -> Config:
    """The choice of a program."""
    return Config(tuple(compiled.plan.as_dict().items()), int(compiled.settings.particles))


class Family:
    """Programs by their number; 0 is the program that was passed.

    Parameters
    ----------
    own : the program that was passed.
    data : of the signature that they are traced with.
    configs : their choices, beginning with the program's own.

    Raises
    ------
    DataError
        The first choice is not the program's own, or the program does not have one of the others.
    """

    def __init__(self, own: Any, data: Sequence[Any], configs: Sequence[Config]):
        self.configs, self._data = tuple(configs), tuple(data)
        self._others, self._made = Programs(own, self._data), {0: own}
        mine = config_of(own.prepare(*self._data))
        if configs[0] != mine:
            was, now = (labelled(c.estimators, c.particles) for c in (configs[0], mine))
            raise DataError(f"tune=: the run began with a program of {was}; this one has {now}")

    def program(self, i: int) -> Any:
        """The program of a choice."""
        if i not in self._made:
            made = self._others.of(self.configs[i])
            if isinstance(made, str):
                label = labelled(self.configs[i].estimators, self.configs[i].particles)
                raise DataError(f"tune=: the choice {label} is none of this program: {made}")
            self._made[i] = made
        return self._made[i]

    def only(self, kept: Sequence[int]) -> Family:
        """The family without the others; the first is kept."""
        found = Family(self.program(0), self._data, [self.configs[i] for i in kept])
        found._made = {k: self._made[i] for k, i in enumerate(kept) if i in self._made}
        return found

    def compiled(self, i: int) -> Any:
        """The prepared program of a choice."""
        return self.program(i).prepare(*self._data)

    def entered(self, i: int, state: State, kept: Mapping[int, np.ndarray]) -> tuple[State, frozenset[str]]:
        """`state` as program `i` begins with it, and the auxiliary variables that have yet to be adapted to it.

        Those of nodes whose estimator stays are those of `state`, and so is what is carried from step to step. Others
        are what they were when the program was left (`kept`), else as at the start.
        """
        compiled = self.compiled(i)
        layouts, estimators = (compiled.layout, compiled.aux_layout), compiled.estimators
        start = kept[i] if i in kept else compiled.aux_init(state.seed)
        parts = {name: part.copy() for name, part in compiled.aux_layout.split(start).items()}
        now, before = state.aux, state.estimators
        same = {
            name
            for name, part in parts.items()
            if name in now and now[name].shape == part.shape and _stays(name, compiled, estimators, before)
        }
        aux = compiled.aux_layout.join({**parts, **{name: now[name] for name in same}}, state._flat.dtype)
        moved = State.made(state._flat, aux, layouts, state.step, state.seed, state._opt, estimators)
        return moved, frozenset(set(parts) - same)


def _stays(name: str, compiled: Any, estimators: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a variable is carried by the model, or of a node whose estimator is the same."""
    node = name.rpartition("/")[0]
    return name in compiled.trace.carried or (node in before and before[node] == estimators.get(node))


def found(program: Any, state: State, batch: Batch, hyper: Any, able: Callable[[Any], bool]) -> list[Config]:
    """The choices to move between: the program's own, and the best of each kind where the run begins."""
    compiled = program.prepare(*batch.data)
    own = config_of(compiled)
    if not own.estimators:
        return [own]
    call = Call(state, batch.data, state.seed, None, batch.rows, batch.total_rows, hyper)
    bench = Bench(program, call, lambda _, mine: candidates_of(mine), None, None, SECONDS, False)
    best = [c.config for c in bench.kinds(LARGEST)]
    family = [own, *(c for c in best if c != own)]
    family = [c for i, c in enumerate(family) if not i or able(bench.programs.of(c))]
    if any(c.biased for c in family) and bench.bias and all(c.biased for c in family):
        raise EstimatorError("tune=True: no estimator without bias is admissible, which bias could be measured against")
    return family


def allowed(program: Any, compiled: Any, configs: Sequence[Config]) -> list[bool]:
    """Which choices may be taken: all where bias is allowed, else those with no biased estimator but pinned ones."""
    free = [name for name in compiled.plan.as_dict() if compiled.graph[name].site.estimator is None]
    return [program.settings.allow_bias or not any(c[name].biased for name in free) for c in configs]
