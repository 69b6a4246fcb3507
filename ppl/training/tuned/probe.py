"""Gradients beside the steps of a run: how noisy each choice would be where the training is.

Their noise is a function of (seed, step, number of the gradient), and none of it is that of a training step. All
choices draw the same numbers. Where rows are in memory, every gradient has a minibatch of its own: the variance is that
of a step, of samples and minibatch together. Elsewhere all have the minibatch that comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.ir.reference.noise import mix, node_hash
from ppl.runtime.call import Call, bind, run
from ppl.runtime.state import State
from ppl.training.batches import Batch

PAIRS = 16
"""Pairs of gradients that a variance is estimated from."""
ADAPTING = 32
"""Gradients by which auxiliary variables are adapted before."""


class Probe:
    """Gradients at one state.

    Parameters
    ----------
    state : where; of any program of the family.
    batches : the minibatch of a gradient, by its number.
    hyper : as for `ppl.fit`.
    used : which entries of the gradient the optimizer uses; None means all.
    """

    def __init__(self, state: State, batches: Callable[[int], Batch], hyper: Any, used: np.ndarray | None = None):
        self.seed = mix(mix(state.seed, node_hash("ppl.fit/tune")), state.step)
        self.batches, self.hyper, self.used = batches, hyper, used

    def gradient(self, program: Any, state: State, i: int, check: bool = False) -> tuple[np.ndarray, State]:
        """Gradient `i` of a program, and the state with the auxiliary variables after it."""
        batch = self.batches(i)
        call = Call(state, batch.data, rows=batch.rows, total_rows=batch.total_rows, hyper=self.hyper)
        bound = replace(bind(program, call, check), seed=self.seed, step=i)
        result = run(bound, "gradient")
        grad = np.asarray(result.grad, np.float64)
        return grad if self.used is None else grad[self.used], _with_aux(bound.compiled, state, result.aux)

    def adapted(self, program: Any, state: State, fresh: frozenset[str]) -> State:
        """`state` with those auxiliary variables adapted that are not yet.

        An exponential mean that begins anywhere is far from the mean for long; what it began with is taken out.
        """
        if not fresh:
            return state
        moved = state
        for i in range(ADAPTING):
            _, moved = self.gradient(program, moved, 2 * PAIRS + i)
        slots, parts = program.prepare(*self.batches(0).data).gradient.aux_slots, dict(state.aux)
        for name in fresh:
            left = slots[name].decay ** ADAPTING
            parts[name] = (moved.aux[name] - left * state.aux[name]) / (1 - left)
        return moved.replace(aux=parts)


def _with_aux(compiled: Any, state: State, aux: np.ndarray) -> State:
    """The state with new auxiliary variables; what the model carries from step to step stays."""
    if not aux.size:
        return state
    new = np.array(aux)
    for name, place, _ in compiled.aux_layout.slices:
        if name in compiled.trace.carried:
            new[place] = state._aux[place]
    return State.made(state._flat, new, state._layouts, state.step, state.seed, state._opt, state.estimators)


def measured(
    probe: Probe, programs: Sequence[Any], states: Sequence[State], biased: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray]:
    """Of every program (rows) and pair of gradients (columns): half their squared distance, and of biased programs the
    product of their distances from an unbiased program's.

    Means over pairs are the variance of the gradient and the square of its bias, without bias themselves.
    """
    reference = next((i for i, b in enumerate(biased) if not b), None) if any(biased) else None
    variance, bias = np.zeros((2, len(programs), PAIRS))
    moving = list(states)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(PAIRS):
            kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
            for m, program in enumerate(programs):
                first, moving[m] = probe.gradient(program, moving[m], 2 * k)
                second, moving[m] = probe.gradient(program, moving[m], 2 * k + 1)
                variance[m, k] = ((first - second) ** 2).sum() / 2
                if reference is not None and (biased[m] or m == reference):
                    kept[m] = first, second
            for m, pair in kept.items():
                assert reference is not None
                bias[m, k] = np.prod([a - b for a, b in zip(pair, kept[reference], strict=True)], axis=0).sum()
    return variance, bias
