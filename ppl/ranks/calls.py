"""One call of a program on the rows of several processes, and which rows each of them takes."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import MANY, integer, noise_seed
from ppl.compiler.lower.request import Result
from ppl.errors import DataError, NonFiniteError, OptionError
from ppl.lang.arguments import as_array
from ppl.ranks.communicator import Communicator
from ppl.ranks.partitioned import CallInputs, PartitionedProgram, SummedResult, partitioned_program
from ppl.runtime.array_files import is_memory_mapped
from ppl.runtime.binding import parse_row_ids
from ppl.runtime.call import BoundCall, Call, bind_call
from ppl.runtime.compiled import Compiled
from ppl.runtime.nonfinite import KEEP_HINT, all_finite_entries, require_finite_gradient, require_finite_loss
from ppl.runtime.state import State

MAX_HASHED_BYTES = 1 << 24
"""Bytes of an array that are compared between ranks at most."""


class RankRowRange:
    """Rows that ranks hold. Collective.

    Parameters
    ----------
    ranks : the communicator.
    data : this rank's arrays, in the order of the program's arguments.
    cut : which of them have rows; the others must be equal on all ranks.
    mapped : whether the rows lie in files that are mapped into memory; None looks at `data`.
    replicated : whether every rank is given all rows; None means that memory-mapped arrays are, and others are not.

    Attributes
    ----------
    replicated : the answer.
    held : rows that this rank holds.
    first, total : the number of its first row in the data set, and the rows of that.

    Raises
    ------
    DataError
        Ranks contradict each other; or all hold the same rows, and nobody has said what that means.
    """

    def __init__(
        self,
        ranks: Communicator,
        data: Sequence[np.ndarray],
        cut: Sequence[bool],
        replicated: bool | None,
        mapped: bool | None = None,
    ):
        opened = [x for x, c in zip(data, cut, strict=True) if c]
        self.ranks, self.cut = ranks, tuple(cut)
        self.held = len(opened[0]) if opened else 0
        mapped = bool(opened) and all(is_memory_mapped(x) for x in opened) if mapped is None else mapped
        prints = [_fingerprint(x) for x in opened], [_fingerprint(x) for x, c in zip(data, cut, strict=True) if not c]
        told = ranks.comm.allgather((replicated, mapped, self.held, *prints))
        self._check(told, bool(opened))
        self.replicated = all(m for _, m, *_ in told) if told[0][0] is None else bool(told[0][0])
        counts = [count for _, _, count, *_ in told]
        self.first = 0 if self.replicated else sum(counts[: ranks.rank])
        self.total = counts[0] if self.replicated else sum(counts)

    def _check(self, told: Sequence[Any], opened: bool) -> None:
        answers, mapped, counts, rows, others = zip(*told, strict=True)
        if len(set(answers)) > 1:
            raise OptionError(f"ranks were given different replicated=: {list(answers)}")
        if any(o != others[0] for o in others):
            raise DataError("arguments without rows must be equal on all ranks, and are not")
        whole = answers[0] or (answers[0] is None and all(mapped))
        if whole and any(r != rows[0] for r in rows):
            said = "replicated=True:" if answers[0] else "memory-mapped arrays are taken for all rows, but"
            hint = "" if answers[0] else ": pass replicated=False if the rows of each count"
            raise DataError(f"{said} ranks hold different rows{hint}")
        same = [r for r, count in zip(rows, counts, strict=True) if count]
        if answers[0] is None and not whole and opened and len(same) > 1 and all(r == same[0] for r in same):
            raise DataError(
                f"all ranks were given the same {max(counts)} rows: pass replicated=True if that is the whole data "
                "set, replicated=False if the rows of each count, or give every rank its own part"
            )

    def taken(self, rows: np.ndarray) -> np.ndarray:
        """Those of the dataset rows `rows` that this rank takes, in their order: an equal part, or those it holds."""
        if self.replicated:
            return rows[self._part(len(rows))]
        return rows[(rows >= self.first) & (rows < self.first + self.held)]

    def whole(self) -> tuple[slice, int]:
        """Which of the rows that this rank holds it takes of all, and the number of the first of them."""
        if not self.replicated:
            return slice(0, self.held), self.first
        part = self._part(self.total)
        return part, part.start

    def _part(self, rows: int) -> slice:
        rank, size = self.ranks.rank, self.ranks.size
        return slice(rows * rank // size, rows * (rank + 1) // size)


def _fingerprint(x: np.ndarray) -> tuple[Any, ...]:
    """Shape, type and a checksum of an array; of a large one, of some of its rows."""
    rows = x
    if x.nbytes > MAX_HASHED_BYTES and len(x):
        count = max(1, min(len(x), MAX_HASHED_BYTES * len(x) // x.nbytes))
        rows = x[np.arange(count) * len(x) // count]
    return x.shape, x.dtype.str, zlib.crc32(np.ascontiguousarray(rows).data)


class RankCall(NamedTuple):
    """A call, as one rank sees it.

    `bound` is its part, None where it has no rows; `taken` are its rows (or particles) and `first` the first particle;
    `given` are the rows of all ranks, and `total` those of the data set.
    """

    compiled: Compiled
    moment: CallInputs
    bound: BoundCall | None
    first: int
    taken: int
    given: int
    total: int
    int32: tuple[str, ...]


def call_on_ranks(
    program: Any, ranks: Communicator, call: Call, replicated: bool | None, key: str, keep: bool, adapted: bool = False
) -> SummedResult:
    """The results of a variant ("gradient" or "value") on the rows of all ranks, on all of them. Collective.

    `keep`: return what is not finite; else the rank where it appeared says so, and the others raise a RankError.
    """
    at, result, found = _compute_and_sum(program, ranks, call, replicated, key)
    loss = found.scalars["loss"]
    if not (
        keep
        or (math.isfinite(loss) and all_finite_entries(found.grad) and (not adapted or all_finite_entries(found.aux)))
    ):
        ranks.run_on_all(_raise_if_part_nonfinite, at, result, key, adapted)
        raise NonFiniteError(f"the sum over ranks is not finite: the loss is {loss}{KEEP_HINT}")
    return found


def update_on_ranks(
    program: Any, ranks: Communicator, call: Call, replicated: bool | None, transform: Any, keep: bool
) -> tuple[State, float]:
    """`Program.update` on the rows of all ranks: the new state, and the loss per row. Collective."""
    at, result, found = _compute_and_sum(program, ranks, call, replicated, "gradient")
    state, factor = call.state, 1.0 / at.total
    flat, opt = transform.apply(state._flat, found.grad, state._opt, state._layouts[0], state._step, factor)
    new = State.unchecked(flat, found.aux, state._layouts, state._step + 1, state._seed, opt, at.compiled.estimators)
    loss = found.scalars["loss"] * factor
    if not (keep or (math.isfinite(loss) and all_finite_entries(new._flat) and all_finite_entries(new._aux))):
        ranks.run_on_all(_raise_if_part_nonfinite, at, result, "gradient", True)
        raise NonFiniteError(f"the update is not finite: the loss is {loss}{KEEP_HINT}")
    return new, loss


def _compute_and_sum(
    program: Any, ranks: Communicator, call: Call, replicated: bool | None, key: str
) -> tuple[RankCall, Result | None, SummedResult]:
    """This rank's part of a call, what it has found, and the sum over ranks. Collective."""
    at = partition_call(program, ranks, call, replicated)
    form = ranks.run_on_all(partitioned_program, at.compiled, key, at.moment.particles, at.int32)
    result = ranks.run_on_all(_run_part, form, at)
    return at, result, sum_over_ranks(ranks, form, at, result)


def partition_call(program: Any, ranks: Communicator, call: Call, replicated: bool | None) -> RankCall:
    """This rank's part of a call. Collective."""
    compiled, data = ranks.run_on_all(_prepare_program, program, call)
    cut = tuple(arguments_with_rows(compiled))
    portion = ranks.run_on_all(RankRowRange, ranks, data, cut, replicated)
    _require_same_state(ranks, call)
    return ranks.run_on_all(_bind_part, program, compiled, ranks, replace(call, data=data), portion)


def arguments_with_rows(compiled: Compiled) -> list[bool]:
    """Which data arguments have rows of the outermost data plate."""
    plate = next((a for a in compiled.binder.plates if a.depth == 0), None)
    inputs = compiled.trace.inputs
    return [plate is not None and n in inputs and inputs[n].plate == plate for n in compiled.binder.arguments]


def _prepare_program(program: Any, call: Call) -> tuple[Compiled, tuple[np.ndarray, ...]]:
    data = tuple(as_array(x, n) for x, n in zip(program.read(call.data), program.argument_names, strict=False))
    compiled = program.prepare(*data)
    compiled.check_state(call.state)
    return compiled, data


def _require_same_state(ranks: Communicator, call: Call) -> None:
    state = call.state
    given = (zlib.crc32(state._flat.data), zlib.crc32(state._aux.data), state.step, state.seed)
    told = ranks.comm.allgather((*given, call.seed, call.particles, repr(call.total_rows)))
    if any(t != told[0] for t in told):
        raise DataError("ranks were given different states, seeds, particles or total_rows")


def _bind_part(program: Any, compiled: Compiled, ranks: Communicator, call: Call, portion: RankRowRange) -> RankCall:
    particles = compiled.settings.particles if call.particles is None else call.particles
    integer("particles=", particles, 1, MANY)
    state = call.state
    seed, step = (state._seed, state._step) if call.seed is None else (noise_seed("seed=", call.seed), 0)
    moment = CallInputs(state, compiled.hyper_vector(call.hyper, state._step), particles, seed, step)
    int32 = compiled.int32(call.data)
    if not any(portion.cut):
        first, end = particle_range(ranks, particles)
        bound = bind_call(program, call) if end > first else None
        return RankCall(compiled, moment, bound, first, end - first, max(particles, 1), 1, int32)
    part, first = portion.whole()
    count = part.stop - part.start
    plate = compiled.binder.plates[0].name
    if portion.total == 0:
        raise DataError(f"plate '{plate}' has no rows on any rank")
    total = call.total_rows.get(plate) if isinstance(call.total_rows, dict) else call.total_rows
    total = portion.total if total is None else integer("total_rows=", total, 1, MANY)
    if total < portion.total:
        raise DataError(f"total_rows={total}: the ranks are given {portion.total} rows of them")
    if isinstance(call.total_rows, dict) or isinstance(call.rows, dict):
        raise OptionError("on several processes rows= and total_rows= are those of the outermost plate, not dicts")
    ids = _rank_row_ids(call.rows, portion, part, first, plate)
    data = tuple(x[part] if cut else x for x, cut in zip(call.data, portion.cut, strict=True))
    bound = bind_call(program, replace(call, data=data, rows=ids, total_rows=total)) if count else None
    return RankCall(compiled, moment, bound, 0, count, portion.total, total, int32)


def particle_range(ranks: Communicator, particles: int) -> tuple[int, int]:
    """The first particle that a rank takes, and the one after its last; rank 0 takes a single one."""
    if particles == 1:
        return 0, int(ranks.rank == 0)
    return particles * ranks.rank // ranks.size, particles * (ranks.rank + 1) // ranks.size


def _rank_row_ids(rows: Any, portion: RankRowRange, part: slice, first: int, plate: str) -> Any:
    """Global numbers of the rows that a rank takes; `rows` are those of the rows that it holds."""
    if rows is None:
        return first
    held = parse_row_ids(rows, portion.held, plate)
    return held[part] if isinstance(held, np.ndarray) else held + part.start


def _run_part(form: PartitionedProgram, at: RankCall) -> Result | None:
    return None if at.bound is None else form.own(at.bound, (at.first, at.taken))


def sum_over_ranks(ranks: Communicator, form: PartitionedProgram, at: RankCall, result: Result | None) -> SummedResult:
    """What all ranks have found, added up. Collective."""
    scalars = [0.0] * len(form.scalars) if result is None else result.scalars.values()
    heads = ranks.exchange(np.array([at.taken, *scalars], float))
    weights = heads[:, 0] / heads[:, 0].sum()
    own = np.zeros(form.entries, at.moment.state._flat.dtype)
    if result is not None:
        own = form.packed(result, weights[ranks.rank])
    total = np.zeros(len(form.scalars))
    for weight, head in zip(weights, heads, strict=True):
        total += weight * head[1:] if weight else 0.0
    return form.unpacked(ranks.weighted_sum(own, weights), total, at.moment, at.given, at.total)


def _raise_if_part_nonfinite(at: RankCall, result: Result | None, key: str, adapted: bool) -> None:
    """Raise where this rank's own part is not finite."""
    if at.bound is None or result is None:
        return
    if key == "value":
        require_finite_loss(at.bound, result.scalars["loss"], False)
    else:
        require_finite_gradient(at.bound, result, adapted)
