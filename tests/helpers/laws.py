"""Running an estimator's law: per-sample gradients in the interpreter against the exact gradient, two-sided.

The number of repeats follows from a pilot on other noise: as many as the power rule asks for, and no more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import ppl
from ppl.compiler.surrogate.variants import build_gradient
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.verify import verify
from ppl.lang.loops import base_name
from tests.helpers.exact import Surrogate, central_differences, exact_gradient

Params = dict[str, np.ndarray]

PILOT, PILOT_STEP, MOST = 4000, 1_000_000, 1_000_000

POWER, WIDTH = 0.01, 5.0


@dataclass(eq=False)
class Graph:
    """A law graph: an objective, unconstrained parameter values, data, and size of the data set.

    `loss` is the exact expected loss as a plain function of the parameters, for graphs that the general oracle does not
    know (rows coupled by `collect`, marginalised latents) or whose answer is known in closed form. `max_copies` is what
    plans other than the automatic one may take; estimators that unroll a loop take more than others.
    """

    objective: Any
    params: Params
    data: tuple = ()
    total_rows: int | None = None
    particles: int = 1
    points: int = 401
    hyper: dict[str, float] = field(default_factory=dict)
    loss: Callable[[Params], float] | None = None
    max_copies: int | None = None
    _exact: dict[Any, tuple[float, Params]] = field(default_factory=dict)

    def compile(self, estimators: Any = "auto", dtype: str = "float64", **kwargs: Any) -> Any:
        """The program under `estimators`, prepared for the graph's data."""
        options = {"particles": self.particles, **kwargs}
        if self.max_copies is not None and estimators != "auto":
            options = {"max_copies": self.max_copies, **options}
        return ppl.compile(self.objective, estimators=estimators, dtype=dtype, data=self.data, **options)

    def exact(self, surrogates: Mapping[str, Surrogate] | None = None) -> tuple[float, Params]:
        """Expected loss and its gradient (of what biased estimators put in its place, with `surrogates`)."""
        key = tuple(sorted((surrogates or {}).items()))
        if key not in self._exact:
            if self.loss is not None and not surrogates:
                found = float(self.loss(self.params)), central_differences(self.loss, self.params)
            else:
                compiled = self.compile().prepare()
                env = {**environment(compiled, self), "hyper": {**compiled.trace.hypers, **self.hyper}}
                found = exact_gradient(compiled.trace, self.params, env, self.points, surrogates)
            self._exact[key] = found
        return self._exact[key]


def arrays(**values: Any) -> Params:
    """Parameter values as float64 arrays."""
    return {k: np.array(v, np.float64) for k, v in values.items()}


def environment(compiled: Any, graph: Graph) -> dict[str, Any]:
    """Env fields (inputs, sizes, scales) of the graph's data."""
    bound = compiled.binder.bind(graph.data, None, graph.total_rows)
    inputs = dict(zip((i.name for i in compiled.binder.inputs), bound.arrays, strict=True))
    return {"inputs": inputs, "sizes": bound.rows, "scales": bound.scales, "total_rows": bound.totals}


def make_env(compiled: Any, graph: Graph, variant: Any, aux: Mapping[str, float] | None = None, **kw: Any) -> Env:
    """The environment of one evaluation of `variant` (no repeats)."""
    fields = environment(compiled, graph)
    sizes = {**fields["sizes"], "particles": graph.particles, **kw.pop("sizes", {})}
    hyper = {**variant.hypers, **graph.hyper}
    values = variant.initial_aux()
    values |= {k: np.broadcast_to(v, values[k].shape) for k, v in (aux or {}).items() if k in values}
    fields = {**fields, "sizes": sizes, "params": graph.params, "aux": values, "hyper": hyper}
    return Env(**{**fields, "dtype": np.float64, **kw})


def named(name: str, wanted: str) -> bool:
    """Whether an auxiliary variable is `wanted`, whose last part may be `*`; moments of Adam are not."""
    if not wanted.endswith("*"):
        return name == wanted
    return name.startswith(wanted[:-1]) and not name.endswith((".mean", ".square", ".count"))


def slots(name: str, known: Collection[str]) -> list[str]:
    """The auxiliary variables of that name, or that begin with what is before a last `*`: one for every step of a loop
    that is written out."""
    found = [k for k in known if named(base_name(k), name)]
    assert found, f"no auxiliary {name}, there are {sorted(known)}"
    return found


class Sampler:
    """Per-repeat gradients of one graph under one plan, in the interpreter, float64."""

    def __init__(self, graph: Graph, estimators: Any, aux: Mapping[str, float] | None = None, **options: Any):
        self.graph = graph
        self.compiled = graph.compile(estimators, **options).prepare()
        self.variant = build_gradient(self.compiled.working, self.compiled.working_plan, repeats=True)
        verify(list(self.variant.outputs().values()))
        self.particles = options.get("particles", graph.particles)
        self.aux = {k: v for name, v in (aux or {}).items() for k in slots(name, self.variant.aux_slots)}

    def __call__(self, repeats: int, seed: int, step: int = 0, chunk: int = 40_000) -> tuple[np.ndarray, Params]:
        """Losses (repeats,) and gradients {name: (repeats, *shape)}."""
        losses: list[np.ndarray] = []
        grads: dict[str, list[np.ndarray]] = {name: [] for name in self.variant.grads}
        for k, start in enumerate(range(0, repeats, chunk)):
            n = min(chunk, repeats - start)
            sizes = {"repeats": n, "particles": self.particles}
            env = make_env(self.compiled, self.graph, self.variant, self.aux, sizes=sizes, seed=seed, step=step + k)
            loss, *found = evaluate([self.variant.scalars["loss"], *self.variant.grads.values()], env)
            losses.append(np.broadcast_to(loss, (n,)))
            for name, g in zip(self.variant.grads, found, strict=True):
                grads[name].append(g)
        return np.concatenate(losses), {name: np.concatenate(g) for name, g in grads.items()}

    def repeats_for(self, norm: float, seed: int, power: float = POWER) -> int:
        """How many repeats bring every standard error to 0.9 `power` of `norm`."""
        return enough(self(PILOT, seed, PILOT_STEP)[1], norm, power)


def enough(grads: Params, norm: float, power: float = POWER) -> int:
    """How many repeats a sample of gradients asks for, to bring every standard error to 0.9 `power` of `norm`."""
    worst = max(float(g.std(0).max()) for g in grads.values())
    return int(np.clip(1.3 * (worst / (power * norm)) ** 2, 500, MOST))


def sample_gradients(graph: Graph, estimators: Any, repeats: int, seed: int, **options: Any):
    """Per-repeat losses (repeats,) and gradients {name: (repeats, *shape)} in the interpreter, float64."""
    return Sampler(graph, estimators, **options)(repeats, seed)


def assert_matches(
    sampler: Sampler,
    expected: tuple[float, Params] | tuple[None, Params],
    seed: int = 1,
    repeats: int | None = None,
    power: float = POWER,
) -> None:
    """Mean gradient within 5 standard errors of `expected`, and the standard error at most `power` of its norm."""
    loss, exact = expected
    norm = float(np.sqrt(sum(np.sum(g**2) for g in exact.values())))
    assert norm > 0, "a law graph whose gradient is zero has no power"
    n = sampler.repeats_for(norm, seed, power) if repeats is None else repeats
    losses, grads = sampler(n, seed)
    if repeats is None and enough(grads, norm, power) > 1.3 * n:  # heavy tails, which the pilot did not see
        n = enough(grads, norm, power)
        losses, grads = sampler(n, seed)
    for name, g in grads.items():
        mean, se = g.mean(0), g.std(0) / np.sqrt(n)
        worst = f"{name}: estimate {mean}, exact {exact[name]}, standard error {se}, {n} repeats"
        assert np.all(np.abs(mean - exact[name]) <= WIDTH * se + 1e-6 * norm), worst
        assert np.all(se <= power * norm), f"no power: {worst}, norm {norm}"
    if loss is not None:
        assert abs(losses.mean() - loss) <= WIDTH * losses.std() / np.sqrt(n) + 1e-5 * (1 + abs(loss))


def assert_unbiased(
    graph: Graph,
    estimators: Any,
    seed: int = 1,
    aux: Mapping[str, float] | None = None,
    power: float = POWER,
    **options: Any,
) -> None:
    """The law of unbiased estimators: mean gradient equals the exact one, two-sided."""
    assert_matches(Sampler(graph, estimators, aux, **options), graph.exact(), seed, power=power)
