"""Which module of `f32` and `f64` each of their functions is in: they are imported when they are first used."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = {
    "basic": "abs floor maximum minimum plus reciprocal select sign sqrt square",
    "binomial": "binomial_draw",
    "counts": "log_binomial log_binomial_logits log_poisson log_poisson_log_rate",
    "exponential": "exp expm1 log log1mexp log1p log_above log_sigmoid log_uniform logit power sigmoid softplus tanh",
    "gamma": "digamma lgamma polygamma trigamma",
    "gamma_samplers": "loggamma_draw loggamma_slope",
    "incomplete": "betainc betainc_slope gammainc gammainc_bend gammainc_slope gammaincc loggamma_bend",
    "normal": "erf erfc erfinv log_mass_between log_ndtr ndtr ndtri quantile_between",
    "poisson": "poisson_draw",
    "quantiles": (
        "betaincinv gammainccinv gammaincinv negative_binomial_icdf negative_binomial_isf poisson_icdf poisson_isf"
    ),
    "student_t": "student_cdf student_icdf student_slope",
    "trigonometric": "atan cos sin tan",
    "von_mises": (
        "log_i0e log_i0e_curvature log_i0e_slope vonmises_cdf vonmises_cdf_slope vonmises_draw vonmises_icdf "
        "vonmises_slope"
    ),
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
