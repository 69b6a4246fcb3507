"""What every part of a Program needs: tracing and planning per data signature, states, parameters."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from ppl.arguments import array, mapping, noise_seed
from ppl.compiler.pipeline import Settings
from ppl.errors import DataError, ModelError
from ppl.lang.arguments import as_array, as_spec, data_signature
from ppl.lang.context import UnrollPolicy, unrolling
from ppl.lang.model import Model
from ppl.lang.params import initial_value, to_constrained, to_unconstrained
from ppl.lang.trace import ArgumentSpec, Param, Trace
from ppl.lazy import resting
from ppl.names import keywords
from ppl.objectives.base import Objective
from ppl.progress import line
from ppl.runtime.compiled import Compiled
from ppl.runtime.external_check import check_externals
from ppl.runtime.state import State, require_state


class PreparedProgram:
    """A program's settings and what it has traced and planned so far, one `Compiled` per data signature."""

    processes: int = 1
    """Processes on whose rows a call is computed."""

    def __init__(self, objective: Objective, settings: Settings):
        self.objective, self.settings = objective, settings
        self._compiled: dict[Any, Compiled] = {}
        self._latest: Compiled | None = None
        self.outside: Self | None = None
        """The program that `predict` takes for rows for which the guide has no parameters."""
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        models = [getattr(self.objective, part).name for part in ("model", "guide") if hasattr(self.objective, part)]
        parts = [f"{type(self.objective).__name__}({', '.join(models)})"]
        parts += [f"data {', '.join(self.argument_names)}"] if self.argument_names else []
        parts += [self.settings.dtype, self.settings.target, f"particles={self.settings.particles}"]
        if self._latest is not None:
            parts += [f"{name}: {choice.estimator.label}" for name, choice in self._latest.plan.choices.items()]
        return f"Program({', '.join(parts)})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Names of the data arguments, in order."""
        return self.objective.argument_names

    def prepare(self, *data: Any) -> Compiled:
        """Trace and plan for data of this signature (compiling kernels happens at first use)."""
        if not data:
            if self._latest is not None:
                return self._latest
            if self.argument_names:
                names = ", ".join(self.argument_names)
                raise DataError(f"the program has not seen data yet: pass {names}, or data= to ppl.compile")
        if len(data) != len(self.argument_names):
            names = ", ".join(self.argument_names) or "none"
            raise DataError(
                f"the program takes {len(self.argument_names)} data arguments ({names}); {len(data)} given"
                f"{self._defaults(self.argument_names[len(data) :])}"
            )
        key = data_signature(self.argument_names, data)
        found = self._compiled.get(key)
        if found is None:
            with self._lock:
                found = self._compiled.get(key) or self._trace(data)
                self._compiled[key] = found
        if not found.externals_checked:
            self._check_externals(found, data)
        self._latest = found
        return found

    def _defaults(self, missing: Sequence[str]) -> str:
        """What to do with data arguments that have a default, but were not given."""
        parameters = inspect.signature(self.objective.model.function).parameters
        named = [n for n in missing if n in parameters and parameters[n].default is not inspect.Parameter.empty]
        if not named:
            return ""
        listed = ", ".join(f"{n}={parameters[n].default!r}" for n in named)
        return f". What is no data, but is fixed when a model is traced, stands after a star: def f(..., *, {listed})"

    def _check_externals(self, compiled: Compiled, data: Sequence[Any]) -> None:
        """Call users' functions once, when there are data to call them with."""
        with self._lock:
            if not compiled.externals_checked and not any(isinstance(x, ArgumentSpec) for x in data):
                check_externals(compiled, data)
                compiled.externals_checked = True

    def read(self, data: Sequence[Any]) -> tuple[Any, ...]:
        """Data arguments as arrays, so that what is no array is asked for its numbers once in a call."""
        if all(type(value) is np.ndarray for value in data) or len(data) != len(self.argument_names):
            return tuple(data)
        return tuple(as_array(value, name) for name, value in zip(self.argument_names, data, strict=True))

    def _trace(self, data: Sequence[Any]) -> Compiled:
        title = f"model '{self.objective.model.name}'"
        with resting(), line.during(lambda: f"tracing {title}"):
            given = {name: as_spec(value, name) for name, value in zip(self.argument_names, data, strict=True)}

            def traced(written: UnrollPolicy) -> Trace:
                with unrolling(written):
                    return self.objective.trace(dict(given))

            return Compiled(traced, self.argument_names, self.settings, title)

    def _of(self, state: State) -> Compiled:
        """The program prepared for data that `state` fits, the latest first."""
        latest = self.prepare()
        require_state(state)
        fitting = (c for c in (latest, *self._compiled.values()) if c.layout == state._layouts[0])
        return next(fitting, latest)

    @keywords
    def init(self, seed: int, *data: Any, params: Mapping[str, Any] | None = None) -> State:
        """The initial state.

        Parameters
        ----------
        seed : of parameters, noise and batches. Every parameter is drawn from (seed, its name), so the order of
            declaration does not matter.
        data : arrays as for `value`; needed only if the program was compiled without example data.
        params : constrained values by name for some of the parameters.

        Raises
        ------
        DataError
            `params` has an unknown name or another shape.
        ModelError
            A value of `params` violates its constraint.
        """
        seed = noise_seed("seed", seed)
        compiled = self.prepare(*data)
        given = dict({} if params is None else mapping("params", params, "arrays"))
        unknown = sorted(set(given) - set(compiled.trace.params))
        if unknown:
            raise DataError(f"no parameter named {unknown}; the program has {sorted(compiled.trace.params)}")
        raw = {
            name: _unconstrained_start(p, given[name]) if name in given else initial_value(p, seed)
            for name, p in compiled.trace.params.items()
        }
        flat = compiled.layout.join(raw, self.settings.dtype, bounded=True)
        layouts = compiled.layout, compiled.aux_layout
        return State.unchecked(flat, compiled.aux_init(seed), layouts, 0, seed, None, compiled.estimators)

    def params(self, state: State) -> dict[str, np.ndarray]:
        """Constrained parameter values."""
        require_state(state)
        compiled = self._of(state)
        compiled.check_state(state)
        declared = compiled.trace.params
        return {name: np.array(to_constrained(declared[name], raw)) for name, raw in state.params.items()}

    def ravel(self, state: State) -> np.ndarray:
        """All unconstrained parameters as one vector (a copy)."""
        self._of(state).check_state(state)
        return state._flat.copy()

    def unravel(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """The inverse of `ravel`: unconstrained parameters by name."""
        layout = self.prepare().layout
        vector = array("vector", vector).astype(self.settings.dtype)
        if vector.shape != (layout.size,):
            raise DataError(f"expected a vector of length {layout.size}, not shape {vector.shape}")
        return layout.split(vector)


def require_program(owner: str, value: Any) -> None:
    """Raise a ModelError unless `value` is a compiled program."""
    if not hasattr(value, "prepare"):
        given = repr(value) if isinstance(value, Model) else type(value).__name__
        raise ModelError(f"{owner} takes a compiled program, not {given}: call program = ppl.compile(...) first")


def _unconstrained_start(param: Param, value: Any) -> np.ndarray:
    """The unconstrained start of a parameter from a constrained value that its shape broadcasts."""
    given = array(f"parameter '{param.name}': the given value", value, DataError).astype(np.float64)
    try:
        full = np.broadcast_to(given, param.shape)
    except ValueError:
        shapes = f"has shape {given.shape}, the program expects {param.shape}"
        raise DataError(f"parameter '{param.name}' {shapes}") from None
    if not np.isfinite(full).all():
        raise DataError(f"parameter '{param.name}': the given value is not finite")
    return to_unconstrained(param, full)
