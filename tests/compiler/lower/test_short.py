"""Costly functions of events with a short last dimension: one loop over the event, the same values."""

import numpy as np

import ppl
from ppl import OneHotCategorical
from tests.compiler.graphs import assume

UNITS, CLASSES = 12, 7


@ppl.model
def model(x):
    logits = ppl.param("logits", np.linspace(-1, 1, UNITS * CLASSES).reshape(UNITS, CLASSES))
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", OneHotCategorical(logits=logits + x))
        ppl.cost("c", np.sum(np.exp(z) * np.arange(CLASSES)))


def relaxed():
    return ppl.compile(model, estimators=ppl.estimators.Relaxed(temperature=0.5), allow_bias=True, dtype="float64",
                       data=ppl.spec((None, UNITS, CLASSES), np.float64))  # fmt: skip


def costly_loops(program):
    """Lengths of the loops around every exponential and logarithm of a region's kernels."""
    lines = program.source.partition("def rows_0_kernel_0")[2].splitlines()
    places = [i for i, line in enumerate(lines) if "m.exp(" in line or "m.log(" in line]
    return [next(x for x in lines[i::-1] if "for " in x).partition("range(")[2].rstrip("):") for i in places]


def test_one_loop_over_the_event(monkeypatch):
    data = np.random.default_rng(0).normal(size=(9, UNITS, CLASSES))
    whole = relaxed()
    loss, grads = whole.value_and_grad(whole.init(0, data), data)
    assert str(CLASSES) not in costly_loops(whole) and costly_loops(whole).count(str(UNITS * CLASSES)) >= 3
    assume(monkeypatch, rewrites={"short": 0})
    parts = relaxed()
    want_loss, want = parts.value_and_grad(parts.init(0, data), data)
    assert str(CLASSES) in costly_loops(parts)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-13)
    np.testing.assert_allclose(grads["logits"], want["logits"], rtol=1e-9, atol=1e-12)
