"""Which module of `f32` and `f64` each of their functions is in: they are imported when they are first used."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = {
    "basic": "abs floor maximum minimum plus reciprocal select sign sqrt square",
    "bessel": "log_i0e log_i0e_curvature log_i0e_slope",
    "between": "log_mass_between quantile_between",
    "binomial": "binomial_draw",
    "counts": "log_binomial log_binomial_logits log_poisson log_poisson_log_rate",
    "exponential": ("exp expm1 log log1mexp log1p log_above log_sigmoid log_uniform logit power sigmoid softplus tanh"),
    "gamma": "digamma lgamma polygamma trigamma",
    "gamma_draws": "loggamma_draw",
    "gamma_slope": "loggamma_slope",
    "incomplete_beta": "betainc betainc_slope",
    "incomplete_gamma": "gammainc gammainc_bend gammainc_slope gammaincc loggamma_bend",
    "normal": "erf erfc erfinv log_ndtr ndtr ndtri",
    "poisson": "poisson_draw",
    "quantiles": (
        "betaincinv gammainccinv gammaincinv negative_binomial_icdf negative_binomial_isf poisson_icdf poisson_isf"
    ),
    "student_t": "student_cdf student_icdf student_slope",
    "trigonometric": "atan cos sin tan",
    "von_mises": "vonmises_draw vonmises_slope",
    "von_mises_cdf": "vonmises_cdf vonmises_cdf_slope vonmises_icdf",
}
FUNCTIONS = {function: module for module, functions in MODULES.items() for function in functions.split()}


def loader(package: str) -> Callable[[str], Any]:
    """The `__getattr__` of `package`, whose modules are those of `MODULES`."""

    def load(name: str) -> Any:
        if name not in FUNCTIONS:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(package)
        found = getattr(import_module(f"{package}.{FUNCTIONS[name]}"), name)
        setattr(home, name, found)
        return found

    return load
