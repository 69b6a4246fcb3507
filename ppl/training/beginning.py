"""How a run of `ppl.fit` begins: at a checkpoint, a given or an initial state; and what validates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.compiler.surrogate.conditions.checks import all_finite
from ppl.errors import DataError, OptionError
from ppl.estimators.parts.serialize import to_json
from ppl.lang.arguments import as_array
from ppl.runtime.compiled import Compiled
from ppl.runtime.state import State
from ppl.training.batches import by_position, row_count
from ppl.training.checkpoint import Checkpoint, Resumed
from ppl.training.run import HyperValues


def beginning(
    program: Any,
    arrays: tuple[Any, ...],
    state: State | None,
    keeper: Checkpoint | None,
    seed: int,
    member: Callable[[Resumed], Any] | None = None,
    compiled: Compiled | None = None,
) -> Resumed:
    """Where to start: the checkpoint if there is one, else the given or an initial state.

    `member` gives the program of a tuned run's checkpoint; without it, such a checkpoint is refused. `compiled` is the
    program for these arrays, if it is at hand.
    """
    compiled = program.prepare(*arrays) if compiled is None else compiled
    particles = int(compiled.settings.particles)
    if keeper is not None:
        to_json(compiled.estimators)  # what a checkpoint cannot store is better known before training than after
        keeper.particles = particles
    if state is not None:
        check_state(state, compiled, program.settings.dtype, "state=")
        seed = state.seed
    if keeper is not None and (resumed := keeper.load()) is not None:
        _check_tuned(resumed, keeper.path, member is not None)
        if member is not None:
            compiled = member(resumed).prepare(*arrays)
        check_state(resumed.state, compiled, program.settings.dtype, "the checkpoint", keeper.path)
        _check_run(resumed, keeper.path, seed, particles)
        return resumed
    if state is None:
        begun = program.init(seed, *arrays)
    elif state._estimators is compiled.estimators:
        begun = state
    else:
        begun = state.replace(estimators=compiled.estimators)
    return Resumed(begun, begun.step, {}, None)


def _check_tuned(resumed: Resumed, path: str, tuned: bool) -> None:
    """Raise DataError unless the run chooses its estimators as the checkpoint's did."""
    if resumed.tuning is not None and not tuned:
        raise DataError(
            f"the run in checkpoint '{path}' chooses its estimators while it trains: continue with tune=True"
        )
    if resumed.tuning is None and tuned:
        raise DataError(
            f"the run in checkpoint '{path}' did not choose its estimators while it trained: continue without "
            "tune=, or begin another run from its parameters"
        )


def _check_run(resumed: Resumed, path: str, seed: int, particles: int) -> None:
    """Raise DataError where the program or the seed would make another run of it."""
    if resumed.state.seed != seed:
        raise DataError(f"the checkpoint is of a run with seed {resumed.state.seed}, not {seed}")
    if resumed.particles not in (None, particles):
        raise DataError(
            f"the run in checkpoint '{path}' has {resumed.particles} particles, the program {particles}: to continue "
            f"it, compile with particles={resumed.particles}"
        )


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


def check_state(state: Any, compiled: Any, dtype: Any, origin: str, run: str | None = None) -> None:
    """Raise DataError unless `state` has the program's parameters, auxiliary variables and precision.

    `run` is the path of a checkpoint that is to be continued: under other estimators it would be another run.
    """
    if not isinstance(state, State):
        raise DataError(f"{origin} is a State (from program.init, a fit or ppl.load_state), not {type(state).__name__}")
    layout, aux = state._layouts
    if layout is not compiled.layout and layout != compiled.layout:
        ours, theirs = dict(compiled.layout.shapes), dict(layout.shapes)
        raise DataError(f"{origin} is of another program, with other parameters: {theirs} instead of {ours}")
    other = "" if run is None and aux is compiled.aux_layout else compiled.other_choice(state)
    if other and run is not None:
        raise DataError(
            f"the run in checkpoint '{run}' has other estimators: {other}. To continue it, compile with "
            f"estimators=ppl.load_state({run!r}).estimators; to go on from its parameters with the program's, begin "
            "another run at state=program.init(seed, params=...)"
        )
    if aux is not compiled.aux_layout and aux != compiled.aux_layout:
        keep = f": {other}; to keep them, compile with estimators=state.estimators" if other else ""
        raise DataError(f"{origin} has baselines or control variates of other estimators{keep}")
    if state._flat.dtype != np.dtype(dtype):
        raise DataError(f"{origin} is in {state._flat.dtype}, the program computes in {np.dtype(dtype)}")
    compiled.check_state(state)
    _check_finite(state, origin)


def _check_finite(state: State, origin: str) -> None:
    """Raise DataError where a run would begin with NaN or infinity."""
    if all_finite(state._flat) and (not state._aux.size or all_finite(state._aux)):
        return
    for kind, parts in (("parameter", state.params), ("auxiliary variable", state.aux)):
        for name, part in parts.items():
            if not np.isfinite(part).all():
                at = tuple(int(i) for i in np.argwhere(~np.isfinite(part))[0])
                raise DataError(f"{origin} has {kind} '{name}' {part[at]} at {at}: training needs finite numbers")
