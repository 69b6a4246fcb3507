"""The tails of densities in compiled programs: one program for several laws, a row for every parameter and value."""

from __future__ import annotations

import numpy as np
import pytest
from tail_laws import TAILS
from test_tails import TOLERANCE, held

from ppl.compiler.lower.request import Request
from ppl.distributions import REGISTRY
from ppl.ir.node import make
from ppl.ir.rewrites.simplify import erase_markers
from ppl.ir.types import Axis, Kind
from ppl.runtime.executable import compile_request

AXIS = Axis("data", Kind.PLATE)

GROUPS = {
    "line": ("Normal", "LogNormal", "Laplace", "Logistic", "Gumbel", "Cauchy", "StudentT"),
    "half": ("HalfNormal", "HalfCauchy", "Exponential", "Gamma", "InverseGamma", "Chi2", "Weibull", "Pareto"),
    "unit": ("Beta", "Kumaraswamy", "VonMises", "RelaxedBernoulli"),
    "binomial": ("Bernoulli", "Binomial", "BetaBinomial"),
    "counts": ("Poisson", "NegativeBinomial", "Geometric", "ZeroInflatedPoisson"),
}


def columns(index, dtype):
    """Per set of parameter names: columns of parameters, values, and exact log-densities."""
    grouped = {}
    for at, values, exact in held(index, dtype):
        grouped.setdefault(tuple(at), []).append((at, values, exact))
    for names, rows in grouped.items():
        params = {k: np.concatenate([np.full(len(v), at[k]) for at, v, _ in rows]) for k in names}
        yield params, np.concatenate([np.asarray(v) for _, v, _ in rows]), np.concatenate([e for *_, e in rows])


def test_every_tail_is_in_a_group():
    assert {t.name for t in TAILS} == {name for names in GROUPS.values() for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
@pytest.mark.parametrize("group", GROUPS)
def test_compiled_log_densities(group, dtype):
    arrays, inputs, wanted = [], [], []
    for i, tail in enumerate(TAILS):
        if tail.name not in GROUPS[group]:
            continue
        for params, x, exact in columns(i, dtype):
            label = f"{tail.name}{len(arrays)}"
            kind = "int" if x.dtype.kind == "i" else "float"
            leaves = {k: make("input", name=f"{k}_{label}", axes=(AXIS,), shape=(), dtype="float") for k in params}
            value = make("input", name=f"x_{label}", axes=(AXIS,), shape=(), dtype=kind)
            density = REGISTRY[tail.name](**leaves).node_log_prob(value)
            arrays.append((label, *erase_markers([density])))
            inputs += [*((leaves[k], v) for k, v in params.items()), (value, x)]
            wanted.append(exact)
    rows = max(map(len, wanted))
    types = tuple((leaf.attrs["name"], leaf.type) for leaf, _ in inputs)
    given = [np.resize(v, rows).astype(np.int64 if v.dtype.kind == "i" else dtype) for _, v in inputs]
    request = Request((), (), (), tuple(arrays), (), (), (), types)
    compiled = compile_request(request, "float32" if dtype is np.float32 else "float64", "cpu")
    out = compiled.run(np.zeros(0, dtype), inputs=given, rows={"data": rows}, total_rows={"data": rows})
    for (label, _), exact in zip(arrays, wanted, strict=True):
        found = out.arrays[label][: len(exact)].astype(float)
        beyond = np.abs(exact) > 0.1 * float(np.finfo(dtype).max)
        np.testing.assert_array_equal(np.sign(found[beyond]), np.sign(exact[beyond]), err_msg=label)
        with np.errstate(invalid="ignore"):
            error = np.abs(found - exact) / np.maximum(1, np.abs(exact))
        assert (error[~beyond] <= TOLERANCE[dtype]).all(), (label, error[~beyond].max())
