"""Where baselines and weights come to in training: the state that variances are measured at.

A moving average settles at the mean of its costs. The weights of a `Combine` follow the slopes of a row-local second
moment by Adam. That moment is a parabola in every weight, so a step's slopes at the weight and at the weight plus 1
give it at every other. From some such steps, drawn again and again, the training of the weights is played through. So
they are as noisy as in training, and heavy tails move them as little. They need not be those of least variance of the
whole gradient, which sums over rows and steps of time: variances are measured at them, on other random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppl.compiler.surrogate.auxiliary import BETA1, BETA2, EPSILON, Slot
from ppl.estimators.combine import is_weight
from ppl.inference.diagnose import state_for
from ppl.ir.reference.interpret import evaluate
from ppl.runtime.call import Call, bind
from ppl.runtime.prepared import Prepared
from ppl.runtime.state import State

SETTLING = 64, 1024
"""Particles of the step that averages are found from, at least and at most."""
PARTICLES = 16
"""Those of the steps that weights are found from: as many as the choice may have, since more of them cost little."""
FEWEST, MOST = 16, 64
"""How many these are."""
ROUNDS = 2
"""How often the weights are found, where several nodes have some."""
LONG = 1000
"""Steps of training that are played through."""
OTHER_SEED = 1
"""The seed of these steps; gradients are drawn with 0."""

Slots = Mapping[str, Slot]


def slots_of(program: Prepared, data: Sequence[Any]) -> Slots:
    """The auxiliary variables of a program."""
    return program.prepare(*data).gradient.aux_slots


def averages_of(slots: Slots) -> dict[str, float]:
    """The moving averages, and the weight of what they were."""
    return {name: slot.decay for name, slot in slots.items() if slot.decay}


def weights_of(slots: Slots) -> list[str]:
    """The weights of combinations."""
    return [name for name in slots if is_weight(name)]


def settled(program: Prepared, start: State, data: Sequence[Any], affordable: Callable[[State], int]) -> State:
    """`start` with moving averages at their means, and weights at the least second moments.

    Parameters
    ----------
    affordable : how many steps of `PARTICLES` particles may be interpreted.
    """
    state, slots = state_for(program, start, data), slots_of(program, data)
    decays, weights = averages_of(slots), weights_of(slots)
    if decays:
        many = int(np.clip(affordable(state) * PARTICLES, *SETTLING))
        moved = _after(program, state, data, list(decays), Draws(0, 0, many))
        state = _with(state, {n: (moved[n] - d * state.aux[n]) / (1 - d) for n, d in decays.items()})
    if weights:
        taken: list[Any] = [c.estimator for c in program.prepare(*data).plan.values()]
        rates = [e.rate for e in taken if hasattr(e, "members")]
        count = int(np.clip(affordable(state), FEWEST, MOST))
        for _ in rates[:ROUNDS]:  # the weights of one node may move the second moments of another
            state = _learned(program, state, data, weights, count, max(rates))
    return state


class Draws(NamedTuple):
    """The random numbers of a step."""

    seed: int
    step: int
    particles: int


def played(at: np.ndarray, here: np.ndarray, there: np.ndarray, rate: float) -> np.ndarray:
    """What Adam makes of weights that begin at 0, in `LONG` steps on slopes that are drawn from some.

    Parameters
    ----------
    at : (n,), some weights.
    here, there : (steps, n) slopes at them and at them plus 1.
    """
    weights, mean, square = (np.zeros(len(at)) for _ in range(3))
    for count, i in enumerate(np.random.default_rng(0).integers(0, len(here), LONG), 1):
        slope = here[i] + (there[i] - here[i]) * (weights - at)
        mean = BETA1 * mean + (1 - BETA1) * slope
        square = BETA2 * square + (1 - BETA2) * slope**2
        weights = weights - rate * mean / (1 - BETA1**count) / (np.sqrt(square / (1 - BETA2**count)) + EPSILON)
    return weights


def _learned(
    program: Prepared, state: State, data: Sequence[Any], weights: list[str], count: int, rate: float
) -> State:
    """With the weights that training comes to."""
    ahead = _with(state, {n: state.aux[n] + 1.0 for n in weights})
    here, there = (_slopes(program, s, data, weights, count) for s in (state, ahead))
    at = np.concatenate([np.ravel(state.aux[n]) for n in weights]).astype(np.float64)
    shapes = [np.shape(state.aux[n]) for n in weights]
    parts = np.split(played(at, here, there, rate), np.cumsum([math.prod(s) for s in shapes])[:-1])
    return _with(state, {n: p.reshape(s) for n, p, s in zip(weights, parts, shapes, strict=True)})


def _slopes(program: Prepared, state: State, data: Sequence[Any], weights: list[str], count: int) -> np.ndarray:
    """(count, n) slopes of second moments, up to a factor: what running means of them become that begin at 0."""
    means = [f"{n}.mean" for n in weights]
    state = _with(state, {mean: 0.0 * state.aux[mean] for mean in means})
    found = [_after(program, state, data, means, Draws(OTHER_SEED, i, PARTICLES)) for i in range(count)]
    return np.stack([np.concatenate([np.ravel(step[mean]) for mean in means]) for step in found])


def _after(program: Prepared, state: State, data: Sequence[Any], names: list[str], draws: Draws) -> dict[str, Any]:
    """Auxiliary variables after one interpreted step."""
    bound = bind(program, Call(state, data, draws.seed, draws.particles))
    variant = bound.compiled.variant("gradient")
    env = bound.environment(variant, dtype=np.float64, step=draws.step)
    return dict(zip(names, map(np.asarray, evaluate([variant.aux[n] for n in names], env)), strict=True))


def _with(state: State, parts: Mapping[str, Any]) -> State:
    return state.replace(aux={**dict(state.aux), **parts})
