"""`ppl.compile` and the Program: the public face of a compiled model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from ppl.compiler.compiled import Compiled, signature
from ppl.compiler.plan import Plan, Requested
from ppl.compiler.state import State
from ppl.errors import DataError, EstimatorError
from ppl.inference.objective import Objective, as_objective
from ppl.ir.show import show
from ppl.lang.params import constrained, initial_value, unconstrained
from ppl.lang.trace import Param, SiteKind, Trace

HyperValues = Mapping[str, float | Callable[[int], float]]


@dataclass(frozen=True)
class Settings:
    """Everything that `ppl.compile` fixes."""

    estimators: Requested
    allow_bias: bool
    particles: int
    max_copies: int
    dtype: str
    target: str


def compile(
    objective: Any,
    estimators: Requested = "auto",
    allow_bias: bool = False,
    particles: int = 1,
    max_copies: int = 4,
    dtype: str = "float32",
    target: str = "cpu",
    data: Sequence[Any] | Any = None,
) -> Program:
    """Compile a model or objective: choose an estimator for every random node and prepare its kernels.

    Parameters
    ----------
    objective : a `@ppl.model` with costs, or `ppl.elbo(...)`, `ppl.likelihood(...)`.
    estimators : "auto", one estimator for all nodes, or a dict of node-name globs (unlisted nodes: automatic).
        `sample(estimator=)` has precedence over it.
    allow_bias : whether the automatic choice may take biased estimators.
    particles : samples averaged per row; leave-one-out baselines need at least 2.
    max_copies : evaluations of the downstream computation that the automatic choice may spend.
    dtype : "float32" or "float64".
    target : "cpu" or "cuda".
    data : example arrays or `ppl.spec(...)`, one per model argument (a single array for a single argument). Without
        it a model with arguments is traced at the first call that brings data.

    Raises
    ------
    ModelError, ShapeError : the model is declared wrongly.
    EstimatorError : a node has no admissible estimator, or a named one does not support it.
    """
    if dtype not in ("float32", "float64"):
        raise DataError(f'dtype must be "float32" or "float64", not {dtype!r}')
    if target not in ("cpu", "cuda"):
        raise DataError(f'target must be "cpu" or "cuda", not {target!r}')
    if particles < 1:
        raise EstimatorError(f"particles must be at least 1, not {particles}")
    program = Program(as_objective(objective), Settings(estimators, allow_bias, particles, max_copies, dtype, target))
    if data is not None or not program.argument_names:
        examples = () if data is None else tuple(data) if isinstance(data, (tuple, list)) else (data,)
        program.prepare(*examples)
    return program


class Program:
    """A compiled model. All methods are pure: state and data in, fresh arrays out."""

    def __init__(self, objective: Objective, settings: Settings):
        self.objective, self.settings = objective, settings
        self._compiled: dict[Any, Compiled] = {}
        self._latest: Compiled | None = None
        self._lock = threading.RLock()

    # --- preparation -----------------------------------------------------------------------------------------------

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
            raise DataError(f"the program takes {len(self.argument_names)} data arguments ({names}); {len(data)} given")
        key = signature(self.argument_names, data)
        found = self._compiled.get(key)
        if found is None:
            with self._lock:
                found = self._compiled.get(key) or self._trace(data)
                self._compiled[key] = found
        self._latest = found
        return found

    def _trace(self, data: Sequence[Any]) -> Compiled:
        trace = self.objective.trace(dict(zip(self.argument_names, data, strict=True)))
        return Compiled(trace, self.argument_names, self.settings)

    def _of(self, state: State) -> Compiled:
        """What was prepared for data that `state` fits, the latest first."""
        latest = self.prepare()
        fitting = (c for c in (latest, *self._compiled.values()) if c.layout == state._layouts[0])
        return next(fitting, latest)

    def init(self, seed: int, *data: Any, params: Mapping[str, Any] | None = None) -> State:
        """The initial state. `params` gives constrained values for some parameters.

        Every parameter is drawn from (seed, its name), so the order of declaration does not matter.
        """
        compiled = self.prepare(*data)
        given = dict(params or {})
        unknown = sorted(set(given) - set(compiled.trace.params))
        if unknown:
            raise DataError(f"no parameter named {unknown}; the program has {sorted(compiled.trace.params)}")
        raw = {
            name: _given_value(p, given[name]) if name in given else initial_value(p, seed)
            for name, p in compiled.trace.params.items()
        }
        flat = compiled.layout.join(raw, self.settings.dtype)
        return State(flat, compiled.aux_init(), (compiled.layout, compiled.aux_layout), 0, int(seed))

    def params(self, state: State) -> dict[str, np.ndarray]:
        """Constrained parameter values."""
        compiled = self._of(state)
        compiled.check_state(state)
        declared = compiled.trace.params
        return {name: np.array(constrained(declared[name], raw)) for name, raw in state.params.items()}

    def ravel(self, state: State) -> np.ndarray:
        """All unconstrained parameters as one vector (a copy)."""
        return state._flat.copy()

    def unravel(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """The inverse of `ravel`: unconstrained parameters by name."""
        layout = self.prepare().layout
        vector = np.array(vector, self.settings.dtype)
        if vector.shape != (layout.size,):
            raise DataError(f"expected a vector of length {layout.size}, not shape {vector.shape}")
        return layout.split(vector)

    # --- running ---------------------------------------------------------------------------------------------------

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
    ) -> Any:
        """The loss with true (unrelaxed) nodes, summed over rows, averaged over particles.

        Parameters
        ----------
        seed : noise seed; None means the state's seed and step.
        per_row : return one loss per row of the outermost plate instead of their scaled sum.
        total_rows : size of the data set that the given rows are a part of: sums are scaled by total/given.
        rows : global row numbers (array, first row, or slice) that key the noise of the rows given.
        hyper : values or schedules of run-time scalars.
        """
        key = "rows" if per_row else "value"
        result, _ = self._run(key, state, data, seed, particles, total_rows, rows, hyper)
        return result.arrays["rows"] if per_row else result.scalars["loss"]

    def value_and_grad(
        self,
        state: State,
        *data: Any,
        seed: int | None = None,
        particles: int | None = None,
        total_rows: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
    ) -> tuple[float, dict[str, np.ndarray]]:
        """One stochastic loss and its gradient in `state.params`: sums over rows, means over particles."""
        result, _ = self._run("gradient", state, data, seed, particles, total_rows, rows, hyper)
        return result.scalars["loss"], state._layouts[0].split(result.grad)

    def step(
        self,
        state: State,
        *data: Any,
        seed: int | None = None,
        particles: int | None = None,
        total_rows: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
    ) -> tuple[float, dict[str, np.ndarray], State]:
        """`value_and_grad`, and the state with its step counter, baselines and control variates advanced."""
        result, _ = self._run("gradient", state, data, seed, particles, total_rows, rows, hyper)
        new = State(state._flat, result.aux, state._layouts, state.step + 1, state.seed, state.opt)
        return result.scalars["loss"], state._layouts[0].split(result.grad), new

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
    ) -> tuple[State, float]:
        """One whole training step, as `ppl.fit` takes it: loss and gradient are divided by the number of rows N."""
        from ppl.inference.optim import as_transform

        new, scalars, _ = self._update(state, data, as_transform(optimizer), seed, particles, total_rows, rows, hyper)
        return new, scalars["loss"]

    def _update(
        self,
        state: State,
        data: Sequence[Any],
        transform: Any,
        seed: int | None,
        particles: int | None,
        total_rows: int | None,
        rows: Any,
        hyper: HyperValues | None,
        check: bool = True,
    ) -> tuple[State, dict[str, float], np.ndarray]:
        result, n = self._run("gradient", state, data, seed, particles, total_rows, rows, hyper, check)
        flat, opt = transform.apply(state._flat, result.grad, state.opt, state._layouts[0], state.step, 1.0 / n)
        new = State(flat, result.aux, state._layouts, state.step + 1, state.seed, opt)
        return new, {k: v / n for k, v in result.scalars.items()}, result.grad

    def sample(
        self,
        state: State,
        *data: Any,
        particles: int | None = None,
        sites: Sequence[str] | None = None,
        seed: int | None = None,
        rows: Any = None,
        hyper: HyperValues | None = None,
    ) -> dict[str, np.ndarray]:
        """Every latent, observation and deterministic (or those in `sites`), from true nodes.

        Arrays have axes (particles, *plates, *event) when particles are asked for, else (*plates, *event).
        """
        known = _sites(self.prepare(*data).trace)
        wanted = tuple(known if sites is None else [sites] if isinstance(sites, str) else sites)
        unknown = sorted(set(wanted) - set(known))
        if unknown:
            raise DataError(f"no site named {unknown}; the program has {known}")
        k = 1 if particles is None else particles
        result, _ = self._run("sample", state, data, seed, k, None, rows, hyper, sites=wanted)
        variant = self.prepare(*data).variant("sample", wanted)
        return {n: _particles_first(result.arrays[n], variant.arrays[n].type, k, particles) for n in wanted}

    def _run(
        self,
        key: str,
        state: State,
        data: Sequence[Any],
        seed: int | None,
        particles: int | None,
        total_rows: int | None,
        rows: Any,
        hyper: HyperValues | None,
        check: bool = True,
        sites: Sequence[str] = (),
    ) -> tuple[Any, int]:
        if not isinstance(state, State):
            raise DataError(f"the first argument is a State (from program.init or a fit), not {type(state).__name__}")
        compiled = self.prepare(*data)
        compiled.check_state(state)
        count = self.settings.particles if particles is None else _count(particles)
        executable = compiled.executable(key, sites, count)
        if key == "gradient" and count != self.settings.particles:
            self._check_particles(compiled, count)
        step = state.step if seed is None else 0
        bound = compiled.binder.bind(data, rows, total_rows, check)
        result = executable.run(
            state._flat,
            state._aux,
            compiled.hyper_vector(hyper, state.step),
            bound.arrays,
            rows=bound.rows,
            row_ids=bound.row_ids,
            scales=bound.scales,
            particles=count,
            seed=state.seed if seed is None else int(seed),
            step=step,
        )
        return result, next(iter(bound.totals.values()), 1)

    def _check_particles(self, compiled: Compiled, count: int) -> None:
        for choice in compiled.plan.choices.values():
            complaint = choice.estimator.validate(count)
            if complaint:
                raise EstimatorError(f"node '{choice.name}': {complaint}")

    # --- looking inside --------------------------------------------------------------------------------------------

    def explain(self, *data: Any) -> Plan:
        """The plan: estimator, reason and rejections per node; prints as a table, indexes as data."""
        compiled = self.prepare(*data)
        if compiled.plan.regions is None:
            compiled.plan.regions = compiled.executable("gradient").regions
        return compiled.plan

    @property
    def graph(self) -> nx.DiGraph:
        """The stochastic computation graph with the chosen estimators as node attribute `estimator`."""
        compiled = self.prepare()
        graph = compiled.graph.networkx.copy()
        for name, choice in compiled.plan.choices.items():
            graph.nodes[name]["estimator"] = choice.estimator.label
        return graph

    @property
    def source(self) -> str:
        """The emitted Python source of the gradient program."""
        return self.prepare().executable("gradient").source

    def ir(self, stage: str = "simplify") -> str:
        """The gradient program's IR after "trace", "expand", "differentiate", "simplify" or "schedule"."""
        compiled = self.prepare()
        if stage == "trace":
            trace = compiled.trace
            named = {n: s.node for n, s in trace.sites.items() if s.node is not None}
            named.update((n, c.node) for n, c in trace.costs.items())
            return show(list(named.values()), list(named))
        if stage == "schedule":
            return str(compiled.executable("gradient").schedule) or "one straight-line function: see program.source"
        stages = compiled.variant("gradient").stages
        if stage not in stages:
            raise DataError(f"no stage {stage!r}; stages: trace, {', '.join(stages)}, schedule")
        return show(list(stages[stage].values()), list(stages[stage]))

    # --- embedding -------------------------------------------------------------------------------------------------

    @property
    def njit(self) -> Any:
        """`fn(params, grad, aux, hyper, seed, step, row0, scale, work, *data) -> loss`, serial, for nopython code.

        Parameters
        ----------
        params, grad, aux, hyper : flat vectors, see `arrays`. `grad` is overwritten, `aux` (baselines, η) updated.
        seed, step : what the noise is made from, besides node and row.
        row0 : dataset row of the first row given; rows are consecutive.
        scale : N/B, rows of the data set over rows given (1.0 for all of them, or without data).
        work : `workspace(rows)`, one per thread. Pass it to your function as an argument: Numba freezes arrays that
            a function takes from outside.
        data : contiguous arrays of the program's dtype (int64, bool) in the order of the model's arguments.
        """
        return self.prepare().executable("gradient").njit

    @property
    def njit_value(self) -> Any:
        """Like `njit`, with true nodes; `grad` is not written. Its workspace is `workspace(rows, "value")`."""
        return self.prepare().executable("value").njit

    @property
    def njit_sample(self) -> Any:
        """`fn(params, out, aux, hyper, seed, step, row0, scale, work, *data)`: draws every site into flat `out`.

        `out` comes from `sample_buffer(rows)`, the workspace from `workspace(rows, "sample")`.
        """
        return self._sampler().njit

    def sample_buffer(self, rows: int = 1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """A flat vector for `njit_sample` on `rows` rows, and views of it by site (integers as floats)."""
        sampler = self._sampler()
        out = np.zeros(sampler.out_size(rows, self.settings.particles), self.settings.dtype)
        return out, sampler.views(out, rows, self.settings.particles)

    def _sampler(self) -> Any:
        compiled = self.prepare()
        return compiled.executable("sample", _sites(compiled.trace))

    def workspace(self, rows: int = 1, kind: str = "gradient") -> Any:
        """Scratch memory for `njit` on up to `rows` rows; one per thread, owned by the caller.

        `kind` says for which function: "gradient" (`njit`), "value" (`njit_value`) or "sample" (`njit_sample`).
        """
        if kind not in ("gradient", "value", "sample"):
            raise DataError(f'workspace: kind is "gradient", "value" or "sample", not {kind!r}')
        executable = self._sampler() if kind == "sample" else self.prepare().executable(kind)
        return executable.workspace(rows, self.settings.particles)

    def arrays(self, state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(params, grad, aux, hyper): fresh flat vectors in the layout that the njit functions read and write."""
        hyper = self.prepare().hyper_vector(None, state.step).copy()
        return state._flat.copy(), np.zeros_like(state._flat), state._aux.copy(), hyper


def _sites(trace: Trace) -> tuple[str, ...]:
    return tuple(n for n, s in trace.sites.items() if s.kind is not SiteKind.SCORED and s.node is not None)


def _given_value(param: Param, value: Any) -> np.ndarray:
    """The unconstrained start of a parameter from a constrained value that its shape broadcasts."""
    given = np.asarray(value, np.float64)
    try:
        full = np.broadcast_to(given, param.shape)
    except ValueError:
        shapes = f"has shape {given.shape}, the program expects {param.shape}"
        raise DataError(f"parameter '{param.name}' {shapes}") from None
    if not np.isfinite(full).all():
        raise DataError(f"parameter '{param.name}': the given value is not finite")
    return unconstrained(param, full)


def _count(particles: Any) -> int:
    if not isinstance(particles, (int, np.integer)) or particles < 1:
        raise DataError(f"particles= must be a whole number of at least 1, not {particles!r}")
    return int(particles)


def _particles_first(array: np.ndarray, type_: Any, k: int, asked: int | None) -> np.ndarray:
    names = [a.name for a in type_.axes]
    if "particles" in names:
        i = names.index("particles")
        return np.moveaxis(array, i, 0) if asked is not None else array[(slice(None),) * i + (0,)]
    return array if asked is None else np.broadcast_to(array, (k, *array.shape)).copy()
