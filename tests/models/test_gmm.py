"""The mixture: exact likelihood of its parts, and training against scikit-learn's EM."""

import json

import numpy as np
import pytest

import ppl
from ppl.models import gmm
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")


def test_the_marginal_objective_is_the_exact_likelihood():
    x = gmm.iris()
    program = ppl.compile(gmm.METHODS["marginal"][0], dtype="float64", data=(x,))
    rng = np.random.default_rng(0)
    state = program.init(0, x, params={"loc": rng.normal(size=(3, 4)), "scale": 0.5 + rng.random((3, 4))})
    exact = gmm.negative_log_likelihood(program.params(state), x)
    assert program.value(state, x) / len(x) == pytest.approx(exact, rel=1e-10)


@pytest.mark.slow
def test_training_is_within_a_hundredth_of_a_nat_of_em(tmp_path):
    assert gmm.main(["--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gmm.metrics.json").read_text())["metrics"]
    em = found["negative log-likelihood, scikit-learn's EM"]
    for name in gmm.METHODS:
        assert found[f"negative log-likelihood, {name}"] < em + 0.01
    assert found["objective, enumerated"] >= found["negative log-likelihood, enumerated"] - 1e-6
