"""Calls of distributions: their constructors, and their methods with one argument."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from tests.fuzz.programs import Call, K, X

E3 = np.full(3, 1 / 3)
DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "Bernoulli": {"probs": 0.5},
    "Beta": {"concentration1": 1.0, "concentration0": 2.0},
    "BetaBinomial": {"concentration1": 1.0, "concentration0": 2.0, "total_count": 3},
    "Binomial": {"total_count": 3, "probs": 0.5},
    "Categorical": {"probs": E3},
    "Cauchy": {"loc": 0.0, "scale": 1.0},
    "Chi2": {"df": 2.0},
    "Delta": {"v": 1.0, "log_density": 0.0},
    "Dirichlet": {"concentration": np.ones(3)},
    "DiscreteUniform": {"low": 0, "high": 3},
    "Exponential": {"rate": 1.0},
    "Gamma": {"concentration": 1.0, "rate": 1.0},
    "GaussianRandomWalk": {"scale": 1.0, "steps": 3, "loc": 0.0, "drift": 0.0},
    "Geometric": {"probs": 0.5},
    "Gumbel": {"loc": 0.0, "scale": 1.0},
    "HalfCauchy": {"scale": 1.0},
    "HalfNormal": {"scale": 1.0},
    "InverseGamma": {"concentration": 1.0, "scale": 1.0},
    "Kumaraswamy": {"concentration1": 1.0, "concentration0": 2.0},
    "LKJCholesky": {"dim": 3, "concentration": 1.0},
    "Laplace": {"loc": 0.0, "scale": 1.0},
    "LogNormal": {"loc": 0.0, "scale": 1.0},
    "Logistic": {"loc": 0.0, "scale": 1.0},
    "LowRankMultivariateNormal": {"loc": np.zeros(3), "cov_factor": np.ones((3, 1)), "cov_diag": np.ones(3)},
    "Masked": {"dist": ppl.Normal(np.zeros(2), 1.0), "mask": np.array([True, False])},
    "Mixture": {"weights": np.array([0.5, 0.5]), "components": ppl.Normal(np.zeros(2), 1.0), "joint": 0},
    "Multinomial": {"total_count": 3, "probs": E3},
    "MultivariateNormal": {"loc": np.zeros(2), "scale_tril": np.eye(2)},
    "NegativeBinomial": {"total_count": 3.0, "probs": 0.5},
    "Normal": {"loc": 0.0, "scale": 1.0},
    "OneHotCategorical": {"probs": E3},
    "Pareto": {"scale": 1.0, "concentration": 1.0},
    "PlackettLuce": {"probs": E3},
    "Poisson": {"rate": 1.0},
    "RelaxedBernoulli": {"temperature": 0.5, "probs": 0.5},
    "RelaxedOneHotCategorical": {"temperature": 0.5, "probs": E3},
    "StudentT": {"df": 3.0, "loc": 0.0, "scale": 1.0},
    "Truncated": {"base": ppl.Normal(0.0, 1.0), "low": 0.0, "high": 2.0},
    "TruncatedNormal": {"loc": 0.0, "scale": 1.0, "low": 0.0, "high": 2.0},
    "Uniform": {"low": 0.0, "high": 1.0},
    "VonMises": {"loc": 0.0, "concentration": 1.0},
    "Weibull": {"concentration": 1.0, "scale": 1.0},
    "ZeroInflatedPoisson": {"gate": 0.5, "rate": 1.0},
}
METHODS = {"log_prob": "value", "cdf": "value", "icdf": "probability", "mask": "mask", "expand": "shape"}


def distribution_calls() -> dict[str, Call]:
    """Constructors, and methods with one argument."""
    out = {}
    for name, good in DISTRIBUTIONS.items():
        make = getattr(ppl, name)
        out[name] = Call(make, good)
        for method, argument in METHODS.items():
            bound = getattr(make(**good), method)
            value = {"shape": (2,), "mask": True}.get(argument, 0.5)
            out[f"{name}.{method}"] = Call(lambda a, bound=bound: bound(a), {"a": value})
    fitted = {"x": X, "weights": np.ones(5)}
    out["Normal.fit"] = Call(ppl.Normal.fit, fitted)
    out["Binomial.fit"] = Call(ppl.Binomial.fit, {"x": K, "weights": None, "total_count": 3})
    out["Transformed"] = Call(
        lambda base, bijector: ppl.Transformed(base, bijector),
        {"base": ppl.Normal(0.0, 1.0), "bijector": ppl.bijectors.Exp()},
    )
    return out
