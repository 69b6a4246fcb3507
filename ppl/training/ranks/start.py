"""From the arguments of `ppl.fit` to a run on several processes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppl.arguments import flag
from ppl.errors import OptionError
from ppl.runtime.ranks.comm import Ranks
from ppl.runtime.ranks.shared import Shared, shared
from ppl.runtime.ranks.tables import SharedTables
from ppl.runtime.state import State
from ppl.training.batches import by_position, check_accumulated
from ppl.training.beginning import beginning, check_lengths, validator
from ppl.training.checkpoint import Checkpoint
from ppl.training.history.record import record_of
from ppl.training.live import rule_of
from ppl.training.optim.transform import as_transform
from ppl.training.options import check_hyper, check_options
from ppl.training.ranks.block import run_in_memory
from ppl.training.ranks.device import DeviceRun, reduces_on_devices
from ppl.training.ranks.rows import RankRows
from ppl.training.ranks.run import RankRun
from ppl.training.ranks.stream import RankStream
from ppl.training.ranks.tables import TableRun
from ppl.training.run import Fit


def fit_on_ranks(ranks: Ranks, program: Any, data: tuple[Any, ...], given: Mapping[str, Any]) -> Fit:
    """`ppl.fit` with the options `given` on all ranks. Collective."""
    arrays, transform = ranks.together(_checked, program, data, given)
    ranks.together(_same_everywhere, ranks, given, transform)
    keeper = ranks.together(_keeper, ranks, given["checkpoint"])
    source = _source(ranks, program, arrays, given)
    compiled = program.prepare(*source.data)
    ranks.together(check_hyper, given["hyper"], compiled.gradient.hypers)
    found = ranks.on_first(beginning, program, source.data, given["state"], keeper, given["seed"])
    begun, start, history, place, stored, extent = found[:6]
    if keeper is not None:
        keeper.batches_of(extent, source.extent)
    ranks.together(transform.check, begun.opt, begun._flat, begun._layouts[0])
    source.seed = begun.seed
    source.resume(place)
    kind, form = ranks.together(_loop, program, compiled, transform, source)
    make: Any = kind
    if kind is RankRun:
        on_devices = reduces_on_devices(ranks, form)
        make = DeviceRun if on_devices else run_in_memory(ranks, form, transform, source)
    run: RankRun = make(
        ranks, form, given["checkpoint"] is not None, program, transform, given["hyper"], source, begun, start
    )
    run.history.update(history)
    ranks.together(run.limit, given["steps"], given["epochs"])
    first = ranks.rank == 0
    record = ranks.together(
        record_of, given["history"] if first else None, begun.step, history, stored if first else None, keeper
    )
    run.record, run.bounded = record, given["history"] is not None
    validate = ranks.together(validator, program, given["validation"] if first else None, given["hyper"])
    run.keeper, run.callback, run.validate = keeper, given["callback"] if first else None, validate
    return run.train(given["progress"] and first)


def _checked(program: Any, data: tuple[Any, ...], given: Mapping[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """The data in order and the optimizer, once options have been checked."""
    check_options(given)
    check_lengths(given["steps"], given["epochs"])
    if given["replicated"] is not None:
        flag("replicated=", given["replicated"])
    if given["tune"] is not None and given["tune"] is not False:
        raise OptionError("tune= is for one process: with comm=, pass the program that ppl.tune has made")
    transform = as_transform(given["optimizer"])
    if given["batches"] is None:
        if given["prefetch"] is not None:
            raise OptionError("comm= gathers rows between messages; prefetch= is for batches=, or for one process")
        check_accumulated(given["accumulate"], given["batch_size"])
        return by_position(program.argument_names, data), transform
    if data or given["batch_size"] is not None:
        raise OptionError("batches= brings the data: pass neither arrays nor batch_size= with it")
    if given["replicated"] is not None:
        raise OptionError("batches= brings each rank its own rows: leave out replicated=")
    return (), transform


def _source(ranks: Ranks, program: Any, arrays: tuple[Any, ...], given: Mapping[str, Any]) -> RankRows | RankStream:
    """Where each rank's part of a batch comes from. Collective."""
    size, accumulate, total_rows = given["batch_size"], given["accumulate"], given["total_rows"]
    if given["batches"] is None:
        return RankRows(ranks, program, arrays, size and size * accumulate, total_rows, given["replicated"])
    rest = (program, given["batches"], total_rows, given["seed"], accumulate, given["prefetch"] or 0)
    return ranks.together(RankStream, ranks.rank, *rest)


def _loop(program: Any, compiled: Any, transform: Any, source: RankRows | RankStream) -> tuple[type[RankRun], Shared]:
    """The loop that suits an optimizer, and the gradient as it takes it."""
    rule, int32, particles = rule_of(transform), compiled.int32(source.data), program.settings.particles
    by_rows = rule is not None and rule.sparse and compiled.target.printer == "cpu"
    if by_rows and (found := shared(compiled, "gradient", particles, int32, SharedTables)):
        return TableRun, found
    return RankRun, shared(compiled, "gradient", particles, int32)


def _keeper(ranks: Ranks, checkpoint: Any) -> Checkpoint | None:
    return None if checkpoint is None or ranks.rank else Checkpoint(checkpoint)


def _print_of(state: Any) -> str:
    if not isinstance(state, State):
        return repr(state)
    vectors = [state._flat, state._aux, *(x for x in (state._opt or {}).values() if isinstance(x, np.ndarray))]
    marks = " ".join(f"{zlib.crc32(np.ascontiguousarray(x).data):x}" for x in vectors)
    return f"{marks} at step {state.step} of seed {state.seed}"


def _kind_of(transform: Any) -> str:
    rule = rule_of(transform)
    clip = getattr(transform, "clip_norm", None)
    return f"{type(transform).__name__}{'' if rule is None else rule.numbers}{'' if clip is None else f', clip {clip}'}"


def _same_everywhere(ranks: Ranks, given: Mapping[str, Any], transform: Any) -> None:
    """Raise where ranks were given different numbers, or optimizers of different kinds."""
    names = ("steps", "epochs", "batch_size", "accumulate", "seed", "total_rows", "history")
    told = ranks.comm.allgather(
        {name: repr(given[name]) for name in names}
        | {"state": _print_of(given["state"]), "optimizer": _kind_of(transform)}
    )
    for name in (*names, "state", "optimizer"):
        values = [t[name] for t in told]
        if len(set(values)) > 1:
            raise OptionError(f"ranks were given different {name}=: {', '.join(values)}")
