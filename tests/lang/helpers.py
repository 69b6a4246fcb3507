"""Tracing a function and evaluating what it returns, through the reference interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.lang import Value, constant, trace_model
from ppl.lang.trace import Trace


def run(function: Callable[..., Any], *arrays: Any) -> Any:
    """Apply `function` to symbolic copies of `arrays` and evaluate the result (or list of results)."""
    result = function(*(constant(a) for a in arrays))
    values = result if isinstance(result, (list, tuple)) else [result]
    out = evaluate([v.node for v in values], Env(dtype=np.float64))
    return out if isinstance(result, (list, tuple)) else out[0]


def agrees(function: Callable[..., Any], *arrays: Any, rtol: float = 1e-10) -> None:
    """`function` gives on symbolic values what it gives on arrays, with the same shape and kind of dtype."""
    expected, found = function(*arrays), run(function, *arrays)
    if not isinstance(expected, (list, tuple)):
        expected, found = [expected], [found]
    assert len(expected) == len(found)
    for e, f in zip(expected, found, strict=True):
        e = np.asarray(e)
        assert f.shape == e.shape, (f.shape, e.shape)
        assert f.dtype.kind == {"u": "i"}.get(e.dtype.kind, e.dtype.kind), (f.dtype, e.dtype)
        np.testing.assert_allclose(f, e, rtol=rtol, atol=1e-12)


def trace(function: Callable[..., Any], **arguments: Any) -> Trace:
    """Trace a model on example arrays."""
    return trace_model(function, arguments)


def node_of(x: Any) -> Any:
    """The node of a value."""
    assert isinstance(x, Value)
    return x.node
