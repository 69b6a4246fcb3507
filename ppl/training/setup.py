"""Check the options of `ppl.fit`, and find the state that a run starts from.

A run starts at a checkpoint, a given state or an initial one. All that a user can get wrong is refused here, before
anything is compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ppl.arguments import MANY, called, flag, integer, mapping, noise_seed, number, shown
from ppl.choosing.choices import Choices
from ppl.compiler.surrogate.data_checks import all_finite
from ppl.errors import DataError, OptionError
from ppl.estimators.serialize import to_json
from ppl.lang.arguments import as_array
from ppl.runtime.compiled import Compiled
from ppl.runtime.state import State, require_state
from ppl.training.batches import order_arguments, row_count
from ppl.training.checkpoints import CheckpointFile, RunStart, checkpoint_policy
from ppl.training.run import HyperValues


def check_options(given: Mapping[str, Any]) -> None:
    """Raise an OptionError that names the first option that is malformed; None is a default of all but the seed."""
    noise_seed("seed=", given["seed"])
    flag("progress=", given["progress"])
    for name, low in (("steps", 0), ("epochs", 0), ("batch_size", 1)):
        if given[name] is not None:
            integer(f"{name}=", given[name], low, MANY)
    if given["state"] is not None:
        require_state(given["state"], "state=")
    if given["callback"] is not None:
        called("callback=", given["callback"])
    if given["checkpoint"] is not None:
        checkpoint_policy(given["checkpoint"])
    _check_batches(given["batches"])
    if not (isinstance(given["tune"], (bool, np.bool_, Choices)) or given["tune"] is None):
        raise OptionError(
            f"tune= is True, False, None, or the choices of a run (fit.choices), not {shown(given['tune'])}"
        )
    integer("accumulate=", given["accumulate"], 1, MANY)
    if given["prefetch"] is not None:
        integer("prefetch=", given["prefetch"], 0, 1000)
    check_total_rows(given["total_rows"])
    if (given["steps"] is None) == (given["epochs"] is None):
        raise OptionError("say how long to train: exactly one of steps= and epochs=")


def check_total_rows(total: Any) -> None:
    """Raise unless a number of rows is positive and whole, or None, or a dict of such numbers by plate."""
    if total is None:
        return
    if isinstance(total, Mapping):
        for plate, rows in mapping("total_rows=", total).items():
            integer(f"total_rows={{{plate!r}: …}}", rows, 1, MANY)
        return
    integer("total_rows=", total, 1, MANY)


def check_hyper(hyper: Any, known: Mapping[str, float]) -> None:
    """Raise unless names are the program's and values are numbers or schedules."""
    if hyper is None:
        return
    unknown = sorted(set(mapping("hyper=", hyper, "numbers or schedules")) - set(known))
    if unknown:
        raise OptionError(f"hyper=: no hyper parameter named {unknown}; the program has {sorted(known)}")
    for name, value in hyper.items():
        if not callable(value):
            number(f"hyper {name!r}", value)


def _check_batches(batches: Any) -> None:
    plain = isinstance(batches, (str, bytes, Mapping, np.ndarray))
    if batches is not None and (plain or not (callable(batches) or isinstance(batches, Iterable))):
        wanted = "an iterable of tuples of arrays, or a function that returns one"
        raise OptionError(f"batches= must be {wanted}, not {shown(batches)}")


def find_start(
    program: Any,
    arrays: tuple[Any, ...],
    state: State | None,
    checkpoint_file: CheckpointFile | None,
    seed: int,
    member: Callable[[RunStart], Any] | None = None,
    compiled: Compiled | None = None,
) -> RunStart:
    """Find where to start: the checkpoint if there is one, else the given or an initial state.

    `member` gives the program of a tuned run's checkpoint; without it, such a checkpoint is refused. `compiled` is the
    program for these arrays, if it is at hand.
    """
    compiled = program.prepare(*arrays) if compiled is None else compiled
    particles = int(compiled.settings.particles)
    if checkpoint_file is not None:
        to_json(compiled.estimators)  # what a checkpoint cannot store is better known before training than after
        checkpoint_file.particles = particles
    if state is not None:
        check_start_state(state, compiled, program.settings.dtype, "state=")
        seed = state.seed
    if checkpoint_file is not None and (resumed := checkpoint_file.load()) is not None:
        _check_tuned_alike(resumed, checkpoint_file.path, member is not None)
        if member is not None:
            compiled = member(resumed).prepare(*arrays)
        check_start_state(resumed.state, compiled, program.settings.dtype, "the checkpoint", checkpoint_file.path)
        _check_same_run(resumed, checkpoint_file.path, seed, particles)
        return resumed
    if state is None:
        begun = program.init(seed, *arrays)
    elif state._estimators is compiled.estimators:
        begun = state
    else:
        begun = state.replace(estimators=compiled.estimators)
    return RunStart(begun, begun.step, {}, None)


def _check_tuned_alike(resumed: RunStart, path: str, tuned: bool) -> None:
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


def _check_same_run(resumed: RunStart, path: str, seed: int, particles: int) -> None:
    """Raise DataError where the program or the seed would make another run of it."""
    if resumed.state.seed != seed:
        raise DataError(f"the checkpoint is of a run with seed {resumed.state.seed}, not {seed}")
    if resumed.particles not in (None, particles):
        raise DataError(
            f"the run in checkpoint '{path}' has {resumed.particles} particles, the program {particles}: to continue "
            f"it, compile with particles={resumed.particles}"
        )


def make_validator(program: Any, validation: Any, hyper: HyperValues | None) -> Callable[[State], float] | None:
    """Return what evaluates a state: the user's function, or the loss per row of arrays."""
    if validation is None or callable(validation):
        return validation
    names = program.argument_names
    listed = validation if isinstance(validation, (tuple, list)) else (validation,)
    given = order_arguments(names, listed, "validation=")
    arrays = tuple(as_array(a, n) for a, n in zip(given, names, strict=True))
    compiled = program.prepare(*arrays)
    compiled.binder.bind(arrays)
    n = row_count(compiled, arrays)
    return lambda state: program.value(state, *arrays, hyper=hyper, nonfinite="keep") / n


def check_start_state(state: Any, compiled: Any, dtype: Any, origin: str, run: str | None = None) -> None:
    """Raise DataError unless `state` has the program's parameters, auxiliary variables and precision.

    `run` is the path of a checkpoint that is to be continued: under other estimators it would be another run.
    """
    if not isinstance(state, State):
        raise DataError(f"{origin} is a State (from program.init, a fit or ppl.load_state), not {type(state).__name__}")
    layout, aux = state._layouts
    if layout is not compiled.layout and layout != compiled.layout:
        ours, theirs = dict(compiled.layout.shapes), dict(layout.shapes)
        raise DataError(f"{origin} is of another program, with other parameters: {theirs} instead of {ours}")
    other = "" if run is None and aux is compiled.aux_layout else compiled.describe_other_estimators(state)
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
