"""A density that moves smoothly with its parameter lets a path through: no formula inside it may look like a jump."""

import numpy as np
import pytest
from distribution_laws import LAWS

import ppl
from ppl import Normal
from ppl.estimators import Pathwise

BOUNDED = {"unit_interval", "positive_probability", "below_one"}
ENDS = {
    ("Pareto", "scale"),
    ("TruncatedNormal", "low"),
    ("TruncatedNormal", "high"),
    ("Binomial", "total_count"),
    ("BetaBinomial", "total_count"),
    ("Multinomial", "total_count"),
    ("DiscreteUniform", "low"),
    ("DiscreteUniform", "high"),
    ("Delta", "v"),
    ("GaussianRandomWalk", "steps"),
    ("LKJCholesky", "dim"),
}
"""Parameters that the support depends on, and sizes."""
DEFAULTS = {"loc": 0.0, "scale": 1.0}
CASES = [
    (name, parameter)
    for name, law in LAWS.items()
    for parameter in law.cases[0] | {k: v for k, v in DEFAULTS.items() if k in getattr(ppl, name).constraints}
    if (name, parameter) not in ENDS
]


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_a_path_passes(name, parameter):
    case, family = LAWS[name].cases[0], getattr(ppl, name)
    value, constraint = np.asarray((DEFAULTS | case)[parameter], float), family.constraints.get(parameter)
    observed = np.asarray(family(**case).sample(np.random.default_rng(1)))

    def moved(z):
        if constraint in BOUNDED:
            return 1.0 / (1.0 + np.exp(-z))
        return value * np.exp(0.1 * z) if value.min() > 0 else value + 0.1 * z

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(np.zeros(value.shape), 1.0))
        ppl.sample("x", family(**{**case, parameter: moved(z)}), obs=observed)

    @ppl.model
    def guide():
        ppl.sample("z", Normal(ppl.param("m", np.zeros(value.shape)), 1.0))

    choice = ppl.compile(ppl.elbo(model, guide)).explain()["z"]
    assert choice.estimator == Pathwise(), choice.rejected
