"""Scalar functions of float64 numbers; `ppl.kernels.scalar.f32` has the same names."""

from ppl.kernels.scalar.f64.basic import (
    abs,
    floor,
    maximum,
    minimum,
    reciprocal,
    select,
    sign,
    sqrt,
    square,
)
from ppl.kernels.scalar.f64.bessel import log_i0e, log_i0e_curvature, log_i0e_slope
from ppl.kernels.scalar.f64.between import log_mass_between, quantile_between
from ppl.kernels.scalar.f64.binomial import binomial_draw
from ppl.kernels.scalar.f64.counts import log_binomial, log_binomial_logits, log_poisson
from ppl.kernels.scalar.f64.exponential import (
    exp,
    expm1,
    log,
    log1mexp,
    log1p,
    log_above,
    log_sigmoid,
    log_uniform,
    logit,
    power,
    sigmoid,
    softplus,
    tanh,
)
from ppl.kernels.scalar.f64.gamma import digamma, lgamma, polygamma, trigamma
from ppl.kernels.scalar.f64.gamma_draws import loggamma_draw
from ppl.kernels.scalar.f64.gamma_slope import loggamma_slope
from ppl.kernels.scalar.f64.incomplete_beta import betainc, betainc_slope
from ppl.kernels.scalar.f64.incomplete_gamma import gammainc, gammainc_bend, gammainc_slope, gammaincc, loggamma_bend
from ppl.kernels.scalar.f64.normal import erf, erfc, erfinv, log_ndtr, ndtr, ndtri
from ppl.kernels.scalar.f64.poisson import poisson_draw
from ppl.kernels.scalar.f64.quantiles import betaincinv, gammainccinv, gammaincinv, negative_binomial_icdf, poisson_icdf
from ppl.kernels.scalar.f64.student_t import student_cdf, student_icdf, student_slope
from ppl.kernels.scalar.f64.trigonometric import atan, cos, sin, tan
from ppl.kernels.scalar.f64.von_mises import vonmises_draw, vonmises_slope
from ppl.kernels.scalar.f64.von_mises_cdf import vonmises_cdf, vonmises_cdf_slope, vonmises_icdf

__all__ = [
    "abs",
    "atan",
    "betainc",
    "betainc_slope",
    "betaincinv",
    "binomial_draw",
    "cos",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "expm1",
    "floor",
    "gammainc",
    "gammainc_bend",
    "gammainc_slope",
    "gammaincc",
    "gammainccinv",
    "gammaincinv",
    "lgamma",
    "log",
    "log1mexp",
    "log1p",
    "log_above",
    "log_binomial",
    "log_binomial_logits",
    "log_i0e",
    "log_i0e_curvature",
    "log_i0e_slope",
    "log_mass_between",
    "log_ndtr",
    "log_poisson",
    "log_sigmoid",
    "log_uniform",
    "loggamma_bend",
    "loggamma_draw",
    "loggamma_slope",
    "logit",
    "maximum",
    "minimum",
    "ndtr",
    "ndtri",
    "negative_binomial_icdf",
    "poisson_draw",
    "poisson_icdf",
    "polygamma",
    "power",
    "quantile_between",
    "reciprocal",
    "select",
    "sigmoid",
    "sign",
    "sin",
    "softplus",
    "sqrt",
    "square",
    "student_cdf",
    "student_icdf",
    "student_slope",
    "tan",
    "tanh",
    "trigamma",
    "vonmises_cdf",
    "vonmises_cdf_slope",
    "vonmises_draw",
    "vonmises_icdf",
    "vonmises_slope",
]
