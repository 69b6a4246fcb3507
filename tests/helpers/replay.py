"""Compiled steps against the interpreter, noise for noise: loss, gradients and auxiliary variables of a law graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ppl.compiler.surrogate.variants import build_gradient
from ppl.ir.reference.interpret import evaluate
from ppl.lang.loops import base_name
from tests.helpers.law_graphs import LAWS
from tests.helpers.laws import Graph, make_env, named


class Case(NamedTuple):
    """A law graph under one plan."""

    law: str
    estimators: Any = "auto"
    aux: dict[str, float] = {}  # noqa: RUF012
    particles: int = 1
    hyper: dict[str, float] = {}  # noqa: RUF012


def program_of(case: Case, dtype: str):
    """The graph with the case's particles and hypers, and its program."""
    law = LAWS[case.law]()
    given = law.objective, law.params, law.data, law.total_rows, case.particles
    graph = Graph(*given, hyper=case.hyper, max_copies=law.max_copies)
    return graph, graph.compile(case.estimators, dtype)


def resized(program, graph: Graph, rows: int) -> tuple[Graph, np.ndarray] | None:
    """The graph with so many rows in every plate that data open, and their numbers in a larger data set."""
    inputs = program.prepare().binder.inputs
    if not any(i.plate is not None for i in inputs):
        return None
    ids = np.random.default_rng(rows).permutation(4 * rows + 9)[:rows]
    data = tuple(
        np.resize(x, (rows, *np.shape(x)[1:])) if i.plate is not None else x
        for i, x in zip(inputs, graph.data, strict=True)
    )
    return replace(graph, data=data, total_rows=4 * rows + 9), ids


def values_of(case: Case, names) -> dict[str, float]:
    """The case's auxiliary values by the names that there are: where loops are written out, one for every step."""
    return {name: value for name in names for wanted, value in case.aux.items() if named(base_name(name), wanted)}


def state_of(program, graph: Graph, case: Case, seed: int, step: int):
    """The state at the graph's parameters and the case's auxiliary values."""
    state = program.init(0, *graph.data).replace(params=graph.params, seed=seed, step=step)
    given = {k: np.broadcast_to(v, state.aux[k].shape) for k, v in values_of(case, state.aux).items()}
    return state.replace(aux={**state.aux, **given})


def interpreted(program, graph: Graph, case: Case, build, dtype: str, seed: int, step: int, rows=None):
    """The three groups of outputs of a variant in the interpreter."""
    compiled = program.prepare()
    variant = build(compiled.working, compiled.working_plan)
    options = {"seed": seed, "step": step, "dtype": np.dtype(dtype).type}
    if rows is not None:
        ids = compiled.binder.bind(graph.data, rows, graph.total_rows).row_ids
        options["rows"] = {plate: found for plate, found in ids.items() if isinstance(found, np.ndarray)}
    env = make_env(compiled, graph, variant, values_of(case, variant.aux_slots), **options)
    outputs = {
        **variant.scalars,
        **{f"grad {k}": v for k, v in variant.grads.items()},
        **{f"aux {k}": v for k, v in variant.aux.items()},
    }
    return dict(zip(outputs, evaluate(list(outputs.values()), env), strict=True))


def replay(case: Case, dtype: str, tolerance: float, rows: int | None = None) -> bool:
    """Steps at three places of the noise: equal to `tolerance` of the gradient, the same bits again.

    With `rows`, the data have so many, with any numbers; returns whether there are rows, else nothing is done.
    """
    graph, program = program_of(case, dtype)
    found = (graph, None) if rows is None else resized(program, graph, rows)
    if found is None:
        return False
    graph, ids = found
    options = {"total_rows": graph.total_rows, "hyper": case.hyper or None, "rows": ids}
    for seed, step in ((1, 0), (2, 5), (3, 2))[: 3 if rows is None else 1]:
        state = state_of(program, graph, case, seed, step)
        loss, grads, new = program.step(state, *graph.data, **options)
        expected = interpreted(program, graph, case, build_gradient, dtype, seed, step, ids)
        scale = max(1.0, *(float(np.abs(expected[f"grad {k}"]).max()) for k in grads))
        close = {"rtol": tolerance, "atol": tolerance * scale}
        np.testing.assert_allclose(loss, expected["loss"], **close)
        for name, g in grads.items():
            np.testing.assert_allclose(g, expected[f"grad {name}"], err_msg=name, **close)
        for name, value in new.aux.items():
            np.testing.assert_allclose(value, expected[f"aux {name}"], err_msg=name, **close)
        assert new.step == step + 1
        again = program.value_and_grad(state, *graph.data, **options)
        assert again[0] == loss
        for name, g in grads.items():
            np.testing.assert_array_equal(again[1][name], g)
    return True
