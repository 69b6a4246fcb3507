"""Gradients of compiled steps, summed by the training loop in blocks: one costs what a step does.

A call from Python takes ten times as long as a step of a small program, and heavy tails want thousands of gradients.
The optimizer of the loop is Adam at rate 0, from running means of zero and with decays so near 1 that the running
means of a block of gradients and of their squares are plain means.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ppl.inference.repeats import Chunk, Moments
from ppl.inference.tuning.standing import StandingSteps
from ppl.runtime.call import Call
from ppl.training.optim.adam import Adam

BLOCK, AT_ONCE = 50, 10
"""Steps of a block, and blocks of a chunk."""
SHORT = 1e-3
"""Seconds of a step up to which blocks are used: longer ones cost more than their calls."""
DECAY = 1 - 2.0**-20
"""What is left of a running mean after a step; 32 bits hold it and its distance from 1 exactly."""
CANCELS = 1e-3
"""Variance relative to the squared mean, below which the difference of means of 32 bits says too little."""


class BlockMoments(Moments):
    """Moments from blocks. `count` is that of gradients; `distances` has the mean squared distance of each block."""

    def add(self, chunk: Chunk) -> None:
        """Take blocks in: of every parameter the means of the gradient, and of its squares as "square name"."""
        for name in [name for name in chunk if name.startswith("grad ")]:
            means, squares = chunk[name], chunk[f"square {name.removeprefix('grad ')}"]
            if name not in self.center:
                self.center[name] = means.mean(0)
                self.sums[name], self.squares[name] = np.zeros((2, *means.shape[1:]))
                self.distances[name] = []
            center = self.center[name]
            moved = np.maximum(squares - center * (2 * means - center), 0)
            self.sums[name] += BLOCK * (means - center).sum(0)
            self.squares[name] += BLOCK * moved.sum(0)
            self.distances[name].append(moved.reshape(len(moved), -1).sum(1))
            blocks = len(means)
        self.count += BLOCK * blocks

    @property
    def cancels(self) -> bool:
        """Whether the variance is lost in the rounding of sums."""
        total = self.total()
        return not total.trace > CANCELS * float((total.mean**2).sum())


def blocks(program: Any, call: Call) -> Iterator[Chunk] | None:
    """Chunks for `BlockMoments`, from steps with the noise of the state's step and those behind it.

    None where no compiled loop takes the steps in this machine's memory. Auxiliary variables move as in training.
    """
    steps = StandingSteps(program, call, Adam(0.0, DECAY, DECAY))
    return _chunks(steps, program.prepare(*call.data).layout.slices) if steps.sums_up else None


def _chunks(steps: StandingSteps, slices: Any) -> Iterator[Chunk]:
    share = 1 - DECAY**BLOCK
    while True:
        found = np.array([steps.sums(BLOCK) for _ in range(AT_ONCE)]) / share
        parts = zip(("grad", "square"), (found[:, 0], found[:, 1]), strict=True)
        yield {f"{word} {k}": a[:, place].reshape(AT_ONCE, *shape) for word, a in parts for k, place, shape in slices}
