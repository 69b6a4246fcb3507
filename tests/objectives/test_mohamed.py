"""Variances of Mohamed, Rosca, Figurnov & Mnih 2020, figure 2: three costs under three estimators, against quadrature.

The measure is N(1, 1) and the parameter its mean; the two sides of a measure-valued pair share their Rayleigh variable.
"""

from functools import cache

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.estimators import MeasureValued, Pathwise, ScoreFunction

MU, REPEATS = 1.0, 60_000
COSTS = {  # cost, slope; written for NumPy and for symbols alike
    "square": (lambda x, k: (x - k) ** 2, lambda x, k: 2 * (x - k)),
    "exp": (lambda x, k: np.exp(-k * x**2), lambda x, k: -2 * k * x * np.exp(-k * x**2)),
    "cos": (lambda x, k: np.cos(k * x), lambda x, k: -k * np.sin(k * x)),
}
KS = {"square": (-3.0, 0.5, 3.0), "exp": (0.1, 1.0, 10.0), "cos": (0.5, 2.0, 5.0)}
CELLS = [(name, k) for name, ks in KS.items() for k in ks]


@cache
def rules():
    """Nodes and weights for a standard normal and for a Rayleigh variable."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    points, lengths = np.polynomial.legendre.leggauss(400)
    radii = 6 * (points + 1)
    return nodes, weights / weights.sum(), radii, 6 * lengths * radii * np.exp(-(radii**2) / 2)


def exact(name, k):
    """Gradient, and variances of the score function, the pathwise and the measure-valued estimator."""
    cost, slope = COSTS[name]
    nodes, normal, radii, rayleigh = rules()
    x = MU + nodes
    score, path = cost(x, k) * nodes, slope(x, k)
    gradient = float(normal @ path)
    pair = (cost(MU + radii, k) - cost(MU - radii, k)) / np.sqrt(2 * np.pi)
    assert np.isclose(rayleigh @ pair, gradient)
    return gradient, *(float(w @ g**2) - gradient**2 for w, g in ((normal, score), (normal, path), (rayleigh, pair)))


def test_quadrature_agrees_with_closed_forms():
    for k in KS["square"]:
        assert exact("square", k)[2] == pytest.approx(4)
    k = 5.0
    assert exact("cos", k)[0] == pytest.approx(-k * np.exp(-(k**2) / 2) * np.sin(k * MU))
    _, score, path, _ = exact("exp", 10.0)
    assert (round(score, 3), round(path, 2)) == (0.077, 0.94)


@pytest.mark.parametrize(("name", "k"), CELLS)
def test_measured_variances_are_the_exact_ones(name, k):
    cost, _ = COSTS[name]

    @ppl.model
    def model():
        ppl.cost("c", cost(ppl.sample("x", Normal(ppl.param("mu", MU), 1.0)), k))

    gradient, *variances = exact(name, k)
    for estimator, variance in zip((ScoreFunction(), Pathwise(), MeasureValued()), variances, strict=True):
        program = ppl.compile(model, estimator, dtype="float64")
        g = program.diagnose(program.init(0), repeats=REPEATS, timing=False)["mu"]
        assert abs(g.mean - gradient) <= 5 * g.standard_error + 1e-12
        assert abs(g.trace - variance) <= 5 * g.trace_error + 1e-12
        assert g.trace_error <= 0.05 * variance


def test_the_order_turns_over():
    """Pathwise wins where the cost is smooth, the score function where it is steep."""
    better = {cell: "score" if exact(*cell)[1] < exact(*cell)[2] else "path" for cell in CELLS}
    assert {better[("square", k)] for k in KS["square"]} == {"path"}
    assert (better[("exp", 0.1)], better[("exp", 10.0)]) == ("path", "score")
    assert (better[("cos", 0.5)], better[("cos", 5.0)]) == ("path", "score")
    for name, k in CELLS:  # a pair multiplies nothing by a score or a slope
        _, score, path, pair = exact(name, k)
        assert (pair < min(score, path)) == (name != "square" or k == 0.5)
