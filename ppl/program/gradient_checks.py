"""Asking a program how good its gradient is: statistics, checks against exact gradients, second derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import MANY, array, checked, integer, noise_seed, number, one_of, optional, within
from ppl.compiler.surrogate.second_order import second_order_plan
from ppl.compiler.surrogate.traces import expand_plan_to_steps
from ppl.errors import DataError
from ppl.inference.gradient_samples import MEASUREMENT_RULES
from ppl.lazy import diagnosing
from ppl.names import keywords
from ppl.runtime.call import Call, bind_call
from ppl.runtime.nonfinite import raise_if_violated
from ppl.runtime.prepared import PreparedProgram
from ppl.runtime.state import State

if TYPE_CHECKING:
    from ppl.inference.diagnose import Diagnosis
    from ppl.inference.unbiased import UnbiasednessReport


class GradientChecks(PreparedProgram):
    """The part of a Program that measures its own gradient."""

    @keywords
    @checked("diagnose", **MEASUREMENT_RULES)
    def diagnose(
        self,
        state: State,
        *data: Any,
        repeats: int = 1000,
        particles: int | None = None,
        seed: int | None = None,
        total_rows: Any = None,
        rows: Any = None,
        hyper: Any = None,
        timing: bool = True,
        backend: str = "auto",
    ) -> Diagnosis:
        """Mean, variance, standard error and signal-to-noise of the gradient per parameter, and seconds per step.

        Parameters
        ----------
        repeats : independent gradients to draw, in chunks of bounded memory. They are those of this state with its
            auxiliary values held fixed.
        seed : noise seed of the repeats; None means the state's. The same seed gives the same numbers.
        timing : whether to time `program.step` (which compiles it).
        backend : where repeats are computed: "interpreter", "compiled", or "auto" (interpreted, unless that takes so
            long that compiling pays). The numbers agree to rounding.
        """
        call = Call(state, data, seed, particles, rows, total_rows, hyper)
        return self._diagnose(call, repeats, timing, backend)

    def _diagnose(self, call: Call, repeats: int, timing: bool, backend: str) -> Diagnosis:
        found: Diagnosis = diagnosing.diagnose(self, call, repeats, timing, backend)
        return found

    @keywords
    @checked(
        "check_unbiased",
        **MEASUREMENT_RULES,
        reference=one_of("auto", "exact", "score"),
        width=within(number, low=0, open_low=True),
    )
    def check_unbiased(
        self,
        state: State,
        *data: Any,
        repeats: int = 10_000,
        particles: int | None = None,
        seed: int | None = None,
        total_rows: Any = None,
        rows: Any = None,
        hyper: Any = None,
        reference: str = "auto",
        width: float = 5.0,
        backend: str = "auto",
    ) -> UnbiasednessReport:
        """Compare the mean gradient with a reference: exact where possible, else a large-sample score function.

        Parameters
        ----------
        repeats : gradients to average.
        reference : "exact" (all random nodes finite and small, or continuous and few: summed and integrated),
            "score" (leave-one-out score functions, with a standard error of its own), or "auto" (exact if possible).
        width : largest deviation, in standard errors, that counts as agreement.

        Returns
        -------
        UnbiasednessReport
            With `ok`, `deviation` and `bias` per parameter; prints as a table. Where an estimator of the plan is
            biased, `bias` is the measured bias.
        """
        from ppl.inference.unbiased import check_unbiased  # only those who check wait for it

        call = Call(state, data, seed, particles, rows, total_rows, hyper)
        return check_unbiased(self, call, repeats, reference, width, backend)

    @keywords
    @checked("hvp", seed=optional(noise_seed), particles=optional(within(integer, low=1, high=MANY)))
    def hvp(
        self,
        state: State,
        vector: Mapping[str, Any] | np.ndarray,
        *data: Any,
        seed: int | None = None,
        particles: int | None = None,
        total_rows: Any = None,
        rows: Any = None,
        hyper: Any = None,
    ) -> dict[str, np.ndarray]:
        """An unbiased estimate of the objective's Hessian times `vector`, in `state.params`.

        Pathwise and enumerated nodes are differentiated twice; every other unbiased node enters by its score, whose
        terms are regenerated for the second derivative (no baseline, so average over `particles`).

        Parameters
        ----------
        vector : {name: array} for every parameter, or a flat vector in the order of `program.ravel`.

        Raises
        ------
        EstimatorError
            Naming the node, where the plan is biased or a second derivative would miss something, such as a kink.
        """
        bound = bind_call(self, Call(state, data, seed, particles, rows, total_rows, hyper))
        compiled = bound.compiled
        if isinstance(vector, Mapping):
            vector = compiled.layout.join(vector, state._flat.dtype)
        flat = array("vector", vector)
        if flat.shape != state._flat.shape:
            raise DataError(f"vector has shape {flat.shape}; the program has {state._flat.size} parameters")
        both = np.concatenate([state._flat, flat.astype(state._flat.dtype)])
        result = bound.run(compiled.executable("hvp", int32=bound.int32), both)
        if not np.isfinite(result.scalars["loss"]):
            again = second_order_plan(compiled.flat, expand_plan_to_steps(compiled.flat, compiled.plan.estimators))
            raise_if_violated(bound, "gradient", plan=again)
        found = compiled.layout.split(result.grad[: flat.size])
        return {name: np.array(value) for name, value in found.items()}
