"""Running an estimator's law: per-sample gradients in the interpreter against the exact gradient, two-sided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import ppl
from ppl.compiler.variants import build_gradient
from ppl.ir.interpret import Env, evaluate
from ppl.ir.verify import verify
from tests.helpers.exact import exact_gradient


@dataclass
class Graph:
    """A law graph: an objective, parameter values, data, and scale of the minibatch."""

    objective: Any
    params: dict[str, np.ndarray]
    data: tuple = ()
    total_rows: int | None = None
    particles: int = 1
    points: int = 401
    hyper: dict[str, float] = field(default_factory=dict)

    def compile(self, estimators: Any, dtype: str = "float64", **kwargs: Any) -> Any:
        """The program under `estimators`, prepared for the graph's data."""
        options = {"particles": self.particles, **kwargs}
        program = ppl.compile(self.objective, estimators=estimators, dtype=dtype, data=self.data, **options)
        return program


def environment(compiled, graph: Graph) -> dict:
    """Env fields (inputs, sizes, scales) of the graph's data."""
    bound = compiled.binder.bind(graph.data, None, graph.total_rows)
    inputs = dict(zip((i.name for i in compiled.binder.inputs), bound.arrays, strict=True))
    return {"inputs": inputs, "sizes": bound.rows, "scales": bound.scales, "total_rows": bound.totals}


def sample_gradients(
    graph: Graph, estimators: Any, repeats: int, seed: int, aux: dict | None = None, chunk: int = 50_000
):
    """Per-repeat gradients {name: (repeats, *shape)} and losses (repeats,) in the interpreter, float64."""
    program = graph.compile(estimators)
    compiled = program.prepare()
    variant = build_gradient(compiled.graph, compiled.plan.estimators, repeats=True)
    verify(list(variant.outputs().values()))
    fields = environment(compiled, graph)
    losses, grads = [], {name: [] for name in variant.grads}
    for k in range(0, repeats, chunk):
        n = min(chunk, repeats - k)
        sizes = {**fields["sizes"], "repeats": n, "particles": graph.particles}
        values = {**dict.fromkeys(variant.aux_init, 0.0), **variant.aux_init, **(aux or {})}
        env = Env(params=graph.params, aux=values, hyper={**variant.hypers, **graph.hyper}, seed=seed, step=k // chunk,
                  dtype=np.float64, **{**fields, "sizes": sizes})  # fmt: skip
        loss, *found = evaluate([variant.scalars["loss"], *variant.grads.values()], env)
        losses.append(np.broadcast_to(loss, (n,)))
        for name, g in zip(variant.grads, found, strict=True):
            grads[name].append(g)
    return np.concatenate(losses), {name: np.concatenate(g) for name, g in grads.items()}


def assert_unbiased(
    graph: Graph, estimators: Any, repeats: int = 100_000, seed: int = 1, aux: dict | None = None
):
    """Mean gradient within 5 standard errors of the exact one, and the standard error at most 1 % of its norm."""
    program = graph.compile(estimators)
    compiled = program.prepare()
    fields = environment(compiled, graph)
    loss, exact = exact_gradient(compiled.trace, graph.params, {**fields, "hyper": graph.hyper}, graph.points)
    losses, grads = sample_gradients(graph, estimators, repeats, seed, aux)
    norm = np.sqrt(sum(np.sum(g**2) for g in exact.values()))
    for name, g in grads.items():
        mean, se = g.mean(0), g.std(0) / np.sqrt(repeats)
        off = np.abs(mean - exact[name])
        worst = f"{name}: estimate {mean}, exact {exact[name]}, standard error {se}"
        assert np.all(off <= 5 * se + 1e-7 * norm), worst
        assert np.all(se <= 0.01 * norm), f"no power: {worst}, norm {norm}"
    assert abs(losses.mean() - loss) <= 5 * losses.std() / np.sqrt(repeats) + 1e-6 * (1 + abs(loss))
