"""A call of a program: what the user gave, as one record, and the same bound to what was compiled.

Public methods make a `Call` at once; `bind` checks it and converts the data; `BoundCall.run` is the one place that
hands vectors, data and noise to an executable, `BoundCall.environment` the one that hands them to the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import MANY, integer, noise_seed
from ppl.errors import ModelError, SimulatorError
from ppl.ir.reference.environment import Env
from ppl.records import dataclass
from ppl.runtime.binding import BoundData
from ppl.runtime.compiled import Compiled
from ppl.runtime.failures import locate_failure
from ppl.runtime.state import State, require_state

if TYPE_CHECKING:
    from ppl.compiler.lower.request import Result
    from ppl.compiler.surrogate.variants import ProgramVariant
    from ppl.runtime.executable import Executable
    from ppl.runtime.prepared import PreparedProgram

LOSS_VARIANTS = ("gradient", "value", "rows")


@dataclass(slots=True, eq=False)
class Call:
    """The arguments of one call of a program; immutable. See `Program.value` for the options."""

    state: State
    data: Sequence[Any]
    seed: int | None = None
    particles: int | None = None
    rows: Any = None
    total_rows: Any = None
    hyper: Mapping[str, Any] | None = None


@dataclass(slots=True, eq=False)
class BoundCall:
    """A call that has been checked, with its data converted and its defaults filled in.

    `int32` are the arguments that stay 32-bit integers; `seed` and `step` are those of the noise.
    """

    compiled: Compiled
    state: State
    data: BoundData
    int32: tuple[str, ...]
    hypers: np.ndarray
    particles: int
    seed: int
    step: int

    @property
    def rows(self) -> int:
        """Rows of the whole data set: what sums over them are divided by; 1 without data rows."""
        return self.data.total

    def run(self, executable: Executable, params: np.ndarray | None = None, **options: Any) -> Result:
        """Run an executable of the program; `params` in place of the state's, other `options` of `Executable.run`."""
        state, data = self.state, self.data
        vector = state._flat if params is None else params
        if executable.plain and not options:
            return executable.run_plain(vector, state._aux, self.hypers, self.seed, self.step)
        step = options.pop("step", self.step)
        return executable.run(
            vector, state._aux, self.hypers, data.arrays, rows=data.rows, row_ids=data.row_ids, scales=data.scales,
            total_rows=data.totals, particles=self.particles, seed=self.seed, step=step, **options,
        )  # fmt: skip

    def environment(self, variant: ProgramVariant | None = None, **changes: Any) -> Env:
        """The interpreter's view of the call.

        `variant`: another than the program's own, whose auxiliary variables and run-time scalars the state may lack.
        `changes`: other fields of `Env`; `sizes` are added to those known.
        """
        compiled, data, state = self.compiled, self.data, self.state
        aux, hyper = state.aux, dict(zip(compiled.hypers, self.hypers, strict=True))
        if variant is not None:
            aux, hyper = {**variant.initial_aux(state.seed), **aux}, {**variant.hypers, **hyper}
        arrays = (a.astype(np.int64) if a.dtype == np.int32 else a for a in data.arrays)
        rows = {
            name: ids if isinstance(ids, np.ndarray) else ids + np.arange(data.rows[name], dtype=np.int64)
            for name, ids in data.row_ids.items()
        }
        fields: dict[str, Any] = {
            "params": state.params,
            "aux": aux,
            "hyper": hyper,
            "inputs": {spec.name: array for spec, array in zip(compiled.binder.inputs, arrays, strict=True)},
            "rows": rows,
            "scales": data.scales,
            "total_rows": data.totals,
            "seed": self.seed,
            "step": self.step,
            "dtype": np.dtype(compiled.settings.dtype).type,
        }
        sizes = {**data.rows, "particles": self.particles, **changes.pop("sizes", {})}
        return Env(**{**fields, "sizes": sizes, **changes})


def bind_call(program: PreparedProgram, call: Call, check: bool = True, unread: Collection[str] = ()) -> BoundCall:
    """Check a call and convert its data; `check` says whether to look at the values of the data, too.

    Of the arguments `unread` only the number of rows counts.

    Raises
    ------
    DataError
        The state or the data do not fit the program, or an option is malformed (`OptionError`).
    """
    state, data, count, seed, step = call.state, call.data, call.particles, call.seed, 0
    if data:
        data = program.read(data)
    if type(state) is not State:
        require_state(state)
    compiled = program.prepare(*data)
    compiled.check_state(state)
    count = program.settings.particles if count is None else integer("particles=", count, 1, MANY)
    if seed is None:
        seed, step = state._seed, state._step
    else:
        seed = noise_seed("seed=", seed)
    int32 = compiled.int32(data)
    bound = compiled.binder.bind(data, call.rows, call.total_rows, check, int32, unread=unread)
    hypers = compiled.hyper_vector(call.hyper, state._step)
    return BoundCall(compiled, state, bound, int32, hypers, count, seed, step)


def run_variant(bound: BoundCall, key: str, sites: Sequence[Any] = ()) -> Result:
    """Run a variant ("gradient", "value", "rows", "sample", or one of `DRAWS`) of the program.

    Raises
    ------
    EstimatorError
        An estimator of the plan does not take so many particles.
    ModelError
        The program is only drawn from, and a loss is asked for.
    SimulatorError
        A user's function raised an exception; the message has its row and arguments.
    """
    compiled, count = bound.compiled, bound.particles
    if compiled.trace.predictive and key in LOSS_VARIANTS:
        raise ModelError("ppl.predictive is drawn from (sample, predict): it has no loss")
    executable = compiled.executable(key, sites, count, bound.int32)
    if count != compiled.settings.particles and key == "gradient":
        compiled.check_particles(count)
    try:
        return bound.run(executable)
    except SimulatorError as error:
        variant = compiled.variant(key, sites, compiled.static_particles(key, count))
        raise locate_failure(error, variant, bound.environment) from error.__cause__


def take_optimizer_step(bound: BoundCall, transform: Any) -> tuple[State, dict[str, float], np.ndarray]:
    """One step of an optimizer: the new state, the scalars (divided by the rows) and the gradient (not divided)."""
    result, state, n = run_variant(bound, "gradient"), bound.state, bound.data.total
    flat, opt = transform.apply(state._flat, result.grad, state._opt, state._layouts[0], state._step, 1.0 / n)
    new = State.unchecked(
        flat, result.aux, state._layouts, state._step + 1, state._seed, opt, bound.compiled.estimators
    )
    return new, result.scalars if n == 1 else {k: v / n for k, v in result.scalars.items()}, result.grad


HyperValues = Mapping[str, float | Callable[[int], float]]
