"""Warm start: the state that moving averages and combination weights come to in training.

A moving average settles at the mean of its costs. The weights of a `Combine` follow the slopes of a row-local second
moment by Adam. That moment is a parabola in every weight, so a step's slopes at the weight and at the weight plus 1
give it at every other. From some such steps, drawn again and again, the training of the weights is simulated. So
they are as noisy as in training, and heavy tails move them as little. They need not be those of least variance of the
whole gradient, which sums over rows and steps of time: variances are measured at them, on other random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppl.compiler.surrogate.auxiliary import BETA1, BETA2, EPSILON, AuxiliarySlot
from ppl.estimators.combine import is_combination_weight
from ppl.inference.diagnose import adapt_state
from ppl.ir.reference.interpret import evaluate
from ppl.runtime.call import Call, bind_call
from ppl.runtime.prepared import PreparedProgram
from ppl.runtime.state import State

AVERAGING_PARTICLES = 64, 1024
"""Particles of the step that averages are found from, at least and at most."""

WEIGHT_PARTICLES = 16
"""Those of the steps that weights are found from: as many as the choice may have, since more of them cost little."""

FEWEST_STEPS, MOST_STEPS = 16, 64
"""How many these are."""

WEIGHT_ROUNDS = 2
"""How often the weights are found, where several nodes have some."""

SIMULATED_STEPS = 1000
"""Steps of training that are played through."""

WEIGHT_SEED = 1
"""The seed of these steps; gradients are drawn with 0."""

AuxiliarySlots = Mapping[str, AuxiliarySlot]


def auxiliary_slots(program: PreparedProgram, data: Sequence[Any]) -> AuxiliarySlots:
    """Return the auxiliary variables of a program."""
    return program.prepare(*data).gradient.aux_slots


def moving_averages(slots: AuxiliarySlots) -> dict[str, float]:
    """Return the moving averages, and the weight of what they were."""
    return {name: slot.decay for name, slot in slots.items() if slot.decay}


def combination_weights(slots: AuxiliarySlots) -> list[str]:
    """Return the weights of combinations."""
    return [name for name in slots if is_combination_weight(name)]


def warm_started(
    program: PreparedProgram, start: State, data: Sequence[Any], affordable: Callable[[State], int]
) -> State:
    """Return `start` with moving averages at their means, and weights at the least second moments.

    Parameters
    ----------
    affordable : how many steps of `PARTICLES` particles may be interpreted.
    """
    state, slots = adapt_state(program, start, data), auxiliary_slots(program, data)
    decays, weights = moving_averages(slots), combination_weights(slots)
    if decays:
        many = int(np.clip(affordable(state) * WEIGHT_PARTICLES, *AVERAGING_PARTICLES))
        moved = _auxiliary_after_step(program, state, data, list(decays), StepNoise(0, 0, many))
        state = _with_auxiliary(state, {n: (moved[n] - d * state.aux[n]) / (1 - d) for n, d in decays.items()})
    if weights:
        taken: list[Any] = [c.estimator for c in program.prepare(*data).plan.values()]
        rates = [e.rate for e in taken if hasattr(e, "members")]
        count = int(np.clip(affordable(state), FEWEST_STEPS, MOST_STEPS))
        for _ in rates[:WEIGHT_ROUNDS]:  # the weights of one node may move the second moments of another
            state = _train_weights(program, state, data, weights, count, max(rates))
    return state


class StepNoise(NamedTuple):
    """The random numbers of a step."""

    seed: int
    step: int
    particles: int


def simulate_adam(at: np.ndarray, here: np.ndarray, there: np.ndarray, rate: float) -> np.ndarray:
    """Return what Adam makes of weights that begin at 0, in `LONG` steps on slopes that are drawn from some.

    Parameters
    ----------
    at : (n,), some weights.
    here, there : (steps, n) slopes at them and at them plus 1.
    """
    weights, mean, square = (np.zeros(len(at)) for _ in range(3))
    for count, i in enumerate(np.random.default_rng(0).integers(0, len(here), SIMULATED_STEPS), 1):
        slope = here[i] + (there[i] - here[i]) * (weights - at)
        mean = BETA1 * mean + (1 - BETA1) * slope
        square = BETA2 * square + (1 - BETA2) * slope**2
        weights = weights - rate * mean / (1 - BETA1**count) / (np.sqrt(square / (1 - BETA2**count)) + EPSILON)
    return weights


def _train_weights(
    program: PreparedProgram, state: State, data: Sequence[Any], weights: list[str], count: int, rate: float
) -> State:
    """Return the state with the weights that training comes to."""
    shifted = _with_auxiliary(state, {n: state.aux[n] + 1.0 for n in weights})
    here, there = (_moment_slopes(program, s, data, weights, count) for s in (state, shifted))
    at = np.concatenate([np.ravel(state.aux[n]) for n in weights]).astype(np.float64)
    shapes = [np.shape(state.aux[n]) for n in weights]
    parts = np.split(simulate_adam(at, here, there, rate), np.cumsum([math.prod(s) for s in shapes])[:-1])
    return _with_auxiliary(state, {n: p.reshape(s) for n, p, s in zip(weights, parts, shapes, strict=True)})


def _moment_slopes(
    program: PreparedProgram, state: State, data: Sequence[Any], weights: list[str], count: int
) -> np.ndarray:
    """(count, n) slopes of second moments, up to a factor: what running means of them become that begin at 0."""
    means = [f"{n}.mean" for n in weights]
    state = _with_auxiliary(state, {mean: 0.0 * state.aux[mean] for mean in means})
    found = [
        _auxiliary_after_step(program, state, data, means, StepNoise(WEIGHT_SEED, i, WEIGHT_PARTICLES))
        for i in range(count)
    ]
    return np.stack([np.concatenate([np.ravel(step[mean]) for mean in means]) for step in found])


def _auxiliary_after_step(
    program: PreparedProgram, state: State, data: Sequence[Any], names: list[str], draws: StepNoise
) -> dict[str, Any]:
    """Auxiliary variables after one interpreted step."""
    bound = bind_call(program, Call(state, data, draws.seed, draws.particles))
    variant = bound.compiled.variant("gradient")
    env = bound.environment(variant, dtype=np.float64, step=draws.step)
    return dict(zip(names, map(np.asarray, evaluate([variant.aux[n] for n in names], env)), strict=True))


def _with_auxiliary(state: State, parts: Mapping[str, Any]) -> State:
    return state.replace(aux={**dict(state.aux), **parts})
