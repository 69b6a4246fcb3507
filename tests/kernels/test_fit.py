"""The coefficient tables in the source are those that the fitting program finds."""

import importlib

import numpy as np
import pytest

from ppl.kernels.scalar import fit


def _table(name):
    module, _, table = name.partition(".")
    return np.array(getattr(importlib.import_module(f"ppl.kernels.generated.f32.scalar.{module}"), table), float)


@pytest.mark.parametrize("name", fit.polynomial_problems())
def test_polynomials(name):
    problem = fit.polynomial_problems()[name]
    coefficients, error = fit.fit_polynomial(problem, points=200)
    x = np.linspace(problem.low, problem.high, 50)
    polynomial = np.polynomial.polynomial.polyval
    np.testing.assert_allclose(polynomial(x, _table(name)), polynomial(x, coefficients), rtol=2e-7)
    assert error < 3e-8


def test_quotients():
    polynomial = np.polynomial.polynomial.polyval
    for name, (top, bottom, error) in fit.normal_quantile_tables().items():
        x = np.linspace(0, 0.18 if "CENTRE" in name else 7.7, 50)
        ours = polynomial(x, _table(name + "_TOP")) / polynomial(x, _table(name + "_BOTTOM"))
        np.testing.assert_allclose(ours, polynomial(x, top) / polynomial(x, bottom), rtol=3e-7)
        assert error < 6e-8


@pytest.mark.parametrize(("bits", "rows", "rtol"), [("f32", 6, 1e-7), ("f64", 7, 1e-15)])
def test_gamma_expansion(bits, rows, rtol):
    module = importlib.import_module(f"ppl.kernels.generated.{bits}.scalar.gamma_samplers")
    table = np.reshape([float(v) for v in module.SLOPE], (module.ROWS, module.COLUMNS))
    wanted = np.array(fit.slope_expansion(rows, module.COLUMNS), float)
    np.testing.assert_allclose(table, wanted, rtol=rtol, atol=1e-40)
