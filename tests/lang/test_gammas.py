"""scipy.special.gammaln, digamma and betaln of symbolic values, negative ones included, against mpmath."""

import mpmath
import numpy as np
import pytest
from scipy import special

import ppl
from ppl.ir.node import topological
from ppl.objectives.base import as_objective

POINTS = np.array([-1000.3, -50.25, -7.9999, -2.457, -1.5, -0.3, -0.001, 0.001, 0.4, 1.0, 2.5, 30.0])
EIGHTHS = np.array([-50.25, -7.875, -2.375, -0.25, -0.125, 0.125, 3.0])
FUNCTIONS = {
    "gammaln": (POINTS, special.gammaln, [lambda x: mpmath.log(abs(mpmath.gamma(x)))]),
    "digamma": (POINTS, special.digamma, [mpmath.digamma]),
    "betaln": (EIGHTHS, lambda x: special.betaln(x, 0.5),
               [lambda x: mpmath.log(abs(mpmath.gamma(x))), lambda x: mpmath.log(abs(mpmath.gamma(0.5))),
                lambda x: -mpmath.log(abs(mpmath.gamma(x + 0.5)))]),
}  # fmt: skip
"""Points, the function, and the exact summands of it; the arguments of betaln add up without rounding."""


def exact(summands, at):
    """The sum of functions at every point, and the sum of their sizes, of which rounding leaves a share."""
    with mpmath.workdps(30):
        parts = np.array([[float(f(x)) for x in at] for f in summands])
    return parts.sum(0), np.maximum(1.0, np.abs(parts).sum(0))


def slope_of(function):
    return lambda x: mpmath.diff(function, x)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 4e-15), ("float32", 1e-6)])
def test_values_and_gradients_left_of_0(dtype, tolerance):
    @ppl.model
    def model():
        for name, (points, function, _) in FUNCTIONS.items():
            values = ppl.deterministic(f"{name} values", function(ppl.param(name, points)))
            ppl.cost(name, np.sum(values * np.arange(1.0, 1.0 + points.size)))

    program = ppl.compile(model, dtype=dtype)
    state = program.init(seed=0)
    grads, drawn = program.value_and_grad(state)[1], program.sample(state)
    for name, (points, _, summands) in FUNCTIONS.items():
        at = [mpmath.mpf(float(x)) for x in points.astype(dtype)]
        values, size = exact(summands, at)
        assert np.all(np.abs(np.squeeze(drawn[f"{name} values"]) - values) <= tolerance * size), name
        slopes, size = exact([slope_of(f) for f in summands], at)
        found = grads[name] / np.arange(1.0, 1.0 + points.size)
        assert np.all(np.abs(found - slopes) <= tolerance * size), name


def test_poles_are_infinite_as_in_scipy():
    @ppl.model
    def model(x):
        with ppl.plate("rows", x) as row:
            ppl.deterministic("gammaln", special.gammaln(row))
            ppl.deterministic("digamma", special.digamma(row))
            ppl.cost("c", 0.0 * ppl.param("t", 1.0))

    at = np.array([0.0, -1.0, -7.0, 3.0], np.float32)
    program = ppl.compile(model, data=(at,))
    found = program.sample(program.init(seed=0), at, nonfinite="keep")
    np.testing.assert_allclose(np.squeeze(found["gammaln"]), special.gammaln(at), rtol=1e-6)
    np.testing.assert_allclose(np.squeeze(found["digamma"]), special.digamma(at), rtol=1e-6)


def test_positive_arguments_cost_no_reflection():
    @ppl.model
    def model():
        z = ppl.sample("z", ppl.Poisson(ppl.param("rate", 1.0, constraint="positive")))
        ppl.cost("c", special.gammaln(z + 1.0) + special.betaln(z + 0.5, 2.0))

    trace = as_objective(model).trace({})
    assert not any(n.op in ("sin", "where") for n in topological([trace.costs["c"].node]))
