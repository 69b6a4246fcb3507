"""The expected loss and its gradient: differences of the exact expectation in float64.

All shifted parameters are evaluated at once. Derivatives are central differences at h and 2 h, extrapolated (error of
order h^4), or one-sided ones of five points where one side is not defined. The error that comes with them adds what
another grid changes to what the extrapolation changes, and `MISSED` times what that grid changes of the loss: neither
grid's differences see a jump that is at no panel's end and that no step carries over a point, but their losses do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl.lang.trace import Trace
from tests.oracle.exact.evaluate import World
from tests.oracle.exact.expectation import expected, has_grid
from tests.oracle.exact.objectives import Problem, problem
from tests.oracle.exact.walk import Term, walk

Array = np.ndarray
H = 1e-3
BENT = 40.0  # slopes that change faster than this over a step are taken for a kink
SHIFTS = (0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0, -4.0)
ROUNDING = 1e-11
MISSED = 300.0  # a jump between two points: its share of the gradient, over what it makes two grids' losses differ


@dataclass(frozen=True)
class Answer:
    """Expected loss, gradient by parameter, and a bound of the error of each."""

    loss: float
    grads: dict[str, Array]
    loss_error: float
    errors: dict[str, Array]

    @property
    def norm(self) -> float:
        """Norm of the gradient."""
        return float(np.sqrt(sum(np.sum(g**2) for g in self.grads.values())))


def _slope(f: Array, h: float) -> tuple[float, float]:
    """Derivative and its error from values at `SHIFTS`; the error is large where slopes differ as at a kink."""
    f0, p1, m1, p2, m2, p3, m3, p4, m4 = f
    noise = ROUNDING * max(1.0, abs(f0)) / h
    near, far = (p1 - m1) / (2 * h), (p2 - m2) / (4 * h)
    if np.isfinite(near) and np.isfinite(far):
        kink = abs((p1 - 2 * f0 + m1) / h)
        smooth = abs(near - far) <= BENT * h * (1 + abs(near)) and kink <= BENT * h * (1 + abs(near) + abs(f0))
        best = (4 * near - far) / 3
        return (best, 0.02 * abs(best - near) + noise) if smooth else (near, abs(near - far) + kink + noise)
    side = [(p1, p2, p3, p4, 1.0), (m1, m2, m3, m4, -1.0)]
    for a, b, c, d, sign in side:
        if np.isfinite(a + b + c + d):
            five = (-25 * f0 + 48 * a - 36 * b + 16 * c - 3 * d) / (12 * h)
            three = (-11 * f0 + 18 * a - 9 * b + 2 * c) / (6 * h)
            return sign * five, 0.1 * abs(five - three) + 10 * noise
    return np.nan, np.inf


def _entries(params: Mapping[str, Array], names: set[str]) -> list[tuple[str, tuple[int, ...]]]:
    return [(k, i) for k, v in params.items() if k in names for i in np.ndindex(v.shape)]


def _shifted(params: Mapping[str, Array], entries: Sequence[tuple[str, tuple[int, ...]]], h: float) -> dict[str, Array]:
    """All parameters at the base and at every shift of every entry."""
    count = 1 + len(entries) * (len(SHIFTS) - 1)
    out = {k: np.repeat(v[None], count, axis=0) for k, v in params.items()}
    row = 1
    for name, index in entries:
        for shift in SHIFTS[1:]:
            out[name][(row, *index)] += shift * h
            row += 1
    return out


def _differences(
    world: World, term: Term, params: Mapping[str, Array], coarser: bool
) -> tuple[Array, list[tuple[str, tuple[int, ...], float, float]]]:
    """Expectations of a term, at the base first, and (parameter, entry, derivative, error) of each that it reads."""
    read = {n.attrs["name"] for n, _ in walk(term.roots) if n.op == "param"}
    entries = _entries(params, read)
    values = expected(world, term, _shifted(params, entries, H), coarser)
    out = []
    for i, (name, index) in enumerate(entries):
        block = values[1 + i * (len(SHIFTS) - 1) : 1 + (i + 1) * (len(SHIFTS) - 1)]
        out.append((name, index, *_slope(np.concatenate([values[:1], block]), H)))
    return values, out


def _compress(trace: Trace, inputs: dict[str, Array], total_rows: int | None) -> tuple[dict[str, Array], dict]:
    """Rows of a run-time plate that carry the same data are kept once, with their number."""
    made: dict[str, Any] = {"sizes": {}, "row_ids": {}, "counts": {}, "scales": {}}
    for i, axis in enumerate(a for a in trace.plates.values() if a.size is None):
        own = [k for k, v in trace.inputs.items() if v.plate == axis]
        n = len(inputs[own[0]])
        numbered = any(n_.op == "rowid" and n_.attrs["axis"] == axis for n_, _ in walk(_all_nodes(trace)))
        keys = [b"".join(np.ascontiguousarray(inputs[k][r]).tobytes() for k in own) for r in range(n)]
        first: dict[Any, int] = {}
        for r, key in enumerate(keys):
            first.setdefault((key, r) if numbered else key, r)
        rows = np.array(list(first.values()))
        index = {k: j for j, k in enumerate(first)}
        counts = np.zeros(len(rows))
        for r, key in enumerate(keys):
            counts[index[(key, r) if numbered else key]] += 1
        for k in own:
            inputs[k] = inputs[k][rows]
        made["sizes"][axis.name], made["row_ids"][axis.name] = len(rows), rows
        made["counts"][axis.name] = counts
        made["scales"][axis.name] = total_rows / n if total_rows is not None and i == 0 else 1.0
    return inputs, made


def _all_nodes(trace: Trace) -> list[Any]:
    sites = [s for group in (trace.sites, trace.scored) for s in group.values()]
    nodes = [s.node for s in sites if s.node is not None]
    nodes += [p for s in sites if s.dist is not None for p in s.dist.params.values()]
    return nodes + [c.node for c in trace.costs.values()] + [f.node for f in trace.factors.values()]


def solve(
    objective: Any,
    params: Mapping[str, Array],
    data: Sequence[Any] = (),
    total_rows: int | None = None,
    hyper: Mapping[str, float] | None = None,
) -> Answer:
    """Expected loss and gradient of an objective at unconstrained parameters.

    Raises
    ------
    Unsupported, TooLarge, Unstated
        Where the oracle has no answer.
    """
    names = objective.arguments if hasattr(objective, "arguments") else objective.argument_names
    inputs = {k: np.asarray(v) for k, v in zip(names, data, strict=True)}
    found: Problem = problem(objective, inputs)
    inputs, made = _compress(found.trace, inputs, total_rows)
    base = {k: np.asarray(v, np.float64) for k, v in params.items() if k in found.trace.params}
    world = World(base, inputs, {**found.trace.hypers, **(hyper or {})}, **made)
    grads = {k: np.zeros_like(v) for k, v in base.items()}
    errors = {k: np.zeros_like(v) for k, v in base.items()}
    loss = loss_error = 0.0
    for term in found.terms:
        values, slopes = _differences(world, term, base, coarser=False)
        loss += float(values[0])
        again = _differences(world, term, base, coarser=True) if has_grid(term) else (values, slopes)
        loss_error += abs(float(again[0][0] - values[0])) + ROUNDING * max(1.0, abs(float(values[0])))
        apart = np.abs(again[0] - values)
        missed = MISSED * float(np.max(apart[np.isfinite(apart)], initial=0.0))
        for (name, index, slope, error), (_, _, other, _) in zip(slopes, again[1], strict=True):
            grads[name][index] += slope
            errors[name][index] += error + abs(slope - other) + missed
    return Answer(loss, grads, loss_error, errors)
