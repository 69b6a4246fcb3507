"""Start `ppl.fit` on several processes: check that all were given the same, and choose the loop that suits."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppl.errors import OptionError
from ppl.ranks.communicator import Communicator
from ppl.ranks.partitioned import PartitionedProgram, PartitionedTableProgram, partitioned_program
from ppl.ranks.training_batches import RankArrayBatches, RankStreamBatches
from ppl.ranks.training_loop import DeviceRun, RankRun, reduces_on_devices
from ppl.ranks.training_shared_memory import choose_shared_memory_run
from ppl.ranks.training_tables import TableRankRun
from ppl.runtime.state import State
from ppl.training.batches import check_accumulate, order_arguments
from ppl.training.checkpoints import CheckpointFile
from ppl.training.history import bounded_history_of
from ppl.training.mutable_state import update_rule_of
from ppl.training.optim.transform import as_transform
from ppl.training.result import Fit
from ppl.training.setup import check_hyper, check_options, find_start, make_validator


def fit_on_ranks(ranks: Communicator, program: Any, data: tuple[Any, ...], given: Mapping[str, Any]) -> Fit:
    """`ppl.fit` with the options `given` on all ranks. Collective."""
    arrays, transform = ranks.run_on_all(_check_arguments, program, data, given)
    ranks.run_on_all(_require_same_options, ranks, given, transform)
    checkpoint_file = ranks.run_on_all(_open_checkpoint, ranks, given["checkpoint"])
    source = _make_batches(ranks, program, arrays, given)
    compiled = program.prepare(*source.data)
    ranks.run_on_all(check_hyper, given["hyper"], compiled.gradient.hypers)
    found = ranks.run_on_root(find_start, program, source.data, given["state"], checkpoint_file, given["seed"])
    begun, start, history, place, stored, extent = found[:6]
    if checkpoint_file is not None:
        checkpoint_file.batches_of(extent, source.extent)
    ranks.run_on_all(transform.check, begun.opt, begun._flat, begun._layouts[0])
    source.seed = begun.seed
    source.resume(place)
    kind, form = ranks.run_on_all(_choose_run, program, compiled, transform, source)
    make: Any = kind
    if kind is RankRun:
        on_devices = reduces_on_devices(ranks, form)
        make = DeviceRun if on_devices else choose_shared_memory_run(ranks, form, transform, source)
    run: RankRun = make(
        ranks, form, given["checkpoint"] is not None, program, transform, given["hyper"], source, begun, start
    )
    run.history.update(history)
    ranks.run_on_all(run.limit, given["steps"], given["epochs"])
    first = ranks.rank == 0
    record = ranks.run_on_all(
        bounded_history_of,
        given["history"] if first else None,
        begun.step,
        history,
        stored if first else None,
        checkpoint_file,
    )
    run.record, run.bounded = record, given["history"] is not None
    validate = ranks.run_on_all(make_validator, program, given["validation"] if first else None, given["hyper"])
    run.checkpoint_file, run.callback, run.validate = checkpoint_file, given["callback"] if first else None, validate
    return run.train(given["progress"] and first)


def _check_arguments(program: Any, data: tuple[Any, ...], given: Mapping[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """The data in order and the optimizer, once options have been checked."""
    check_options(given)
    if given["tune"] is not None and given["tune"] is not False:
        raise OptionError("tune= is for one process: pass on(comm) of the program that ppl.tune has made")
    transform = as_transform(given["optimizer"])
    if given["batches"] is None:
        if given["prefetch"] is not None:
            raise OptionError(
                "several processes gather rows between messages; prefetch= is for batches=, or for one process"
            )
        check_accumulate(given["accumulate"], given["batch_size"])
        return order_arguments(program.argument_names, data), transform
    if data or given["batch_size"] is not None:
        raise OptionError("batches= brings the data: pass neither arrays nor batch_size= with it")
    if given["replicated"] is not None:
        raise OptionError("batches= brings each rank its own rows: leave out replicated=")
    return (), transform


def _make_batches(
    ranks: Communicator, program: Any, arrays: tuple[Any, ...], given: Mapping[str, Any]
) -> RankArrayBatches | RankStreamBatches:
    """Where each rank's part of a batch comes from. Collective."""
    size, accumulate, total_rows = given["batch_size"], given["accumulate"], given["total_rows"]
    if given["batches"] is None:
        return RankArrayBatches(ranks, program, arrays, size and size * accumulate, total_rows, given["replicated"])
    rest = (program, given["batches"], total_rows, given["seed"], accumulate, given["prefetch"] or 0)
    return ranks.run_on_all(RankStreamBatches, ranks.rank, *rest)


def _choose_run(
    program: Any, compiled: Any, transform: Any, source: RankArrayBatches | RankStreamBatches
) -> tuple[type[RankRun], PartitionedProgram]:
    """The loop that suits an optimizer, and the gradient as it takes it."""
    rule, int32, particles = update_rule_of(transform), compiled.int32(source.data), program.settings.particles
    by_rows = rule is not None and rule.sparse and compiled.target.printer == "cpu"
    if by_rows and (found := partitioned_program(compiled, "gradient", particles, int32, PartitionedTableProgram)):
        return TableRankRun, found
    return RankRun, partitioned_program(compiled, "gradient", particles, int32)


def _open_checkpoint(ranks: Communicator, checkpoint: Any) -> CheckpointFile | None:
    return None if checkpoint is None or ranks.rank else CheckpointFile(checkpoint)


def _fingerprint_state(state: Any) -> str:
    if not isinstance(state, State):
        return repr(state)
    vectors = [state._flat, state._aux, *(x for x in (state._opt or {}).values() if isinstance(x, np.ndarray))]
    marks = " ".join(f"{zlib.crc32(np.ascontiguousarray(x).data):x}" for x in vectors)
    return f"{marks} at step {state.step} of seed {state.seed}"


def _describe_optimizer(transform: Any) -> str:
    rule = update_rule_of(transform)
    clip = getattr(transform, "clip_norm", None)
    return f"{type(transform).__name__}{'' if rule is None else rule.numbers}{'' if clip is None else f', clip {clip}'}"


def _require_same_options(ranks: Communicator, given: Mapping[str, Any], transform: Any) -> None:
    """Raise where ranks were given different numbers, or optimizers of different kinds."""
    names = ("steps", "epochs", "batch_size", "accumulate", "seed", "total_rows", "history")
    told = ranks.comm.allgather(
        {name: repr(given[name]) for name in names}
        | {"state": _fingerprint_state(given["state"]), "optimizer": _describe_optimizer(transform)}
    )
    for name in (*names, "state", "optimizer"):
        values = [t[name] for t in told]
        if len(set(values)) > 1:
            raise OptionError(f"ranks were given different {name}=: {', '.join(values)}")
