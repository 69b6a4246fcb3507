"""How a run of `ppl.fit` begins: at a checkpoint, a given or an initial state; and what validates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import DataError, OptionError
from ppl.estimators.parts.serialize import to_json
from ppl.lang.arguments import as_array
from ppl.runtime.state import State
from ppl.training.batches import by_position, row_count
from ppl.training.checkpoint import Checkpoint, Resumed, check_state
from ppl.training.run import HyperValues


def beginning(
    program: Any, arrays: tuple[Any, ...], state: State | None, keeper: Checkpoint | None, seed: int
) -> Resumed:
    """Where to start: the checkpoint if there is one, else the given or an initial state."""
    compiled = program.prepare(*arrays)
    if keeper is not None:
        to_json(compiled.estimators)  # what a checkpoint cannot store is better known before training than after
    if state is not None:
        check_state(state, compiled, program.settings.dtype, "state=")
        seed = state.seed
    if keeper is not None and (resumed := keeper.load()) is not None:
        check_state(resumed.state, compiled, program.settings.dtype, "the checkpoint", keeper.path)
        if resumed.state.seed != seed:
            raise DataError(f"the checkpoint is of a run with seed {resumed.state.seed}, not {seed}")
        return resumed
    begun = program.init(seed, *arrays) if state is None else state.replace(estimators=compiled.estimators)
    return Resumed(begun, begun.step, {}, None)


def validator(program: Any, validation: Any, hyper: HyperValues | None) -> Callable[[State], float] | None:
    """What evaluates a state: the user's function, or the loss per row of arrays."""
    if validation is None or callable(validation):
        return validation
    names = program.argument_names
    listed = validation if isinstance(validation, (tuple, list)) else (validation,)
    given = by_position(names, listed, "validation=")
    arrays = tuple(as_array(a, n) for a, n in zip(given, names, strict=True))
    compiled = program.prepare(*arrays)
    compiled.binder.bind(arrays)
    n = row_count(compiled, arrays)
    return lambda state: program.value(state, *arrays, hyper=hyper, nonfinite="keep") / n


def check_lengths(steps: int | None, epochs: int | None) -> None:
    """Raise an OptionError unless one of the two says how long to train."""
    if (steps is None) == (epochs is None):
        raise OptionError("say how long to train: exactly one of steps= and epochs=")
    for name, value in (("steps", steps), ("epochs", epochs)):
        if value is not None and not (isinstance(value, (int, np.integer)) and value >= 0):
            raise OptionError(f"{name}= must be a number that is not negative, not {shown(value)}")
