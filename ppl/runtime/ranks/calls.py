"""One call of a program on the rows of several processes: `Program.value`, `value_and_grad`, `step` and `update` with
`comm=`."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import MANY, flag, integer, noise_seed
from ppl.compiler.lower.request import Result
from ppl.errors import DataError, NonFiniteError, OptionError
from ppl.lang.arguments import as_array
from ppl.runtime.binding import _row_ids
from ppl.runtime.call import BoundCall, Call, bind
from ppl.runtime.compiled import Compiled
from ppl.runtime.nonfinite import KEEP, finite, require_finite_gradient, require_finite_loss
from ppl.runtime.ranks.comm import Ranks
from ppl.runtime.ranks.portion import Portion
from ppl.runtime.ranks.shared import Moment, Shared, Totals, shared
from ppl.runtime.state import State


class OnRanks(NamedTuple):
    """A call, as one rank sees it.

    `bound` is its part, None where it has no rows; `taken` are its rows (or particles) and `first` the first particle;
    `given` are the rows of all ranks, and `total` those of the data set.
    """

    compiled: Compiled
    moment: Moment
    bound: BoundCall | None
    first: int
    taken: int
    given: int
    total: int
    int32: tuple[str, ...]


def call_on_ranks(
    program: Any, ranks: Ranks, call: Call, replicated: bool | None, key: str, keep: bool, adapted: bool = False
) -> Totals:
    """The results of a variant ("gradient" or "value") on the rows of all ranks, on all of them. Collective.

    `keep`: return what is not finite; else the rank where it appeared says so, and the others raise a RankError.
    """
    at, result, found = _computed(program, ranks, call, replicated, key)
    loss = found.scalars["loss"]
    if not (keep or (math.isfinite(loss) and finite(found.grad) and (not adapted or finite(found.aux)))):
        ranks.together(_refuse, at, result, key, adapted)
        raise NonFiniteError(f"the sum over ranks is not finite: the loss is {loss}{KEEP}")
    return found


def update_on_ranks(
    program: Any, ranks: Ranks, call: Call, replicated: bool | None, transform: Any, keep: bool
) -> tuple[State, float]:
    """`Program.update` on the rows of all ranks: the new state, and the loss per row. Collective."""
    at, result, found = _computed(program, ranks, call, replicated, "gradient")
    state, factor = call.state, 1.0 / at.total
    flat, opt = transform.apply(state._flat, found.grad, state._opt, state._layouts[0], state._step, factor)
    new = State.made(flat, found.aux, state._layouts, state._step + 1, state._seed, opt, at.compiled.estimators)
    loss = found.scalars["loss"] * factor
    if not (keep or (math.isfinite(loss) and finite(new._flat) and finite(new._aux))):
        ranks.together(_refuse, at, result, "gradient", True)
        raise NonFiniteError(f"the update is not finite: the loss is {loss}{KEEP}")
    return new, loss


def _computed(
    program: Any, ranks: Ranks, call: Call, replicated: bool | None, key: str
) -> tuple[OnRanks, Result | None, Totals]:
    """This rank's part of a call, what it has found, and the sum over ranks. Collective."""
    at = divided(program, ranks, call, replicated)
    form = ranks.together(shared, at.compiled, key, at.moment.particles, at.int32)
    result = ranks.together(_own, form, at)
    return at, result, summed(ranks, form, at, result)


def divided(program: Any, ranks: Ranks, call: Call, replicated: bool | None) -> OnRanks:
    """This rank's part of a call. Collective."""
    compiled, data = ranks.together(_prepared, program, call, replicated)
    cut = tuple(program_cut(compiled))
    portion = ranks.together(Portion, ranks, data, cut, replicated)
    _same_state(ranks, call)
    return ranks.together(_part, program, compiled, ranks, replace(call, data=data), portion)


def program_cut(compiled: Compiled) -> list[bool]:
    """Which data arguments have rows of the outermost data plate."""
    plate = next((a for a in compiled.binder.plates if a.depth == 0), None)
    inputs = compiled.trace.inputs
    return [plate is not None and n in inputs and inputs[n].plate == plate for n in compiled.binder.arguments]


def _prepared(program: Any, call: Call, replicated: Any) -> tuple[Compiled, tuple[np.ndarray, ...]]:
    if replicated is not None:
        flag("replicated=", replicated)
    data = tuple(as_array(x, n) for x, n in zip(program.read(call.data), program.argument_names, strict=False))
    compiled = program.prepare(*data)
    compiled.check_state(call.state)
    return compiled, data


def _same_state(ranks: Ranks, call: Call) -> None:
    state = call.state
    given = (zlib.crc32(state._flat.data), zlib.crc32(state._aux.data), state.step, state.seed)
    told = ranks.comm.allgather((*given, call.seed, call.particles, repr(call.total_rows)))
    if any(t != told[0] for t in told):
        raise DataError("comm=: ranks were given different states, seeds, particles or total_rows")


def _part(program: Any, compiled: Compiled, ranks: Ranks, call: Call, portion: Portion) -> OnRanks:
    particles = compiled.settings.particles if call.particles is None else call.particles
    integer("particles=", particles, 1, MANY)
    state = call.state
    seed, step = (state._seed, state._step) if call.seed is None else (noise_seed("seed=", call.seed), 0)
    moment = Moment(state, compiled.hyper_vector(call.hyper, state._step), particles, seed, step)
    int32 = compiled.int32(call.data)
    if not any(portion.cut):
        first, end = particles_of(ranks, particles)
        bound = bind(program, call) if end > first else None
        return OnRanks(compiled, moment, bound, first, end - first, max(particles, 1), 1, int32)
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
        raise OptionError("comm=: rows= and total_rows= are those of the outermost plate, not dicts")
    ids = _ids(call.rows, portion, part, first, plate)
    data = tuple(x[part] if cut else x for x, cut in zip(call.data, portion.cut, strict=True))
    bound = bind(program, replace(call, data=data, rows=ids, total_rows=total)) if count else None
    return OnRanks(compiled, moment, bound, 0, count, portion.total, total, int32)


def particles_of(ranks: Ranks, particles: int) -> tuple[int, int]:
    """The first particle that a rank takes, and the one after its last; rank 0 takes a single one."""
    if particles == 1:
        return 0, int(ranks.rank == 0)
    return particles * ranks.rank // ranks.size, particles * (ranks.rank + 1) // ranks.size


def _ids(rows: Any, portion: Portion, part: slice, first: int, plate: str) -> Any:
    """Global numbers of the rows that a rank takes; `rows` are those of the rows that it holds."""
    if rows is None:
        return first
    held = _row_ids(rows, portion.held, plate)
    return held[part] if isinstance(held, np.ndarray) else held + part.start


def _own(form: Shared, at: OnRanks) -> Result | None:
    return None if at.bound is None else form.own(at.bound, (at.first, at.taken))


def summed(ranks: Ranks, form: Shared, at: OnRanks, result: Result | None) -> Totals:
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
    return form.unpacked(ranks.total(own, weights), total, at.moment, at.given, at.total)


def _refuse(at: OnRanks, result: Result | None, key: str, adapted: bool) -> None:
    """Raise where this rank's own part is not finite."""
    if at.bound is None or result is None:
        return
    if key == "value":
        require_finite_loss(at.bound, result.scalars["loss"], False)
    else:
        require_finite_gradient(at.bound, result, adapted)
