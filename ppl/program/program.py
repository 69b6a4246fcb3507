"""`ppl.compile` and the Program: the public face of a compiled model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import MANY, choice, flag, integer
from ppl.compiler.pipeline import Settings
from ppl.compiler.plan.decision_table import EstimatorRequest, require_estimators
from ppl.errors import EstimatorError, OptionError
from ppl.estimators.base import Estimator
from ppl.extras import extra
from ppl.lazy import pricing
from ppl.names import keywords
from ppl.objectives.base import as_objective
from ppl.program.draws import ProgramDraws
from ppl.program.embedding import Embedding
from ppl.program.gradient_checks import GradientChecks
from ppl.program.inspection import Inspection
from ppl.program.recipe import PickledAsRecipe
from ppl.runtime.call import Call, HyperValues, bind_call, run_variant, take_optimizer_step
from ppl.runtime.nonfinite import keeps_nonfinite, require_finite_gradient, require_finite_loss, require_finite_update
from ppl.runtime.state import State
from ppl.training.optim.transform import as_transform

if TYPE_CHECKING:
    from ppl.program.profile import Profile


@keywords
def compile(
    objective: Any,
    estimators: EstimatorRequest = "auto",
    allow_bias: bool = False,
    particles: int | str = 1,
    max_copies: int = 4,
    dtype: str = "float32",
    target: str = "cpu",
    data: Sequence[Any] | Any = None,
    device: int = 0,
) -> Program:
    """Compile a model or objective: choose an estimator for every random node and prepare its kernels.

    Parameters
    ----------
    objective : a `@ppl.model` with costs, or `ppl.elbo(...)`, `ppl.likelihood(...)`.
    estimators : "auto", one estimator for all nodes, or a dict of node-name globs (unlisted nodes: automatic).
        `sample(estimator=)` has precedence over it.
    allow_bias : whether the automatic choice may take biased estimators.
    particles : samples averaged per row; leave-one-out baselines need at least 2. "auto": 1 to 16, chosen
        together with automatic estimators so that the expected variance × time is least; `explain()` says why. It needs
        `data`, whose rows, at most 100, steps are priced for. Variances are those of some interpreted gradients at
        the initial parameters, which takes some seconds; of `ppl.spec` data, closed forms.
    max_copies : evaluations of the downstream computation that the automatic choice may spend for each particle; with
        `particles="auto"`, which weighs time, up to 16 times as many.
    dtype : "float32" or "float64".
    target : "cpu", "cuda" (an NVIDIA GPU, extra ``cuda``), or "auto": CUDA where there is a device and the model can
        run on it, else the CPU. Draws are the same on all.
    data : example arrays or `ppl.spec(...)`, one per model argument (a single array for a single argument). Without
        it a model with arguments is traced at the first call that brings data.
    device : the number of the CUDA device.

    Raises
    ------
    ModelError, ShapeError : the model is declared wrongly.
    EstimatorError : a node has no admissible estimator, a named one does not support it, or `particles`, `max_copies`
        or `allow_bias` are of the wrong kind or out of range.
    OptionError : another argument is.
    """
    choice("dtype", dtype, ("float32", "float64"))
    choice("target", target, ("cpu", "cuda", "auto"))
    device = integer("device", device, 0)
    if device and target == "cpu":
        raise OptionError(f'device={device} is the number of a CUDA device; target is "cpu"')
    automatic = isinstance(particles, str) and particles == "auto"
    if isinstance(particles, str) and not automatic:
        raise EstimatorError(f'particles must be a whole number of at least 1, or "auto", not {particles!r}')
    number = 1 if automatic else integer("particles", particles, 1, MANY, EstimatorError)
    max_copies = integer("max_copies", max_copies, 1, error=EstimatorError)
    require_estimators(estimators)
    allow_bias = flag("allow_bias", allow_bias, EstimatorError)
    wanted = as_objective(objective)
    settings = Settings(estimators, allow_bias, number, max_copies, dtype, target, device)
    examples = () if data is None else tuple(data) if isinstance(data, (tuple, list)) else (data,)
    if automatic:
        settings = pricing.choose_particles(functools.partial(Program, wanted), settings, examples)
    program = Program(wanted, settings)
    if data is not None or not program.argument_names:
        program.prepare(*examples)
    return program


class Program(Inspection, ProgramDraws, Embedding, GradientChecks, PickledAsRecipe):
    """A compiled model. All methods are pure: state and data in, fresh arrays out.

    A pickle of it is its recipe: the models by reference, settings, tuned choices and a hash of the trace.

    Methods take the state, then the data in the order of the model's arguments (or one dict of them by name). They
    share these options:

    * seed : noise seed, at step 0. None means the state's seed and step.
    * particles : samples averaged per row; None means those of `ppl.compile`.
    * total_rows : rows of the data set that the given rows are a part of. Sums over rows are scaled by total / given.
    * rows : global row numbers (an array, the first row, or a slice). They enter the noise of the given rows.
    * hyper : values of `ppl.hyper` scalars by name, or schedules of the step.
    * nonfinite : "raise" an error that names where a NaN or infinity appeared first, or "keep" it.
    """

    def on(self, comm: Any, replicated: bool | None = None) -> Program:
        """Return this program for all processes of a communicator, which share out the rows (`docs/distributed.md`).

        `value`, `value_and_grad`, `step`, `update`, `diagnose` and `ppl.fit` of what is returned are called by all
        processes, each with its rows, and give all of them the result on the rows of all; `rows` are the numbers of
        the rows given to this process. Everything else is computed by each process for itself.

        Parameters
        ----------
        comm : a communicator of mpi4py, such as ``MPI.COMM_WORLD``. With one process the program itself is returned.
        replicated : whether every process is given all rows, or rows of its own. None means that memory-mapped arrays
            are all rows, and others are the process's own.

        Raises
        ------
        OptionError
            `comm` is no communicator.
        """
        program: Program = extra("on")(self, comm, replicated)
        return program

    def _automatic_estimators(self, state: State, *data: Any) -> dict[str, Estimator] | None:
        """The estimators that `particles="auto"` takes at a state, for `ppl.tune`; None where it is refused."""
        asked = replace(self.settings, estimators="auto", first={}, measured={}, tuning=None)
        try:
            found = pricing.choose_particles(functools.partial(Program, self.objective), asked, data, state)
            return Program(self.objective, found).prepare(*data).plan.estimators
        except EstimatorError:
            return None

    def _predict_step_seconds(self, *data: Any) -> Callable[[Mapping[str, int]], float]:
        """Seconds of a step of training, read off its schedule, by `n_particles` and `n_<plate>`: for `ppl.tune`."""
        compiled = self.prepare(*data)
        counts = pricing.count_operations(compiled.request("gradient"), compiled.settings.dtype, compiled.target)
        return lambda sizes: 1e-9 * pricing.step_nanoseconds(counts, sizes)

    @keywords
    def value(
        self,
        state: State,
        *data: Any,
        seed: int | None = None,
        particles: int | None = None,
        per_row: bool = False,
        total_rows: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> Any:
        """One sample of the loss with true (unrelaxed) nodes, summed over rows and averaged over particles.

        The other options are described in `Program`.

        Parameters
        ----------
        per_row : return one loss per row of the outermost plate, shape (rows,), instead of their scaled sum.

        Raises
        ------
        DataError
            An argument does not fit the program, or an option is malformed (`OptionError`).
        ParameterError
            A parameter, an observation or an index is out of range in this call.
        NonFiniteError
            The loss is NaN or infinite for another reason. An impossible observation has loss +inf.
        """
        flag("per_row", per_row)
        keep, call = keeps_nonfinite(nonfinite), Call(state, data, seed, particles, rows, total_rows, hyper)
        bound = bind_call(self, call)
        result = run_variant(bound, "rows" if per_row else "value")
        loss = result.arrays["rows"] if per_row else result.scalars["loss"]
        if not keep:
            require_finite_loss(bound, loss, per_row)
        return loss

    @keywords
    def value_and_grad(
        self,
        state: State,
        *data: Any,
        seed: int | None = None,
        particles: int | None = None,
        total_rows: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> tuple[float, dict[str, np.ndarray]]:
        """One sample of the loss and its gradient: sums over rows, means over particles.

        Returns
        -------
        (float, dict)
            The loss, and the gradient with respect to `state.params` (unconstrained) by name.

        Errors are those of `value`. The gradient must be finite, too.
        """
        keep, call = keeps_nonfinite(nonfinite), Call(state, data, seed, particles, rows, total_rows, hyper)
        bound = bind_call(self, call)
        result = run_variant(bound, "gradient")
        if not keep:
            require_finite_gradient(bound, result, adapted=False)
        return result.scalars["loss"], state._layouts[0].split(result.grad)

    @keywords
    def step(
        self,
        state: State,
        *data: Any,
        seed: int | None = None,
        particles: int | None = None,
        total_rows: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> tuple[float, dict[str, np.ndarray], State]:
        """`value_and_grad`, and a state whose step, baselines, control variates and carried values are advanced.

        Parameters do not move.
        """
        keep, call = keeps_nonfinite(nonfinite), Call(state, data, seed, particles, rows, total_rows, hyper)
        bound = bind_call(self, call)
        result = run_variant(bound, "gradient")
        if not keep:
            require_finite_gradient(bound, result, adapted=True)
        step, estimators = state._step + 1, bound.compiled.estimators
        new = State.unchecked(state._flat, result.aux, state._layouts, step, state._seed, state._opt, estimators)
        return result.scalars["loss"], state._layouts[0].split(result.grad), new

    @keywords
    def update(
        self,
        state: State,
        *data: Any,
        optimizer: Any,
        seed: int | None = None,
        particles: int | None = None,
        total_rows: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
        nonfinite: str = "raise",
    ) -> tuple[State, float]:
        """One training step, as `ppl.fit` takes it: (new state, loss).

        Loss and gradient are divided by the number of rows N. `optimizer` is as for `ppl.fit`. Errors are those of
        `value_and_grad`.
        """
        keep, transform = keeps_nonfinite(nonfinite), as_transform(optimizer)
        call = Call(state, data, seed, particles, rows, total_rows, hyper)
        bound = bind_call(self, call)
        new, scalars, grad = take_optimizer_step(bound, transform)
        if not keep:
            require_finite_update(bound, scalars["loss"], grad, new, transform)
        return new, scalars["loss"]

    @keywords
    def profile(self, state: State, *data: Any, repeats: int = 50, kind: str = "gradient", **options: Any) -> Profile:
        """Measure where the time of a call goes: seconds in all, in Python, and per step of the schedule.

        Parameters
        ----------
        repeats : how many calls to measure, after two that are not counted.
        kind : "gradient" (`value_and_grad`), "value" or "rows" (`value` with ``per_row=True``).
        options : `seed`, `particles`, `total_rows`, `rows`, `hyper` of the call.
        """
        from ppl.program.profile import profile_call  # only those who measure wait for it

        return profile_call(self, state, data, repeats, kind, options)
