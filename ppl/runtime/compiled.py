"""A program compiled for one data signature: trace, graph, plan, target and, on first use, executables."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from ppl.arguments import mapping, number_at
from ppl.compiler.lower.request import Request
from ppl.compiler.pipeline import (
    VIOLATIONS_PREFIX,
    PlannedModel,
    ProgramArguments,
    Settings,
    build_variant,
    make_request,
)
from ppl.compiler.surrogate.traces import TraceModel
from ppl.compiler.surrogate.variants import ProgramVariant
from ppl.errors import DataError, EstimatorError, OptionError
from ppl.estimators.base import Estimator, Hyper
from ppl.lang.carried import require_one_particle
from ppl.lazy import resting
from ppl.progress import line
from ppl.runtime.binding import Binder
from ppl.runtime.executable import Executable, compile_request
from ppl.runtime.state import Layout, State, require_state
from ppl.tuning import ROWS_INNERMOST, SMALL_UNITS

ESTIMATED_VARIANTS = ("gradient", "value")

T = TypeVar("T")

VariantKey = tuple[str, tuple[str, ...], int | None]


class Compiled(PlannedModel):
    """A planned model and the executables of its variants, for one signature of event shapes and dtypes."""

    def __init__(self, traced: TraceModel, arguments: tuple[str, ...], settings: Settings, title: str = "a program"):
        super().__init__(traced, settings)
        trace = self.trace
        self.title, self.externals_checked = title, False
        self.binder = Binder(trace, arguments, np.dtype(settings.dtype))
        self.layout = Layout(tuple((p.name, p.raw_shape) for p in trace.params.values()))
        self._variants: dict[VariantKey, ProgramVariant] = {}
        self._executables: dict[tuple[*VariantKey, tuple[str, ...]], Executable] = {}
        self._serving: dict[tuple[str, tuple[str, ...], int, tuple[str, ...]], Executable] = {}
        self._derived: dict[tuple[type, Hashable], Any] = {}
        self.lock = threading.RLock()

    def check_state(self, state: State) -> None:
        """Raise a DataError unless `state` is one, and its vectors are this program's: kernels read them unchecked."""
        if type(state) is State:
            params, aux = state._layouts
            if params is self.layout and aux is self.aux_layout:  # those of most states, which take no comparison
                flat, kept = state._flat, state._aux
                if flat.size == params.size and kept.size == aux.size and flat.dtype == self.binder.dtype:
                    return
        require_state(state)
        params, aux = state._layouts
        if params is not self.layout and params != self.layout:
            raise DataError(f"the state has {_list_parameters(params)}; the program, {_list_parameters(self.layout)}")
        if aux is not self.aux_layout and aux != self.aux_layout:
            other = self.describe_other_estimators(state)
            keep = f" ({other}): compile with estimators=state.estimators, or" if other else ", so"
            raise DataError(
                f"the state has auxiliary {_list_parameters(aux)}; the program, {_list_parameters(self.aux_layout)}: "
                f"they belong to the estimators{keep} begin with program.init(seed, params=...)"
            )
        if state._flat.dtype != self.binder.dtype:
            raise DataError(f"the state is {state._flat.dtype}, the program {self.binder.dtype}")

    def get_or_make(self, kind: type, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returns, which is kept as long as the program under a class and a key of its own."""
        name = kind, key
        if name not in self._derived:
            with self.lock:
                if name not in self._derived:
                    self._derived[name] = make()
        found: T = self._derived[name]
        return found

    def check_particles(self, count: int) -> None:
        """Raise an EstimatorError unless the model and the estimators of the plan take so many particles."""
        require_one_particle(self.trace, count)
        for chosen in self.plan.choices.values():
            complaint = chosen.estimator.validate(count)
            if complaint:
                raise EstimatorError(f"node '{chosen.name}': {complaint}")

    @cached_property
    def estimators(self) -> dict[str, Estimator]:
        """The plan as `ppl.compile(estimators=)` takes it."""
        return self.plan.as_dict()

    def describe_other_estimators(self, state: State) -> str:
        """Where the estimators that made `state` differ from the plan's, in words; empty if nowhere, or unknown."""
        theirs, ours = state.estimators, self.estimators
        nodes = [n for n in dict.fromkeys((*theirs, *ours)) if theirs and theirs.get(n) != ours.get(n)]
        label = {n: tuple(e[n].label if n in e else "none" for e in (theirs, ours)) for n in nodes}
        return ", ".join(f"'{n}' had {a}, the program has {b}" for n, (a, b) in label.items())

    @property
    def gradient(self) -> ProgramVariant:
        """The gradient of the program's own number of particles; variables and scalars are those of any number."""
        return self.variant("gradient", (), self.static_particles("gradient", self.settings.particles))

    @cached_property
    def aux_layout(self) -> Layout:
        """Layout of the auxiliary vector."""
        return Layout(tuple((name, slot.shape) for name, slot in self.gradient.aux_slots.items()))

    def aux_init(self, seed: int) -> np.ndarray:
        """Initial auxiliary vector, drawn from (seed, name) where an initialiser draws."""
        return self.aux_layout.join(self.gradient.initial_aux(seed), self.settings.dtype)

    def variant(self, key: str, sites: Sequence[str] = (), particles: int | None = None) -> ProgramVariant:
        """The IR of one variant ("gradient", "value", "rows", "repeats", "hvp", one of draws, "violations of" one).

        `particles` fixes the number of particles of "gradient" or "value"; None leaves it to run time.
        """
        name = (key, tuple(sites), particles)
        if name in self._variants:
            return self._variants[name]
        with self.lock:
            if name not in self._variants:
                self._variants[name] = build_variant(self, key, sites, particles)
            return self._variants[name]

    @cached_property
    def _random_units(self) -> float:
        """Random units of the whole program, inf with run-time plates."""
        if self.binder.plates:
            return float("inf")
        sizes = [n.type.event_size * math.prod(a.size or 1 for a in n.type.axes) for n in self.graph.samples]
        return float(sum(sizes))

    def static_particles(self, key: str, particles: int) -> int | None:
        """The particle count to compile in: that of `ppl.compile` if it is small, so that loops fill vectors."""
        few = ROWS_INNERMOST if self.binder.plates else 1
        inlined = particles <= few or self._random_units * particles <= SMALL_UNITS
        own = particles == self.settings.particles and key.removeprefix(VIOLATIONS_PREFIX) in ESTIMATED_VARIANTS
        return particles if inlined and own else None

    @property
    def hypers(self) -> tuple[str, ...]:
        """Names of run-time scalars in the order of the hyper vector."""
        return tuple(self.gradient.hypers)

    def hyper_vector(self, values: Mapping[str, float | Callable[[int], float]] | None, step: int) -> np.ndarray:
        """Defaults overridden by `values`, whose entries may be schedules of the step."""
        if values is None:
            return self._default_hypers
        mapping("hyper", values, "numbers or schedules")
        found = dict(self.gradient.hypers)
        unknown = sorted(set(values) - set(found))
        if unknown:
            raise DataError(f"no hyper parameter named {unknown}; the program has {sorted(found)}")
        for name, value in values.items():
            found[name] = number_at(f"hyper '{name}'", value, step, self._lower_bounds.get(name))
            if abs(found[name]) > self._largest_float:
                raise OptionError(f"hyper '{name}' at step {step} is {found[name]}, beyond {self.settings.dtype}")
        return np.array(list(found.values()), self.settings.dtype)

    @cached_property
    def _lower_bounds(self) -> dict[str, float]:
        """The least values of run-time scalars: those of the trace, and options of estimators that are positive."""
        options = [option for e in self.plan.estimators.values() for option in e.positive_options()]
        tiny = float(np.finfo(self.settings.dtype).tiny)
        return self.trace.least | {option.name: tiny for option in options if isinstance(option, Hyper)}

    @cached_property
    def _largest_float(self) -> float:
        return float(np.finfo(self.settings.dtype).max)

    @cached_property
    def _default_hypers(self) -> np.ndarray:
        return np.array(list(self.gradient.hypers.values()), self.settings.dtype)

    def request(
        self, key: str, sites: Sequence[str] = (), particles: int | None = None, int32: tuple[str, ...] = ()
    ) -> Request:
        """What a backend compiles for one variant, with the arguments `int32` in 32 bits."""
        return make_request(self.variant(key, sites, particles), key, self.arguments, int32)

    @cached_property
    def arguments(self) -> ProgramArguments:
        """What all variants are passed."""
        inputs = tuple((i.name, i.node.type) for i in self.binder.inputs)
        return ProgramArguments(self.layout.shapes, self.aux_layout.shapes, self.hypers, inputs)

    def int32(self, data: Sequence[Any]) -> tuple[str, ...]:
        """Arguments that hold 32-bit integers."""
        if not data:
            return ()
        given = dict(zip(self.binder.arguments, data, strict=False))
        whole = [i.name for i in self.binder.inputs if i.dtype == "int"]
        return tuple(name for name in whole if getattr(given.get(name), "dtype", None) == np.int32)

    def executable(
        self, key: str, sites: Sequence[str] = (), particles: int | None = None, int32: tuple[str, ...] = ()
    ) -> Executable:
        """The compiled variant that serves calls with `particles` (default: those of `ppl.compile`)."""
        count = self.settings.particles if particles is None else particles
        call = (key, tuple(sites), count, int32)
        if call not in self._serving:
            self._serving[call] = self._compiled_for((key, call[1], self.static_particles(key, count), int32))
        return self._serving[call]

    def _compiled_for(self, name: tuple[*VariantKey, tuple[str, ...]]) -> Executable:
        found = self._executables.get(name)
        if found is None:
            with self.lock, resting(), line.during(lambda: f"preparing {self.title} ({name[0]})"):
                found = compile_request(self.request(*name), self.settings.dtype, self.target)
                found.title = f"{self.title} ({name[0]})"
                self._executables[name] = found
        return found


def _list_parameters(layout: Layout) -> str:
    return "parameters " + (", ".join(f"{name} {shape}" for name, shape in layout.shapes) or "none")
