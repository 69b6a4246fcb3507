"""The epidemic: the law by tables against all paths, the mean gradient against the exact one, the calibration."""

import json
from itertools import product
from math import comb

import numpy as np
import pytest

import ppl
from ppl.estimators import ScoreFunction
from ppl.models import sir
from tests.helpers.needs import needs

pytestmark = needs("matplotlib")
SMALL = {"people": 4, "ill": 1}
CASES = np.array([1.0, 0.5, 1.5])


def _binomial(k, n, p):
    return comb(n, k) * p**k * (1 - p) ** (n - k)


def _by_paths(rates):
    """The expected cost over every path of draws of three days."""
    total = 0.0
    for draws in product(range(5), repeat=6):
        s, i, weight, cost = 3, 1, 1.0, 0.0
        for day in range(3):
            new, well = draws[2 * day : 2 * day + 2]
            weight *= _binomial(new, s, 1 - np.exp(-rates.beta * i / 4)) if new <= s else 0.0
            weight *= _binomial(well, i, 1 - np.exp(-rates.gamma)) if well <= i else 0.0
            if not weight:
                break
            cost += (new - CASES[day]) ** 2
            s, i = s - new, i + new - well
        else:
            total += weight * cost
    return total


def test_the_expected_cost_is_that_of_all_paths():
    for rates in (sir.TRUE, sir.START):
        assert sir.expected_cost(CASES, rates, **SMALL) == pytest.approx(_by_paths(rates), rel=1e-12)
    law = sir.laws(sir.TRUE, 10, 2, 6)
    np.testing.assert_allclose(law.sum(1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("particles", [1, 4])
def test_the_mean_gradient_is_the_exact_one(particles):
    """Six days among six people; slopes are in log β and log γ, as the parameters are stored."""
    cases = (1.0, 0.5, 1.5, 1.0, 0.0, 0.5)
    model = sir.epidemic.bind(cases=cases, people=6, ill=2)
    estimator = ScoreFunction("leave_one_out" if particles > 1 else None)
    program = ppl.compile(model, estimators=estimator, particles=particles, dtype="float64")
    found = program.diagnose(program.init(0), repeats=20_000, timing=False)
    for i, name in enumerate(sir.Rates._fields):
        up, down = (
            sir.expected_cost(np.array(cases), sir.Rates(*(r * np.exp(h * (i == j)) for j, r in enumerate(sir.START))),
                              6, 2)
            for h in (1e-4, -1e-4)
        )  # fmt: skip
        assert found[name].mean == pytest.approx((up - down) / 2e-4, abs=5 * float(found[name].standard_error))
        assert found[name].standard_error < 0.2


@pytest.mark.slow
def test_main_calibrates(tmp_path):
    assert sir.main(["--steps", "800", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "sir.metrics.json").read_text())["metrics"]
    least = found["expected squared distance, least"]
    assert least - 1e-6 < found["expected squared distance learned, exact"] < least + 0.1
    assert found["expected squared distance at the start, exact"] > least + 1
    assert (tmp_path / "sir.png").stat().st_size > 10_000
