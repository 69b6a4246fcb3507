"""Generalised linear models against scikit-learn, closed forms and Fisher information."""

import numpy as np
import pytest

import ppl
from ppl.models import glm
from tests.helpers.needs import needs

pytestmark = needs("sklearn")


@pytest.mark.parametrize("name", ["logistic", "poisson", "gaussian"])
def test_newton_reaches_the_independent_fit_with_its_standard_errors(name):
    case = glm.REGRESSIONS[name]
    x, y = case.rows()
    program = ppl.compile(ppl.likelihood(case.model), dtype="float64", data=(x, y))
    state, losses = glm.newton(program, program.init(0, x, y), x, y)
    assert (np.diff(losses) <= 0).all()
    reference, w = case.reference(x, y), program.params(state)["w"]
    covariance = np.linalg.inv(glm.hessian(program, state, x, y))
    errors = np.sqrt(np.diag(program.unravel(np.diag(covariance))["w"] * np.eye(w.size)))
    np.testing.assert_allclose(errors, np.sqrt(np.diag(np.linalg.inv(case.information(x, reference, y)))), rtol=1e-5)
    assert np.abs((w - reference) / errors).max() < 1e-4
    if name == "gaussian":
        assert program.params(state)["sigma"] == pytest.approx(np.std(y - x @ reference), rel=1e-9)
